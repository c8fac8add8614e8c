"""The agents of several devices on a real broker: people appear and disappear everywhere, whatever happens to the broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fleet_site import Device, Site
from mosquitto import Mosquitto, Subscriber
from samples import OTHER, person, random_unit, template

from edge_oneshot.errors import FleetError
from edge_oneshot.types import AccessRules

VECTOR = random_unit(7)


@pytest.fixture
def site(make_broker: Callable[..., Mosquitto], tmp_path: Path) -> Iterator[Site[Mosquitto]]:
    store = tmp_path / "broker-store"
    store.mkdir()
    broker = make_broker(f"persistence true\npersistence_location {store}/").start()
    made = Site(tmp_path, broker)
    yield made
    made.close()


def test_a_person_is_enrolled_changed_and_removed_everywhere(site: Site[Mosquitto]) -> None:
    desk, gate = site.join("desk", "desk"), site.join("gate")
    desk.enroll("alice", "Alice")
    started = time.monotonic()
    site.until(lambda: gate.people == site.office.people == {"alice"}, "alice everywhere")
    assert time.monotonic() - started < 30, "it takes a fraction of a second; the limit allows for a busy machine"
    assert gate.gallery.find("alice").templates[0].embedding.vector.tobytes() == (
        desk.gallery.find("alice").templates[0].embedding.vector.tobytes()
    )
    until = AccessRules(doors=("gate",))
    site.office.set_access("alice", until)
    site.until(lambda: gate.gallery.access_of("alice") == until, "the rules at the gate")
    site.office.gallery.rename("alice", "Alice Smith")
    site.office.registry.look_again()
    site.until(lambda: gate.gallery.find("alice").identity.name == "Alice Smith", "the name at the gate")
    site.office.remove("alice")
    site.until(lambda: not desk.people and not gate.people, "alice nowhere")
    assert not desk.gallery.removals() and not site.office.gallery.removals()
    desk.enroll("alice", "Alice again")
    site.until(lambda: gate.people == {"alice"}, "alice again")


def test_a_door_changes_nothing(site: Site[Mosquitto]) -> None:
    gate = site.join("gate")
    site.office.enroll("alice", "Alice")
    gate.enroll("mallory", "Mallory")
    site.until(lambda: gate.people == {"alice", "mallory"}, "alice at the gate")
    assert gate.registry.counts.alone == ("mallory",) and site.office.people == {"alice"}
    gate.gallery.rename("alice", "Alicia")
    gate.registry.look_again()
    site.until(lambda: gate.gallery.find("alice").identity.name == "Alice", "the name is undone")
    gate.remove("alice")
    site.until(lambda: "alice" in gate.people, "the removal is undone")
    assert site.office.people == {"alice"}


def test_a_lost_gallery_removes_no_one_elsewhere(site: Site[Mosquitto]) -> None:
    gate = site.join("gate")
    for name in ("alice", "bob"):
        site.office.enroll(name)
    site.until(lambda: gate.people == {"alice", "bob"}, "both at the gate")
    site.office.gallery.apply([], ["alice", "bob"])  # as if the file had been lost: no removal is noted
    site.office.registry.look_again()
    site.until(lambda: site.office.people == {"alice", "bob"}, "both are back")
    assert gate.people == {"alice", "bob"}


def test_offline_changes_meet_again(site: Site[Mosquitto]) -> None:
    desk, gate = site.join("desk", "desk"), site.join("gate")
    for name in ("alice", "bob"):
        desk.enroll(name)
    site.until(lambda: gate.people == site.office.people == {"alice", "bob"}, "both everywhere")
    desk.pull_out()
    desk.remove("alice")
    desk.enroll("carol")
    site.office.gallery.rename("alice", "Alice of the office")
    site.office.registry.look_again()
    for _ in range(20):
        site.work()
    assert gate.people == {"alice", "bob"}
    desk.plug_in()
    site.until(lambda: all(d.people == {"bob", "carol"} for d in site.devices), "the removal wins")
    site.settle()


def test_a_restored_store_of_the_broker_brings_no_one_back(site: Site[Mosquitto], tmp_path: Path) -> None:
    gate = site.join("gate")
    for name in ("alice", "bob"):
        site.office.enroll(name)
    site.until(lambda: gate.people == {"alice", "bob"}, "both at the gate")
    site.settle()
    site.broker.stop()
    store = tmp_path / "broker-store" / "mosquitto.db"
    backup = store.read_bytes()
    site.broker.start()
    site.office.remove("alice")
    site.office.enroll("carol")
    site.until(lambda: gate.people == {"bob", "carol"}, "the changes")
    site.settle()
    site.broker.stop()
    store.write_bytes(backup)
    site.broker.start()
    late = site.join("late")
    site.until(lambda: late.people == gate.people == {"bob", "carol"}, "the office repairs the broker")
    assert site.office.people == {"bob", "carol"}


def test_an_empty_broker_is_filled_again(site: Site[Mosquitto], tmp_path: Path) -> None:
    gate = site.join("gate")
    site.office.enroll("alice")
    site.until(lambda: gate.people == {"alice"}, "alice at the gate")
    site.broker.kill()
    (tmp_path / "broker-store" / "mosquitto.db").unlink(missing_ok=True)
    site.broker.start()
    late = site.join("late")
    site.until(lambda: late.people == {"alice"}, "the office publishes all again")


def test_a_revoked_desk_is_refused_and_its_people_stay(site: Site[Mosquitto]) -> None:
    desk, gate = site.join("desk", "desk"), site.join("gate")
    desk.enroll("alice")
    site.until(lambda: gate.people == site.office.people == {"alice"}, "alice everywhere")
    site.settle()
    site.office.fleet.revoke(desk.fleet.device_id)
    site.until(
        lambda: not gate.fleet.store.topics("due = 2") and not _in_force(gate, desk), "the revocation at the gate"
    )
    desk.pull_out()  # the thief's clock and network are his own: he has not heard of it
    thief = desk.fleet
    desk.plug_in()
    with pytest.raises(FleetError) if not _in_force(desk, desk) else _nothing():
        thief.enroll(person("mallory"), [template("mallory", random_unit(99))])
    for _ in range(50):
        site.work()
    assert gate.people == site.office.people == {"alice"}
    assert site.office.fleet.readable_by(desk.fleet.device_id)
    site.office.enroll("bob")
    site.until(lambda: gate.people == {"alice", "bob"}, "bob at the gate")
    assert "bob" not in desk.people, "what is published after the revocation has a key that the desk lacks"


class _nothing:  # noqa: N801 - a context manager
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _in_force(here: Device, about: Device) -> bool:
    member = next(m for m in here.fleet.members() if m.device_id == about.fleet.device_id)
    return member.in_force


def test_devices_with_different_encoders_see_only_templates_of_theirs(site: Site[Mosquitto]) -> None:
    new = site.join("new", "desk", encoder_id=OTHER)
    site.office.enroll("alice")
    site.until(lambda: new.registry.counts.missing == ("alice",), "alice is missing at the new desk")
    assert not new.people
    new.enroll("alice", "Alice", [template("alice", random_unit(3), OTHER)])
    site.until(lambda: not new.registry.counts.missing, "the first template of the new encoder")
    gate = site.join("gate")
    site.until(lambda: gate.people == {"alice"}, "alice at a door with the old encoder")
    site.settle()
    assert [t.encoder_id for t in site.office.gallery.find("alice").templates] != [OTHER]
    site.office.remove("alice")
    site.until(lambda: not new.people and not gate.people, "removed for both encoders")


def test_neither_the_traffic_nor_the_store_of_the_broker_shows_a_name_or_a_vector(
    site: Site[Mosquitto], tmp_path: Path
) -> None:
    alice = template("alice-secret-id", VECTOR)
    with Subscriber(site.broker.port) as operator:
        gate = site.join("gate-secret-name")
        site.office.enroll("alice-secret-id", "Alice Planted-Name", [alice])
        site.until(lambda: gate.people == {"alice-secret-id"}, "alice at the gate")
        site.settle()
        site.office.remove("alice-secret-id")
        site.until(lambda: not gate.people, "alice nowhere")
        traffic = b"".join(h.topic.encode() + h.payload for h in operator.heard)
    site.broker.stop()
    stored = (tmp_path / "broker-store" / "mosquitto.db").read_bytes()
    assert len(traffic) > 5000 and len(stored) > 1000
    planted = [
        b"alice-secret-id",
        b"Planted-Name",
        b"secret-name",
        alice.template_id.encode(),
        ENCODER_PART,
        *_vectors(),
    ]
    for name in planted:
        assert name not in traffic and name not in stored, name
    own = (tmp_path / "office.sqlite").read_bytes() + (tmp_path / "office.sqlite-wal").read_bytes()
    assert b"secret-name" in own, "the search finds what is there"


ENCODER_PART = b"aa" * 16


def _vectors() -> list[bytes]:
    import base64

    raw = VECTOR.astype("<f4").tobytes()
    return [raw[:32], raw.hex()[:32].encode(), *(base64.b64encode(raw)[i : i + 24] for i in (0, 40))]


@pytest.mark.parametrize("protocol", ["3.1.1"])
def test_it_works_without_mqtt_5(site: Site[Mosquitto], protocol: str) -> None:
    gate = site.join("gate", protocol=protocol)
    site.office.enroll("alice")
    site.until(lambda: gate.people == {"alice"}, "alice at the gate")
    site.broker.kill()
    site.office.remove("alice")
    site.broker.start()
    site.until(lambda: not gate.people, "alice nowhere")


def test_a_dropped_message_is_found_by_the_state_of_the_desk(site: Site[Mosquitto]) -> None:
    gate = site.join("gate")
    site.office.enroll("alice")
    site.until(lambda: gate.people == {"alice"}, "alice at the gate")
    site.settle()
    receive = gate.agent.receive
    gate.link._on_message = lambda topic, payload: receive(topic, payload) if "/state/" in topic else None
    site.office.enroll("bob")
    site.until(
        lambda: site.office.people == {"alice", "bob"} and not site.office.fleet.store.topics("due = 2"),
        "bob is published",
    )
    for _ in range(30):
        site.work()
    gate.link._on_message = receive
    site.until(lambda: "bob" in gate.people, "the gate fetches what it has missed")


def test_after_a_revocation_the_agent_makes_a_new_key(site: Site[Mosquitto]) -> None:
    gate, other = site.join("gate"), site.join("other")
    site.until(lambda: gate.fleet.epochs == other.fleet.epochs == 1, "the first key")
    site.office.fleet.revoke(gate.fleet.device_id, rotate=False)
    assert site.office.fleet.stale_keys()
    site.until(lambda: other.fleet.epochs == 2 and not site.office.fleet.stale_keys(), "the second key")
    for _ in range(20):
        site.work()
    assert gate.fleet.epochs == 1


def test_a_door_that_becomes_an_admin_takes_over_while_its_agent_runs(site: Site[Mosquitto]) -> None:
    """It revokes the founder with the recovery code, replaces the founder's key, and from then on follows the keys and logs of all."""
    gate, other = site.join("gate"), site.join("other")
    site.office.enroll("alice")
    site.until(lambda: gate.people == other.people == {"alice"}, "alice at both doors")
    gate.fleet.recover(site.recovery_code)
    site.until(lambda: gate.fleet.epochs == other.fleet.epochs == 1 and gate.agent.role == "admin", "the new admin")
    gate.fleet.revoke(site.office.fleet.device_id, recovery_code=site.recovery_code, rotate=False)
    site.until(lambda: other.fleet.epochs == 2, "the other door gets a key that the founder lacks")
    assert gate.fleet.epoch.author == gate.fleet.key
    base = gate.agent.base
    site.until(lambda: {f"{base}/audit/+/+", f"{base}/key/+"} <= gate.link.granted, "the subscriptions of an admin")
    assert gate.people == other.people == {"alice"}
