"""gallery.expire_days: who was not recognized for so long is removed, and a wrong clock removes no one."""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pictures import Pixels, view
from samples import person, random_unit, template

from edge_oneshot.cameras.images import to_frame
from edge_oneshot.config import CameraConfig, Config, DeviceConfig, GalleryConfig
from edge_oneshot.events.clock import Moment, read_clock
from edge_oneshot.gallery.seen import LastSeen
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.service.retention import EVERY_NS, FIRST_NS, MOST, PAUSE_NS, Retention
from edge_oneshot.types import Event

DAY_NS = 86_400_000_000_000


class Device:
    """A gallery with Alice and Bob, expire_days = 30, and a clock that the test sets."""

    def __init__(self, recognizer: Recognizer, folder: Path) -> None:
        self.recognizer, self.folder = recognizer, folder
        self.wall, self.synced, self.now_ns = datetime(2026, 11, 1, 12, tzinfo=UTC), True, 0
        for number, name in enumerate(("alice", "bob")):
            recognizer.people.add(person(name), [template(name, random_unit(number), recognizer.encoder_id)])
        self.removed: list[str] = []
        self.restart()

    def restart(self) -> None:
        self.seen = LastSeen(self.folder / "seen.sqlite")
        self.retention = Retention(30, self.seen, self.clock)

    def clock(self) -> Moment:
        return dataclasses.replace(read_clock(), wall=self.wall, synced=self.synced)

    def emit(self, event: Event) -> None:
        assert event.event_type == "forgotten"
        self.removed.append(str(event.body["identity"]))

    def days(self, number: int, *visitors: str) -> list[str]:
        """`number` days pass, each with these visitors; who is removed."""
        self.removed = []
        for _ in range(number):
            self.wall += timedelta(days=1)
            self.now_ns += DAY_NS
            for visitor in visitors:
                self.retention.matched(visitor)
            self.retention.look(self.recognizer, self.now_ns, self.emit)
        return self.removed


@pytest.fixture
def device(recognizer: Recognizer, tmp_path: Path) -> Iterator[Device]:
    made = Device(recognizer, tmp_path)
    yield made
    made.seen.close()


def test_a_person_who_does_not_come_is_removed_after_the_stated_days(device: Device) -> None:
    device.days(1)
    device.days(1)  # the first look comes ten minutes after the start
    assert device.days(29, "alice") == []
    assert device.days(2, "alice") == ["bob"]
    assert list(device.recognizer.people.names) == ["alice"]
    assert device.days(40, "alice") == []
    assert device.seen.days() is not None and set(device.seen.days() or ()) == {"alice"}


def test_a_restart_keeps_the_days_and_a_lost_file_begins_again(device: Device) -> None:
    device.days(20)
    device.seen.close()
    device.restart()
    assert device.days(8) == []
    assert sorted(device.days(6)) == ["alice", "bob"]


def test_a_lost_file_begins_again(device: Device) -> None:
    device.days(20)
    device.seen.close()
    (device.folder / "seen.sqlite").unlink()
    device.restart()
    assert device.days(29) == []


@pytest.mark.parametrize(("year", "synced"), [(2099, False), (1970, False), (1970, True)])
def test_a_wrong_clock_removes_no_one(device: Device, year: int, synced: bool) -> None:
    """A device without a battery for its clock starts in 1970; a clock that is not synchronised may show any year."""
    device.days(3)
    right = device.wall
    device.wall, device.synced = datetime(year, 1, 1, tzinfo=UTC), synced
    assert device.days(20, "alice") == []
    device.wall, device.synced = right, True
    assert device.days(20) == []


def off(device: Device, days: int) -> None:
    """The device is switched off for so long."""
    device.seen.close()
    device.wall += timedelta(days=days)
    device.restart()
    device.retention.look(device.recognizer, device.now_ns, device.emit)  # the first look removes no one: it waits


@pytest.mark.parametrize("earlier", [False, True], ids=["this release", "file of an earlier release"])
def test_days_without_a_daemon_do_not_count(device: Device, earlier: bool) -> None:
    """After a year in a drawer everyone has the days that were left."""
    device.days(1)
    device.days(10, "alice")
    if earlier:
        device.seen.forget([""])
    off(device, 365)
    assert device.days(20) == []
    assert device.days(2) == ["bob"]
    assert device.days(8) == []
    assert device.days(1) == ["alice"]


