"""One device's gallery and its fleet (fleet/apply.py), where one of the two is old, cut off or attacked: no one comes back."""

from __future__ import annotations

import dataclasses
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fleet_parts import ENCODER, OTHER, exchange, founded, joined, person, template

from edge_oneshot.config import MqttConfig
from edge_oneshot.errors import FleetError, StorageError
from edge_oneshot.fleet import records, topics
from edge_oneshot.fleet.agent import Agent
from edge_oneshot.fleet.apply import Registry
from edge_oneshot.fleet.fleet import Fleet
from edge_oneshot.fleet.link import Link
from edge_oneshot.fleet.upkeep import AGAIN_S, DAY_S, Upkeep
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.storage.cipher import Cipher
from edge_oneshot.storage.database import IN_MEMORY
from edge_oneshot.types import AccessRules, Identity

GATE_9 = AccessRules(doors=("gate-9",))


class Device:
    """A member with its gallery and without a network."""

    def __init__(self, folder: Path, fleet: Fleet, *, encoder_id: str = ENCODER) -> None:
        self.path, self.fleet, self.encoder_id = folder / f"{fleet.device_id}.sqlite", fleet, encoder_id
        self.start()

    def start(self) -> None:
        self.gallery = Gallery(self.path)
        self.registry = Registry(self.gallery, self.encoder_id)

    def sync(self) -> None:
        self.registry.sync(self.fleet, writes=self.fleet.member is not None and self.fleet.member.role != "door")

    def other(self) -> Gallery:
        """Another process that changes the gallery."""
        return Gallery(self.path)

    def enroll(self, name: str, *numbers: int, encoder: str = ENCODER) -> None:
        with self.other() as gallery:
            gallery.add(person(name), [template(name.lower(), n, encoder) for n in numbers or (1,)], replace=True)

    def remove(self, identity_id: str) -> None:
        with self.other() as gallery:
            gallery.remove(identity_id)

    @property
    def people(self) -> dict[str, AccessRules]:
        return {i.identity_id: self.gallery.access_of(i.identity_id) for i in self.gallery.identities()}


