"""Looks -> rates: found, refused and by which gate, recognized, and false matches with the references of other people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_oneshot import __version__
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.conditions.catalogue import Condition
from edge_oneshot.evaluation.conditions.range_table import commit
from edge_oneshot.evaluation.conditions.results import (
    AtThreshold,
    ConditionResult,
    ConditionsResult,
    FalseMatches,
    GateCost,
    TestedThreshold,
)
from edge_oneshot.evaluation.conditions.scene import SIZE
from edge_oneshot.evaluation.conditions.tracks import TrackTrials
from edge_oneshot.evaluation.conditions.trials import REFERENCE, Look
from edge_oneshot.evaluation.labels import Labels
from edge_oneshot.evaluation.metrics import Interval, Ints, rate_over_people, wilson
from edge_oneshot.evaluation.results import rate, rounded, three_digits
from edge_oneshot.evaluation.under_test import UnderTest
from edge_oneshot.matching.compare import score_all
from edge_oneshot.recognition.reach import distance_m, settings_of
from edge_oneshot.types import Float32Array, Float64Array

ROUNDS = 400
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _People:
    """The references. matched: (M,) number of the label key of each person, -1: unknown; None without labels."""

    names: list[str]
    vectors: Float32Array
    matched: Ints | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Probes:
    """The probes of one condition: owner (P,) in the references; scores (P, M), -inf where not found; found, through (P,).

    A track is one probe: its score is the threshold where the tracker reports a match, else -inf.
    """

    owner: Ints
    found: Bools
    through: Bools
    hits: Mapping[str, Bools]  # threshold name -> (P, M) matches, whatever the gates say
    gated_hits: Mapping[str, Bools]  # of what the gates let through


def measure(
    looks: Sequence[Look],
    conditions: Sequence[Condition],
    under_test: UnderTest,
    thresholds: Sequence[TestedThreshold],
    field_of_view_deg: float,
    *,
    left_out: int = 0,
    labels: Labels | None = None,
) -> ConditionsResult:
    """looks: of all people. left_out: people without a reference. Intervals are 95 %, over people.

    Raises EdgeOneshotError if nobody has a reference and a probe.
    """
    references = {k.person: k.vector for k in looks if k.condition == REFERENCE and k.vector is not None}
    names = sorted(references)
    by_condition: dict[str, dict[str, list[Look]]] = {c.name: {} for c in conditions}
    for look in looks:
        if look.condition in by_condition and look.person in references:
            by_condition[look.condition].setdefault(look.person, []).append(look)
    if not any(by_condition.values()):
        raise EdgeOneshotError(
            "expected people with a reference and a probe, got none",
            "give people with two pictures or more, one of which passes the gates for enrollment",
        )
    people = _People(names=names, vectors=np.stack([references[n] for n in names]), matched=_keys(labels, names))
    tracks = TrackTrials(under_test.config, dict(references))
    results = []
    for condition in conditions:
        own = by_condition[condition.name]
        if condition.frames > 1:
            probes = _track_probes(own, people, tracks, under_test, thresholds)
        else:
            probes = _probes([looks[0] for looks in own.values()], people, under_test, thresholds)
        results.append(_result(condition, own, probes, people, thresholds, field_of_view_deg))
    return ConditionsResult(
        people=len({p for own in by_condition.values() for p in own}),
        references=len(names),
        left_out=left_out,
        frame=SIZE,
        field_of_view_deg=field_of_view_deg,
        settings=settings_of(under_test.config),
        thresholds=tuple(thresholds),
        conditions=tuple(results),
        encoder_id=tracks.encoder_id,
        version=__version__,
        commit=commit(),
    )


def _keys(labels: Labels | None, names: Sequence[str]) -> Ints | None:
    """Adults of the same sex, age band and group have the same number."""
    if labels is None:
        return None
    adults, matched = labels.adults(), labels.matched("sex", "age", "group")
    keys = sorted({key for name, key in matched.items() if name in adults})
    return np.array([keys.index(matched[n]) if n in matched and n in adults else -1 for n in names], dtype=np.intp)


def _probes(
    looks: Sequence[Look], people: _People, under_test: UnderTest, thresholds: Sequence[TestedThreshold]
) -> _Probes:
    scores = np.full((len(looks), len(people.names)), -np.inf, dtype=np.float32)
    for row, look in zip(scores, looks, strict=True):
        if look.vector is not None:
            row[:] = score_all(under_test.comparator, people.vectors, look.vector)
    through = np.array([k.compared for k in looks], dtype=bool)
    hits = {t.name: scores >= t.threshold for t in thresholds}
    return _Probes(
        owner=np.array([people.names.index(k.person) for k in looks], dtype=np.intp),
        found=np.array([k.vector is not None for k in looks], dtype=bool),
        through=through,
        hits=hits,
        gated_hits={name: h & through[:, None] for name, h in hits.items()},
    )


def _track_probes(
    own: Mapping[str, list[Look]],
    people: _People,
    tracks: TrackTrials,
    under_test: UnderTest,
    thresholds: Sequence[TestedThreshold],
) -> _Probes:
    """A match of a track needs a frame that matches alone, so only such references are passed to the tracker."""
    shape = (len(own), len(people.names))
    hits = {t.name: np.zeros(shape, dtype=bool) for t in thresholds}
    gated = {t.name: np.zeros(shape, dtype=bool) for t in thresholds}
    for row, looks in enumerate(own.values()):
        frames = [k.vector for k in looks if k.vector is not None]
        if not frames:
            continue
        best = np.max([score_all(under_test.comparator, people.vectors, v) for v in frames], axis=0)
        for t in thresholds:
            for column in np.flatnonzero(best >= t.threshold):
                name = people.names[column]
                hits[t.name][row, column] = tracks.matches(looks, name, t.threshold, gates=False)
                gated[t.name][row, column] = tracks.matches(looks, name, t.threshold, gates=True)
    return _Probes(
        owner=np.array([people.names.index(p) for p in own], dtype=np.intp),
        found=np.array([any(k.vector is not None for k in looks) for looks in own.values()], dtype=bool),
        through=np.array([any(k.compared for k in looks) for looks in own.values()], dtype=bool),
        hits=hits,
        gated_hits=gated,
    )


def _result(
    condition: Condition,
    own: Mapping[str, list[Look]],
    probes: _Probes,
    people: _People,
    thresholds: Sequence[TestedThreshold],
    field_of_view_deg: float,
) -> ConditionResult:
    found, interval = rate_over_people(probes.found, probes.owner)
    rows = np.arange(len(probes.owner))
    first = probes.hits[thresholds[0].name][rows, probes.owner]
    return ConditionResult(
        name=condition.name,
        title=condition.title,
        family=condition.family,
        inter_eye_px=condition.inter_eye_px,
        distance_m=round(distance_m(condition.inter_eye_px, SIZE[0], field_of_view_deg), 3),
        light=condition.light,
        frames=condition.frames,
        probes=len(probes.owner),
        found=round(found, 5),
        found_ci95=rounded(interval, 5),
        refused=round(float((probes.found & ~probes.through).mean()), 5),
        gates=_gates([_common_faults(looks) for looks in own.values()], first),
        at=tuple(_at(t, probes, people) for t in thresholds),
    )


def _common_faults(looks: Sequence[Look]) -> set[str]:
    """The faults that every found frame of a probe has."""
    found = [set(k.faults) for k in looks if k.vector is not None]
    return set.intersection(*found) if found else set()


def _gates(faults: Sequence[set[str]], matches: Bools) -> dict[str, GateCost]:
    codes = sorted({code for codes in faults for code in codes})
    return {
        code: GateCost(
            refused=sum(code in f for f in faults),
            would_match=sum(code in f and bool(m) for f, m in zip(faults, matches, strict=True)),
            alone=sum(f == {code} and bool(m) for f, m in zip(faults, matches, strict=True)),
        )
        for code in codes
    }


def _at(t: TestedThreshold, probes: _Probes, people: _People) -> AtThreshold:
    rows = np.arange(len(probes.owner))
    mated, gated = (hits[t.name][rows, probes.owner] for hits in (probes.hits, probes.gated_hits))
    recognized, recognized_ci95 = rate_over_people(gated, probes.owner)
    encoder, encoder_ci95 = rate_over_people(mated[probes.found], probes.owner[probes.found])
    other = np.ones((len(rows), len(people.names)), dtype=bool)
    other[rows, probes.owner] = False
    same = (
        None
        if people.matched is None
        else (people.matched[probes.owner][:, None] == people.matched) & (people.matched >= 0)
    )

    def false(hits: Bools, used: Bools, of: Bools | None, claim: float | None) -> FalseMatches | None:
        if of is None:
            return None
        return false_matches(hits, other & of & used[:, None], probes.owner, claim)

    everybody = np.ones_like(other)
    through = false(probes.gated_hits[t.name], probes.through, everybody, t.fmr_everybody)
    whole = false(probes.hits[t.name], probes.found, everybody, t.fmr_everybody)
    assert through is not None and whole is not None
    return AtThreshold(
        threshold=t.name,
        recognized=round(recognized, 5),
        recognized_ci95=rounded(recognized_ci95, 5),
        encoder=rate(encoder),
        encoder_ci95=rounded(encoder_ci95, 5),
        false_matches=through,
        encoder_false_matches=whole,
        matched_false_matches=false(probes.gated_hits[t.name], probes.through, same, t.fmr_matched),
        matched_encoder_false_matches=false(probes.hits[t.name], probes.found, same, t.fmr_matched),
    )


def false_matches(hits: Bools, allowed: Bools, owner: Ints, claim: float | None, seed: int = 0) -> FalseMatches:
    """hits, allowed: (P, M), which comparisons match and which count. owner: (P,), the column of the probe's person.

    The bootstrap draws people: the weight of a comparison is the product of how often its two people were drawn.
    """
    comparisons, people = int(allowed.sum()), allowed.shape[1]
    p, r = np.nonzero(hits & allowed)
    observed = len(p)
    if not observed:
        interval = wilson(0, comparisons)
    else:
        draws: Float64Array = (
            np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=ROUNDS).astype(np.float64)
        )
        total = ((draws[:, owner] @ allowed.astype(np.float64)) * draws).sum(axis=1)
        low, high = np.percentile((draws[:, owner[p]] * draws[:, r]).sum(axis=1) / np.maximum(total, 1), [2.5, 97.5])
        interval = Interval(low=float(low), high=float(high))
    return FalseMatches(
        comparisons=comparisons,
        observed=observed,
        expected=None if claim is None else round(claim * comparisons, 2),
        fmr=three_digits(observed / comparisons) if comparisons else None,
        ci95=Interval(low=three_digits(interval.low), high=three_digits(interval.high)),
    )
