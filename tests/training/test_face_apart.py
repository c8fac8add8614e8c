"""Refitting the face encoder's last layer: what the targets are, and that only the last layer changes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.flatbuffer import load
from training.face import __main__ as command
from training.face import apart
from training.face.prepare import outputs

NAMES = [
    f"{age}_{sex}_{group}_20170116{n:09d}.jpg.chip.jpg"
    for n, (age, sex, group) in enumerate(
        [(30, s, g) for g in range(4) for s in (0, 1) for _ in range(2)] + [(12, 0, 0), (12, 1, 1), (3, 0, 0)]
    )
] + ["Some_Body_0001.jpg", "Some_Body_0002.jpg"]


def strangers(shared: float) -> tuple[NDArray[np.float64], list[NDArray[np.intp]]]:
    """Two groups of 400 strangers; each group has a direction of its own."""
    random = np.random.default_rng(0)
    groups = [random.normal(size=(400, 8)) * 0.3 + np.eye(8)[k] * shared for k in (0, 1)]
    return apart.unit(np.concatenate(groups)), [np.arange(400), np.arange(400, 800)]


def within(vectors: NDArray[np.float64]) -> float:
    return float(np.mean([vectors[i : i + 400] @ vectors[i : i + 400].T for i in (0, 400)]))


def test_the_targets_of_strangers_of_one_group_score_near_zero() -> None:
    vectors, cells = strangers(0.8)
    centred, reduced = (apart.targets_of(vectors, cells, 2, reduce) for reduce in (0.0, 1.0))
    assert within(vectors) > within(centred) > within(reduced) + 0.05
    assert abs(within(reduced)) < 0.02
    np.testing.assert_allclose(np.linalg.norm(reduced, axis=1), 1, atol=1e-9)


def test_the_centre_is_that_of_adults_and_the_directions_are_those_of_every_cell() -> None:
    vectors, cells = strangers(0.8)
    centre, directions = apart.group_directions([vectors[c] for c in cells], 1)
    np.testing.assert_allclose(centre, vectors[:400].mean(0))
    assert directions.shape == (1, 8), "two means differ in one direction"


def test_ridge_regression_finds_a_linear_map_and_follows_the_weights() -> None:
    random = np.random.default_rng(0)
    features, true = random.normal(size=(500, 6)), random.normal(size=(3, 6))
    matrix, bias = apart.solve(features, features @ true.T + 2.0, np.ones(500), ridge=1e-9)
    np.testing.assert_allclose(matrix, true, atol=1e-6)
    np.testing.assert_allclose(bias, 2.0, atol=1e-6)
    targets = np.where(np.arange(500) < 250, 1.0, -1.0)[:, None] * np.ones(3)
    first = np.where(np.arange(500) < 250, 2.0, 0.0)
    assert apart.solve(features, targets, first, ridge=1e-9)[1] == pytest.approx(1.0, abs=1e-6)


def test_cells_and_weights_follow_the_labels() -> None:
    cells = command.cells_of(NAMES)
    assert [len(c) for c in cells] == [2] * 8 + [2] and not {18, 19, 20} & set(np.concatenate(cells).tolist())
    weights = command.weights_of(NAMES)
    assert weights.mean() == pytest.approx(1) and weights[-2:].sum() / weights.sum() == pytest.approx(
        command.LFW_WEIGHT
    )
    assert weights[18] < weights[16], "a small child counts less than one of 12 years"


def test_only_the_last_layer_changes() -> None:
    data = os.environ.get("EDGE_ONESHOT_DATA")
    if not data:
        pytest.skip("EDGE_ONESHOT_DATA is not set: the float MobileFaceNet is needed")
    source = Path(data) / "weights" / "mobilefacenet_float.tflite"
    crops = np.random.default_rng(0).integers(0, 256, (len(NAMES), 112, 112, 3), dtype=np.uint8)
    made = command.refit(source, crops, NAMES)
    assert made == command.refit(source, crops, NAMES), "the same pictures give the same file"
    before, after = (load(p) if isinstance(p, Path) else load_bytes(p) for p in (source, made))
    old, new = (
        {t.name: t.data for op in g.ops for t in op.inputs if t is not None and t.data is not None}
        for g in (before, after)
    )
    same = [n for n in new if n in old and np.array_equal(old[n], new[n])]
    last = max((op for op in after.ops if op.kind == "CONV_2D"), key=after.ops.index)
    changed = {last.tensor(1).name, last.tensor(2).name}
    assert len(same) > 40 and not changed & set(same)
    assert outputs(after, crops[:1]).shape == (1, 2, 192)


def load_bytes(model: bytes):  # type: ignore[no-untyped-def]
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(model)
        file.flush()
        return load(Path(file.name))
