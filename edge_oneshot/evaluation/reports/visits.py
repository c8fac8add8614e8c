"""The report of `edge-oneshot evaluate video`: error rates of labelled visits."""

from __future__ import annotations

from collections.abc import Sequence

from edge_oneshot.evaluation.reports.charts import Axis, Line, chart
from edge_oneshot.evaluation.reports.html import Page, section, side_by_side, table
from edge_oneshot.evaluation.reports.numbers import NOT_MEASURED, count, interval, percent, percent_with_interval, score
from edge_oneshot.evaluation.visit_rates import SLACK_S, VideoResult, VisitRate
from edge_oneshot.evaluation.visits import VideoEvent
from edge_oneshot.matching.track import ResultKind

RATES = {
    "fpir_per_visit": "strangers reported as a match (FPIR)",
    "fnir_per_visit": "enrolled people not matched (FNIR)",
}
EVENTS = {
    "match_events": "match",
    "false_match_events": "match, of these false",
    "unknown_events": "unknown",
    "false_unknown_events": "unknown, of these false",
    "rejected_events": "rejected",
    "events_outside_visits": "outside every visit",
    "repeated_match_events": "a name repeated within one visit",
    "identity_switches": "a second name within one visit or track",
}


def _rates(r: VideoResult) -> list[tuple[str, VisitRate]]:
    return [(RATES["fpir_per_visit"], r.fpir_per_visit), (RATES["fnir_per_visit"], r.fnir_per_visit)]


def _per_hour(r: VideoResult) -> str:
    return NOT_MEASURED if r.false_match_events_per_hour is None else f"{r.false_match_events_per_hour:.3g} per hour"


def _claimed(r: VideoResult) -> str:
    return "" if r.claimed_false_matches is None else f"{r.claimed_false_matches:.3g} claimed"


def _duration(hours: float) -> str:
    return f"{hours:.3g} h" if hours >= 1 else f"{60 * hours:.1f} min"


def _summary(r: VideoResult) -> str:
    return (
        f"{count(r.visits, 'visit')} ({r.enrolled_visits} by enrolled people, {r.stranger_visits} by strangers) in "
        f"{_duration(r.hours)} of video"
    )


def lines(r: VideoResult) -> list[str]:
    """The report for a terminal."""
    found = [f"{_summary(r)}; {count(r.gallery, 'person', 'people')} enrolled, threshold {score(r.threshold)}"]
    for what, rate in _rates(r):
        if rate.of:
            found.append(
                f"{what}: {rate.count} of {count(rate.of, 'visit')} by {count(rate.people, 'person', 'people')}, "
                f"{percent_with_interval(rate.rate, rate.ci95)}"
            )
    claimed = f" ({_claimed(r)})" if _claimed(r) else ""
    found.append(f"match events: {r.match_events}, of these false: {r.false_match_events}{claimed}, {_per_hour(r)}")
    found.append(
        f"unknown events: {r.unknown_events}, of these false: {r.false_unknown_events}; rejected events: {r.rejected_events}; "
        f"identity switches: {r.identity_switches}"
    )
    if r.seconds_to_match and r.compared_frames_to_match:
        seconds, frames = r.seconds_to_match, r.compared_frames_to_match
        found.append(
            f"time to a match: median {seconds.median:.1f} s and {frames.median:.0f} compared frames, "
            f"90th percentile {seconds.p90:.1f} s and {frames.p90:.0f} frames"
        )
    return found + [f"  false match: {f.name} in {f.video} at {f.at_s:.1f} s" for f in r.false_matches]


def page(r: VideoResult, events: Sequence[VideoEvent], encoder_id: str) -> Page:
    rates = [
        (what, rate.count, rate.of, rate.people, percent(rate.rate, rate.ci95), interval(rate.ci95))
        for what, rate in _rates(r)
    ]
    kinds = [(name, getattr(r, key)) for key, name in EVENTS.items()]
    sections = [
        section("Error rates per visit", table(("Error", "visits", "of", "people", "rate", "95 % interval"), rates)),
        section(
            "Events",
            side_by_side(table(("Event", "number"), kinds), table(("False matches", "number"), _false_matches(r))),
        ),
    ]
    if r.seconds_to_match and r.compared_frames_to_match:
        seconds, frames = r.seconds_to_match, r.compared_frames_to_match
        times = [
            (
                "time from the start of the visit (s)",
                f"{seconds.median:.1f}",
                f"{seconds.p90:.1f}",
                f"{seconds.max:.1f}",
            ),
            ("frames compared", f"{frames.median:.0f}", f"{frames.p90:.0f}", f"{frames.max:.0f}"),
        ]
        sections.append(
            section(
                "Time to a match",
                table(("Until the match", "median", "90th percentile", "maximum"), times),
                _chart(events),
            )
        )
    if r.false_matches:
        rows = [(f.video, f"{f.at_s:.1f}", f.name, ", ".join(f.people_in_view)) for f in r.false_matches]
        sections.append(section("False matches", table(("Video", "time (s)", "reported as", "people in view"), rows)))
    return Page(
        title="Labelled visits",
        lead=(
            f"{_summary(r)}. {count(r.gallery, 'person', 'people')} enrolled from one image each; threshold, score "
            f"{score(r.threshold)}.",
            "Every frame went through the daemon's pipeline and tracker. A visit is one trial, however many frames and events "
            f"it has. An event belongs to the visits at its time, with {SLACK_S:g} s allowed. A match is false unless one of "
            "these visits has its name. Intervals are 95 %, over people.",
        ),
        sections=sections,
        encoder_id=encoder_id,
    )


def _false_matches(r: VideoResult) -> list[tuple[str, str]]:
    found = [
        ("measured", str(r.false_match_events)),
        ("measured, per hour of video", _per_hour(r).removesuffix(" per hour")),
    ]
    if r.claimed_false_matches is not None:
        found.append(("claimed for these visits", f"{r.claimed_false_matches:.3g}"))
    return found


def _chart(events: Sequence[VideoEvent]) -> str:
    frames = sorted(e.compared for e in events if e.kind is ResultKind.MATCH)
    share = [(i + 1) / len(frames) for i in range(len(frames))]
    every = tuple(float(n) for n in range(0, frames[-1] + 1, max(1, frames[-1] // 8)))
    return chart(
        "Frames compared before a match",
        "Share of the matches reported after at most so many compared frames of a track.",
        Axis("frames compared", 0.0, float(frames[-1]), ticks=every),
        Axis("matches (%)", 0.0, 1.0, percent=True),
        [Line("", [float(n) for n in frames], share, marks=len(frames) <= 40)],
    )
