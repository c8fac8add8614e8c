"""Videos of labelled visits -> what the daemon would have told: `edge-oneshot evaluate video`, and the scripted day.

A visit is one person in sight: `video,start_s,end_s,name`, without a name if the person is not enrolled. Every frame goes
through the daemon's pipeline and tracker; what they find is held against the visits. Rates are per visit (each visit is
a trial, however many frames and events it has) and events are per hour, as ISO/IEC 19795-1 has it for a scenario.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_oneshot.cameras import Camera, EndOfStream, connect
from edge_oneshot.config import CameraConfig
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.identification import rate
from edge_oneshot.evaluation.metrics import Interval, wilson
from edge_oneshot.matching.threshold import Threshold
from edge_oneshot.matching.track import ResultKind, Tracker, TrackResult
from edge_oneshot.types import Frame, Observation

SLACK_S = 0.5  # labels are set by hand
HEADER = ["video", "start_s", "end_s", "name"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One person in sight, seconds from the video's first frame. name: as enrolled; None: a stranger.

    person: who it is, where the rates are to be counted over people; empty: every visit is somebody else.
    line: of the file that it was read from.
    """

    video: str
    start_s: float
    end_s: float
    name: str | None
    person: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event: at_s seconds from the video's first frame. name: of a match."""

    video: str
    kind: ResultKind
    name: str | None
    track: int
    at_s: float
    compared: int


def read_visits(path: Path) -> list[Visit]:
    """A CSV file with the header `video,start_s,end_s,name`. Raises EdgeOneshotError naming the line that is wrong."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise EdgeOneshotError(f"cannot read {path}: {e}", "expected a CSV file in UTF-8") from None
    if not rows or [c.strip() for c in rows[0]] != HEADER:
        got = ",".join(rows[0]) if rows else "nothing"
        raise EdgeOneshotError(f"{path} line 1: expected {','.join(HEADER)}, got {got}", "add the header")
    visits = []
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        try:
            video, start, end, name = (c.strip() for c in row)
            visit = Visit(
                video=video, start_s=float(start), end_s=float(end), name=name or None, person=name, line=number
            )
        except ValueError:
            expected = ",".join(HEADER)
            raise EdgeOneshotError(
                f"{path} line {number}: expected {expected}, got {','.join(row)!r}", "mend the line"
            ) from None
        if not (0 <= visit.start_s < visit.end_s < 1e7 and video):
            expected = "a video and 0 <= start_s < end_s"
            raise EdgeOneshotError(f"{path} line {number}: expected {expected}, got {','.join(row)!r}", "mend the line")
        visits.append(visit)
    if not visits:
        raise EdgeOneshotError(f"{path}: expected at least one visit, got none", "one line a visit")
    return visits


def check(visits: Sequence[Visit], names: Iterable[str], path: Path) -> None:
    """Raises EdgeOneshotError for a visit of somebody who is not enrolled, or of a video that is not there."""
    known = set(names)
    for v in visits:
        if v.name is not None and v.name not in known:
            raise EdgeOneshotError(
                f"{path} line {v.line}: a visit of {v.name!r}: expected one of the {len(known)} references, or no name",
                "add DIR/Name/ with a picture, or leave the name empty",
            )
        if not (path.parent / v.video).exists():
            raise EdgeOneshotError(
                f"{path} line {v.line}: no such video: {path.parent / v.video}", "paths are relative to the CSV file"
            )


def length_s(config: CameraConfig, film: Path) -> float:
    """The most seconds that a video lasts, without playing it; inf: it does not tell. Raises CameraError."""
    with _open(config, film) as camera:
        return camera.length_s


def frames(config: CameraConfig, film: Path) -> Iterator[Frame]:
    """Every frame of a video file or a folder of pictures. Raises CameraError."""
    with _open(config, film) as camera:
        while True:
            try:
                yield camera.read(config.stall_timeout_s)
            except EndOfStream:
                return


def _open(config: CameraConfig, film: Path) -> Camera:
    kind = "folder" if film.is_dir() else "file"
    return connect(replace(config, uri=f"{kind}:{film}", pace="fast"))


class Watcher:
    """Keeps what a tracker finds in one video after the other. names: identity_id -> name.

    Events of people's leaving (`gone`) are left out. lengths_s: of each video, from its first to its last frame.
    """

    def __init__(self, tracker: Tracker, names: Mapping[str, str]) -> None:
        self._tracker, self._names = tracker, names
        self.told: list[Told] = []
        self.lengths_s: dict[str, float] = {}
        self._span_ns: tuple[int, int] | None = None

    @property
    def at_s(self) -> float:
        """Seconds from the first frame of the video that is being watched to its newest."""
        return 0.0 if self._span_ns is None else (self._span_ns[1] - self._span_ns[0]) / 1e9

    def see(self, video: str, observations: Sequence[Observation], captured_ns: int) -> None:
        """One frame's observations, in order of time; captured_ns: monotonic capture time."""
        first_ns = captured_ns if self._span_ns is None else self._span_ns[0]
        self._span_ns = first_ns, captured_ns
        self._keep(video, self._tracker.update(observations, captured_ns))

    def end(self, video: str) -> None:
        """The video is over: nobody is in sight any more."""
        if self._span_ns is not None:
            first_ns, last_ns = self._span_ns
            self._keep(video, self._tracker.expire(last_ns + 10**15))  # nobody stays for ten days
            self.lengths_s[video] = (last_ns - first_ns) / 1e9
        self._span_ns = None

    def _keep(self, video: str, results: Sequence[TrackResult]) -> None:
        assert self._span_ns is not None
        first_ns = self._span_ns[0]
        for f in results:
            if f.kind is not ResultKind.GONE:
                name = None if f.identity_id is None else self._names[f.identity_id]
                at_s = (f.last_ns - first_ns) / 1e9
                self.told.append(Told(video=video, kind=f.kind, name=name, track=f.track, at_s=at_s, compared=f.frames))


