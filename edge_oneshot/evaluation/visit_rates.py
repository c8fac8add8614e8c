"""Error rates of labelled visits: what `edge-oneshot evaluate video` reports.

Error rates are per visit: each visit is one trial, however many frames and events it has. Events are also counted per
hour, as ISO/IEC 19795-1 does for a scenario evaluation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_oneshot.evaluation.metrics import Interval, rate_over_people, wilson
from edge_oneshot.evaluation.results import rounded
from edge_oneshot.evaluation.visits import VideoEvent, Visit
from edge_oneshot.matching.threshold import Threshold
from edge_oneshot.matching.track import ResultKind

SLACK_S = 0.5  # labels are set by hand


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitRate:
    """count of `of` visits, by so many people. rate: None if there are no such visits."""

    rate: float | None
    count: int
    of: int
    people: int
    ci95: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    median: float
    p90: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FalseMatch:
    """name: the identity of the match. people_in_view: as far as the visits name them."""

    video: str
    at_s: float
    name: str | None
    people_in_view: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoResult:
    """An event belongs to the visits of its video at its time (the last frame of its track, with SLACK_S allowed).

    A match is false unless one of these visits has its name; `unknown` is false unless one of them is by a stranger. If
    several people are in view at once, an event does not say which of them it belongs to: repeated_match_events, a name
    reported again within one visit, may be another person's.
    """

    visits: int
    enrolled_visits: int
    stranger_visits: int
    gallery: int
    hours: float
    threshold: float
    claimed_fmr: float | None
    claimed_fpir: float | None
    threshold_extrapolated: bool
    fnir_per_visit: VisitRate
    fpir_per_visit: VisitRate
    claimed_false_matches: float | None
    match_events: int
    false_match_events: int
    false_match_events_per_hour: float | None
    unknown_events: int
    false_unknown_events: int
    rejected_events: int
    events_outside_visits: int
    repeated_match_events: int
    strangers_reported_unknown: int
    identity_switches: int
    seconds_to_match: Spread | None
    compared_frames_to_match: Spread | None
    false_matches: list[FalseMatch]


class _Assignment:
    """Which events belong to which visit, and which events are false."""

    def __init__(self, visits: Sequence[Visit], events: Sequence[VideoEvent]) -> None:
        self.visits = visits
        self.events: list[list[VideoEvent]] = [[] for _ in visits]
        self.false_matches: list[FalseMatch] = []
        self.false_unknowns = self.outside = 0
        for event in events:
            self._assign(event)

    def _assign(self, event: VideoEvent) -> None:
        here = [
            i
            for i, v in enumerate(self.visits)
            if v.video == event.video and v.start_s - SLACK_S <= event.at_s <= v.end_s + SLACK_S
        ]
        by_name = event.kind in (ResultKind.MATCH, ResultKind.UNKNOWN)
        own = [i for i in here if self.visits[i].name == event.name] if by_name else here
        for i in own or here:
            self.events[i].append(event)
        self.outside += not here
        if own:
            return
        if event.kind is ResultKind.MATCH:
            people = sorted({self.visits[i].person for i in here if self.visits[i].person})
            self.false_matches.append(
                FalseMatch(video=event.video, at_s=round(event.at_s, 2), name=event.name, people_in_view=people)
            )
        elif event.kind is ResultKind.UNKNOWN:
            self.false_unknowns += 1

    def own_matches(self, i: int) -> list[VideoEvent]:
        """The matches with the name of the visit."""
        return [e for e in self.events[i] if e.kind is ResultKind.MATCH and e.name == self.visits[i].name]

    def has(self, i: int, kind: ResultKind) -> bool:
        return any(e.kind is kind for e in self.events[i])


def measure(
    visits: Sequence[Visit], events: Sequence[VideoEvent], seconds: float, threshold: Threshold, gallery: int
) -> VideoResult:
    """seconds: of video. gallery: people enrolled. Intervals are 95 %, over people."""
    assigned = _Assignment(visits, events)
    mated = [i for i, v in enumerate(visits) if v.name is not None]
    strangers = [i for i, v in enumerate(visits) if v.name is None]
    own = {i: assigned.own_matches(i) for i in mated}
    first = {i: matches[0] for i, matches in own.items() if matches}
    kinds = Counter(e.kind for e in events)
    hours = seconds / 3600
    false_matches, fpir = len(assigned.false_matches), threshold.target_fpir
    return VideoResult(
        visits=len(visits),
        enrolled_visits=len(mated),
        stranger_visits=len(strangers),
        gallery=gallery,
        hours=round(hours, 4),
        threshold=round(threshold.value, 5),
        claimed_fmr=threshold.target_fmr,
        claimed_fpir=fpir,
        threshold_extrapolated=threshold.extrapolated,
        fnir_per_visit=_visit_rate(visits, mated, [i not in first for i in mated]),
        fpir_per_visit=_visit_rate(visits, strangers, [assigned.has(i, ResultKind.MATCH) for i in strangers]),
        claimed_false_matches=None if fpir is None else round(fpir * len(strangers), 3),
        match_events=kinds[ResultKind.MATCH],
        false_match_events=false_matches,
        false_match_events_per_hour=round(false_matches / hours, 3) if hours else None,
        unknown_events=kinds[ResultKind.UNKNOWN],
        false_unknown_events=assigned.false_unknowns,
        rejected_events=kinds[ResultKind.REJECTED],
        events_outside_visits=assigned.outside,
        repeated_match_events=sum(max(0, len(matches) - 1) for matches in own.values()),
        strangers_reported_unknown=sum(assigned.has(i, ResultKind.UNKNOWN) for i in strangers),
        identity_switches=_switches(assigned, events),
        seconds_to_match=_spread([max(0.0, e.at_s - visits[i].start_s) for i, e in first.items()]),
        compared_frames_to_match=_spread([float(e.compared) for e in first.values()]),
        false_matches=assigned.false_matches,
    )


def _switches(assigned: _Assignment, events: Sequence[VideoEvent]) -> int:
    """Names beyond the first within one visit, and tracks with two names (which the tracker excludes)."""
    by_track: dict[tuple[str, int], set[str]] = {}
    for e in events:
        if e.name is not None:
            by_track.setdefault((e.video, e.track), set()).add(e.name)
    by_visit = [{e.name for e in own if e.kind is ResultKind.MATCH} for own in assigned.events]
    return sum(max(0, len(n) - 1) for n in by_visit) + sum(len(n) > 1 for n in by_track.values())


def _visit_rate(visits: Sequence[Visit], chosen: Sequence[int], hits: Sequence[bool]) -> VisitRate:
    people = [visits[i].person or f"\0{i}" for i in chosen]
    if not chosen:
        return VisitRate(rate=None, count=0, of=0, people=0, ci95=Interval(low=0.0, high=1.0))
    names, person = np.unique(people, return_inverse=True)
    share, interval = rate_over_people(np.array(hits, dtype=bool), person.astype(np.intp))
    if len(names) == len(people):
        interval = wilson(sum(hits), len(hits))
    return VisitRate(rate=round(share, 6), count=sum(hits), of=len(hits), people=len(names), ci95=rounded(interval, 6))


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    median, p90, most = (round(float(np.percentile(values, q)), 3) for q in (50, 90, 100))
    return Spread(median=median, p90=p90, max=most)
