"""Every `fleet` command, with the agents of two devices in threads of this process, on a real broker."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mosquitto import Mosquitto
from mqtt_parts import wait_until
from samples import ENCODER, person, random_unit, template

from edge_oneshot.cli import cli
from edge_oneshot.config import load_config
from edge_oneshot.doctor.fleet import check
from edge_oneshot.errors import ConfigError, FleetError
from edge_oneshot.fleet import run, slices
from edge_oneshot.fleet.home import read_agent_state
from edge_oneshot.gallery.store import Gallery


class Device:
    def __init__(self, folder: Path, port: int, name: str) -> None:
        self.name, self.path = name, folder / f"{name}.toml"
        self.path.write_text(
            f'[device]\nslug = "{name}"\nstate_dir = "{folder}/{name}"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\n'
        )
        self.config = load_config(self.path)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def call(self, *words: str, code: int = 0, typed: str = "") -> str:
        """The output of `edge-oneshot fleet WORDS`; standalone_mode is off, so an error is raised."""
        done = CliRunner().invoke(cli, ["-c", str(self.path), "fleet", *words], input=typed, standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        assert (done.return_value or 0) == code, done.output
        return done.stdout

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.call(*words, "--json", code=code))

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=run.serve, args=(self.config, ENCODER, self._stop), name=self.name)
        self._thread.start()
        wait_until(lambda: (s := read_agent_state(self.config.state_dir)) is not None, "the agent")

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(20)
            self._thread = None

    def people(self) -> set[str]:
        with Gallery(self.config.gallery_path) as gallery:
            return {i.identity_id for i in gallery.identities()}

    def enroll(self, identity_id: str) -> None:
        with Gallery(self.config.gallery_path) as gallery:
            gallery.add(person(identity_id), [template(identity_id, random_unit(len(identity_id)))])

    def remove(self, identity_id: str) -> None:
        with Gallery(self.config.gallery_path) as gallery:
            gallery.remove(identity_id)


@pytest.fixture
def make(tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Device]]:
    monkeypatch.setattr(slices, "QUIET_S", 0.05)
    monkeypatch.setattr(run, "STATE_S", 0.2)
    made: list[Device] = []

    def device(name: str) -> Device:
        made.append(Device(tmp_path, broker.port, name))
        return made[-1]

    yield device
    for each in made:
        each.stop()


def test_a_fleet_from_its_foundation_to_its_end(make: Callable[[str], Device], tmp_path: Path) -> None:
    office, gate = make("office"), make("gate")
    office.config.state_dir.mkdir()
    office.enroll("alice")
    founded = office.json("init", "gym")
    assert len(founded["recovery_code"]) > 50
    office.start()
    code = office.json("invite", "gate")["code"]
    assert gate.json("join", code)["role"] == "door"
    gate.start()
    wait_until(lambda: gate.people() == {"alice"}, "alice at the gate")
    office.enroll("bob")
    wait_until(lambda: gate.people() == {"alice", "bob"}, "bob at the gate")
    office.remove("alice")
    wait_until(lambda: gate.people() == {"bob"}, "alice is removed at the gate")

    def gate_state() -> str:
        return {m["name"]: m["state"] for m in office.json("list")["members"]}["gate"]

    wait_until(lambda: gate_state() == "up to date", "the state of the gate")
    assert [f.status for f in check(gate.config)] == ["ok", "ok"]
    status = json.loads(CliRunner().invoke(cli, ["-c", str(gate.path), "fleet", "status", "--json"]).stdout)
    assert (status["role"], status["people"], status["agent"]["online"]) == ("door", 1, True)
    assert office.json("rotate")["key_number"] == 2
    office.enroll("carol")
    wait_until(lambda: gate.people() == {"bob", "carol"}, "carol, with the new key")

    log = gate.json("audit")
    assert not log["faults"]
    assert {(e["device"], e["what"]) for e in log["entries"]} >= {("office", "person"), ("office", "removed")}
    gate.call("export", str(tmp_path / "export.json"))
    exported = json.loads((tmp_path / "export.json").read_text())
    assert [p["id"] for p in exported["people"]] == ["bob", "carol"] and "vector" not in json.dumps(exported)
    with pytest.raises(FleetError, match="may not make this change"):
        gate.call("invite", "other")
    with pytest.raises(FleetError, match="expected a member named 'nobody'"):
        office.call("revoke", "nobody")

    assert set(office.json("revoke", "gate")["could_read"]) == {"bob", "carol"}
    wait_until(lambda: next(f.status for f in check(gate.config)) == "fault", "the gate knows that it was revoked")
    office.enroll("dora")
    wait_until(lambda: office.json("list")["members"] and "dora" in office.people(), "dora")
    with pytest.raises(FleetError, match="a running one"):
        gate.call("leave")
    gate.stop()
    (gate.config.state_dir / "fleet-agent.json").unlink()
    assert "removed 2 people" in gate.call("leave", "--remove-people")
    assert not gate.people()
    with pytest.raises(ConfigError, match="expected a member"):
        gate.call("status")
    assert list(check(gate.config)) == []


def test_a_code_is_refused_when_it_is_mistyped_used_or_not_answered(make: Callable[[str], Device]) -> None:
    office, gate, other = make("office"), make("gate"), make("other")
    office.call("init")
    office.start()
    code = office.json("invite", "gate")["code"]
    with pytest.raises(FleetError, match="check letter"):
        gate.call("join", code[:-1] + ("0" if code[-1] != "0" else "1"))
    gate.call("join", code)
    with pytest.raises(FleetError, match="no answer within 3 s"):
        other.call("join", code, "--timeout", "3")
    with pytest.raises(FleetError, match="belongs to a fleet already"):
        gate.call("join", code)


def test_the_only_admin_is_replaced_with_the_recovery_code(make: Callable[[str], Device]) -> None:
    office, desk = make("office"), make("desk")
    recovery = office.json("init")["recovery_code"]
    office.start()
    desk.call("join", office.json("invite", "desk", "--role", "desk")["code"])
    desk.start()
    wait_until(lambda: len(desk.json("list")["members"]) == 2, "both members")
    office.stop()  # stolen
    desk.call("recover", typed=recovery + "\n")
    with pytest.raises(FleetError, match="senior"):
        desk.call("revoke", "office")
    assert "revoked office" in desk.call("revoke", "office", "--recovery", typed=recovery + "\n")
    assert {m["name"]: (m["role"], m["state"]) for m in desk.json("list")["members"]} == {
        "desk": ("admin", "this device"),
        "office": ("admin", "revoked"),
    }
