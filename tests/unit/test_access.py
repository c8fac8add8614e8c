"""Access rules in the loop and in requests: a person who is not allowed is denied, and a match nowhere."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asking import served
from example_messages import response_of
from jsonschema import Draft202012Validator
from pictures import Pixels, empty_scene, frame, view

from edge_oneshot.config import AccessConfig, CameraConfig, Config, DecisionConfig, DeviceConfig
from edge_oneshot.control.protocol import PendingRequest
from edge_oneshot.control.requests import Confirm, View, Visits
from edge_oneshot.events import schema
from edge_oneshot.events.clock import Moment, read_clock
from edge_oneshot.events.journal import Journal
from edge_oneshot.events.stored import StoredEvent
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.mqtt.payloads import hand_over
from edge_oneshot.recognition.access import Access
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.service.daemon import GALLERY_EVERY_NS, Daemon
from edge_oneshot.service.records import Records
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.types import AccessRules, Denied, Event
from edge_oneshot.types.access import ALWAYS, Window, rules_from_json

STEP_NS = 100_000_000
NOON = datetime(2027, 6, 15, 12).astimezone()  # a Tuesday, in the local time of this machine
ENDED = AccessRules(until=date(2027, 6, 14))


class Clock:
    """A wall clock that the test sets; `pass_s` lets time pass."""

    def __init__(self, wall: datetime = NOON, *, synced: bool = True) -> None:
        self.wall, self.synced, self.boottime_ns = wall, synced, 10**12

    def pass_s(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.boottime_ns += round(seconds * 1e9)

    def __call__(self) -> Moment:
        wall = self.wall.astimezone(UTC)
        return Moment(monotonic_ns=0, boottime_ns=self.boottime_ns, wall=wall, synced=self.synced, boot_id="b")


class Loop:
    """Grace is enrolled and stands in front of the door `gate`."""

    def __init__(self, recognizer: Recognizer, state: Path, journal: Journal) -> None:
        self.config = Config(
            device=DeviceConfig(slug="front", state_dir=str(state)),
            camera=CameraConfig(uri="folder:x"),
            decision=DecisionConfig(second_factor_s=30.0),
            access=AccessConfig(doors="gate, north"),
        )
        self.recognizer, self.clock = recognizer, Clock()
        recognizer.access = Access(self.config.access, "front", self.clock)
        reporter = Reporter()
        records = Records(self.config, journal)
        self.daemon = Daemon(self.config, recognizer, build_tracker(self.config, recognizer), reporter, records)
        self.confirmed: list[Event] = []
        self.daemon.second_factor._publish = self.confirmed.append
        self.now_ns = time.monotonic_ns()

    def step(self, pixels: Pixels | None, ns: int = STEP_NS) -> list[Event]:
        self.now_ns += ns
        return self.daemon.step(None if pixels is None else frame(pixels, self.now_ns), self.now_ns)

    def show(self, pixels: list[Pixels]) -> list[Event]:
        return [event for p in pixels for event in self.step(p)]

    def leave(self) -> list[Event]:
        return self.show([empty_scene()] * 25)

    @property
    def present(self) -> tuple[list[str], list[str]]:
        """(people in sight who are allowed, who are not)."""
        present = self.daemon.statements.present()
        return present.identities, present.denied

    def confirm(self) -> Any:
        pending = PendingRequest(Confirm(name="Grace", by="tag"))
        self.daemon.requests.start(pending)
        return response_of(pending)


@pytest.fixture
def loop(make_recognizer: Callable[..., Recognizer], tmp_path: Path, hopper: Pixels) -> Iterator[Loop]:
    recognizer = make_recognizer(Config(device=DeviceConfig(state_dir=str(tmp_path))).gallery_path)
    recognizer.enroll("Grace", hopper)
    with closing(Journal(tmp_path / "explain-front.sqlite", DecisionConfig())) as journal:
        yield Loop(recognizer, tmp_path, journal)


@pytest.fixture(scope="module")
def grace(hopper: Pixels) -> list[Pixels]:
    return [view(hopper, i) for i in range(12)]


def kinds(events: list[Event]) -> list[tuple[str, object]]:
    return [(e.event_type, e.body.get("reason")) for e in events]


def test_a_person_whose_access_has_ended_is_denied_and_a_match_nowhere(loop: Loop, grace: list[Pixels]) -> None:
    loop.recognizer.people.set_access("grace", ENDED)
    pending = PendingRequest(View())
    (denied,) = loop.show(grace)
    assert (denied.event_type, denied.body["reason"], denied.body["identity"]) == ("denied", "expired", "grace")
    assert loop.present == ([], ["grace"])
    answer = loop.confirm()
    assert (answer.confirmed, answer.denied) == (False, "expired") and not loop.confirmed
    loop.daemon.requests.start(pending)
    loop.show(grace[:3])
    (face,) = response_of(pending).faces
    assert (face.decision, face.identity, face.name) == ("denied", None, None)
    assert face.denied is not None and (face.denied.name, face.denied.reason) == ("Grace", "expired")
    assert kinds(loop.leave()) == [("gone", None)]
    explained = served(loop.daemon.requests, "explain")["data"]["tracks"][-1]
    assert (
        explained["events"][0]["reason"] == "expired"
        and "as denied (the person's access has ended)" in explained["why"]
    )
    pending = PendingRequest(Visits())
    loop.daemon.requests.start(pending)
    (visit,) = response_of(pending).visits
    assert (visit.result, visit.identity) == ("denied", "grace")


def test_without_rules_and_within_them_a_person_matches(loop: Loop, grace: list[Pixels]) -> None:
    assert kinds(loop.show(grace)) == [("match", None)]
    assert loop.confirm().confirmed and len(loop.confirmed) == 1
    loop.leave()
    rules = {
        "from": "2027-06-15",
        "until": "2027-06-15",
        "doors": ["north"],
        "times": [{"days": ["tue"], "to": "12:01"}],
    }
    answer = served(loop.daemon.requests, "set-access", name="grace", access=rules)
    assert answer["data"]["denied"] is None and answer["data"]["access"]["doors"] == ["north"]
    assert kinds(loop.show(grace)) == [("match", None)] and loop.present == (["grace"], [])


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (ENDED, "expired"),
        (AccessRules(since=date(2027, 6, 16)), "not_yet"),
        (AccessRules(doors=("cellar",)), "door"),
        (AccessRules(times=(Window(days=("mon",)),)), "time"),
    ],
)
def test_requests_that_compare_a_picture_state_no_match(
    loop: Loop, hopper: Pixels, portrait_files: dict[str, Path], rules: AccessRules, reason: str
) -> None:
    loop.recognizer.people.set_access("grace", rules)
    image = base64.b64encode(portrait_files["hopper"].read_bytes()).decode()
    verified = served(loop.daemon.requests, "verify", name="grace", image=image)["data"]
    identified = served(loop.daemon.requests, "identify", image=image)["data"]
    denied = {"identity": "grace", "name": "Grace", "reason": reason}
    assert (verified["decision"], verified["denied"], verified["identity"]) == ("denied", denied, "grace")
    assert (identified["decision"], identified["denied"]) == ("denied", denied)
    assert identified["identity"] is None and identified["name"] is None
    (face,) = loop.recognizer.identify(hopper)
    assert not face.matched and face.identity is None and face.denied is not None
    listed = served(loop.daemon.requests, "list")["data"]["identities"][0]
    assert (listed["denied"], listed["access"]) == (reason, rules.to_json())


def test_rules_that_end_and_begin_while_the_person_is_in_sight_are_followed(loop: Loop, grace: list[Pixels]) -> None:
    loop.recognizer.people.set_access(
        "grace", AccessRules(times=(Window(start=0, end=12 * 60 + 1), Window(start=13 * 60)))
    )
    assert kinds(loop.show(grace)) == [("match", None)]
    loop.clock.pass_s(59)
    assert loop.show(grace) == [] and loop.present == (["grace"], [])
    loop.clock.pass_s(1)
    assert kinds(loop.show(grace)) == [("denied", "time")] and loop.present == ([], ["grace"])
    answer = loop.confirm()
    assert (answer.confirmed, answer.denied, loop.confirmed) == (False, "time", []), "the match is no longer valid"
    assert loop.show(grace) == []
    loop.clock.pass_s(3599)
    events = loop.show(grace)
    assert kinds(events) == [("match", None)] and loop.present == (["grace"], [])
    assert events[0].captured_ns > loop.now_ns - len(grace) * STEP_NS, "of a frame that was seen now"
    assert kinds(loop.leave()) == [("gone", None)]


def test_a_match_cannot_be_confirmed_after_the_rule_has_ended(loop: Loop, grace: list[Pixels]) -> None:
    loop.recognizer.people.set_access("grace", AccessRules(times=(Window(start=0, end=12 * 60 + 1),)))
    assert kinds(loop.show(grace)) == [("match", None)]
    loop.leave()
    loop.clock.pass_s(60)
    assert not loop.confirm().confirmed and loop.confirm().denied == "time" and not loop.confirmed
    loop.recognizer.people.set_access("grace", ALWAYS)
    assert not loop.confirm().confirmed, "what was refused does not wait"


def test_a_change_by_another_process_is_in_force_within_a_second(loop: Loop, grace: list[Pixels]) -> None:
    assert kinds(loop.show(grace)) == [("match", None)]
    with Gallery(loop.config.gallery_path) as other:
        other.set_access("grace", ENDED)
    loop.step(None, GALLERY_EVERY_NS)
    assert loop.present == ([], ["grace"])
    assert kinds(loop.show(grace)) == [("denied", "expired")]
    with Gallery(loop.config.gallery_path) as other:
        other.set_access("grace", ALWAYS)
    loop.step(None, GALLERY_EVERY_NS)
    assert kinds(loop.show(grace)) == [("match", None)]


def test_the_event_fits_the_schema(loop: Loop, grace: list[Pixels]) -> None:
    loop.recognizer.people.set_access("grace", ENDED)
    (denied,) = loop.show(grace)
    stored = StoredEvent(seq=1, event=denied, captured_boottime_ns=0, clock_synced=True)
    Draft202012Validator(schema.load("event-v1")).validate(
        json.loads(hand_over(stored, "front", 10.0, read_clock()).payload)
    )


# ---- the clock


def gate(unsynchronised: str, clock: Clock) -> Access:
    return Access(AccessConfig(unsynchronised=unsynchronised), "front", clock)


@pytest.mark.parametrize(
    ("unsynchronised", "found"), [("deny", Denied.CLOCK), ("allow", None), ("trust", Denied.EXPIRED)]
)
def test_the_rule_for_a_clock_that_was_never_synchronised(unsynchronised: str, found: Denied | None) -> None:
    access = gate(unsynchronised, Clock(synced=False))
    assert access.denial(ENDED) is found
    assert access.denial(AccessRules(doors=("cellar",))) is Denied.DOOR
    assert access.denial(AccessRules(doors=("front",))) is None and access.denial(None) is None
    assert access.denial(replace(ENDED, doors=("cellar",))) is Denied.DOOR, "also with `allow`"
    access.reconfigure(AccessConfig(doors="cellar"))
    assert access.denial(AccessRules(doors=("cellar",))) is None


def test_a_clock_that_was_synchronised_once_is_known_and_cannot_be_set_back() -> None:
    clock = Clock()
    access = gate("deny", clock)
    rules = AccessRules(until=date(2027, 6, 15))
    assert access.denial(rules) is None
    clock.synced = False  # the network is gone
    clock.pass_s(11 * 3600)
    assert access.denial(rules) is None
    clock.pass_s(3600)
    assert access.denial(rules) is Denied.EXPIRED
    clock.wall = NOON
    assert access.denial(rules) is Denied.EXPIRED, "a wall clock that was set by hand"


def test_the_loop_notes_that_the_clock_is_synchronised_before_anyone_with_rules_comes(
    loop: Loop, grace: list[Pixels]
) -> None:
    loop.recognizer.people.set_access("grace", AccessRules(until=date(2027, 6, 15)))
    loop.step(None, GALLERY_EVERY_NS)
    loop.clock.synced = False
    loop.clock.pass_s(10 * 3600)
    assert kinds(loop.show(grace)) == [("match", None)]


def test_unreadable_rules_allow_nothing() -> None:
    access = gate("allow", Clock())
    assert access.denial(AccessRules(unknown='{"moon": "full"}')) is Denied.RULES
    assert rules_from_json({}) == ALWAYS
