"""A fleet on a broker that is not mosquitto: amqtt, which knows MQTT 3.1.1 only. Nothing leans on one broker's behaviour."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_site import Site
from mosquitto import free_port
from mqtt_parts import wait_until

PLACES = [Path(sys.executable).parent, Path(__file__).resolve().parents[2] / ".venvs" / "demo" / "bin"]
AMQTT = next((str(p / "amqtt") for p in PLACES if (p / "amqtt").exists()), shutil.which("amqtt"))


class Amqtt:
    """As mosquitto.Mosquitto, as far as a site needs it."""

    def __init__(self, folder: Path) -> None:
        assert AMQTT is not None
        self.port = free_port()
        config = folder / "amqtt.yaml"
        config.write_text(
            f"listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{self.port}\n"
            "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n"
        )
        with (folder / "amqtt.log").open("wb") as log:
            self._process = subprocess.Popen([AMQTT, "-c", str(config)], stdout=log, stderr=log)
        wait_until(self._listens, "amqtt")

    def _listens(self) -> bool:
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


@pytest.fixture
def amqtt(tmp_path: Path) -> Iterator[Amqtt]:
    if AMQTT is None:
        pytest.skip("amqtt is not installed: pip install amqtt, or run scripts/demo once")
    made = Amqtt(tmp_path)
    yield made
    made.stop()


def test_enrollment_removal_late_join_and_revocation(amqtt: Amqtt, tmp_path: Path) -> None:
    site = Site(tmp_path, amqtt, protocol="3.1.1")
    try:
        gate = site.join("gate", protocol="3.1.1")
        site.office.enroll("alice")
        site.until(lambda: gate.people == {"alice"}, "alice at the gate")
        for n in range(40):
            site.office.enroll(f"p{n}")
        late = site.join("late", protocol="3.1.1")
        site.until(lambda: len(late.people) == len(gate.people) == 41, "everybody at both")
        site.office.remove("alice")
        site.until(lambda: "alice" not in gate.people | late.people, "alice nowhere")
        site.office.fleet.revoke(gate.fleet.device_id)
        site.until(lambda: [m.in_force for m in late.fleet.members() if m.name == "gate"] == [False], "the revocation")
    finally:
        site.close()
