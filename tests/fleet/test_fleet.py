"""A fleet of a few devices that exchange every message: people, removals, conflicts, roles, revocation, keys, log."""

from __future__ import annotations

from pathlib import Path

import pytest
from fleet_parts import ENCODER, OTHER, exchange, founded, joined, person, template

from edge_oneshot.config import Config, DeviceConfig
from edge_oneshot.errors import FleetError
from edge_oneshot.fleet.fleet import Fleet, Joining
from edge_oneshot.fleet.home import fleet_path
from edge_oneshot.fleet.run import leave
from edge_oneshot.fleet.store import Store
from edge_oneshot.storage.database import IN_MEMORY

DAY_MS = 24 * 3600 * 1000


def test_a_person_enrolled_at_a_desk_is_in_force_at_a_door() -> None:
    admin, _ = founded()
    desk, door = joined(admin, "desk", "desk"), joined(admin, "door", "gate")
    exchange(admin, desk, door)
    desk.enroll(person("Alice"), [template("alice"), template("alice", 2, OTHER)], {"until": "2027-01-31"})
    exchange(admin, desk, door)
    got = door.people()["alice"]
    assert got.identity == person("Alice") and got.rules == {"until": "2027-01-31"} and got.author == desk.device_id
    assert {e: [t.template_id for t in listed] for e, listed in got.templates.items()} == {
        ENCODER: ["alice-1-a"],
        OTHER: ["alice-2-b"],
    }
    assert (got.templates[ENCODER][0].embedding.vector == template("alice").embedding.vector).all()
    assert admin.digests() == desk.digests() == door.digests() != {}


def test_changes_are_counted_and_an_equal_one_writes_nothing() -> None:
    admin, _ = founded()
    door = joined(admin, "door", "gate")
    exchange(admin, door)
    start, _ = door.changed_since(0)
    admin.enroll(person("Alice"), [template("alice")])
    exchange(admin, door)
    number, changed = door.changed_since(start)
    assert list(changed) == [admin.subject("alice")] and number > start
    admin.enroll(person("Alice"), [template("alice")])
    assert list(admin.outgoing()) == []
    admin.remove("alice")
    exchange(admin, door)
    assert door.changed_since(number)[1] == {admin.subject("alice"): None}


def test_a_removal_wins_over_what_its_author_did_not_know_and_leaves_no_template() -> None:
    admin, _ = founded()
    desk, door = joined(admin, "desk", "desk"), joined(admin, "door", "gate")
    admin.enroll(person("Alice"), [template("alice")])
    old = exchange(admin, desk, door)
    for name in ("Alice 2", "Alice 3", "Alice 4"):  # newer by version and by time
        desk.rename("alice", name)
    desk.set_templates("alice", ENCODER, [template("alice", 7)])
    admin.remove("alice")
    sent = exchange(admin, desk, door)
    for fleet in (admin, desk, door):
        assert fleet.people() == {} and fleet.store.rows("topic GLOB 'template/*'") == []
    retained = dict(sent)
    assert [p for t, p in retained.items() if t.startswith("template")] == [b""]
    for topic, payload in old:  # a restored backup of the broker
        taken = door.take(topic, payload)
        assert taken.state != "new" or not topic.startswith(("person", "template"))
    assert door.people() == {} and {m.topic.split("/")[0] for m in door.outgoing()} >= {"person", "template"}
    desk.enroll(person("Alice"), [template("alice", 8)])
    exchange(admin, desk, door)
    assert door.people()["alice"].generation == 2


def test_two_people_under_one_id_are_never_mixed_and_the_loser_is_reported() -> None:
    admin, _ = founded()
    one, two = joined(admin, "desk", "one"), joined(admin, "desk", "two")
    exchange(admin, one, two)
    two.enroll(person("Alice"), [template("alice", 2), template("alice", 2, OTHER)])
    one.enroll(person("Alice"), [template("alice", 1)])  # later, so it wins; it has no template of the other encoder
    exchange(admin, one, two)
    winner = admin.people()["alice"]
    assert winner.author == one.device_id
    assert {t.template_id for listed in winner.templates.values() for t in listed} == {"alice-1-a"}
    for fleet in (admin, one, two):
        assert fleet.people().keys() == {"alice"} and fleet.digests() == admin.digests()
    assert [(c.identity.name, c.author) for c in two.conflicts()] == [("Alice", two.device_id)]  # where it was enrolled
    two.dismiss(two.subject("alice"))
    assert two.conflicts() == []