def test_no_one_is_removed_on_the_first_day_after_an_absence(device: Device) -> None:
    device.days(2)
    assert device.days(29) == []  # their last day is over with the next one
    off(device, 60)
    assert device.days(1) == []
    for _ in range(3):
        device.now_ns += FIRST_NS
        device.retention.look(device.recognizer, device.now_ns, device.emit)
    assert device.removed == []
    assert sorted(device.days(1)) == ["alice", "bob"]


def test_a_device_that_runs_every_other_day_still_removes(device: Device) -> None:
    device.days(2)
    for _ in range(30):
        off(device, 1)
        assert device.days(1) == []
    off(device, 1)
    assert sorted(device.days(1)) == ["alice", "bob"]


def test_a_clock_that_leaps_ahead_and_back_removes_no_one(device: Device) -> None:
    """A time server can be wrong, too. A match while it is, and one after, count for their own day."""
    device.days(1)
    device.days(10)
    right = device.wall
    device.wall = datetime(2099, 1, 1, tzinfo=UTC)
    assert device.days(3, "alice") == []
    device.wall = right
    assert device.days(15) == [] and device.days(5) == ["bob"]
    assert device.days(30) == ["alice"]


def test_who_is_removed_by_hand_leaves_the_file(device: Device) -> None:
    device.days(3, "alice", "bob")
    device.recognizer.people.remove("bob")
    device.retention.forget_others(device.recognizer)
    assert set(device.seen.days() or ()) == {"alice"}
    assert b"bob" not in (device.folder / "seen.sqlite").read_bytes()


def test_a_disk_that_fails_ends_nothing_and_the_next_hour_tries_again(
    device: Device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    device.days(2, "alice", "bob")
    gallery = device.recognizer.people.gallery
    with closing(sqlite3.connect(gallery.path)) as other:
        other.execute("BEGIN IMMEDIATE")  # as another program would that does not end
        monkeypatch.setattr(gallery._db, "schema", dataclasses.replace(gallery._db.schema, busy_timeout_s=0.1))
        gallery._db.rows("PRAGMA busy_timeout = 100")
        assert device.days(32, "alice") == [] and "bob" in device.recognizer.people.names
        assert "was not removed" in caplog.text and "bob" not in caplog.text
    assert device.days(1, "alice") == ["bob"]


def test_many_are_removed_in_turns_between_which_the_loop_looks_at_frames(device: Device) -> None:
    for number in range(MOST):
        device.recognizer.people.add(
            person(f"p{number}"), [template(f"p{number}", random_unit(9 + number), device.recognizer.encoder_id)]
        )
    device.days(2)
    assert len(device.days(31)) == MOST
    device.now_ns += PAUSE_NS
    device.retention.look(device.recognizer, device.now_ns, device.emit)
    assert len(device.removed) == MOST + 2


def test_nothing_is_counted_without_expire_days(device: Device, tmp_path: Path) -> None:
    off = Retention()
    off.matched("alice")
    off.look(device.recognizer, FIRST_NS * 100, device.emit)
    assert device.removed == [] and not (tmp_path / "seen.sqlite").exists()


def test_the_daemon_counts_a_match_and_removes_by_it(
    make_recognizer: Callable[..., Recognizer], hopper: Pixels, tmp_path: Path
) -> None:
    config = Config(
        device=DeviceConfig(slug="front", state_dir=str(tmp_path)),
        camera=CameraConfig(uri="folder:x"),
        gallery=GalleryConfig(expire_days=30),
    )
    recognizer = make_recognizer(config.gallery_path)
    recognizer.enroll("Grace", hopper)
    days = [0]
    wall = datetime(2026, 11, 1, 12, tzinfo=UTC)

    def clock() -> Moment:
        return dataclasses.replace(read_clock(), wall=wall + timedelta(days=days[0]), synced=True)

    with closing(LastSeen(config.seen_path)) as seen:
        retention = Retention(30, seen, clock)
        daemon = Daemon(config, recognizer, build_tracker(config, recognizer), Reporter(), retention=retention)
        now_ns = time.monotonic_ns()
        for number in range(12):
            now_ns += 100_000_000
            frame = dataclasses.replace(to_frame(view(hopper, number)), captured_ns=now_ns, captured_at=wall)
            daemon.step(frame, now_ns)
        assert seen.days() == {"grace": wall.date().toordinal()}
        for day in range(32):
            days[0] = day
            daemon.step(None, now_ns := now_ns + EVERY_NS)
            assert list(recognizer.people.names) == (["grace"] if day <= 30 else [])
