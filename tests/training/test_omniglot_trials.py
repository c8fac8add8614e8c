"""Trials against the protocol of the official runs; baselines, open set and intervals against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from training.omniglot.baselines import hausdorff, modified_hausdorff, nearest_pixel
from training.omniglot.calibrate import Scores, all_scores, platt, threshold_at, thresholds
from training.omniglot.data import DataError, Drawings
from training.omniglot.evaluate import COSINE, FALSE_UNKNOWN, interval, open_set, run_scores, unit
from training.omniglot.trials import draw_pairs, draw_runs, pairs_of_runs, run_indices


def test_a_run_is_twenty_characters_of_one_alphabet_by_two_drawers(drawings: Drawings) -> None:
    train, test, answer = run_indices(drawings, 5, 20, seed=0)
    assert train.shape == test.shape == answer.shape == (10, 20)
    for r in range(10):
        assert len(set(drawings.alphabet[train[r]])) == 1
        assert len(set(drawings.character[train[r]])) == 20
        assert len(set(drawings.drawer[train[r]])) == len(set(drawings.drawer[test[r]])) == 1
        assert drawings.drawer[train[r, 0]] != drawings.drawer[test[r, 0]]
        assert sorted(answer[r]) == list(range(20))  # each class once
        np.testing.assert_array_equal(drawings.character[train[r]][answer[r]], drawings.character[test[r]])
    assert len({tuple(row) for row in answer.tolist()}) == 10  # the items are shuffled anew in every run


def test_runs_repeat_with_their_seed(drawings: Drawings) -> None:
    one, two, other = (run_indices(drawings, 2, 5, seed=s)[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_an_alphabet_with_too_few_characters_gives_no_run(drawings: Drawings) -> None:
    with pytest.raises(DataError, match="21 characters"):
        run_indices(drawings, 1, 21, seed=0)


def test_pairs_are_balanced_and_of_two_drawers_of_one_alphabet(drawings: Drawings) -> None:
    pairs = draw_pairs(drawings, 400, seed=0)
    assert pairs.same.sum() == 200
    np.testing.assert_array_equal(drawings.character[pairs.left] == drawings.character[pairs.right], pairs.same)
    assert (drawings.drawer[pairs.left] != drawings.drawer[pairs.right]).all()
    assert (drawings.alphabet[pairs.left] == drawings.alphabet[pairs.right]).all()


def test_pairs_of_runs_tell_same_from_different(drawings: Drawings) -> None:
    runs = draw_runs(drawings, 2)
    run, left, item, same = pairs_of_runs(runs)
    assert len(run) == 2 * runs.trials
    np.testing.assert_array_equal(runs.answer[run, item] == left, same)


def test_hausdorff_by_hand() -> None:
    a = np.array([[0, 0], [0, 2]], np.float32)
    b = np.array([[0, 0], [3, 4]], np.float32)
    # a to b: 0 and min(2, sqrt(13)) = 2, mean 1; b to a: 0 and min(5, sqrt(13)), mean 1.803
    assert hausdorff(a, b) == pytest.approx(np.sqrt(13) / 2, abs=1e-5)
    assert hausdorff(a, a) == 0


def test_baselines_recognise_steady_hands_and_not_chance(drawings: Drawings) -> None:
    runs = draw_runs(drawings, 1)
    assert modified_hausdorff(runs).mean() > 0.9
    squared = ((runs.test[:, :, None].astype(float) - runs.train[:, None]) ** 2).sum((3, 4))
    np.testing.assert_array_equal(nearest_pixel(runs), squared.argmin(2) == runs.answer)


def test_open_set_counts_both_errors() -> None:
    scores = np.array([[[0.9, 0.1, 0.2], [0.3, 0.8, 0.75], [0.4, 0.6, 0.5]]], np.float32)
    answer = np.array([[0, 1, 2]])
    found = open_set(scores, answer, threshold=0.7)
    assert found["false_unknown_rate"] == pytest.approx(1 / 3)  # 0.9 and 0.8 are known, 0.6 is not
    assert found["correct_unknown_rate"] == pytest.approx(2 / 3)  # without their class: 0.2, 0.75, 0.6
    assert open_set(np.random.default_rng(0).random((50, 20, 20)), np.zeros((50, 20), int), None)["false_unknown_rate"] == FALSE_UNKNOWN


def test_interval_is_wilson_and_widens_with_runs_that_differ() -> None:
    even = np.tile([True] * 9 + [False], (40, 1))
    uneven = np.repeat([[True] * 10] * 36 + [[False] * 10] * 4, 1, axis=0)
    low, high = interval(even)
    assert (low, high) == pytest.approx((0.8667, 0.9258), abs=1e-3)  # Wilson 1927, 360 of 400
    wide = interval(uneven)
    assert wide[1] - wide[0] > 2.5 * (high - low)
    assert interval(np.ones((20, 20), bool)) == pytest.approx((0.99049, 1.0), abs=1e-4)


def test_cosine_scores_are_those_of_unit_vectors() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(2, 2, 4, 8)).astype(np.float32)
    expected = np.einsum("rid,rcd->ric", test, train) / np.linalg.norm(test, axis=2)[:, :, None] / np.linalg.norm(train, axis=2)[:, None]
    np.testing.assert_allclose(run_scores(COSINE, unit(train), unit(test)), expected, atol=1e-6)


def test_a_threshold_keeps_its_false_match_rate() -> None:
    score = np.sort(np.random.default_rng(0).normal(size=5000))[::-1]
    for fmr in (0.1, 0.01, 0.001):
        at = threshold_at(score, np.ones(5000), fmr)
        assert (score >= at).mean() == fmr
    assert (np.zeros(100) >= threshold_at(np.zeros(100), np.ones(100), 0.1)).mean() == 0  # ties must not pass


def test_all_scores_covers_every_pair_of_two_drawers_once(drawings: Drawings) -> None:
    vectors = np.random.default_rng(0).normal(size=(len(drawings.ink), 4)).astype(np.float32)
    scores = all_scores(COSINE, vectors, drawings)
    # per alphabet: 20 characters x 6 pairs of 4 drawers mated; 190 pairs of characters x 12 ordered pairs of drawers
    assert scores.same.sum() == 2 * 20 * 6
    assert (~scores.same).sum() == 2 * 190 * 12
    assert scores.score[0] == pytest.approx(float(vectors[0] @ vectors[1]))


def test_card_measurements_from_scores_of_known_distribution() -> None:
    rng = np.random.default_rng(0)
    same = rng.random(40_000) < 0.1
    left, right = rng.integers(0, 50, (2, 40_000))
    scores = Scores(score=rng.normal(size=40_000) + 3 * same, same=same, left=left, right=right)
    found = thresholds(scores, "two normals", rounds=50)
    assert [p["fmr"] for p in found["points"]] == [1e-2, 1e-3]  # 1e-4 would rest on four pairs
    assert found["points"][0]["threshold"] == pytest.approx(2.326, abs=0.1)  # the normal quantile
    assert found["points"][0]["ci95"][0] < 2.326 < found["points"][0]["ci95"][1]
    assert found["points"][0]["tar"] == pytest.approx(0.75, abs=0.03)
    # two unit normals 3 apart, equally likely: log odds = 3 x - 4.5
    fitted = platt(scores, "two normals")
    assert fitted["slope"] == pytest.approx(3, abs=0.15)
    assert fitted["intercept"] == pytest.approx(-4.5, abs=0.25)
    with pytest.raises(ValueError, match="non-mated pairs"):
        thresholds(Scores(score=scores.score[:50], same=same[:50], left=left[:50], right=right[:50]), "too few")
