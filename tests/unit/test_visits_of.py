"""Tracks -> visits, and the random sample. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from edge_oneshot.events.visits import KEY, asked, key_of, visits_of

START = datetime(2026, 11, 27, 20, 34, 59, 123000, tzinfo=UTC)


def track(
    number: int, first_s: float, last_s: float, result: str = "unknown", who: str | None = None, **more: Any
) -> Any:
    at = [(START + timedelta(seconds=s)).isoformat(timespec="milliseconds") for s in (first_s, last_s)]
    return {
        "track": number, "first_at": at[0], "last_at": at[1], "frames": 9, "compared": 9,
        "matched_frames": {who: 3} if who else {}, "refused": {}, "best": {"identity": who, "score": 0.1 * number},
        "second": None, "threshold": 0.5, "events": [{"event_id": "e", "event_type": result}] if result else [],
        "why": "", "pad": {"decision": "not_performed", "score": None, "method": None}, **more,
    }  # fmt: skip


def numbers(tracks: list[Any]) -> list[list[int]]:
    return [[t["track"] for t in v.tracks] for v in visits_of(tracks)]


def test_tracks_of_one_person_that_follow_each_other_are_one_visit() -> None:
    tracks = [track(1, 0, 5, "match", "ada"), track(2, 60, 70, "match", "ada"), track(3, 300, 310, "match", "ada")]
    assert numbers(tracks) == [[3], [1, 2]], "the newest first"
    assert numbers([track(1, 0, 5, "match", "ada"), track(2, 6, 9, "match", "bob")]) == [[2], [1]]


def test_unknown_people_are_one_visit_only_where_a_face_was_lost_and_found() -> None:
    assert numbers([track(1, 0, 10), track(2, 4, 12)]) == [[2], [1]]
    assert numbers([track(1, 0, 10), track(2, 11, 12)]) == [[1, 2]], "lost and found again"
    assert numbers([track(1, 0, 10), track(2, 21, 22)]) == [[2], [1]]


def test_a_track_that_is_not_decided_yet_is_a_visit_of_its_own() -> None:
    assert numbers([track(1, 0, 1, ""), track(2, 2, 3, "", in_sight=True)]) == [[2], [1]]


def test_a_visit_has_the_key_of_its_first_track_and_its_best_score() -> None:
    (visit,) = visits_of(
        [track(1, 0, 5, "match", "ada"), track(4, 6, 9, "match", "ada"), track(2, 10, 11, "match", "ada")]
    )
    assert visit.key == "20261127203459123-1"
    assert visit.best is not None and visit.best["track"] == 4
    assert all(KEY.fullmatch(key) for key in visit.keys)


@pytest.mark.parametrize("first_at", ["2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00.000+00:00"])
def test_a_key_does_not_depend_on_how_the_moment_is_written(first_at: str) -> None:
    assert key_of(first_at, 7) == "20260101000000000-7"


def test_the_sample_has_the_stated_share_and_knows_no_result() -> None:
    keys = [f"2026112720345{i:04}-{i}" for i in range(4000)]
    share = sum(asked(key, 0.1) for key in keys) / len(keys)
    assert 0.085 < share < 0.115
    assert not any(asked(key, 0.0) for key in keys) and all(asked(key, 1.0) for key in keys)
    assert {k for k in keys if asked(k, 0.05)} <= {k for k in keys if asked(k, 0.1)}
