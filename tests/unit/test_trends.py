"""Trends in `health`: samples every five minutes, and the slope of each measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from example_messages import example

from edge_oneshot.cli.common import trend_words
from edge_oneshot.control.codec import from_json
from edge_oneshot.control.parts import Trends as Message
from edge_oneshot.control.responses import StatusReport
from edge_oneshot.doctor import daemon
from edge_oneshot.service.trends import EVERY_NS, KEPT, Trends, measure


def report(hours: float, **per_hour: float) -> Message:
    """Of a process that starts with 100 MB, 8 threads, 40 files, 1 GB of free disk, and changes at these rates."""
    start = {"rss_bytes": 100e6, "threads": 8.0, "files": 40.0, "disk_free_bytes": 1e9}
    at = [0.0]
    trends = Trends(lambda: {name: v + per_hour.get(name, 0) * at[0] for name, v in start.items()})
    found: Any = None
    for n in range(round(hours * 12) + 1):
        at[0] = n / 12
        found = trends.update(n * EVERY_NS, 0)
    return from_json(Message, found, "trends", strict=True)


def test_a_slope_is_stated_after_an_hour() -> None:
    assert report(0.5, rss_bytes=1e6).rss_bytes.per_hour is None  # type: ignore[union-attr]
    found = report(6, rss_bytes=1e6, disk_free_bytes=-2e6)
    assert found.hours == 6.0 and found.rss_bytes is not None and found.threads is not None
    assert found.rss_bytes.per_hour == pytest.approx(1e6) and found.rss_bytes.last == pytest.approx(106e6)
    assert (found.threads.first, found.threads.per_hour) == (8.0, 0.0)
    assert "memory 106 MB (+1.0 MB per hour), threads 8 (+0.0 per hour)" in trend_words(found)
    assert "free disk 988 MB (-2.0 MB per hour)" in trend_words(found)


def test_one_peak_is_no_slope_and_a_day_is_kept() -> None:
    depth, trends = {100: 5000}, Trends(lambda: {"rss_bytes": 1.0})
    found: Any = None
    for n in range(KEPT + 60):
        found = trends.update(n * EVERY_NS, depth.get(n, 0))
    assert found["outbox_depth"] == {"first": 0.0, "last": 0.0, "least": 0.0, "most": 5000.0, "per_hour": 0.0}
    assert found["hours"] == pytest.approx((KEPT - 1) / 12, abs=0.01)


def test_between_two_samples_nothing_is_read() -> None:
    reads = []
    trends = Trends(lambda: reads.append(1) or {"rss_bytes": None})  # type: ignore[func-returns-value]
    for n in range(10):
        found = trends.update(n * EVERY_NS // 10, 0)
    assert len(reads) == 1 and found is not None and found["rss_bytes"] is None


def test_this_process_can_be_measured(tmp_path: Path) -> None:
    found = measure(tmp_path / "not" / "yet")
    assert all(value is not None and value > 0 for value in found.values()), found


@pytest.mark.parametrize(
    ("hours", "rates", "words"),
    [
        (7, {"disk_free_bytes": -10e6}, ["full in 3.9 days"]),
        (7, {"disk_free_bytes": -1e6}, []),
        (7, {"rss_bytes": 8e6, "files": 2.0}, ["resident memory", "open files"]),
        (7, {"threads": 1.0}, ["threads"]),
        (5, {"rss_bytes": 8e6, "files": 2.0}, []),
        (7, {}, []),
    ],
)
def test_doctor_names_what_grows(hours: float, rates: dict[str, float], words: list[str]) -> None:
    found = list(daemon.trends(example(StatusReport, trends=report(hours, **rates))))
    assert len(found) == len(words)
    assert all(word in f.message and f.fix for f, word in zip(found, words, strict=True))