def test_a_clock_that_is_years_ahead_or_behind_wins_nothing() -> None:
    now = [1_800_000_000_000]
    admin, _ = Fleet.found(IN_MEMORY, name="gym", device_name="office", now_ms=lambda: now[0])
    joining = Joining(admin.invite("desk", "ahead"))
    ahead = joining.finish(
        IN_MEMORY, admin.answer(joining.place, joining.request), name="gym", now_ms=lambda: now[0] + 3650 * DAY_MS
    )
    ahead.enroll(person("Alice"))
    exchange(admin, ahead)
    admin.rename("alice", "Alicia")
    exchange(admin, ahead)
    assert ahead.people()["alice"].identity.name == admin.people()["alice"].identity.name == "Alicia"
    assert admin.clock.tick().wall < now[0] + DAY_MS  # nor does it move other clocks


def test_a_door_may_not_enroll_and_a_desk_may_not_invite() -> None:
    admin, _ = founded()
    desk, door = joined(admin, "desk", "desk"), joined(admin, "door", "gate")
    with pytest.raises(FleetError, match="is a door"):
        door.enroll(person("Mallory"))
    with pytest.raises(FleetError, match="is a desk"):
        desk.invite("door", "other")
    with pytest.raises(FleetError, match="is a desk"):
        desk.revoke(door.device_id)


def test_what_a_revoked_device_wrote_before_stays_and_nothing_after_counts() -> None:
    admin, _ = founded()
    desk, door = joined(admin, "desk", "desk"), joined(admin, "door", "gate")
    exchange(admin, desk, door)
    desk.enroll(person("Alice"), [template("alice")])
    exchange(admin, desk, door)
    admin.revoke(desk.device_id)
    desk.enroll(person("Mallory"), [template("mallory")])  # it has not heard of it
    desk.remove("alice")
    late = list(desk.outgoing())
    exchange(admin, door)
    states = {door.take(m.topic, m.payload).state for m in late if m.topic.startswith(("person", "template"))}
    assert states <= {"refused", "emptied"} and "refused" in states
    assert set(door.people()) == {"alice"} == set(admin.people())
    assert admin.readable_by(desk.device_id) == {admin.subject("alice")}
    admin.enroll(person("Bob"), [template("bob")])
    sent = exchange(admin, door)
    assert set(door.people()) == {"alice", "bob"}
    topics = [t for t, p in sent if t.startswith(("person", "template")) and desk.take(t, p).state == "held"]
    assert topics and "bob" not in desk.people()  # it has no key for what was written after


def test_a_new_device_knows_every_revocation_whatever_the_broker_withholds() -> None:
    admin, _ = founded()
    second = joined(admin, "admin", "second")
    exchange(admin, second)
    tablet, thief = joined(second, "desk", "tablet"), joined(admin, "admin", "thief")
    exchange(admin, second, tablet, thief)
    admin.revoke(thief.device_id)
    exchange(admin, second)
    second.revoke(tablet.device_id)
    exchange(admin, second)
    gate = joined(admin, "door", "gate")
    assert {m.name: m.in_force for m in gate.members()} == {
        "office": True,
        "second": True,
        "gate": True,
        "tablet": False,
        "thief": False,
    }
    tablet.enroll(person("Mallory"), [template("mallory")])
    for message in list(tablet.outgoing()):
        gate.take(message.topic, message.payload)
    assert gate.people() == {}


