"""Trials against the protocol of the official runs; baselines, open set and intervals against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from converters.scores import Pairs
from training.omniglot.baselines import hausdorff, modified_hausdorff, nearest_pixel
from training.omniglot.data import DataError, Drawings
from training.omniglot.evaluate import COSINE, FALSE_UNKNOWN, interval, open_set, run_scores, unit
from training.omniglot.trials import draw_pairs, draw_runs, pairs_of_runs, run_indices, within_alphabets
from training.thresholds import measured


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


def test_pairs_of_runs_are_same_or_different(drawings: Drawings) -> None:
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
    assert (
        open_set(np.random.default_rng(0).random((50, 20, 20)), np.zeros((50, 20), int), None)["false_unknown_rate"]
        == FALSE_UNKNOWN
    )


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
    expected = (
        np.einsum("rid,rcd->ric", test, train)
        / np.linalg.norm(test, axis=2)[:, :, None]
        / np.linalg.norm(train, axis=2)[:, None]
    )
    np.testing.assert_allclose(run_scores(COSINE, unit(train), unit(test)), expected, atol=1e-6)


def test_pairs_within_alphabets_are_every_two_drawers_once(drawings: Drawings) -> None:
    pairs = within_alphabets(drawings)
    # per alphabet: 20 characters x 6 pairs of 4 drawers mated; 190 pairs of characters x 12 ordered pairs of drawers
    assert pairs.mated.sum() == 2 * 20 * 6
    assert (~pairs.mated).sum() == 2 * 190 * 12
    assert len({tuple(sorted(pair)) for pair in zip(pairs.first, pairs.second, strict=True)}) == len(pairs.first)
    assert (drawings.drawer[pairs.first] != drawings.drawer[pairs.second]).all()


def test_card_measurements_from_scores_of_known_distribution() -> None:
    rng = np.random.default_rng(0)
    identity = np.repeat(np.arange(50), 8).astype(np.int32)
    first, second = np.triu_indices(400, 1)
    pairs = Pairs(first.astype(np.int32), second.astype(np.int32), identity)
    score = rng.normal(size=len(first)) + 3 * pairs.mated
    found = measured(score, pairs, "two normals")
    points = found["thresholds"]["points"]
    assert [p["fmr"] for p in points] == [1e-2, 1e-3]  # 1e-4 would rest on eight pairs
    assert points[0]["threshold"] == pytest.approx(2.326, abs=0.05)  # the normal quantile
    assert points[0]["ci95"][0] < 2.326 < points[0]["ci95"][1]
    assert points[0]["tar"] == pytest.approx(0.75, abs=0.04)
    # two unit normals 3 apart, equally likely: log odds = 3 x - 4.5
    assert found["probability"]["slope"] == pytest.approx(3, abs=0.15)
    assert found["probability"]["intercept"] == pytest.approx(-4.5, abs=0.25)
    few = Pairs(pairs.first[:500], pairs.second[:500], identity)
    with pytest.raises(ValueError, match="non-mated pairs"):
        measured(score[:500], few, "too few")
