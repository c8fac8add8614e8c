"""A removal stays, whatever its author signs later."""

from __future__ import annotations

import itertools

import pytest
from fleet_parts import exchange, founded, joined, person, template
from test_fleet_forgeries import taken_by

from edge_oneshot.fleet.fleet import Fleet
from edge_oneshot.storage.database import IN_MEMORY


@pytest.mark.parametrize("again", [1, 2])
def test_a_stolen_desk_cannot_take_back_what_it_removed_before_the_theft(again: int) -> None:
    now = [1_800_000_000_000]
    admin, _ = Fleet.found(IN_MEMORY, name="gym", device_name="office", now_ms=lambda: now[0])
    honest, stolen = joined(admin, "desk", "honest"), joined(admin, "desk", "stolen")
    gate = joined(admin, "door", "gate")
    fleets = (admin, honest, stolen, gate)
    exchange(*fleets)
    honest.enroll(person("Bob"), [template("bob")])
    old = exchange(*fleets)
    stolen.remove("bob")
    exchange(*fleets)
    now[0] += 1000
    theft = now[0]
    for _ in range(again):  # enroll the person again, and perhaps remove the new enrollment, too
        stolen.enroll(person("Bob"))
        stolen.rename("bob", "Bobby")
        exchange(*fleets)
        stolen.remove("bob")
    stolen.enroll(person("Bob"))
    exchange(*fleets)
    admin.revoke(stolen.device_id, since_ms=theft)
    exchange(admin, honest, gate)
    for topic, payload in old:  # the broker's operator, or a desk that was offline
        for fleet in (admin, honest, gate):
            fleet.take(topic, payload)
    exchange(admin, honest, gate)
    assert [fleet.people() for fleet in (admin, honest, gate)] == [{}, {}, {}]


def test_a_removal_that_arrives_after_a_later_record_of_its_author_counts() -> None:
    admin, _ = founded()
    desk = joined(admin, "desk", "desk")
    exchange(admin, desk)
    desk.enroll(person("Bob"))
    first = exchange(desk, admin)
    desk.remove("bob")
    removal = [(m.topic, m.payload) for m in desk.outgoing()]
    desk.enroll(person("Bob"))
    later = [(m.topic, m.payload) for m in desk.outgoing()]
    gates = []
    for order in itertools.permutations([first, removal, later]):
        gate = joined(admin, "door", f"gate-{len(gates)}")
        gates.append(gate)
        member = admin.message(admin.store.topic(f"member/{desk.device_id}"))
        assert member is not None
        gate.take(member.topic, member.payload)
        for topic, payload in itertools.chain(*order):
            gate.take(topic, payload)
        rows = gate.store.rows("topic GLOB 'person/*' ORDER BY generation, removed")
        assert [(row.generation, row.removed) for row in rows] == [(1, 1), (2, 0)]
        assert gate.people()["bob"].generation == 2


def test_only_a_person_can_be_removed() -> None:
    admin, _ = founded()
    door = joined(admin, "door", "gate")
    exchange(admin, door)
    assert taken_by(admin, door, f"state/{door.device_id}", {}, removed=True).state == "refused"
