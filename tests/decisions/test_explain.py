"""The journal: its record of a track, its limited size, no pictures and no vectors, and the removal of a person."""

from __future__ import annotations

import json
import sqlite3
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from samples import score, seen, unit, view_of

from edge_oneshot.config import DecisionConfig
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.events.journal import Journal, forget_in_files, read_journal, reason, select
from edge_oneshot.matching.track import Tracker
from edge_oneshot.types import Embedding, Event, Observation

NOW = datetime(2026, 9, 30, 14, 0, 0, tzinfo=UTC)
CONFIG = DecisionConfig(explain_tracks=20)


def journal(tmp_path: Path, config: DecisionConfig = CONFIG) -> Journal:
    return Journal(tmp_path / "explain.sqlite", config)


def watch(j: Journal, number: int, *observations: Observation, at: datetime = NOW) -> None:
    for i, observation in enumerate(observations):
        j.observe([(number, observation, None)], at + timedelta(milliseconds=100 * i))


def told(event_type: str, track: int, event_id: str = "e-1") -> Event:
    return Event(event_id=event_id, event_type=event_type, ts=NOW, captured_ns=1, boot_id="b", body={"track": track})


def test_a_track_that_matched(tmp_path: Path) -> None:
    j = journal(tmp_path)
    watch(j, 3, seen(None), seen(None), seen("alice", score=0.7), seen("alice", score=0.9), seen("alice", score=0.8))
    j.told(told("match", 3))
    (open_track,) = j.report()["tracks"]
    assert open_track["in_sight"] and open_track["why"].startswith("told as a match: 3 ")
    j.keep([])
    (t,) = j.report()["tracks"]
    assert (t["frames"], t["compared"], t["matched_frames"]) == (5, 3, {"alice": 3})
    assert t["best"] == {"identity": "alice", "score": 0.9} and t["second"] == {"identity": "runner-up", "score": 0.2}
    assert t["threshold"] == 0.5 and t["refused"] == {"blurred": {"frames": 2, "last": "sharpness 3, 15 needed"}}
    assert t["events"] == [{"event_id": "e-1", "event_type": "match"}] and "in_sight" not in t
    j.close()
    assert read_journal(j.path) == [t]


@pytest.mark.parametrize(
    ("frames", "compared", "votes", "events", "says"),
    [
        (3, 0, {}, [], "every frame was refused"),
        (3, 0, {}, [], "fewer than the 8"),
        (20, 0, {}, ["rejected"], "every frame was refused"),
        (9, 2, {"alice": 2}, [], "not told as a match: 2 of 2 compared frames matched alone"),
        (9, 2, {"a": 1, "b": 1}, [], "2 of 2 compared frames matched for several people alone"),
        (9, 4, {}, [], "none over the threshold"),
        (9, 9, {}, ["unknown"], "told as unknown"),
        (9, 9, {"a": 3}, ["match", "gone"], "told as a match"),
    ],
)
def test_every_end_of_a_track_has_its_reason(
    frames: int, compared: int, votes: dict[str, int], events: list[str], says: str
) -> None:
    assert says in reason(frames, compared, votes, {}, events, DecisionConfig())


def never(a: Embedding, b: Embedding) -> bool:
    return False


NEWEST = "at least 3 together for one person, but the newest frame's best candidate was somebody else (at "
DIVIDED = "at least 3 together for one person, but of those that matched alone no more than two in three named that person (at "


@pytest.mark.parametrize(
    ("shown", "says", "says_not"),
    [
        ("aa.", f"2 of 3 compared frames matched alone, and {NEWEST}1 of 3 frames)", "no more than two in three"),
        (
            "aa...",
            f"2 of 5 compared frames matched alone, and {NEWEST}2 of 5 frames)",
            "never",
        ),  # then together no more
        (
            "ababab",
            f"6 of 6 compared frames matched for several people alone, and {DIVIDED}4 of 6 frames)",
            "somebody else",
        ),
        ("aa.xb", "no more than two in three named that person (at 1 of 4 frames)", "never"),
        ("a...", "1 of 4 compared frames matched alone, but never at least 3 frames together", "somebody else"),
        (
            "aa........",
            "told as unknown: 8 compared frames in a row without a match; at least 3 together reached the threshold for one "
            "person, but the newest frame's best candidate was somebody else (at 2 of 10 frames)",
            "never",
        ),
        ("aa.a", "told as a match: 3 of 4", "somebody else"),
    ],
)
def test_the_record_states_why_there_was_no_match(tmp_path: Path, shown: str, says: str, says_not: str) -> None:
    """a, b = a match with alice or bob at 0.85, others 0.2; . = a frame that matches nobody, x = one too poor to compare."""
    j, tracker = journal(tmp_path), Tracker(CONFIG, never, score)
    for i, c in enumerate(shown, start=1):
        who = {"a": "alice", "b": "bob", ".": "", "x": None}[c]
        frame = seen(who, score=0.85 if who else 0.3)
        if frame.embedding is not None:
            frame = replace(
                frame, embedding=view_of(unit(1, 0), {who or "lookalike": 0.85 if who else 0.3})
            )  # all frames look alike
        found = tracker.update([frame], i)
        j.observe(tracker.seen_at(i), NOW)
        for result in found:
            j.told(told(result.kind.value, result.track))
    j.keep([])
    j.close()
    (t,) = read_journal(j.path)
    assert says in t["why"] and says_not not in t["why"]
    assert len(json.dumps(t)) < 1500


