"""The journal: the explanation of a track, its size, no pictures in it, and forgetting a person."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from samples import score, seen, unit, view_of

from edge_oneshot.config import DecisionConfig
from edge_oneshot.errors import EdgeOneshotError, StorageError
from edge_oneshot.events.explain import reason, select
from edge_oneshot.events.journal import Journal, forget_in_journals, read_journal
from edge_oneshot.matching.track import Tracker
from edge_oneshot.types import Embedding, Event, Observation

NOW = datetime(2026, 9, 30, 14, 0, 0, tzinfo=UTC)
CONFIG = DecisionConfig(explain_tracks=20)


def journal(tmp_path: Path, config: DecisionConfig = CONFIG) -> Journal:
    return Journal(tmp_path / "explain.sqlite", config)


def watch(j: Journal, number: int, *observations: Observation, at: datetime = NOW) -> None:
    for i, observation in enumerate(observations):
        j.observe([(number, observation, None)], at + timedelta(milliseconds=100 * i))


def published(event_type: str, track: int, event_id: str = "e-1") -> Event:
    return Event(event_id=event_id, event_type=event_type, ts=NOW, captured_ns=1, boot_id="b", body={"track": track})


def test_a_track_that_matched(tmp_path: Path) -> None:
    j = journal(tmp_path)
    watch(j, 3, seen(None), seen(None), seen("alice", score=0.7), seen("alice", score=0.9), seen("alice", score=0.8))
    j.add_event(published("match", 3))
    (open_track,) = j.report()["tracks"]
    assert open_track["in_sight"] and open_track["why"].startswith("reported as a match: 3 ")
    j.close_tracks([])
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
        (9, 0, {}, [], "nothing was reported: every frame failed a gate"),
        (3, 0, {}, [], "fewer than the 8"),
        (
            20,
            0,
            {},
            ["rejected"],
            "reported as rejected: the person left before the track was decided; every frame failed a gate",
        ),
        (
            8,
            8,
            {},
            ["rejected"],
            "reported as rejected: the person left before the track was decided; none of 8 compared",
        ),
        (9, 2, {"alice": 2}, [], "nothing was reported: 2 of 2 compared frames matched on their own; but never"),
        (9, 2, {"a": 1, "b": 1}, [], "2 of 2 compared frames matched on their own for several people"),
        (9, 4, {}, [], "none of 4 compared frames reached the threshold"),
        (9, 9, {}, ["unknown"], "reported as unknown"),
        (9, 9, {"a": 3}, ["match", "gone"], "reported as a match"),
    ],
)
def test_every_ending_has_its_reason(
    frames: int, compared: int, votes: dict[str, int], events: list[str], says: str
) -> None:
    assert says in reason(frames, compared, votes, {}, events, DecisionConfig())


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        ([True] * 3, "no frame was compared, since other faces in the picture were compared first"),
        ([True, False, False], "2 of 3 frames failed a gate, and in the others other faces in the picture"),
        ([False] * 3, "every frame failed a gate"),
    ],
)
def test_a_face_that_waited_for_others_did_not_fail_a_gate(tmp_path: Path, shown: list[bool], says: str) -> None:
    poor = seen(None)
    good = replace(poor, decision=replace(poor.decision, faults=()))
    j = journal(tmp_path)
    watch(j, 1, *(good if waited else poor for waited in shown))
    assert says in j.report()["tracks"][0]["why"]


def never(a: Embedding, b: Embedding) -> bool:
    return False


START = "at least 3 frames together reached the threshold for one person, but "
NEWEST = f"{START}the newest frame's best candidate was another person (at "
DIVIDED = f"{START}single-frame matches disagreed on the identity (at "


@pytest.mark.parametrize(
    ("shown", "says", "says_not"),
    [
        ("aa.", f"2 of 3 compared frames matched on their own; {NEWEST}1 of 3 frames)", "disagreed"),
        (
            "aa...",
            f"2 of 5 compared frames matched on their own; {NEWEST}2 of 5 frames)",
            "never",
        ),  # then together no more
        (
            "ababab",
            f"6 of 6 compared frames matched on their own for several people; {DIVIDED}4 of 6 frames)",
            "another person",
        ),
        ("aa.xb", "disagreed on the identity (at 1 of 4 frames)", "never"),
        ("a...", "1 of 4 compared frames matched on their own; but never at least 3 frames together", "another person"),
        (
            "aa........",
            f"reported as unknown: 8 compared frames in a row without a match; {NEWEST}2 of 10 frames)",
            "never",
        ),
        ("aa.a", "reported as a match: 3 of 4", "another person"),
    ],
)
def test_the_obstacle_to_a_match_is_named(tmp_path: Path, shown: str, says: str, says_not: str) -> None:
    """a, b = a match with alice or bob at 0.85, others 0.2; . = a frame that matches no person, x = one too poor to compare."""
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
            j.add_event(published(result.kind.value, result.track))
    j.close_tracks([])
    j.close()
    (t,) = read_journal(j.path)
    assert says in t["why"] and says_not not in t["why"]
    assert len(json.dumps(t)) < 1500


def test_the_file_is_bounded_private_and_without_vectors(tmp_path: Path) -> None:
    j = journal(tmp_path)
    for number in range(400):
        watch(j, number, seen("alice"), seen(""), seen(None))
        j.close_tracks([])
    j.close()
    records = read_journal(j.path)
    assert 20 <= len(records) < 20 + 50 and records[-1]["track"] == 399
    assert stat.S_IMODE(j.path.stat().st_mode) == 0o600
    assert j.path.stat().st_size < 400_000
    assert max(len(json.dumps(r)) for r in records) < 1500, "text of one track, no vector, no picture"


def test_open_tracks_stay_small_however_long_a_person_stays(tmp_path: Path) -> None:
    j = journal(tmp_path)
    watch(j, 1, *[seen("alice"), seen(None)] * 5000)
    (t,) = j.report()["tracks"]
    assert t["frames"] == 10000 and len(json.dumps(t)) < 1500


def test_the_last_minutes_and_an_event(tmp_path: Path) -> None:
    j = journal(tmp_path)
    now = datetime.now(UTC)
    watch(j, 1, seen("alice"), at=now - timedelta(hours=2))
    j.add_event(published("match", 1, "old"))
    watch(j, 2, seen("bob"), at=now - timedelta(seconds=20))
    j.add_event(published("match", 2, "new"))
    j.close_tracks([2])
    assert [t["track"] for t in j.report(last_s=600)["tracks"]] == [2]
    assert [t["track"] for t in j.report(event_id="old")["tracks"]] == [1]
    assert j.report(event_id="none")["tracks"] == [] and len(j.report()["tracks"]) == 2
    assert select(read_journal(j.path), 600, None) == []


def test_a_forgotten_person_is_removed_from_the_file(tmp_path: Path) -> None:
    j = journal(tmp_path)
    watch(j, 1, seen("alice"))
    j.close_tracks([])
    watch(j, 2, seen("alice"), seen("bob"))
    j.forget("alice")
    assert "alice" not in json.dumps(j.report())
    j.close()
    assert b"alice" not in j.path.read_bytes()
    assert read_journal(j.path)[0]["best"]["identity"] is None


def test_a_person_forgotten_while_no_daemon_ran_is_removed_from_every_file(tmp_path: Path) -> None:
    for instance in ("front", "back"):
        j = Journal(tmp_path / f"explain-{instance}.sqlite", CONFIG)
        watch(j, 1, seen("alice"), seen("bob"))
        j.close()
    forget_in_journals(tmp_path, "alice")
    for instance in ("front", "back"):
        content = (tmp_path / f"explain-{instance}.sqlite").read_bytes()
        assert b"alice" not in content and b"bob" in content
    again = Journal(tmp_path / "explain-front.sqlite", CONFIG)
    again.keep_only(["alice", "carol"])
    assert "bob" not in json.dumps(again.report()) and again.report()["tracks"][0]["compared"] == 2
    again.close()


def test_off_means_no_file(tmp_path: Path) -> None:
    j = journal(tmp_path, DecisionConfig(explain_tracks=0))
    watch(j, 1, seen("alice"))
    j.close_tracks([])
    j.close()
    assert not j.path.exists() and read_journal(j.path) == []
    with pytest.raises(EdgeOneshotError, match="explain_tracks is 0"):
        j.report()


def test_a_file_that_cannot_be_opened_does_not_stop_the_daemon(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "explain.sqlite").mkdir()
    j = journal(tmp_path)
    for number in range(3):
        watch(j, number, seen("alice"))
        j.close_tracks([])
    assert j.report() == {"tracks": [], "kept": 20, "fault": j.fault}
    assert "Is a directory" in j.fault and caplog.text.count("tracks are not kept for `explain`") == 1
    (tmp_path / "explain.sqlite").rmdir()
    watch(j, 4, seen("alice"))
    j.close_tracks([])
    assert j.fault == "" and [t["track"] for t in j.report()["tracks"]] == [4]
    j.close()


def test_a_damaged_file_is_moved_aside_and_deleted_when_a_person_is_forgotten(tmp_path: Path) -> None:
    (path := tmp_path / "explain.sqlite").write_bytes(b"not a database, but it may name alice" * 100)
    with pytest.raises(StorageError, match="the file is damaged"):
        read_journal(path)
    j = journal(tmp_path)
    watch(j, 1, seen("bob"))
    j.close_tracks([])
    assert j.fault == "" and len(j.report()["tracks"]) == 1
    assert len(list(tmp_path.glob("explain.sqlite.damaged-*"))) == 1
    j.forget("alice")
    assert list(tmp_path.glob("explain.sqlite.damaged-*")) == []
    j.close()


def test_a_record_that_cannot_be_read_is_set_aside_and_goes_with_the_next_person(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    j = journal(tmp_path)
    for number in (1, 2, 3):
        watch(j, number, seen("alice"))
        j.close_tracks([])
    j._file.run(lambda db: db.execute("UPDATE track SET record = substr(record, 1, 99) WHERE id = 2"), 0)
    assert [t["track"] for t in j.report()["tracks"]] == [1, 3]
    assert j._file.run(lambda db: db.count_set_aside(), -1) == 1
    assert "row 2 of the table track cannot be read and is set aside" in caplog.text
    j.forget("bob")
    assert j._file.run(lambda db: db.count_set_aside(), -1) == 0
    j.close()


def test_the_tracker_returns_the_track_of_each_observation() -> None:
    tracker = Tracker(DecisionConfig(), never, score)
    tracker.update([seen("alice", x=0.0), seen("", x=500.0)], 1)
    who = [(n, o.decision.candidate and o.decision.candidate.identity_id) for n, o, _ in tracker.seen_at(1)]
    assert who == [(1, "alice"), (2, "lookalike")]
    tracker.update([seen("alice", x=0.0)], 2)
    assert [n for n, _, _ in tracker.seen_at(2)] == [1] and tracker.numbers == [1, 2]
