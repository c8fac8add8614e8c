"""The report of `edge-oneshot evaluate calibration`: claimed and measured error rates."""

from __future__ import annotations

from edge_oneshot.evaluation.claims import Claim, ClaimsResult
from edge_oneshot.evaluation.reports import strangers
from edge_oneshot.evaluation.reports.charts import Axis, Line, chart
from edge_oneshot.evaluation.reports.html import Page, paragraph, section, table
from edge_oneshot.evaluation.reports.numbers import count, exact_percent, interval, percent, score

LOWEST_SHOWN, HIGHEST_SHOWN = 5e-6, 0.2
TICKS = (1e-5, 1e-4, 1e-3, 1e-2, 0.1)


def _name(c: Claim) -> str:
    return "FMR, 1:1" if c.kind == "fmr" else f"FPIR, {c.identities} enrolled"


def _against(r: ClaimsResult) -> str:
    groups = sorted({c.group for c in r.claims if c.group is not None})
    if not groups:
        return "The thresholds are chosen against everybody."
    return f"The thresholds are chosen against matched strangers ({', '.join(groups)}), so lower rates are expected."


def _threshold(c: Claim) -> str:
    return score(c.threshold) + (" (extrapolated)" if c.extrapolated else "")


def lines(r: ClaimsResult) -> list[str]:
    """The report for a terminal."""
    found = [
        f"{count(r.identities, 'person', 'people')}, {count(r.pictures, 'image')}, "
        f"{count(r.failures_to_acquire, 'failure', 'failures')} to acquire",
        f"thresholds from: {r.protocol or 'the table of the model card'}",
        f"rates of one person with any other. {_against(r)}",
    ]
    for c in r.claims:
        found.append(
            f"{_name(c):20} claimed {exact_percent(c.claimed):>7}, measured {percent(c.measured, c.ci95):>9} "
            f"(95 % interval {interval(c.ci95)}), threshold {_threshold(c)}: {c.agreement}"
        )
    if r.strangers is not None:
        found += strangers.lines(r.strangers)
    return found


def page(r: ClaimsResult) -> Page:
    rows = [
        (
            _name(c),
            exact_percent(c.claimed),
            percent(c.measured, c.ci95),
            interval(c.ci95),
            f"{c.carried_by:.0f}",
            _threshold(c),
            c.agreement,
        )
        for c in r.claims
    ]
    sections = [
        section(
            "Claims",
            table(
                ("Rate", "claimed", "measured", "95 % interval", "people behind it", "threshold, score", "agreement"),
                rows,
            ),
            paragraph(
                f"Measured against everybody. {_against(r)} Agreement: “within” means within a factor of two of the claim; “above” "
                "and “below” mean that the whole interval is; otherwise the images cannot tell. People behind it: the "
                "effective number of people whose "
                "comparisons make up the rate; below 10 the rate is not resolved. Extrapolated: the cohort was too small to "
                "count the rate."
            ),
            _chart(r),
        )
    ]
    if r.strangers is not None:
        sections = [*strangers.sections(r.strangers), *sections]
    return Page(
        title="Claimed and measured error rates",
        lead=(
            f"Thresholds from: {r.protocol or 'the table of the model card'}.",
            f"Rates measured on {count(r.identities, 'person', 'people')} and {count(r.pictures, 'image')}. One random image of "
            "every person is compared with one of every other person, in 20 draws; every ordered pair of people has the same "
            "weight. Intervals are 95 %, by bootstrap over people. FMR: share of comparisons of two people that match. FPIR: "
            "share of probes of people who are not enrolled that match a person in the gallery.",
        ),
        sections=sections,
        encoder_id=r.encoder_id,
    )


def _chart(r: ClaimsResult) -> str:
    curves = []
    for n in sorted({c.identities for c in r.claims}):
        own = [c for c in r.claims if c.identities == n]
        measured = [max(c.measured, LOWEST_SHOWN) for c in own]
        curves.append(Line(_name(own[0]), [c.claimed for c in own], measured, marks=True))
    ends = [LOWEST_SHOWN, HIGHEST_SHOWN]
    return chart(
        "Measured against claimed rates",
        "Points on the dashed line are exactly as claimed; points above it are higher than claimed. Rates below "
        f"{exact_percent(LOWEST_SHOWN)} lie on the lower edge.",
        Axis("claimed rate (%)", LOWEST_SHOWN, HIGHEST_SHOWN, "log", TICKS, percent=True),
        Axis("measured rate (%)", LOWEST_SHOWN, HIGHEST_SHOWN, "log", TICKS, percent=True),
        [*curves, Line("as claimed", ends, ends, reference=True)],
    )
