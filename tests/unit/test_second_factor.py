"""A match and a confirmation make one event; neither does alone, nor both too far apart."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from mqtt_parts import BODIES

from edge_oneshot.errors import ControlError
from edge_oneshot.events.clock import boot_id, new_event_id
from edge_oneshot.service.second_factor import SecondFactor
from edge_oneshot.types import Event, Identity

ALICE, BOB = Identity(identity_id="alice", name="Alice"), Identity(identity_id="bob", name="Bob")


class Door:
    """A second factor of 10 s, with a clock that the test sets."""

    def __init__(self, within_s: float = 10.0) -> None:
        self.now_s = 1000.0
        self.events: list[Event] = []
        self.factor = SecondFactor(within_s, self.events.append, lambda: round(self.now_s * 1e9))

    def match(self, identity: Identity = ALICE) -> Event:
        event = Event(
            event_id=new_event_id(),
            event_type="match",
            ts=datetime.now(UTC),
            captured_ns=round(self.now_s * 1e9),
            boot_id=boot_id(),
            body={**BODIES["match"], "identity": identity.identity_id, "name": identity.name},
        )
        self.factor.matched(event)
        return event

    def after(self, seconds: float, in_sight: tuple[str, ...] = ()) -> None:
        self.now_s += seconds
        self.factor.in_sight(in_sight)


def test_a_match_then_a_confirmation() -> None:
    door = Door()
    match = door.match()
    door.after(9.0)
    assert door.factor.confirm(ALICE, "phone").confirmed
    (event,) = door.events
    assert event.event_type == "confirmed" and event.captured_ns == door.now_s * 1e9
    assert event.body == match.body | {"match_event_id": match.event_id, "confirmed_by": "phone"}


def test_a_confirmation_then_a_match() -> None:
    door = Door()
    answer = door.factor.confirm(ALICE, "tag")
    assert (answer.confirmed, answer.within_s, door.events) == (False, 10.0, [])
    door.after(9.0)
    door.match()
    assert [e.body["confirmed_by"] for e in door.events] == ["tag"]


@pytest.mark.parametrize("first", ["match", "confirmation"])
def test_too_late(first: str) -> None:
    door = Door()
    door.match() if first == "match" else door.factor.confirm(ALICE, "tag")
    door.now_s += 10.1  # the loop has not turned meanwhile
    door.factor.confirm(ALICE, "tag") if first == "match" else door.match()
    assert door.events == []


def test_a_match_stays_valid_while_the_person_is_in_sight() -> None:
    door = Door()
    door.match()
    for _ in range(10):
        door.after(5.0, ("alice",))
    assert door.factor.confirm(ALICE, "phone").confirmed
    door.after(9.0)
    assert door.factor.confirm(ALICE, "phone").confirmed, "a second tap opens again"
    door.after(1.1)
    assert not door.factor.confirm(ALICE, "phone").confirmed


def test_one_confirmation_makes_one_event() -> None:
    door = Door()
    door.factor.confirm(ALICE, "tag")
    door.match()
    door.match()
    assert len(door.events) == 1


def test_the_confirmation_of_another_person() -> None:
    door = Door()
    door.match(ALICE)
    assert not door.factor.confirm(BOB, "phone").confirmed
    assert door.events == []


def test_a_removed_person_is_forgotten() -> None:
    door = Door()
    door.match()
    door.factor.forget("alice")
    assert not door.factor.confirm(ALICE, "phone").confirmed
    door.factor.forget("alice")
    door.match()
    assert door.events == []


def test_it_is_off_by_default() -> None:
    door = Door(0.0)
    door.match()
    with pytest.raises(ControlError, match=r"decision\.second_factor_s is 0"):
        door.factor.confirm(ALICE, "phone")
