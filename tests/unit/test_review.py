"""A review of visits: labels, the rates that follow from them, and the encrypted pictures, with a real daemon and files."""

from __future__ import annotations

import io
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import Pixels, empty_scene, frame, view
from PIL import Image
from samples import seen
from waiting import wait_until

from edge_oneshot.config import Config, DeviceConfig, VisitsConfig, parse_config
from edge_oneshot.control import requests as rq
from edge_oneshot.control.protocol import Failed, Finished, PendingRequest
from edge_oneshot.errors import ConfigError
from edge_oneshot.events.labels import Labels, outcome_of
from edge_oneshot.events.pictures import Pictures
from edge_oneshot.matching.interval import wilson
from edge_oneshot.recognition.compose import build_rule, open_gallery
from edge_oneshot.recognition.enrollment import enroll_from_frame
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service import offline
from edge_oneshot.service.album import MOST_WAITING, Album, forget_in_pictures, open_album
from edge_oneshot.service.compose import build_tracker, open_records
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.service.sealing import private_files
from edge_oneshot.storage.cipher import Cipher, new_key, write_key
from edge_oneshot.storage.keys import CREDENTIAL
from edge_oneshot.types import Event, Identity

STEP_NS = 100_000_000
KEYED = Cipher(b"k" * 32).derived("pictures")


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    write_key(folder / CREDENTIAL, new_key())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder / CREDENTIAL


class Place:
    """A daemon with records, and a clock that only `show` moves."""

    def __init__(self, config: Config, recognizer: Recognizer, stack: ExitStack) -> None:
        self.config, self.recognizer = config, recognizer
        self.records = stack.enter_context(open_records(config))
        self.daemon = Daemon(config, recognizer, build_tracker(config, recognizer), Reporter(), self.records)
        self.now_ns = time.monotonic_ns()

    def show(self, pixels: list[Pixels]) -> None:
        for p in pixels:
            self.now_ns += STEP_NS
            self.daemon.step(frame(p, self.now_ns), self.now_ns)

    def visit(self, portrait: Pixels) -> None:
        self.show([view(portrait, n) for n in range(12)] + [empty_scene()] * 25)

    def answer(self, request: Any) -> Any:
        pending = PendingRequest(request)
        self.daemon.requests.start(pending)
        return pending.answers.get(timeout=10)

    def ask(self, request: Any) -> Any:
        answer = self.answer(request)
        assert isinstance(answer, Finished), answer
        return answer.response

    def refused(self, request: Any) -> str:
        answer = self.answer(request)
        assert isinstance(answer, Failed), answer
        return answer.error.message

    def enroll(self, identity_id: str, pixels: Pixels) -> None:
        made = enroll_from_frame(
            self.recognizer.pipeline, frame(pixels), Identity(identity_id=identity_id, name=identity_id.title()),
            self.recognizer.references,
        )  # fmt: skip
        self.recognizer.store(made)

    def pictures(self, count: int) -> list[str]:
        """The pictures of all visits, once there are so many."""

        def kept() -> tuple[list[str]] | None:
            found = [p for v in self.ask(rq.Visits()).visits for p in v.pictures]
            return (found,) if len(found) == count else None

        return wait_until(kept, f"{count} pictures", 10.0)[0]  # type: ignore[no-any-return]


@pytest.fixture
def make_place(pipeline: Pipeline, tmp_path: Path) -> Iterator[Callable[..., Place]]:
    with ExitStack() as stack:

        def make(**visits: Any) -> Place:
            visits = {"asked_share": 1.0, **visits}
            config = Config(device=DeviceConfig(state_dir=str(tmp_path)), visits=VisitsConfig(**visits))
            rule = build_rule(config, pipeline.encoder)
            recognizer = stack.enter_context(Recognizer(pipeline, rule, open_gallery(config)))
            return Place(config, recognizer, stack)

        yield make


# ---- labels


@pytest.mark.parametrize(
    ("result", "reported", "who", "identity", "outcome"),
    [
        ("match", "ada", "person", "ada", "right"),
        ("match", "ada", "person", "bob", "wrong_name"),
        ("match", "ada", "stranger", None, "false_match"),
        ("match", None, "person", "ada", "wrong_name"),
        ("unknown", None, "person", "ada", "missed"),
        ("rejected", None, "person", "ada", "missed"),
        ("unknown", None, "stranger", None, "right"),
        ("match", "ada", "unclear", None, "unclear"),
    ],
)
def test_what_a_label_says_about_the_result(
    result: str, reported: str | None, who: Any, identity: str | None, outcome: str
) -> None:
    assert outcome_of(result, reported, who, identity) == outcome


