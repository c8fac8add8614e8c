"""Error rates compared with oracles that try every threshold; the pairs file; the verification result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation import metrics
from edge_oneshot.evaluation.comparisons import all_comparisons, only_used, read_pairs_file, score_comparisons
from edge_oneshot.evaluation.dataset import EncodedDataset, LabelledImage, find_images
from edge_oneshot.evaluation.results import to_json
from edge_oneshot.evaluation.verification import measure
from edge_oneshot.matching.threshold import Threshold
from edge_oneshot.model.card import Comparator


def scores(seed: int, mated: int = 200, non_mated: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    return g.normal(0.6, 0.2, mated).astype(np.float32), g.normal(0.0, 0.2, non_mated).astype(np.float32)


def rate(values: np.ndarray, threshold: float) -> float:
    return sum(1 for v in values if v >= threshold) / len(values)


@pytest.mark.parametrize("fmr", [0.5, 0.1, 0.013, 1e-3])
def test_the_threshold_at_a_rate_is_the_lowest_that_keeps_it(fmr: float) -> None:
    _, non_mated = scores(1)
    non_mated = np.round(non_mated, 2)  # with ties
    t = metrics.threshold_at_fmr(non_mated, fmr)
    assert rate(non_mated, t) <= fmr
    lower = max(v for v in non_mated if v < t)
    assert rate(non_mated, lower) > fmr


def test_a_rate_that_the_counts_cannot_resolve_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least 10000 non-mated scores, got 1000"):
        metrics.threshold_at_fmr(scores(1)[1], 1e-4)


def test_the_threshold_that_allows_one_false_match() -> None:
    t = metrics.threshold_at_fmr(np.array([0.1, 0.2, 0.3], np.float32), 1 / 3)
    assert 0.2 < t <= 0.3


@pytest.mark.parametrize("seed", range(8))
def test_eer_lies_where_the_two_rates_cross(seed: int) -> None:
    mated, non_mated = scores(seed)
    eer = metrics.equal_error_rate(mated, non_mated)
    everything = np.sort(np.concatenate([mated, non_mated]))
    fnmr = np.array([1 - rate(mated, t) for t in everything])
    fmr = np.array([rate(non_mated, t) for t in everything])
    i = int(np.argmin(np.abs(fnmr - fmr)))
    assert eer == pytest.approx((fnmr[i] + fmr[i]) / 2, abs=1 / len(mated))


def test_eer_of_plain_cases() -> None:
    assert metrics.equal_error_rate(np.array([0.8, 0.9]), np.array([0.1, 0.2])) == 0.0
    assert metrics.equal_error_rate(np.array([0.1, 0.2]), np.array([0.8, 0.9])) == pytest.approx(1.0)
    same = np.linspace(0, 1, 1001)
    assert metrics.equal_error_rate(same, same) == pytest.approx(0.5, abs=1e-3)
    assert np.isnan(metrics.equal_error_rate(np.array([]), np.array([0.1])))


def test_failures_to_acquire_bound_the_eer_from_below() -> None:
    """A tenth of the mated comparisons have no score. FNMR is at least a tenth at every threshold, so the EER is a tenth."""
    mated = np.concatenate([np.full(10, -np.inf), np.full(90, 0.9)])
    assert metrics.equal_error_rate(mated, np.linspace(0, 0.5, 1000)) == pytest.approx(0.1)


def test_match_rates() -> None:
    values = np.array([0.1, 0.5, 0.5, 0.9])
    assert metrics.match_rate(values, 0.5) == 0.75
    assert np.isnan(metrics.match_rate(np.array([]), 0.5))
    owners = np.array([7, 7, 7, 3])
    assert metrics.balanced_match_rate(values, owners, 0.5) == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize("seed", range(4))
def test_the_best_threshold_is_the_best_of_all(seed: int) -> None:
    mated, non_mated = scores(seed, 60, 90)
    best = metrics.best_threshold(mated, non_mated)

    def gain(t: float) -> float:
        return rate(mated, t) - rate(non_mated, t)

    assert gain(best) == pytest.approx(max(gain(float(t)) for t in np.concatenate([mated, non_mated])))


def test_cross_validation_takes_no_threshold_from_its_own_fold() -> None:
    """Fold 0 is separable at a threshold of its own, but not at the threshold that fits the other folds."""
    values = np.array([0.2, 0.1] + [0.9, 0.5] * 3)
    mated = np.array([True, False] * 4)
    mean, deviation = metrics.cross_validated_accuracy(values, mated, np.repeat(np.arange(4), 2))
    assert mean == pytest.approx(np.mean([0.5, 1, 1, 1]))
    assert deviation == pytest.approx(np.std([0.5, 1, 1, 1]))


def test_wilson_against_published_values() -> None:
    """Newcombe 1998, table I: method 3 for 81/263, 15/148 and 0/20."""
    for hits, trials, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        interval = metrics.wilson(hits, trials)
        assert (interval.low, interval.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert metrics.wilson(0, 0) == metrics.Interval(low=0.0, high=1.0)


def test_the_bootstrap_resamples_people_not_pairs() -> None:
    """One person has 1000 pairs that all fail; 19 people have one pair each that matches. The interval must be wide."""
    values = np.concatenate([np.zeros(1000), np.ones(19)])
    owners = np.concatenate([np.zeros(1000, int), np.arange(1, 20)])
    interval = metrics.bootstrap_match_rate(values, owners, 0.5)
    assert interval.low < 0.02
    assert interval.high == 1.0


def test_the_bootstrap_interval_of_a_threshold_contains_the_threshold() -> None:
    g = np.random.default_rng(0)
    first, second = np.triu_indices(60, k=1)
    values = g.normal(0, 0.2, first.size).astype(np.float32)
    (interval,) = metrics.bootstrap_threshold(values, first, second, [0.05])
    at = metrics.threshold_at_fmr(values, 0.05)
    assert interval.low < at < interval.high
    assert interval.high - interval.low < 0.2


def test_platt_recovers_the_parameters_of_the_data() -> None:
    g = np.random.default_rng(0)
    x = g.uniform(-1, 1, 40_000)
    same = g.uniform(size=x.size) < 1 / (1 + np.exp(-(6 * x - 0.0)))
    slope, intercept, loss = metrics.fit_platt(x[same], x[~same])
    assert (slope, intercept) == (pytest.approx(6, rel=0.05), pytest.approx(0, abs=0.1))
    assert 0.1 < loss < np.log(2)


def test_platt_stays_finite_on_separable_scores() -> None:
    slope, intercept, loss = metrics.fit_platt(np.full(50, 0.9), np.full(50, 0.1))
    assert np.isfinite([slope, intercept, loss]).all()
    assert slope > 0


# ---- pairs

OWNED = (("Ann", 1), ("Ann", 2), ("Bob", 1), ("Bob", 2), ("Eve", 1))
IMAGES = [LabelledImage(path=Path(f"{p}_{n:04d}.jpg"), person=p, number=n) for p, n in OWNED]


def pairs_file(tmp_path: Path, text: str) -> Path:
    (path := tmp_path / "pairs.txt").write_text(text)
    return path


def test_lfw_format_with_a_head(tmp_path: Path) -> None:
    text = "2\t1\nAnn\t1\t2\nAnn\t1\tBob\t2\nBob\t1\t2\nBob\t1\tEve\t1\n"
    pairs = read_pairs_file(pairs_file(tmp_path, text), IMAGES)
    assert list(zip(pairs.first, pairs.second, pairs.mated, pairs.folds, strict=True)) == [
        (0, 1, True, 0),
        (0, 3, False, 0),
        (2, 3, True, 1),
        (2, 4, False, 1),
    ]


def test_without_a_head_and_with_blank_lines(tmp_path: Path) -> None:
    pairs = read_pairs_file(pairs_file(tmp_path, "Ann 1 2\n\nAnn 2   Eve 1\n"), IMAGES)
    assert pairs.mated.tolist() == [True, False]


@pytest.mark.parametrize("line", ["Ann 1", "Ann one 2", "Ann 1 Bob 1 2", "Ann 1 Bob x", "Ann"])
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(EdgeOneshotError, match="line 3: expected `name i j` or `name i other j`, got"):
        read_pairs_file(pairs_file(tmp_path, f"1 2\nAnn 1 2\n{line}\n"), IMAGES)


@pytest.mark.parametrize("head", ["²", "9" * 5000, "²\t1"])
def test_a_head_that_is_no_number_is_a_line_that_does_not_fit(tmp_path: Path, head: str) -> None:
    with pytest.raises(EdgeOneshotError, match="line 1: expected `name i j`"):
        read_pairs_file(pairs_file(tmp_path, f"{head}\nAnn 1 2\n"), IMAGES)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(EdgeOneshotError, match="line 1: no image 9 of 'Ann'"):
        read_pairs_file(pairs_file(tmp_path, "Ann 1 9\n"), IMAGES)


@pytest.mark.parametrize("text", ["", "10 300\n", "\n\n"])
def test_no_pairs(tmp_path: Path, text: str) -> None:
    with pytest.raises(EdgeOneshotError, match="contains no pairs"):
        read_pairs_file(pairs_file(tmp_path, text), IMAGES)


def test_a_head_of_no_folds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeOneshotError, match="line 1"):
        read_pairs_file(pairs_file(tmp_path, "0 300\nAnn 1 2\n"), IMAGES)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(EdgeOneshotError, match="cannot read the pairs file"):
        read_pairs_file(tmp_path / "absent", IMAGES)


def test_all_comparisons_are_each_pair_once() -> None:
    pairs = all_comparisons(IMAGES)
    got = {(int(a), int(b)): bool(m) for a, b, m in zip(pairs.first, pairs.second, pairs.mated, strict=True)}
    assert got == {(a, b): IMAGES[a].person == IMAGES[b].person for a in range(5) for b in range(a + 1, 5)}
    assert len(pairs.first) == 10


def test_only_used_images_are_kept(tmp_path: Path) -> None:
    images, pairs = only_used(IMAGES, read_pairs_file(pairs_file(tmp_path, "Bob 2 Eve 1\nBob 2 1\n"), IMAGES))
    assert [(p.person, p.number) for p in images] == [("Bob", 1), ("Bob", 2), ("Eve", 1)]
    assert [(images[a].number, images[b].person) for a, b in zip(pairs.first, pairs.second, strict=True)] == [
        (2, "Eve"),
        (2, "Bob"),
    ]


def test_images_are_found_by_folder(tmp_path: Path) -> None:
    for name in ("Bob/Bob_0002.jpg", "Ann/Ann_0001.png", "Ann/Ann_0010.jpg", "Ann/notes.txt", "loose.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [(p.person, p.number) for p in find_images(tmp_path)] == [("Ann", 1), ("Ann", 10), ("Bob", 2)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(EdgeOneshotError, match="no images in"):
        find_images(tmp_path / "empty")


def test_scores_of_comparisons_and_of_failures_to_acquire() -> None:
    g = np.random.default_rng(0)
    vectors = g.normal(size=(5, 8)).astype(np.float32)
    embedded = EncodedDataset(images=IMAGES, vectors=vectors, faults={2: "no face found"}, encoder_id="sha256:x")
    pairs = all_comparisons(IMAGES)
    got = score_comparisons(embedded, pairs, Comparator(kind="cosine"))
    for a, b, score in zip(pairs.first, pairs.second, got, strict=True):
        expected = -np.inf if 2 in (a, b) else float(vectors[a] @ vectors[b])
        assert score == pytest.approx(expected, abs=1e-5)


def test_the_result_counts_a_failure_to_acquire_as_a_non_match() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [-1, 0]], dtype=np.float32)
    dataset = EncodedDataset(images=IMAGES, vectors=vectors, faults={3: "no face found"}, encoder_id="sha256:x")
    comparisons = all_comparisons(IMAGES)
    scores = score_comparisons(dataset, comparisons, Comparator(kind="cosine"))
    result = measure(dataset, comparisons, scores, Threshold(value=0.5, target_fmr=1e-4))
    assert (result.pairs, result.mated_pairs, result.identities, result.images) == (10, 2, 3, 5)
    assert result.failures_to_acquire == 1
    assert result.at_threshold == {"tar": 0.5, "fmr": 0.0}
    assert result.tar_at_fmr == {"1e-2": None, "1e-3": None, "1e-4": None}
    assert {"accuracy", "accuracy_std", "eer", "balanced_tar_at_fmr", "threshold", "encoder_id"} <= set(to_json(result))
