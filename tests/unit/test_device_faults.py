"""Faults of docs/reference/faults.md that no other test covers, on the daemon's own parts; and that each row names its test."""

from __future__ import annotations

import ast
import re
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from mqtt_parts import SetClock, event
from pictures import Pixels, frame, view
from PIL import Image

from edge_oneshot.config import Config, DeviceConfig
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt.payloads import hand_over
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.reporter import Reporter

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "faults.md"
STEP_NS = 100_000_000
YEARS_S = 20 * 365.25 * 86400
WEEK_S = 7 * 86400.0


@pytest.fixture
def daemon(make_recognizer: Callable[..., Recognizer], tmp_path: Path) -> Daemon:
    config = Config(device=DeviceConfig(state_dir=str(tmp_path)))
    recognizer = make_recognizer(config.gallery_path)
    return Daemon(config, recognizer, build_tracker(config, recognizer), Reporter())


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def test_a_camera_that_is_replaced_by_another_size_goes_on(daemon: Daemon, hopper: Pixels) -> None:
    """Each camera shows the same stranger: 640x480, then 1280x720 (stretched), then 320x240."""
    now_ns, published = 10**12, []
    for width, height in ((640, 480), (1280, 720), (320, 240)):
        for i in range(14):
            now_ns += STEP_NS
            published += [
                e.event_type for e in daemon.step(frame(resized(view(hopper, i), width, height), now_ns), now_ns)
            ]
        for _ in range(30):  # the picture is away while the cameras are exchanged
            now_ns += STEP_NS
            published += [e.event_type for e in daemon.step(None, now_ns)]
    assert published == ["unknown", "gone"] * 3


@pytest.mark.parametrize("years", [20, -20])
def test_a_clock_that_steps_by_years_loses_and_expires_nothing(tmp_path: Path, years: int) -> None:
    """The order of the events, their ages and the time left do not come from the wall clock."""
    clock = SetClock()
    with closing(Outbox(tmp_path / "o.sqlite", max_age_s=86400, clock=clock)) as box:
        made = [clock.event()]
        box.events.commit(made[0])
        clock.forward, clock.wall = 1.0, years * YEARS_S / 20
        made.append(clock.event())
        box.events.commit(made[1])
        clock.forward = 1.5
        stored = box.events.pending(0, 9)
        assert [s.event.event_id for s in stored] == [e.event_id for e in made]
        now = clock()
        for s, left_s in zip(stored, (8.5, 9.5), strict=True):
            handed = hand_over(s, "porch", 10.0, now)
            assert not handed.late and handed.expires_in_s == pytest.approx(left_s, abs=0.01)
        status = box.events.status()
        assert (status.depth, status.dropped_age, status.dropped_overflow) == (2, 0, 0)


def test_a_boot_without_a_clock_marks_its_events_and_drops_none(tmp_path: Path) -> None:
    """No RTC: the wall clock starts in 1970, and jumps to the present when the time server answers."""
    path, clock = tmp_path / "o.sqlite", SetClock()
    with closing(Outbox(path, max_age_s=3600, clock=clock)) as box:
        box.events.commit(before := clock.event())  # of the boot before, with the right time
    clock.boot, clock.synced = "the-next-boot", False
    clock.wall = -(datetime.now(UTC) - datetime(1970, 1, 2, tzinfo=UTC)) / timedelta(seconds=1)
    with closing(Outbox(path, max_age_s=3600, clock=clock)) as box:
        box.events.commit(unsynced := clock.event())
        assert [s.event.event_id for s in box.events.pending(0, 9)] == [before.event_id, unsynced.event_id]
        clock.synced, clock.wall, clock.forward = True, 0.0, 60.0
        first, second = box.events.pending(0, 9)
        now = clock()
        assert hand_over(first, "porch", 10.0, now).late, "an event of another boot is late"
        assert b'"clock":"unsynced"' in hand_over(second, "porch", 10.0, now).payload
        assert box.events.status().dropped_age == 0


def test_a_week_without_the_broker_is_bounded_and_counted(tmp_path: Path) -> None:
    """50 visits a day, 3 events each; room for 300, and a day. What is dropped is the oldest, and it is counted."""
    path, clock = tmp_path / "o.sqlite", SetClock()
    box = Outbox(path, max_events=300, max_age_s=86400.0, clock=clock)
    made, largest = [], 0
    for visit in range(7 * 50):
        clock.forward = visit * WEEK_S / 350
        for kind in ("match", "gone", "unknown"):
            made.append(clock.event(kind))
            box.events.commit(made[-1])
        if visit % 50 == 25:
            box.events.pending(0, 1)  # as the link does before each attempt
            largest = max(largest, sum(p.stat().st_size for p in tmp_path.iterdir()))
    kept = box.events.pending(0, 10_000)
    status = box.events.status()
    assert status.committed == len(made) == status.depth + status.dropped_age + status.dropped_overflow
    assert [s.event.event_id for s in kept] == [e.event_id for e in made[-len(kept) :]]
    assert 140 <= len(kept) <= 153 and status.dropped_age >= 890, "a day is kept"
    assert largest < 5e6
    box.close()


def test_a_slow_disk_delays_an_event_and_loses_none(tmp_path: Path) -> None:
    """Another process holds the file for a second and a half: the commit waits for it, below the limit of the watchdog."""
    path = tmp_path / "o.sqlite"
    with (
        closing(Outbox(path)) as box,
        closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as slow,
    ):
        slow.execute("BEGIN IMMEDIATE")
        release = threading.Timer(1.5, slow.execute, ("COMMIT",))
        release.start()
        start = time.monotonic()
        assert box.events.commit(made := event())
        assert 1.0 < time.monotonic() - start < 10.0
        release.join()
        assert [s.event.event_id for s in box.events.pending(0, 9)] == [made.event_id]
        assert box.events.status().fault == ""


def test_each_row_of_the_table_names_a_test_that_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text(encoding="utf-8"))
    rows = [
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ") and "---" not in line
    ]
    assert len(named) >= 20
    for line in rows:
        assert line.startswith("| fault ") or "`tests/" in line, f"a row without a test: {line}"
    for path, test in named:
        functions = {
            n.name
            for n in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
            if isinstance(n, ast.FunctionDef)
        }
        assert test in functions, f"{path}::{test}"