def test_labels_are_stored_counted_and_outlive_the_daemon(
    make_place: Callable[..., Place], collins: Pixels, hopper: Pixels
) -> None:
    place = make_place()
    place.enroll("ada", collins)
    place.visit(collins)
    place.visit(hopper)
    unknown, match = place.ask(rq.Visits()).visits
    assert (unknown.result, match.result, match.identity) == ("unknown", "match", "ada")
    assert unknown.asked and match.asked and match.score > match.threshold
    assert place.ask(rq.DoorRates()).answered == 0

    said = place.ask(rq.Label(visit=unknown.visit, who="person", person="Ada"))
    assert (said.name, said.label.outcome, said.pictures) == ("Ada", "missed", [])
    place.ask(rq.Label(visit=match.visit, who="stranger"))
    rates = place.ask(rq.DoorRates())
    assert (rates.missed.errors, rates.missed.visits) == (1, 1)
    assert (rates.false_match.errors, rates.false_match.visits) == (1, 1)
    assert (rates.false_match.low, rates.false_match.high) == pytest.approx(wilson(1, 1), abs=1e-6)
    assert rates.false_match.claimed == 1e-3, "one person, at the default FMR"
    assert rates.false_match.needed == 30000 and not rates.false_match.enough
    assert (rates.asked, rates.answered, rates.outside) == (2, 2, 0)

    place.ask(rq.Label(visit=match.visit, who="person", person="id:ada"))  # a second thought
    place.ask(rq.Label(visit=unknown.visit, who="none"))
    rates = place.ask(rq.DoorRates())
    assert (rates.missed.errors, rates.missed.visits, rates.false_match.visits) == (0, 1, 0)
    with closing(Labels(place.config.labels_path)) as again:
        assert [label.outcome for label in again.all.values()] == ["right"]
    assert stat.S_IMODE(place.config.labels_path.stat().st_mode) == 0o600


def test_labels_outside_the_sample_count_in_no_rate(make_place: Callable[..., Place], hopper: Pixels) -> None:
    place = make_place(asked_share=0.0)
    place.enroll("ada", hopper)
    place.visit(hopper)
    (visit,) = place.ask(rq.Visits()).visits
    assert not visit.asked
    place.ask(rq.Label(visit=visit.visit, who="stranger"))
    rates = place.ask(rq.DoorRates())
    assert (rates.false_match.visits, rates.outside, rates.outside_errors) == (0, 1, 1)
    assert rates.false_match.rate is None


def test_a_label_needs_a_reported_visit_and_an_enrolled_person(
    make_place: Callable[..., Place], hopper: Pixels
) -> None:
    place = make_place()
    place.show([view(hopper, n) for n in range(4)])
    (visit,) = place.ask(rq.Visits()).visits
    assert "nothing was reported of this visit yet" in place.refused(rq.Label(visit=visit.visit, who="stranger"))
    place.show([view(hopper, n) for n in range(12)])
    place.show([empty_scene()] * 25)
    assert "'nobody' is enrolled" in place.refused(rq.Label(visit=visit.visit, who="person", person="nobody"))
    assert "expected a name" in place.refused(rq.Label(visit=visit.visit, who="person"))
    assert "expected a name" in place.refused(rq.Label(visit=visit.visit, who="stranger", person="x"))
    assert "no visit '1' is recorded" in place.refused(rq.Label(visit="1", who="stranger"))
    assert "no pictures" in place.refused(rq.VisitPicture(picture=visit.visit))


def test_a_removed_person_leaves_the_labels_which_still_count(
    make_place: Callable[..., Place], collins: Pixels, hopper: Pixels
) -> None:
    place = make_place()
    place.enroll("ada", collins)
    place.visit(hopper)
    (visit,) = place.ask(rq.Visits()).visits
    place.ask(rq.Label(visit=visit.visit, who="person", person="ada"))
    place.ask(rq.Forget(name="ada"))
    place.show([empty_scene()])
    (visit,) = place.ask(rq.Visits()).visits
    assert visit.label.who == "person" and visit.label.identity is None
    assert place.ask(rq.DoorRates()).missed.errors == 1
    assert b"ada" not in place.config.labels_path.read_bytes()


