"""The demo of scripts/fleet-demo: a gym with two desks and two gates, as real daemons and agents on a real broker.

A member is enrolled at a desk, recognized at both gates, loses access by date, and is removed at the other desk. Each step is timed.
"""

from __future__ import annotations

import base64
import hmac
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("", "e2e", "mqtt")]

from fleet_device import Member  # noqa: E402
from mosquitto import Heard, Mosquitto, Subscriber, passwords  # noqa: E402
from pictures import collins_pixels, empty_scene, hopper_pixels, view  # noqa: E402
from PIL import Image  # noqa: E402
from waiting import wait_until  # noqa: E402

ROLES = {"office": "admin", "desk": "desk", "gate-a": "door", "gate-b": "door"}
ACL = """user {name}
topic readwrite edge-oneshot/{name}/#
topic readwrite edge-oneshot/fleet/#
"""


class Gym:
    def __init__(self, folder: Path, stack: ExitStack, command: list[str] | None = None) -> None:
        self.folder = folder
        names = {name: f"password-of-{name}" for name in ROLES}
        (folder / "acl").write_text(
            "".join(ACL.format(name=name) for name in ROLES) + "user lock\ntopic read edge-oneshot/#\n"
        )
        (folder / "acl").chmod(0o600)
        config = f"password_file {passwords(folder, **names, lock='lock')}\nacl_file {folder}/acl\n"
        config += f"persistence true\nautosave_interval 1\npersistence_location {folder}/"
        self.broker = Mosquitto(folder / "broker", config, anonymous=False).start()
        stack.callback(self.broker.stop)
        self.members = {
            name: stack.enter_context(
                Member(
                    folder,
                    self.broker.port,
                    name,
                    password=password,
                    command=command,
                    fps=5,
                    **({} if ROLES[name] != "door" else {"mqtt": {"sign_key_file": str(folder / "sign.key")}}),
                )
            )
            for name, password in names.items()
        }
        self.key = self._sign_key()
        self.heard = stack.enter_context(Subscriber(self.broker.port, username="lock", password="lock"))
        self.opened: list[str] = []

    def _sign_key(self) -> bytes:
        path = self.folder / "sign.key"
        self.members["gate-a"].call("mqtt", "new-key", str(path))
        return base64.urlsafe_b64decode(path.read_text().strip().removeprefix("hmac-sha256:") + "=")

    # ---- steps

    def found(self) -> None:
        office = self.members["office"]
        office.call("fleet", "init", "gym")
        office.start_agent()
        for name, role in ROLES.items():
            if name != "office":
                code = office.fleet("invite", name, "--role", role)["code"]
                self.members[name].fleet("join", code)
                self.members[name].start_agent()
        wait_until(lambda: len(self.members["gate-b"].fleet("list")["members"]) == 4, "four members")

    def start_gates(self) -> None:
        """Eileen walks through both gates every ten seconds, from the beginning on."""
        walk = [view(collins_pixels(), i) for i in range(30)] + [empty_scene()] * 20
        for name in ("gate-a", "gate-b"):
            self.members[name].camera.show([empty_scene()] * 5 + walk * 60)
            self.members[name].start()

    def until(self, condition: Callable[[], Any], what: str, timeout_s: float = 90.0) -> float:
        """Seconds until the condition holds."""
        started = time.monotonic()
        wait_until(condition, what, timeout_s)
        return time.monotonic() - started

    def door(self, gate: str, identity: str, after: int) -> list[Heard]:
        """The matches of a person at a gate that the reference consumer accepts, from the message `after` on."""
        topic = f"edge-oneshot/{gate}/match/{identity}"
        return [h for h in list(self.heard.heard)[after:] if h.topic == topic and self._opens(h)]

    def _opens(self, heard: Heard) -> bool:
        """The rules of docs/how-to/consumer.py; the clock of a machine without NTP counts as it is."""
        sealed, _, value = heard.payload.rpartition(b',"value":"')
        mac = base64.urlsafe_b64encode(hmac.digest(self.key, sealed, "sha256")).rstrip(b"=")
        event = heard.json
        fresh = not event["late"] and datetime.fromisoformat(event["expires_at"]) > datetime.now(UTC)
        return not heard.retain and hmac.compare_digest(value, mac + b'"}}') and fresh

    def denied(self, gate: str, after: int) -> list[Heard]:
        return [h for h in list(self.heard.heard)[after:] if h.topic == f"edge-oneshot/{gate}/denied"]


def gates_have(gym: Gym, identity: str, present: bool = True) -> bool:
    return all((identity in gym.members[gate].people()) == present for gate in ("gate-a", "gate-b"))


def demo(folder: Path, command: list[str] | None = None) -> dict[str, float]:
    """Runs every step; the seconds that each took. Raises AssertionError."""
    took: dict[str, float] = {}
    collins, hopper = folder / "collins.png", folder / "hopper.png"
    Image.fromarray(collins_pixels()).save(collins)
    Image.fromarray(hopper_pixels()).save(hopper)
    with ExitStack() as stack:
        gym = Gym(folder, stack, command)
        print(f"mosquitto on 127.0.0.1:{gym.broker.port}, with passwords and an access list")
        gym.found()
        print("office founded the fleet; desk, gate-a and gate-b have joined with one-time codes")
        gym.start_gates()
        office, desk = gym.members["office"], gym.members["desk"]

        desk.enroll("Eileen", collins)
        took["enrolled at the desk, in force at both gates"] = gym.until(
            lambda: gates_have(gym, "eileen"), "eileen at the gates"
        )
        mark = len(gym.heard.heard)
        took["recognized at both gates, signed and fresh"] = gym.until(
            lambda: all(gym.door(gate, "eileen", mark) for gate in ("gate-a", "gate-b")), "a door event at both gates"
        )
        office.enroll("Grace", hopper)
        took["a second member, from the office"] = gym.until(lambda: gates_have(gym, "grace"), "grace at the gates")

        yesterday = (datetime.now() - timedelta(days=1)).date().isoformat()
        office.call("access", "set", "eileen", "--until", yesterday)
        took["the membership ended by date, known at both gates"] = gym.until(
            lambda: all("eileen" in _limited(gym.members[gate]) for gate in ("gate-a", "gate-b")),
            "the date at the gates",
        )
        mark = len(gym.heard.heard)
        gym.until(lambda: gym.denied("gate-a", mark), "denied at gate-a")
        assert not gym.door("gate-a", "eileen", mark), "an expired member is no match"
        print("an expired member is denied at gate-a, and no match is published")

        desk.call("gallery", "remove", "eileen", "--yes")
        took["removed at the desk, in force at both gates"] = gym.until(
            lambda: gates_have(gym, "eileen", present=False), "eileen gone at the gates"
        )
        gym.broker.kill()
        gym.broker.start()
        office.call("gallery", "remove", "grace", "--yes")
        took["removed after a kill -9 of the broker"] = gym.until(
            lambda: gates_have(gym, "grace", present=False), "grace gone"
        )
        log = office.fleet("audit")
        print(f"{len(log['entries'])} entries in the audit log, {len(log['faults'])} faults")
        assert not log["faults"]
        for name in ("gate-a", "gate-b"):
            assert gym.members[name].stop() == 0
        for member in gym.members.values():
            assert member.stop_agent() == 0, member.agent_log()[-2000:]
    return took


def _limited(member: Member) -> str:
    return member.call("access", "show", "--json")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="eo-") as folder:
        took = demo(Path(folder))
    for step, seconds in took.items():
        print(f"{seconds:6.1f} s  {step}")
    print(json.dumps(took)) if "--json" in sys.argv else None


if __name__ == "__main__":
    main()