def check_ends(visits: Sequence[Visit], lengths_s: Mapping[str, float], path: Path) -> None:
    """Raises EdgeOneshotError for a visit that begins after its video has ended: it could only be missed."""
    for v in visits:
        end_s = lengths_s.get(v.video, 0.0)
        if v.start_s > end_s:
            raise EdgeOneshotError(
                f"{path} line {v.line}: a visit of {v.video}: expected a start before the video's end at {end_s:.6g} s, "
                f"got {v.start_s:.6g} s",
                "seconds count from the video's first frame",
            )


def report(
    visits: Sequence[Visit], told: Sequence[Told], seconds: float, threshold: Threshold, gallery: int
) -> dict[str, Any]:
    """The report as JSON values. Intervals are 95 %, over people (visits without one are each somebody else's).

    An event belongs to the visits of its video during which it was told (its track's last frame, SLACK_S allowed). A match
    is false unless one of them is of that name; `unknown` is false unless one of them is a stranger's. Where several
    people are in sight at once, an event does not say which of them it is of: `repeated_match_events`, a name told again
    within one visit, may be another person's.
    """
    at: list[list[Told]] = [[] for _ in visits]
    false_matches: list[tuple[Told, list[str]]] = []
    false_unknowns, stray = 0, 0
    for event in told:
        here = [
            i
            for i, v in enumerate(visits)
            if v.video == event.video and v.start_s - SLACK_S <= event.at_s <= v.end_s + SLACK_S
        ]
        wanted = (
            [i for i in here if visits[i].name == event.name]
            if event.kind in (ResultKind.MATCH, ResultKind.UNKNOWN)
            else here
        )
        for i in wanted or here:
            at[i].append(event)
        stray += not here
        if not wanted and event.kind is ResultKind.MATCH:
            false_matches.append((event, sorted({visits[i].person for i in here if visits[i].person})))
        if not wanted and event.kind is ResultKind.UNKNOWN:
            false_unknowns += 1
    mated = [i for i, v in enumerate(visits) if v.name is not None]
    other = [i for i, v in enumerate(visits) if v.name is None]
    firsts = {
        i: next((e for e in at[i] if e.kind is ResultKind.MATCH and e.name == visits[i].name), None) for i in mated
    }
    found = [e for e in firsts.values() if e is not None]
    names = [{e.name for e in events if e.kind is ResultKind.MATCH} for events in at]
    hours = seconds / 3600
    verdicts = Counter(e.kind.value for e in told)
    wrongly = [any(e.kind is ResultKind.MATCH for e in at[i]) for i in other]
    return {
        "visits": len(visits),
        "enrolled_visits": len(mated),
        "stranger_visits": len(other),
        "gallery": gallery,
        "hours": round(hours, 4),
        "threshold": round(threshold.value, 5),
        "claimed_fmr": threshold.target_fmr,
        "claimed_fpir": threshold.target_fpir,
        "threshold_extrapolated": threshold.extrapolated,
        "fnir_per_visit": _share(visits, mated, [firsts[i] is None for i in mated]),
        "fpir_per_visit": _share(visits, other, wrongly),
        "claimed_false_matches": None
        if threshold.target_fpir is None
        else round(threshold.target_fpir * len(other), 3),
        "match_events": verdicts["match"],
        "false_match_events": len(false_matches),
        "false_match_events_per_hour": _per(len(false_matches), hours),
        "unknown_events": verdicts["unknown"],
        "false_unknown_events": false_unknowns,
        "rejected_events": verdicts["rejected"],
        "events_outside_visits": stray,
        "repeated_match_events": sum(
            max(0, sum(e.kind is ResultKind.MATCH and e.name == visits[i].name for e in at[i]) - 1) for i in mated
        ),
        "strangers_told_unknown": sum(any(e.kind is ResultKind.UNKNOWN for e in at[i]) for i in other),
        "identity_switches": sum(max(0, len(n) - 1) for n in names) + _flips(told),
        "seconds_to_match": _spread([max(0.0, e.at_s - visits[i].start_s) for i, e in firsts.items() if e is not None]),
        "compared_frames_to_match": _spread([float(e.compared) for e in found]),
        "false_matches": [
            {"video": e.video, "at_s": round(e.at_s, 2), "told": e.name, "of": of} for e, of in false_matches
        ],
    }