def test_an_admin_that_joined_later_knows_what_a_revoked_device_could_read() -> None:
    admin, _ = founded()
    gate = joined(admin, "door", "gate")
    admin.enroll(person("Alice"), [template("alice")])
    exchange(admin, gate)
    admin.revoke(gate.device_id)
    exchange(admin)
    second = joined(admin, "admin", "second")
    admin.rotate(encrypt_anew=True)
    admin.enroll(person("Bob"), [template("bob")])
    exchange(admin, second)
    assert second.readable_by(gate.device_id) == admin.readable_by(gate.device_id) == {admin.subject("alice")}


def test_a_revocation_since_a_moment_drops_what_arrived_later() -> None:
    now = [1_800_000_000_000]
    admin, _ = Fleet.found(IN_MEMORY, name="gym", device_name="office", now_ms=lambda: now[0])
    desk = joined(admin, "desk", "desk")
    desk.enroll(person("Alice"))
    exchange(admin, desk)
    now[0] += 1000
    stolen = now[0]
    desk.enroll(person("Mallory"))
    exchange(admin, desk)
    admin.revoke(desk.device_id, since_ms=stolen)
    assert set(admin.people()) == {"alice"}
    assert [(device, removed) for _, device, removed in admin.voided()] == [(desk.device_id, False)]


def test_admins_who_revoke_each_other_agree_that_the_senior_one_stays() -> None:
    admin, recovery = founded()
    second, door = joined(admin, "admin", "second"), joined(admin, "door", "gate")
    exchange(admin, second, door)
    with pytest.raises(FleetError, match="senior"):
        second.revoke(admin.device_id)
    second.revoke(admin.device_id, recovery_code=recovery)  # with the code it can
    exchange(second, door)
    assert [m.name for m in door.members() if not m.in_force] == ["office"]
    with pytest.raises(FleetError, match="another fleet"):
        second.revoke(door.device_id, recovery_code=founded()[1])


def test_a_key_that_a_revoked_device_made_is_replaced_even_if_no_record_gives_it_the_key() -> None:
    """A member that never saw the key records of the others recovers the fleet: it rotates, and no member uses the old key."""
    admin, recovery = founded()
    gate = joined(admin, "door", "gate-1")
    exchange(admin, gate)
    gate.recover(recovery)
    gate.store.db.execute("DELETE FROM records WHERE topic = ?", (f"key/{admin.device_id}",))
    gate.revoke(admin.device_id, recovery_code=recovery, rotate=False)
    assert gate.stale_keys() & {gate.key, gate.root}
    gate.rotate()
    assert not gate.stale_keys() and gate.epoch.author == gate.key


def test_the_recovery_code_makes_an_admin_when_the_only_one_is_stolen() -> None:
    admin, recovery = founded()
    desk, door = joined(admin, "desk", "desk"), joined(admin, "door", "gate")
    exchange(admin, desk, door)
    desk.recover(recovery)
    desk.revoke(admin.device_id, recovery_code=recovery)
    exchange(desk, door)
    assert {m.name: (m.role, m.in_force) for m in door.members()} == {
        "office": ("admin", False),
        "desk": ("admin", True),
        "gate": ("door", True),
    }


def test_a_code_works_once_within_its_hour_and_only_unaltered() -> None:
    now = [1_800_000_000_000]
    admin, _ = Fleet.found(IN_MEMORY, name="gym", device_name="office", now_ms=lambda: now[0])
    code = admin.invite("door", "gate")
    with pytest.raises(FleetError, match="fleet code"):
        Joining(code[:-1] + ("0" if code[-1] != "0" else "1"))
    joining, thief = Joining(code.upper().replace("-", " ")), Joining(admin.invite("desk", "desk"))
    assert joining.place in admin.invited()
    with pytest.raises(FleetError, match="refused"):
        admin.answer(joining.place, thief.request)
    answer = admin.answer(joining.place, joining.request)
    with pytest.raises(FleetError, match="unknown, used or too old"):
        admin.answer(joining.place, joining.request)
    with pytest.raises(FleetError, match="refused"):
        thief.finish(IN_MEMORY, answer, name="gym")
    now[0] += 3_600_001
    with pytest.raises(FleetError, match="unknown, used or too old"):
        admin.answer(thief.place, thief.request)
    assert joining.finish(IN_MEMORY, answer, name="gym").member is not None