def test_the_file_is_bounded_private_and_without_vectors(tmp_path: Path) -> None:
    j = journal(tmp_path)
    for number in range(400):
        watch(j, number, seen("alice"), seen(""), seen(None))
        j.keep([])
    j.close()
    records = read_journal(j.path)
    assert 20 <= len(records) < 20 + 50 and records[-1]["track"] == 399
    assert stat.S_IMODE(j.path.stat().st_mode) == 0o600
    assert j.path.stat().st_size < 400_000
    assert max(len(json.dumps(r)) for r in records) < 1500, "text of one track, no vector, no picture"


def test_the_record_of_a_long_track_stays_small(tmp_path: Path) -> None:
    j = journal(tmp_path)
    watch(j, 1, *[seen("alice"), seen(None)] * 5000)
    (t,) = j.report()["tracks"]
    assert t["frames"] == 10000 and len(json.dumps(t)) < 1500


def test_the_last_minutes_and_an_event(tmp_path: Path) -> None:
    j = journal(tmp_path)
    now = datetime.now(UTC)
    watch(j, 1, seen("alice"), at=now - timedelta(hours=2))
    j.told(told("match", 1, "old"))
    watch(j, 2, seen("bob"), at=now - timedelta(seconds=20))
    j.told(told("match", 2, "new"))
    j.keep([2])
    assert [t["track"] for t in j.report(last_s=600)["tracks"]] == [2]
    assert [t["track"] for t in j.report(event_id="old")["tracks"]] == [1]
    assert j.report(event_id="none")["tracks"] == [] and len(j.report()["tracks"]) == 2
    assert select(read_journal(j.path), 600, None) == []


def test_a_removed_person_is_deleted_from_the_file(tmp_path: Path) -> None:
    j = journal(tmp_path)
    watch(j, 1, seen("alice"))
    j.keep([])
    watch(j, 2, seen("alice"), seen("bob"))
    j.forget("alice")
    assert "alice" not in json.dumps(j.report())
    j.close()
    assert b"alice" not in j.path.read_bytes()
    assert read_journal(j.path)[0]["best"]["identity"] is None


def test_a_person_removed_without_a_daemon_is_deleted_from_the_files_of_all_instances(tmp_path: Path) -> None:
    for instance in ("front", "back"):
        j = Journal(tmp_path / f"explain-{instance}.sqlite", CONFIG)
        watch(j, 1, seen("alice"), seen("bob"))
        j.close()
    forget_in_files(tmp_path, "alice")
    for instance in ("front", "back"):
        content = (tmp_path / f"explain-{instance}.sqlite").read_bytes()
        assert b"alice" not in content and b"bob" in content
    again = Journal(tmp_path / "explain-front.sqlite", CONFIG)
    again.keep_only(["alice", "carol"])
    assert "bob" not in json.dumps(again.report()) and again.report()["tracks"][0]["compared"] == 2
    again.close()


def test_no_file_is_written_when_explain_is_off(tmp_path: Path) -> None:
    j = journal(tmp_path, DecisionConfig(explain_tracks=0))
    watch(j, 1, seen("alice"))
    j.keep([])
    j.close()
    assert not j.path.exists() and read_journal(j.path) == []
    with pytest.raises(EdgeOneshotError, match="explain_tracks is 0"):
        j.report()


def test_a_failing_disk_does_not_stop_the_daemon_and_is_reported(tmp_path: Path) -> None:
    (tmp_path / "explain.sqlite").mkdir()
    j = journal(tmp_path)
    watch(j, 1, seen("alice"))
    j.keep([])
    assert j.report() == {"tracks": [], "kept": 20, "fault": j.fault} and j.fault
    (other := tmp_path / "other.sqlite").write_bytes(b"no database at all" * 100)
    broken = Journal(other, CONFIG)
    assert broken.fault
    with pytest.raises(EdgeOneshotError, match="cannot read"):
        read_journal(other)
    again = journal(tmp_path / "deep")
    assert again.fault == ""
    again._db.close() if again._db else None
    again._db = sqlite3.connect(":memory:")
    watch(again, 1, seen("alice"))
    again.keep([])
    assert "no such table" in again.fault


def test_the_tracker_says_which_track_saw_what() -> None:
    tracker = Tracker(DecisionConfig(), never, score)
    tracker.update([seen("alice", x=0.0), seen("", x=500.0)], 1)
    who = [(n, o.decision.candidate and o.decision.candidate.identity_id) for n, o, _ in tracker.seen_at(1)]
    assert who == [(1, "alice"), (2, "lookalike")]
    tracker.update([seen("alice", x=0.0)], 2)
    assert [n for n, _, _ in tracker.seen_at(2)] == [1] and tracker.numbers == [1, 2]
