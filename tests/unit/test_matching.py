"""Comparison, threshold and decision, compared with oracles written from the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from samples import BLURRED, ENCODER, OTHER, embedding, random_unit, template, unit

from edge_oneshot.matching.compare import References, decide, not_compared, same_probability, score_all
from edge_oneshot.matching.threshold import Threshold, threshold_for_fmr
from edge_oneshot.model.bundle import Bundle
from edge_oneshot.model.card import Comparator, Platt, ThresholdPoint, Thresholds
from edge_oneshot.types import DecisionKind

COSINE = Comparator(kind="cosine")
AT = Threshold(value=0.5, target_fmr=1e-4)


def test_cosine_is_the_dot_product() -> None:
    vectors, probe = np.stack([random_unit(i) for i in range(20)]), random_unit(99)
    expected = [sum(float(a) * float(b) for a, b in zip(v, probe, strict=True)) for v in vectors]
    assert score_all(COSINE, vectors, probe) == pytest.approx(expected, abs=1e-6)
    assert score_all(COSINE, probe[None], probe)[0] == pytest.approx(1.0, abs=1e-6)


def test_weighted_l1_is_the_logit_of_koch() -> None:
    generator = np.random.default_rng(0)
    weights = generator.uniform(0, 2, 16)
    comparator = Comparator(kind="weighted-l1", weights=tuple(weights), bias=3.5)
    vectors, probe = generator.normal(size=(20, 16)).astype(np.float32), generator.normal(size=16).astype(np.float32)
    expected = [
        3.5 - sum(w * abs(float(a) - float(b)) for w, a, b in zip(weights, v, probe, strict=True)) for v in vectors
    ]
    assert score_all(comparator, vectors, probe) == pytest.approx(expected, abs=1e-4)
    assert score_all(comparator, probe[None], probe)[0] == 3.5  # a vector scores highest against itself


def test_the_score_of_an_identity_is_that_of_its_best_template() -> None:
    a, b, probe = unit(1, 0, 0), unit(0, 1, 0), unit(0.1, 0.9, 0.2)
    references = References(COSINE, ENCODER, [template("two", a), template("two", b), template("one", a)])
    first, second = references.rank(embedding(probe))
    assert (first.identity_id, first.score) == ("two", pytest.approx(float(b @ probe)))
    assert (second.identity_id, second.score) == ("one", pytest.approx(float(a @ probe)))


def test_equal_scores_come_in_order_of_id_up_to_the_limit() -> None:
    same = unit(1, 2, 3)
    references = References(COSINE, ENCODER, [template(i, same) for i in ("zoe", "bob", "eve")])
    assert [c.identity_id for c in references.rank(embedding(same), limit=5)] == ["bob", "eve", "zoe"]
    assert len(references.rank(embedding(same))) == 2


def test_templates_of_another_encoder_are_counted_and_never_compared() -> None:
    own, foreign = template("own", unit(1, 0)), template("foreign", unit(0, 1, 0), OTHER)  # also of another dimension
    references = References(COSINE, ENCODER, [own, foreign])
    assert (len(references), references.foreign, references.identity_ids) == (1, 1, ["own"])
    assert [c.identity_id for c in references.rank(embedding(unit(0, 1)))] == ["own"]
    with pytest.raises(ValueError, match=r"probe: expected an embedding of sha256:aaa.*, got one of sha256:bbb"):
        references.rank(embedding(unit(1, 0), OTHER))


def test_an_empty_gallery_gives_no_candidates() -> None:
    assert References(COSINE, ENCODER, []).rank(embedding(unit(1, 0))) == []


def test_alike_compares_every_pair() -> None:
    generator = np.random.default_rng(5)
    templates = [template(f"p{i % 5}", unit(*generator.normal(size=3))) for i in range(15)]
    references = References(COSINE, ENCODER, templates)
    expected: dict[tuple[str, str], float] = {}
    for i, s in enumerate(templates):
        for t in templates[i + 1 :]:
            score = float(s.embedding.vector @ t.embedding.vector)
            if s.identity_id != t.identity_id and score >= 0.6:
                pair = min(s.identity_id, t.identity_id), max(s.identity_id, t.identity_id)
                expected[pair] = max(score, expected.get(pair, -1.0))
    got = references.alike(0.6)
    assert {(a, b): pytest.approx(s, abs=1e-6) for a, b, s in got} == expected
    assert [s for *_, s in got] == sorted((s for *_, s in got), reverse=True)
    assert expected


# ---- thresholds


def table(*points: tuple[float, float], measured: float = 1e-5) -> Thresholds:
    return Thresholds(
        protocol="x",
        measured_to_fmr=measured,
        identities=1,
        mated_pairs=1,
        non_mated_pairs=1,
        points=tuple(ThresholdPoint(fmr=f, threshold=t, ci95=None, tar=None) for f, t in points),
    )


TABLE = table((1e-2, 0.3), (1e-3, 0.4), (1e-4, 0.46), (1e-5, 0.5))


@pytest.mark.parametrize(
    ("fmr", "value", "extrapolated"),
    [
        (1e-2, 0.3, False),
        (1e-3, 0.4, False),
        (1e-4, 0.46, False),
        (1e-5, 0.5, False),
        (10**-2.5, 0.35, False),
        (10**-3.5, 0.43, False),
        (10**-4.25, 0.47, False),
        (1e-6, 0.54, True),
        (1e-1, 0.2, True),
    ],
)
def test_between_points_the_score_is_linear_in_log_fmr(fmr: float, value: float, extrapolated: bool) -> None:
    got = threshold_for_fmr(TABLE, fmr)
    assert got == Threshold(value=pytest.approx(value), target_fmr=fmr, extrapolated=extrapolated)  # type: ignore[arg-type]


def test_a_lower_rate_never_lowers_the_threshold(encoder_bundle: Bundle) -> None:
    thresholds = encoder_bundle.encoder.thresholds
    assert thresholds is not None
    values = [threshold_for_fmr(thresholds, f).value for f in np.logspace(-0.5, -8, 200)]
    assert values == sorted(values)


def test_a_rate_beyond_the_counts_is_extrapolated_even_inside_the_table() -> None:
    assert threshold_for_fmr(table((1e-2, 0.3), (1e-4, 0.5), measured=1e-3), 1e-4).extrapolated


def test_a_table_of_one_point_is_extrapolated_for_another_rate() -> None:
    single = table((1e-3, 0.4))
    assert not threshold_for_fmr(single, 1e-3).extrapolated
    assert threshold_for_fmr(single, 1e-4) == Threshold(value=0.4, target_fmr=1e-4, extrapolated=True)


# ---- decisions


def test_a_match_is_at_or_above_the_threshold(encoder_bundle: Bundle) -> None:
    card = encoder_bundle.encoder
    references = References(COSINE, ENCODER, [template("a", unit(1, 0)), template("b", unit(0, 1))])
    for degrees, kind in (
        (0, DecisionKind.MATCH),
        (59, DecisionKind.MATCH),
        (61, DecisionKind.NON_MATCH),
        (180, DecisionKind.NON_MATCH),
    ):
        angle = math.radians(-degrees)
        decision = decide(embedding(unit(math.cos(angle), math.sin(angle))), references, AT, card)
        assert decision.kind is kind, degrees
        assert decision.candidate is not None and decision.runner_up is not None
        assert decision.score == decision.candidate.score >= decision.runner_up.score
        assert decision.margin == pytest.approx(decision.candidate.score - 0.5)
        assert card.probability is not None
        assert decision.same_probability == same_probability(card.probability, decision.candidate.score)
    at_exactly = Threshold(value=float(np.float32(1.0)), target_fmr=None)
    assert decide(embedding(unit(1, 0)), references, at_exactly, card).kind is DecisionKind.MATCH


def test_with_an_empty_gallery_every_probe_is_a_non_match(encoder_bundle: Bundle) -> None:
    decision = decide(embedding(unit(1, 0)), References(COSINE, ENCODER, []), AT, encoder_bundle.encoder)
    assert (decision.kind, decision.candidate, [f.code for f in decision.faults]) == (
        DecisionKind.NON_MATCH,
        None,
        ["empty_gallery"],
    )


def test_the_probability_rises_with_the_score_and_stays_in_range() -> None:
    platt = Platt(slope=10.0, intercept=-5.0, protocol="x")
    assert same_probability(platt, 0.5) == pytest.approx(0.5)
    values = [same_probability(platt, s) for s in (-1e6, -1.0, 0.0, 0.4, 0.6, 1.0, 1e6)]
    assert values == sorted(values)
    assert all(0 <= v <= 1 for v in values)


def test_a_card_without_a_probability_gives_none(encoder_bundle: Bundle) -> None:
    from dataclasses import replace

    references = References(COSINE, ENCODER, [template("a", unit(1, 0))])
    decision = decide(embedding(unit(1, 0)), references, AT, replace(encoder_bundle.encoder, probability=None))
    assert decision.same_probability is None
    assert decision.runner_up is None


def test_a_poor_capture_is_not_compared() -> None:
    decision = not_compared((BLURRED,), AT)
    assert (decision.kind, decision.candidate, decision.score, decision.margin) == (
        DecisionKind.NOT_COMPARED,
        None,
        None,
        None,
    )
    assert decision.faults == (BLURRED,)