def test_an_ignored_person_causes_no_event_and_is_still_counted(
    make_place: Callable[..., Place], collins: Pixels
) -> None:
    place = make_place()
    place.enroll("ada", collins)
    assert place.ask(rq.Ignore(name="Ada")).ignored
    before = place.daemon.reporter.events
    place.show([view(collins, n) for n in range(12)])
    assert place.daemon.reporter.events == before and place.daemon.status().present.identities == []
    place.show([empty_scene()] * 25)
    (visit,) = place.ask(rq.Visits()).visits
    assert (visit.result, visit.identity) == ("match", "ada")
    with closing(Labels(place.config.labels_path)) as again:
        assert again.ignored == {"ada"}
    assert [p.ignored for p in place.ask(rq.List()).identities] == [True]
    place.ask(rq.Ignore(name="Ada", on=False))
    place.visit(collins)
    assert place.daemon.reporter.events > before
    place.ask(rq.Ignore(name="Ada"))
    place.ask(rq.Forget(name="ada"))
    place.show([empty_scene()])
    assert place.records.ignored == frozenset()


# ---- pictures


def test_pictures_are_off_by_default_and_need_a_key(make_place: Callable[..., Place]) -> None:
    place = make_place()
    assert place.records.album is None and not place.config.pictures_path.exists()
    with pytest.raises(ConfigError, match=r"visits\.pictures: expected a key"):
        make_place(pictures=True)
    with pytest.raises(ConfigError, match="1 fault") as e:
        parse_config({"visits": {"pictures": True}, "decision": {"explain_tracks": 0}})
    assert "explain_tracks: expected more than 0" in str(e.value.faults)


def test_a_visit_leaves_one_encrypted_picture(
    key: Path, make_place: Callable[..., Place], collins: Pixels, hopper: Pixels
) -> None:
    place = make_place(pictures=True)
    place.enroll("ada", collins)
    place.visit(collins)
    place.visit(collins)  # the same visit
    place.visit(hopper)
    unknown, match = place.pictures(2)
    jpeg = place.ask(rq.VisitPicture(picture=match)).jpeg
    picture = Image.open(io.BytesIO(jpeg))
    assert picture.format == "JPEG" and 100 < picture.width <= 480
    found = place.recognizer.identify(jpeg)
    assert [f.identity for f in found] == ["ada"], "the face in it is found again"
    assert place.ask(rq.Visits()).pictures.kept == 2
    data = place.config.pictures_path.read_bytes()
    assert b"\xff\xd8\xff" not in data and b"ada" not in data
    assert stat.S_IMODE(place.config.pictures_path.stat().st_mode) == 0o600
    assert "not kept any more" in place.refused(rq.VisitPicture(picture="20000101000000000-1"))
    key.unlink()
    write_key(key, new_key())
    other = Pictures(place.config.pictures_path, Cipher(new_key()).derived("pictures"), 7, 50)
    assert other.find(unknown) is None, "with another key it cannot be opened"
    other.close()


def test_pictures_go_with_the_person_also_those_that_were_named_later(
    key: Path, make_place: Callable[..., Place], collins: Pixels, hopper: Pixels
) -> None:
    place = make_place(pictures=True)
    place.enroll("ada", collins)
    place.visit(collins)
    place.visit(hopper)
    place.pictures(2)
    unknown = place.ask(rq.Visits()).visits[0]
    assert place.ask(rq.Label(visit=unknown.visit, who="person", person="ada")).pictures == unknown.pictures
    place.visit(hopper)
    place.pictures(3)
    place.ask(rq.Forget(name="ada"))
    place.show([empty_scene()])
    assert place.pictures(1), "that of the unknown person stays"