def _flips(told: Sequence[Told]) -> int:
    """Tracks that were told as two people, which must not be."""
    named: dict[tuple[str, int], set[str]] = {}
    for e in told:
        if e.name is not None:
            named.setdefault((e.video, e.track), set()).add(e.name)
    return sum(len(n) > 1 for n in named.values())


def _share(visits: Sequence[Visit], chosen: Sequence[int], hits: Sequence[bool]) -> dict[str, Any]:
    people = [visits[i].person or f"\0{i}" for i in chosen]
    if not chosen:
        return {"rate": None, "count": 0, "of": 0, "people": 0, "ci95": [0.0, 1.0]}
    _, person = np.unique(people, return_inverse=True)
    share, interval = rate(np.array(hits, dtype=bool), person.astype(np.intp))
    if len(set(people)) == len(people):
        interval = wilson(sum(hits), len(hits))
    return {
        "rate": round(share, 6),
        "count": sum(hits),
        "of": len(hits),
        "people": len(set(people)),
        "ci95": _rounded(interval),
    }


def _rounded(interval: Interval) -> list[float]:
    return [round(interval.low, 6), round(interval.high, 6)]


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {name: round(float(np.percentile(values, q)), 3) for name, q in (("median", 50), ("p90", 90), ("max", 100))}


def _per(count: int, hours: float) -> float | None:
    return round(count / hours, 3) if hours else None
