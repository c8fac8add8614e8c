"""The part of a report that shows false match rates by who the strangers are."""

from __future__ import annotations

from edge_oneshot.evaluation.reports.html import paragraph, section, table
from edge_oneshot.evaluation.reports.intervals import Row, interval_chart
from edge_oneshot.evaluation.reports.numbers import count, exact_percent, interval, percent
from edge_oneshot.evaluation.strangers import Differential, Observed, Population, StrangersResult

TITLES = {"group": "group ", "camera": "camera "}


def _name(p: Population) -> str:
    return TITLES.get(p.kind, "") + p.name


def _enough(r: Observed) -> str:
    return "" if r.enough else "too few"


def _ratio(d: Differential) -> str:
    if d.worst_to_best is None:
        return (
            f"not measured: {count(d.groups, 'group')} with enough expected false matches, or one without a false match"
        )
    return (
        f"{d.worst} to {d.best} {d.worst_to_best:g}, {d.worst} to the geometric mean of {d.groups} groups "
        f"{d.worst_to_geometric_mean:g}"
    )


def lines(r: StrangersResult) -> list[str]:
    """The report for a terminal."""
    found = [f"false match rates by who the strangers are; claimed against {r.against}:"]
    for p in r.populations:
        found.append(f"  {_name(p)}: {count(p.people, 'person', 'people')}, {count(p.pairs, 'pair')}")
        for o in p.rates:
            found.append(
                f"    claimed {exact_percent(o.claimed):>7}, measured {percent(o.fmr, o.ci95):>9} (95 % interval "
                f"{interval(o.ci95)}), {o.observed:g} false matches, {o.expected:g} expected"
                + ("" if o.enough else ": too few to tell")
            )
    for d in r.differentials if any(p.kind == "group" for p in r.populations) else ():
        found.append(f"  worst group at claimed {exact_percent(d.claimed)}: {_ratio(d)}")
    return found


def sections(r: StrangersResult) -> list[str]:
    """The picture, the table and the ratios as HTML."""
    rows = [
        (
            _name(p),
            p.people,
            f"{p.pairs:,}",
            exact_percent(o.claimed),
            f"{o.expected:g}",
            f"{o.observed:g}",
            percent(o.fmr, o.ci95),
            interval(o.ci95),
            _enough(o),
        )
        for p in r.populations
        for o in p.rates
    ]
    head = ("Strangers", "people", "pairs", "claimed", "expected", "observed", "FMR", "95 % interval", "enough")
    ratios = [
        (
            exact_percent(d.claimed),
            d.groups,
            d.worst or "",
            d.best or "",
            "not measured" if d.worst_to_best is None else f"{d.worst_to_best:g}",
            "not measured" if d.worst_to_geometric_mean is None else f"{d.worst_to_geometric_mean:g}",
        )
        for d in r.differentials
    ]
    ratio_head = ("claimed", "groups compared", "worst", "best", "worst / best", "worst / geometric mean")
    grouped = any(p.kind == "group" for p in r.populations)
    return [
        section(
            "False match rates by who the strangers are",
            paragraph(
                f"Claimed against {r.against}. People of a group, of a camera and of an age band are compared with people of "
                "the same sex and age band only; groups and cameras are those of adults. Counts are pairs of people: a pair "
                "with several images counts with the share of its images that match. “Too few”: fewer than 30 false matches "
                "are expected at the claim, so only the interval says something."
            ),
            _chart(r),
            table(head, rows),
        ),
        *(
            [
                section(
                    "Differences between groups",
                    table(ratio_head, ratios),
                    paragraph(
                        "The measures of NIST IR 8280 and ISO/IEC 19795-10, over the groups in which at least 30 false "
                        "matches are expected. 1: all groups have the same rate."
                    ),
                )
            ]
            if grouped
            else []
        ),
    ]


def _chart(r: StrangersResult) -> str:
    claimed = [o.claimed for o in r.populations[0].rates] if r.populations else []
    rows = [
        Row(_name(p), [(o.fmr, o.ci95.low, o.ci95.high, o.enough) for o in p.rates]) for p in r.populations if p.rates
    ]
    return interval_chart(
        "False match rate at each claim",
        "A point is the measured rate, its bar the 95 % interval; the dashed line of the same colour is the claim. A point "
        "to the right of its line is higher than claimed. Hollow points: fewer than 30 false matches are expected.",
        [exact_percent(c) for c in claimed],
        claimed,
        rows,
    )