def test_one_request_and_the_switch_erase_all_pictures(
    key: Path, make_place: Callable[..., Place], hopper: Pixels
) -> None:
    place = make_place(pictures=True)
    place.visit(hopper)
    place.pictures(1)
    assert place.ask(rq.ErasePictures()).erased == 1
    place.pictures(0)
    place.visit(hopper)
    place.pictures(1)
    place.records.reconfigure(replace(place.config, visits=VisitsConfig(pictures=False)))
    wait_until(lambda: rows(place.config.pictures_path) == 0, "an empty file")
    assert place.ask(rq.Visits()).pictures is None
    place.records.reconfigure(place.config)
    place.visit(hopper)
    place.pictures(1)


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM picture").fetchone()[0])


def test_pictures_that_were_switched_off_while_no_daemon_ran_are_erased(tmp_path: Path) -> None:
    config = Config(device=DeviceConfig(state_dir=str(tmp_path)))
    with closing(Pictures(config.pictures_path, KEYED, 7, 50)) as pictures:
        assert pictures.add("20261127203459123-1", 1e9, None, b"jpeg")
    assert open_album(config) is None
    assert rows(config.pictures_path) == 0


def test_pictures_expire_by_age_and_by_size(tmp_path: Path) -> None:
    with closing(Pictures(tmp_path / "p.sqlite", KEYED, 7, 0.01)) as pictures:
        for day in range(10):
            assert pictures.add(f"{day}", day * 86400.0 + 60, None, bytes(3000))
        pictures.expire(10 * 86400.0)
        assert list(pictures.kept()) == ["7", "8", "9"], "10 kB hold three; 7 days hold seven"
        pictures.limit(2, 50)
        pictures.expire(10 * 86400.0)
        assert list(pictures.kept()) == ["8", "9"]


def test_a_picture_cannot_be_moved_to_another_visit(tmp_path: Path) -> None:
    with closing(Pictures(tmp_path / "p.sqlite", KEYED, 7, 50)) as pictures:
        pictures.add("a", time.time(), None, b"first")
        pictures.add("b", time.time(), None, b"second")
    with closing(sqlite3.connect(tmp_path / "p.sqlite")) as db, db:
        db.execute("UPDATE picture SET sealed = (SELECT sealed FROM picture WHERE visit = 'a')")
    with closing(Pictures(tmp_path / "p.sqlite", KEYED, 7, 50)) as pictures:
        assert pictures.find("b") is None


def test_without_a_daemon_a_removed_person_leaves_no_picture(
    key: Path, make_place: Callable[..., Place], collins: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_place(pictures=True)
    place.enroll("ada", collins)
    place.visit(collins)
    place.pictures(1)
    place.records.close()
    place.records.album = None
    offline.perform(place.config, rq.Forget(name="ada"), lambda text: None)
    assert rows(place.config.pictures_path) == 0


def test_a_slow_disk_holds_up_no_frame(tmp_path: Path, hopper: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = Pictures(tmp_path / "p.sqlite", KEYED, 7, 50)
    monkeypatch.setattr(pictures, "add", lambda *_: time.sleep(30))
    album = Album(pictures, VisitsConfig(pictures=True))
    shown = frame(np.ascontiguousarray(view(hopper, 1)))
    started = time.monotonic()
    for number in range(3 * MOST_WAITING):
        album.observe([(number, seen(None), None)], shown)
        body = {"track": number}
        album.add_event(
            Event(event_id="e", event_type="unknown", ts=shown.captured_at, captured_ns=1, boot_id="b", body=body)
        )
        album.close_tracks([])
    assert time.monotonic() - started < 2.0
    assert album._dropped >= MOST_WAITING


def test_without_the_key_all_pictures_are_erased_with_a_person(tmp_path: Path) -> None:
    config = Config(device=DeviceConfig(state_dir=str(tmp_path)))
    with closing(Pictures(config.pictures_path, KEYED, 7, 50)) as pictures:
        pictures.add("20261127203459123-1", time.time(), "bob", b"jpeg")
    forget_in_pictures(config, "ada")
    assert rows(config.pictures_path) == 0


def test_a_sealed_device_seals_the_labels_too(key: Path, make_place: Callable[..., Place], hopper: Pixels) -> None:
    place = make_place(pictures=True)
    place.visit(hopper)
    place.pictures(1)
    (visit,) = place.ask(rq.Visits()).visits
    place.ask(rq.Label(visit=visit.visit, who="stranger"))
    assert b"stranger" not in place.config.labels_path.read_bytes()
    assert {path for path, _ in private_files(place.config)} >= {place.config.labels_path, place.config.explain_path}
