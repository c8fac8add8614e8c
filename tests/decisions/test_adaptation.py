"""Adaptation to a site: what is learned, who counts, and how little any one visitor changes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from samples import ENCODER, embedding, random_unit, template

from edge_oneshot.matching.adaptation import ALIKE, NEEDED, PER_DAY, STEP, Adaptation, Visitors, shifted
from edge_oneshot.matching.compare import References
from edge_oneshot.model.card import Comparator
from edge_oneshot.types import Float32Array

D = 64
LIMIT = 0.01  # of the change of any score by one person


def people(count: int, seed: int = 0) -> list[Float32Array]:
    """Visits of different people of one site: their embeddings share a vector of length 0.3."""
    random = np.random.default_rng(seed)
    shared = np.zeros(D)
    shared[:3] = 0.2, -0.2, 0.1
    vectors = shared + random.normal(0, 0.95 / np.sqrt(D), (count, D))
    return [(v / np.linalg.norm(v)).astype(np.float32) for v in vectors]


def stream(visits: Iterable[Float32Array], per_day: int = 10) -> Visitors:
    visitors = Visitors(D)
    for i, visit in enumerate(visits):
        visitors.add(visit, 1 + i // per_day)
    return visitors


def near(person: Float32Array, count: int) -> list[Float32Array]:
    """Visits of one person, which differ: scores of about 0.8."""
    random = np.random.default_rng(5)
    vectors = person + random.normal(0, 0.5 / np.sqrt(D), (count, D))
    return [(v / np.linalg.norm(v)).astype(np.float32) for v in vectors]


def change(before: Adaptation | None, after: Adaptation | None, attacker: Float32Array) -> float:
    """The greatest change of any score among the attacker's pictures and 40 people who never came."""
    probes = np.array([*near(attacker, 3), *people(40, seed=7)])
    nothing = np.zeros(D, dtype=np.float32)
    a, b = (shifted(probes, nothing if s is None else s.subtract) for s in (before, after))
    return float(np.abs(a @ a.T - b @ b.T).max())


HONEST = people(500)
ADAPTED = stream(HONEST).learned()
ATTACKERS = people(6, seed=3)


def test_the_strangers_of_the_site_score_lower_in_the_end() -> None:
    assert ADAPTED.counted == NEEDED and ADAPTED.visits >= NEEDED
    assert ADAPTED.before > 0.05 and ADAPTED.after < 0.5 * ADAPTED.before
    others = np.array(people(100, seed=8))
    upper = np.triu_indices(len(others), 1)
    moved = shifted(others, ADAPTED.subtract)
    assert (moved @ moved.T)[upper].mean() < 0.5 * (others @ others.T)[upper].mean()
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-6)
    assert (ADAPTED.version, len(ADAPTED.version)) == (stream(HONEST).learned().version, 8)


def test_each_visitor_adds_the_same_until_enough_have_come() -> None:
    few, more = stream(HONEST[:40]).learned(), stream(HONEST[:80]).learned()
    assert few.counted < more.counted < NEEDED
    ratio = np.linalg.norm(few.subtract) / np.linalg.norm(more.subtract)
    assert ratio == pytest.approx(few.counted / more.counted, rel=0.25)
    full = stream(HONEST)
    before = full.learned().total.copy()
    assert not any(full.add(v, 1000 + i) for i, v in enumerate(people(50, seed=4))) and full.counted == NEEDED
    np.testing.assert_array_equal(full.learned().total, before)


def test_a_person_counts_once() -> None:
    visitors = Visitors(D)
    assert [visitors.add(v, i) for i, v in enumerate(near(ATTACKERS[0], 100))].count(True) == 1
    assert (visitors.visits, visitors.counted) == (100, 1)
    alike = ALIKE * np.eye(D, dtype=np.float32)[0] + np.sqrt(1 - (ALIKE - 0.02) ** 2) * np.eye(D, dtype=np.float32)[1]
    other = Visitors(D)
    assert other.add(np.eye(D, dtype=np.float32)[0], 1) and not other.add(alike, 2)
    assert other.add(alike - 0.04 * np.eye(D, dtype=np.float32)[0], 3), "a little less alike, it counts"


def test_a_day_counts_a_limited_number_of_visitors() -> None:
    visitors = stream(HONEST[: 3 * PER_DAY], per_day=10**6)
    assert visitors.counted == PER_DAY
    assert visitors.add(people(1, seed=11)[0], 2)


@pytest.mark.parametrize("attacker", ATTACKERS)
@pytest.mark.parametrize("first", [0, 30, 120])
def test_no_score_moves_by_more_than_the_limit(attacker: Float32Array, first: int) -> None:
    often = near(attacker, 200)
    mixed = [v for pair in zip(HONEST[first : first + 200], often, strict=True) for v in pair]
    poisoned = stream([*HONEST[:first], *mixed, *HONEST[first + 200 :]]).learned()
    assert poisoned.counted == NEEDED
    assert 0 < change(ADAPTED, poisoned, attacker) <= LIMIT
    long = stream([*HONEST[:first], often[0], *HONEST[first:]]).learned()  # 10,000 frames are one visit
    assert change(ADAPTED, long, attacker) <= LIMIT
    alone = stream(often)
    assert alone.counted < STEP, "nothing is subtracted"


@pytest.mark.parametrize(
    "values",
    [
        {"counted": NEEDED + 1},
        {"visits": 1},
        {"counted": 1},
        {"total": np.full(D, np.nan)},
        {"total": np.full(D, 1e3)},
        {"total": np.zeros((2, 2))},
        {"before": np.nan},
        {"after": 2.0},
    ],
)
def test_values_that_no_visitors_can_have_made_are_refused(values: dict[str, object]) -> None:
    good = {"visits": 300, "counted": NEEDED, "total": np.ones(D), "before": 0.1, "after": 0.01}
    Adaptation(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Adaptation: expected"):
        Adaptation(**(good | values))  # type: ignore[arg-type]


def test_references_compare_adapted_embeddings_and_keep_the_templates() -> None:
    comparator = Comparator(kind="cosine", weights=(), bias=0.0)
    a, b, probe = (random_unit(i) for i in (1, 2, 3))
    total = 100 * random_unit(4).astype(np.float64)
    adaptation = Adaptation(visits=200, counted=NEEDED, total=total, before=0.1, after=0.05)
    stored = [template("ann", a), template("bob", b)]
    plain, adapted = (References(comparator, ENCODER, stored, x) for x in (None, adaptation))
    expected = [float(shifted(v, adaptation.subtract) @ shifted(probe, adaptation.subtract)) for v in (a, b)]
    np.testing.assert_allclose(adapted.best(embedding(probe)), expected, atol=1e-6)
    assert adapted.score("bob", embedding(probe)) == pytest.approx(expected[1], abs=1e-6)
    assert sorted(c.score for c in adapted.rank(embedding(probe))) == sorted(adapted.best(embedding(probe)).tolist())
    assert adapted.between(embedding(a), embedding(probe)) == pytest.approx(expected[0], abs=1e-6)
    np.testing.assert_array_equal(plain.best(embedding(probe)), np.stack([a, b]) @ probe)  # bit by bit
    assert (plain.version, adapted.version) == ("", adaptation.version)
    np.testing.assert_array_equal(stored[0].embedding.vector, a)
