"""The report of `edge-oneshot evaluate conditions`: the range chart, the conditions, the cost of each gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.conditions.range_table import table_of
from edge_oneshot.evaluation.conditions.results import ConditionResult, ConditionsResult, FalseMatches, TestedThreshold
from edge_oneshot.evaluation.reports.charts import Axis, Line, chart
from edge_oneshot.evaluation.reports.html import Page, paragraph, section, side_by_side, table
from edge_oneshot.evaluation.reports.numbers import count, exact_percent, interval, percent, score
from edge_oneshot.recognition.reach import SHARE

SHARES = Axis("probes (%)", 0.0, 1.0, ticks=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0), percent=True)
LIGHT_TICKS = (0.12, 0.25, 0.5, 1.0)


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _false(f: FalseMatches) -> str:
    expected = "" if f.expected is None else f" of {f.expected:.3g}"
    return f"{f.observed}{expected}"


def _claim(t: TestedThreshold) -> str:
    claims = ((t.fmr_matched, "matched strangers"), (t.fmr_everybody, "everybody"))
    stated = "; ".join(f"FMR {exact_percent(fmr)} against {who}" for fmr, who in claims if fmr is not None)
    return f"{t.name}: score {score(t.threshold)} ({stated or 'no rate is stated'})"


def _gates(c: ConditionResult) -> str:
    return ", ".join(f"{code} {g.refused} ({g.would_match}, alone {g.alone})" for code, g in c.gates.items()) or "none"


def protocol(r: ConditionsResult) -> str:
    return (
        f"{count(r.people, 'person', 'people')}, each with one clean reference and another picture as the probe, rendered into "
        f"frames of {r.frame[0]}x{r.frame[1]} px; references of {count(r.references, 'person', 'people')}"
    )


def _range_words(r: ConditionsResult) -> list[str]:
    """One sentence for each light; none if the distances were not measured."""
    try:
        found = table_of(r)
    except EdgeOneshotError:
        return []
    return found.words(r.frame[0], r.field_of_view_deg)


def lines(r: ConditionsResult) -> list[str]:
    """The report for a terminal."""
    found = [protocol(r), *(f"threshold {_claim(t)}" for t in r.thresholds), *_range_words(r), ""]
    head = f"{'condition':32}{'found':>8}{'refused':>9}"
    for t in r.thresholds:
        head += f" | {t.name + ':':>12}{'recognized':>11}{'encoder':>9}{'false':>13}"
    found.append(head)
    for c in r.conditions:
        row = f"{c.title:32}{_rate(c.found):>8}{_rate(c.refused):>9}"
        for a in c.at:
            row += f" | {'':12}{_rate(a.recognized):>11}{_rate(a.encoder):>9}{_false(a.encoder_false_matches):>13}"
        found.append(row)
    found += ["", "false: false matches of the probes that were found, observed and expected, against everybody", ""]
    found.append("gates: probes refused (of these would match; refused by this gate alone and would match)")
    found += [f"  {c.title:32}{_gates(c)}" for c in r.conditions if c.gates]
    return found


def page(r: ConditionsResult) -> Page:
    return Page(
        title="Recognition by distance and light",
        lead=(
            f"{protocol(r)}. The pictures are changed by computer; a real camera differs.",
            f"Distances are for a frontal face with 63 mm between the pupils and a horizontal field of view of "
            f"{r.field_of_view_deg:g} degrees. Threshold {'; '.join(map(_claim, r.thresholds))}.",
            "Recognized: share of all probes that the quality gates let through and that match their own reference, from one "
            "frame where a row says nothing else. Encoder: share of the found probes that would match if no gate refused them.",
        ),
        sections=(
            _range(r),
            *(_rates(r, i) for i in range(len(r.thresholds))),
            section(
                "What each gate costs",
                table(
                    ("Condition", "found", "refused", "gates: refused (would match, alone)"),
                    [(c.title, _rate(c.found), _rate(c.refused), _gates(c)) for c in r.conditions],
                ),
                paragraph(
                    "For each gate: probes refused; of these, the probes that would match at the first threshold; of those, the "
                    "ones that no other gate refuses. The last number is what opening this gate alone would gain."
                ),
            ),
        ),
        encoder_id=r.encoder_id,
    )


def _range(r: ConditionsResult) -> str:
    day = [c for c in r.conditions if c.family == "distance"]
    dim = [c for c in r.conditions if c.light == 0.25 and c.frames == 1]
    dim.sort(key=lambda c: c.distance_m)
    light = [c for c in r.conditions if c.inter_eye_px == 43 and c.frames == 1 and _plain(c)]
    light.sort(key=lambda c: -c.light)
    charts = []
    if len(day) > 1:
        far = max(c.distance_m for c in day)
        charts.append(
            chart(
                "Range",
                f"Recognized by distance, score {score(r.thresholds[0].threshold)}. Hold it against your hallway: "
                + "; ".join(_range_words(r))
                + f" ({exact_percent(SHARE)} of the people who are recognized close up).",
                Axis("distance (m)", 0.0, far * 1.02),
                SHARES,
                _lines(day, lambda c: c.distance_m)
                + _only(dim, lambda c: c.distance_m, "recognized, brightness x 0.25"),
            )
        )
    if len(light) > 1:
        charts.append(
            chart(
                "Light",
                "Recognized by brightness, 43 px between the eyes. 1 is the brightness of the pictures.",
                Axis("brightness", 0.12, 1.0, "log", LIGHT_TICKS),
                SHARES,
                _lines(light, lambda c: c.light),
            )
        )
    return section("Distance and light", side_by_side(*charts)) if charts else ""


def _plain(c: ConditionResult) -> bool:
    return c.name == "eyes-43" or c.name.startswith("light-")


def _lines(conditions: Sequence[ConditionResult], x: Callable[[ConditionResult], float]) -> list[Line]:
    at = [x(c) for c in conditions]
    return [
        Line("recognized", at, [c.at[0].recognized for c in conditions], marks=True),
        Line("found", at, [c.found for c in conditions], marks=True),
        Line("encoder, where found", at, [c.at[0].encoder or 0.0 for c in conditions], marks=True),
    ]


def _only(conditions: Sequence[ConditionResult], x: Callable[[ConditionResult], float], name: str) -> list[Line]:
    if len(conditions) < 2:
        return []
    return [Line(name, [x(c) for c in conditions], [c.at[0].recognized for c in conditions], marks=True)]


def _rates(r: ConditionsResult, i: int) -> str:
    rows = []
    matched = any(c.at[i].matched_encoder_false_matches for c in r.conditions)
    for c in r.conditions:
        a = c.at[i]
        everybody = a.encoder_false_matches
        row = [
            c.title,
            f"{c.distance_m:.2f}",
            percent(c.found, c.found_ci95),
            percent(a.recognized, a.recognized_ci95),
            interval(a.recognized_ci95),
            percent(a.encoder, a.encoder_ci95),
            interval(a.encoder_ci95),
            _false(a.false_matches),
            _false(everybody),
            interval(everybody.ci95),
        ]
        if matched and (m := a.matched_encoder_false_matches) is not None:
            row += [_false(m), interval(m.ci95)]
        rows.append(row)
    head = ["Condition", "m", "found", "recognized", "95 %", "encoder", "95 %"]
    head += ["false, let through", "false, found", "FMR, 95 %"]
    head += ["false, matched strangers", "FMR, 95 %"] if matched else []
    t = r.thresholds[i]
    return section(
        f"Threshold {t.name}: score {score(t.threshold)}",
        table(head, rows),
        paragraph(
            "m: metres. False: false matches observed, of those expected at the claim. Each probe is compared with the references of all "
            "other people. Let through: by the gates; found: all that were found. Intervals are by bootstrap over "
            "people; without a false match, by the number of comparisons."
        ),
    )