def test_members_verify_the_log_and_notice_a_change_of_it() -> None:
    admin, _ = founded()
    desk = joined(admin, "desk", "desk")
    exchange(admin, desk)
    for number in range(60):
        desk.enroll(person(f"P{number}"))
    exchange(admin, desk)
    report = {r.device: r for r in admin.audit()}[desk.device_id]
    assert report.faults == () and len(report.entries) == 60
    admin.store.db.execute("DELETE FROM records WHERE topic = ?", (f"audit/{desk.device_id}/0",))
    admin.store.db.execute("DELETE FROM topics WHERE topic = ?", (f"audit/{desk.device_id}/0",))
    faults = {r.device: r for r in admin.audit()}[desk.device_id].faults
    assert any("missing" in fault for fault in faults)


def test_a_fleet_survives_a_restart_and_refuses_a_second_one(tmp_path: Path) -> None:
    path = tmp_path / "fleet.sqlite"
    fleet, _ = Fleet.found(path, name="gym", device_name="office")
    fleet.enroll(person("Alice"), [template("alice")])
    before = fleet.people().keys(), fleet.digests(), [m.topic for m in fleet.outgoing()]
    fleet.close()
    again = Fleet.open(path)
    assert (again.people().keys(), again.digests(), [m.topic for m in again.outgoing()]) == before
    again.close()
    with pytest.raises(FleetError, match="belongs to one already"):
        Fleet.found(path, name="other", device_name="office")
    with pytest.raises(FleetError, match="belongs to none"):
        Fleet.open(tmp_path / "absent")


def test_a_founding_that_was_cut_off_can_be_left_and_repeated(tmp_path: Path) -> None:
    config = Config(device=DeviceConfig(state_dir=str(tmp_path)))
    path = fleet_path(config)
    Store(path).close()  # the file was created, and the power was cut before it had the keys
    with pytest.raises(FleetError, match="without them"):
        Fleet.open(path)
    assert leave(config, remove_people=False) == 0 and not path.exists()
    with pytest.raises(FleetError, match="belongs to none"):
        leave(config, remove_people=False)
    Store(path).close()
    Fleet.found(path, name="gym", device_name="office")[0].close()
    Fleet.open(path).close()


def test_a_batch_that_fails_leaves_nothing() -> None:
    admin, _ = founded()
    exchange(admin)
    with pytest.raises(ZeroDivisionError), admin.batch():
        admin.enroll(person("Alice"))
        raise ZeroDivisionError
    assert admin.people() == {} and list(admin.outgoing()) == []
    admin.enroll(person("Bob"))
    assert all(report.faults == () for report in admin.audit())


def test_what_the_broker_has_lost_is_published_again() -> None:
    admin, _ = founded()
    admin.enroll(person("Alice"), [template("alice")])
    sent = exchange(admin)
    assert list(admin.outgoing()) == []
    admin.absent("person/", set())
    assert [m.topic.split("/")[0] for m in admin.outgoing()] == ["person"] and next(admin.outgoing()).repair
    topic, payload = next((t, p) for t, p in sent if t.startswith("person"))
    assert admin.take(topic, payload).state == "known" and list(admin.outgoing()) == []


def test_the_broker_need_not_keep_old_removals() -> None:
    now = [1_800_000_000_000]
    admin, _ = Fleet.found(IN_MEMORY, name="gym", device_name="office", now_ms=lambda: now[0])
    admin.enroll(person("Alice"))
    old = exchange(admin)
    admin.remove("alice")
    exchange(admin)
    now[0] += 401 * DAY_MS
    admin.expire()
    assert [(m.payload, m.topic.split("/")[0]) for m in admin.outgoing()] == [(b"", "person")]
    exchange(admin)
    assert list(admin.outgoing()) == []
    for topic, payload in old:
        admin.take(topic, payload)
    assert admin.people() == {}