class Site:
    """An admin without a gallery, a desk and a door, and what a broker would hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.retained: dict[str, bytes] = {}
        self.admin, _ = founded()
        self.devices: list[Device] = []
        self.desk, self.door = self.join("desk", "desk"), self.join("door", "gate")

    def member(self, role: str, name: str) -> Fleet:
        """A further device, which has what the broker holds."""
        self.exchange()
        fleet = joined(self.admin, role, name)
        for topic, payload in self.retained.items():
            fleet.take(topic, payload)
        self.exchange(fleet)
        return fleet

    def join(self, role: str, name: str, *, encoder_id: str = ENCODER) -> Device:
        self.devices.append(Device(self.folder, self.member(role, name), encoder_id=encoder_id))
        return self.devices[-1]

    def exchange(self, *others: Fleet) -> None:
        self.retained.update(exchange(self.admin, *(d.fleet for d in self.devices), *others))

    def settle(self) -> None:
        for _ in range(3):
            for device in self.devices:
                device.sync()
                self.exchange()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    for device in made.devices:
        device.gallery.close()


def offline(fleet: Fleet, registry: Registry | None = None) -> Agent:
    agent = Agent(fleet, "edge-oneshot", people=registry, spread=random.Random(1))
    agent.connect(Link(MqttConfig(host="127.0.0.1", port=1), "offline", agent.receive))
    return agent


def forged(author: Fleet, topic: str, content: dict[str, Any], **about: Any) -> bytes:
    """A record that the present code of `author` would not write."""
    record = records.sign(author._signer, author.fleet_id, topic, content, hlc=author.clock.tick(), **about)
    return records.seal(record.raw, Cipher(author.epoch.key), author.fleet_id, topic)


def last_number(site: Site, identity_id: str, name: str) -> None:
    """A stolen desk uses up the numbers of a person."""
    thief = site.member("desk", "stolen")
    topic = topics.person_topic(thief.life, identity_id)
    row = thief.person_row(topics.subject_of(topic))
    assert row is not None
    content = {"identity": identity_id, "name": name, "rules": None}
    about = {"version": records.MAX_NUMBER, "generation": row.generation, "lineage": row.lineage}
    assert site.desk.fleet.take(topic, forged(thief, topic, content, **about)).state == "new"


# ---- an older copy of the gallery


@pytest.mark.parametrize("who", ["desk", "door"])
def test_an_older_gallery_undoes_nothing(site: Site, who: str, tmp_path: Path) -> None:
    device: Device = getattr(site, who)
    for name in ("Alice", "Bob", "Zoe"):
        site.desk.enroll(name)
    site.settle()
    assert set(site.door.people) == {"alice", "bob", "zoe"}
    with closing(sqlite3.connect(device.path)) as source, closing(sqlite3.connect(tmp_path / "backup")) as backup:
        source.backup(backup)
    with site.desk.other() as gallery:
        gallery.remove("bob")
        gallery.set_access("alice", GATE_9)
        gallery.rename("zoe", "Zoe Z")
    site.settle()
    site.desk.remove("zoe")  # after another change: the copy has an earlier digest of her than the last one
    site.settle()
    assert site.door.people == {"alice": GATE_9}
    device.gallery.close()
    for path in tmp_path.glob(f"{device.path.name}-*"):
        path.unlink()
    device.path.write_bytes((tmp_path / "backup").read_bytes())
    device.start()
    site.settle()
    assert site.door.people == site.desk.people == {"alice": GATE_9} and not site.door.registry.counts.alone
    assert {i: p.generation for i, p in site.admin.people().items()} == {"alice": 1}
    site.desk.enroll("Bob", 2)
    with site.desk.other() as gallery:
        gallery.set_access("alice", AccessRules())
    site.settle()
    assert site.door.people == {"alice": AccessRules(), "bob": AccessRules()}, "changes count again from then on"


def test_a_copy_of_someone_who_was_removed_is_dropped_by_its_digest(site: Site) -> None:
    site.desk.enroll("Bob")
    site.settle()
    site.desk.remove("bob")
    site.settle()
    for device in (site.desk, site.door):
        device.enroll("Bob")  # the same templates
    site.settle()
    assert not site.desk.people and not site.door.people and not site.admin.people()
    site.desk.enroll("Bob", 2)
    site.settle()
    assert set(site.door.people) == {"bob"}, "a new enrollment counts"


# ---- a device that has not fetched everything


def test_a_device_publishes_nothing_before_it_has_fetched_everything(site: Site) -> None:
    site.desk.enroll("Alice", 1)
    with site.desk.other() as gallery:
        gallery.set_access("alice", GATE_9)
    site.settle()
    fleet = joined(site.admin, "desk", "late")
    new = Device(site.folder, fleet)
    new.enroll("Alice", 5)  # of an older gallery, without rules
    agent = offline(new.fleet, new.registry)
    agent.work()
    assert not fleet.store.topics("due > 0 AND topic GLOB 'person/*'")
    site.devices.append(new)
    for topic, payload in site.retained.items():
        fleet.take(topic, payload)
    site.exchange()
    agent.upkeep.began(True)
    agent.upkeep.fetched()
    agent.work()
    site.settle()
    assert new.people == site.door.people == {"alice": GATE_9}
    assert Upkeep(new.fleet, random.Random(1)).complete, "it is remembered"


def test_a_fetch_that_was_cut_off_or_lost_messages_is_not_complete() -> None:
    fleet, _ = founded()
    upkeep = Upkeep(fleet, random.Random(1))
    upkeep.began(True)
    upkeep.began(False)  # a new connection
    upkeep.fetched()
    assert not upkeep.complete
    upkeep.began(True)
    fleet.lost_held = True
    upkeep.fetched()
    assert not upkeep.complete and not upkeep.again(1.0) and not fleet.lost_held
    assert upkeep.again(1.0 + AGAIN_S) and not upkeep.again(2.0 + AGAIN_S), "once, some minutes later"
    upkeep.began(True)
    upkeep.fetched()
    assert upkeep.complete


def test_old_removals_leave_the_broker_once_a_day() -> None:
    now = [1_800_000_000_000]
    fleet, _ = Fleet.found(IN_MEMORY, name="gym", device_name="office", now_ms=lambda: now[0])
    fleet.enroll(person("Alice"), [template("alice")])
    exchange(fleet)
    fleet.remove("alice")
    exchange(fleet)
    now[0] += 401 * 24 * 3600 * 1000
    agent = offline(fleet)
    agent.work()
    assert not fleet.store.topics("due > 0")
    agent.upkeep.expire(time.monotonic() + DAY_S)
    assert [topics.kind_of(m.topic) for m in fleet.outgoing() if not m.payload] == [topics.PERSON]


# ---- another encoder


def test_a_person_who_was_enrolled_anew_with_another_encoder_is_not_mixed_with_the_earlier_one(site: Site) -> None:
    new, other = site.join("desk", "new", encoder_id=OTHER), site.join("desk", "other")
    site.desk.enroll("Alice")
    site.settle()
    assert set(site.door.people) == set(other.people) == {"alice"}
    other.enroll("Alice", 1, 4)  # not yet published
    site.admin.remove("alice")
    content = [template("alice", 7, OTHER)]
    site.admin.enroll(Identity(identity_id="alice", name="Alice Novak"), content, GATE_9.to_json())
    site.settle()
    assert not site.door.people and not site.desk.people and not other.people
    assert set(new.people) == {"alice"} and set(site.admin.people()["alice"].templates) == {OTHER}
    site.desk.enroll("Alice", 9)  # the new one, for the old encoder, too
    site.settle()
    assert set(site.door.people) == {"alice"} and site.door.people["alice"] == AccessRules()


def test_templates_of_an_encoder_of_the_past_are_removed_with_the_person(site: Site) -> None:
    site.desk.enroll("Alice")
    site.settle()
    site.door.gallery.close()
    site.door.encoder_id = OTHER
    site.door.start()
    site.settle()
    assert set(site.door.people) == {"alice"} and site.door.registry.counts.missing == ("alice",)
    site.desk.remove("alice")
    site.settle()
    assert not site.door.people


# ---- power cuts, and two changes at once


def test_a_removal_after_a_power_cut_counts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.desk.enroll("Alice")

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(site.desk.registry, "_note", cut)
    with pytest.raises(KeyboardInterrupt):
        site.desk.sync()
    site.desk.gallery.close()
    site.exchange()
    site.door.sync()
    assert set(site.door.people) == {"alice"}
    site.desk.remove("alice")
    site.desk.start()
    site.settle()
    assert not site.desk.people and not site.door.people and not site.desk.gallery.removals()


def test_another_person_under_the_id_of_a_removed_one_is_a_new_enrollment(site: Site) -> None:
    other = site.join("door", "other", encoder_id=OTHER)
    with site.desk.other() as gallery:
        gallery.add(person("Alice"), [template("alice"), template("alice", 2, OTHER)])
    site.settle()
    assert set(other.people) == {"alice"}
    site.desk.remove("alice")
    site.desk.enroll("Alice", 9)
    site.settle()
    assert site.admin.people()["alice"].generation == 2 and not other.people
    assert [t.template_id for t in site.door.gallery.templates_of("alice")] == ["alice-9-a"]


# ---- people who cannot be applied


def test_a_person_whose_template_id_is_in_use_is_not_recognized_by_older_rules(site: Site) -> None:
    bad = site.member("desk", "bad")
    site.desk.enroll("Alice", 1)
    site.settle()
    squatted = dataclasses.replace(template("alice", 2), identity_id="mal")
    bad.enroll(Identity(identity_id="mal", name="Mal"), [squatted])
    site.exchange(bad)
    site.door.sync()
    site.admin.enroll(person("Alice"), [template("alice", 2)], GATE_9.to_json())
    site.admin.enroll(person("Bob"), [template("bob")])
    site.exchange()
    site.door.sync()
    assert set(site.door.people) == {"mal", "bob"} and site.door.registry.counts.refused == ("alice",)
    site.admin.remove("mal")
    site.exchange()
    site.door.sync()
    assert site.door.people == {"alice": GATE_9, "bob": AccessRules()} and not site.door.registry.counts.refused


def test_a_person_who_cannot_be_published_stops_no_one_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.desk.enroll("Alice")
    site.settle()
    last_number(site, "alice", "Alice")
    site.desk.sync()
    enroll = site.desk.fleet.enroll

    def refusing(identity: Identity, *about: Any) -> None:
        if identity.identity_id == "alice":
            raise FleetError("fleet: no number is left", "")
        enroll(identity, *about)

    monkeypatch.setattr(site.desk.fleet, "enroll", refusing)
    with site.desk.other() as gallery:
        gallery.set_access("alice", GATE_9)
    site.desk.enroll("Bob")
    agent = offline(site.desk.fleet, site.desk.registry)
    agent.upkeep.complete = True
    agent.work()
    assert set(site.desk.fleet.people()) == {"alice", "bob"} and site.desk.registry.counts.refused == ("alice",)
    assert site.desk.people["alice"] == GATE_9, "the stricter rules stay here"


def test_a_person_who_cannot_be_read_stops_no_one_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.admin.enroll(person("Alice"), [template("alice")])
    site.exchange()
    site.door.sync()
    for name in ("Alice", "Bob"):
        site.admin.enroll(person(name), [template(name.lower(), 3)])
    site.exchange()
    fleet, alice = site.door.fleet, site.door.fleet.subject("alice")
    read = fleet.person

    def damaged(row: Any) -> Any:
        if topics.subject_of(row.topic) == alice:
            raise ValueError("its templates are of a later release")
        return read(row)

    monkeypatch.setattr(fleet, "person", damaged)
    offline(fleet, site.door.registry).work()
    assert set(site.door.people) == {"bob"}, "what the door had of alice is not in force"


# ---- the agent


def test_an_error_of_a_step_does_not_end_the_agent_and_a_fault_of_the_disk_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fleet, _ = founded()
    faults: list[Exception] = [FleetError("the number is used up"), ValueError("no"), StorageError("the disk fails")]

    class Failing:
        def sync(self, fleet: Fleet, *, writes: bool) -> bool:
            raise faults[0]

        def report(self) -> dict[str, Any]:
            return {}

    agent = Agent(fleet, "edge-oneshot", people=Failing())
    agent.connect(Link(MqttConfig(host="127.0.0.1", port=1), "offline", agent.receive))
    agent.upkeep.complete = True
    for _ in range(3):
        agent.work()
    assert caplog.text.count("the number is used up") == 1
    del faults[0]
    agent._attempts._not_before.clear()
    agent.work()
    assert "ValueError: no" in caplog.text
    del faults[0]
    agent._attempts._not_before.clear()
    with pytest.raises(StorageError):
        agent.work()


def test_a_message_that_cannot_be_taken_does_not_undo_those_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    admin, _ = founded()
    gate = joined(admin, "door", "gate")
    for name in ("Alice", "Bob"):
        admin.enroll(person(name), [template(name.lower())])
    take, bad = gate.take, topics.person_topic(gate.life, "alice")

    def taken(topic: str, payload: bytes) -> Any:
        found = take(topic, payload)
        if topic == bad:
            raise TypeError("a defect")
        return found

    monkeypatch.setattr(gate, "take", taken)
    agent = offline(gate)
    for message in admin.outgoing():
        agent.receive(f"{agent.base}/{message.topic}", message.payload)
    agent.work()
    assert set(gate.people()) == {"bob"}
