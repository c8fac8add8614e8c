"""Similarity transforms: recovered from their effect, whatever they are."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_oneshot.types import Box
from edge_oneshot.vision.align import estimate_similarity

POINT = st.tuples(st.floats(-2000, 2000), st.floats(-2000, 2000))


@given(st.lists(POINT, min_size=2, max_size=7), st.floats(0.02, 50), st.floats(-math.pi, math.pi), POINT)
def test_a_similarity_is_recovered_from_its_effect(
    points: list[tuple[float, float]], scale: float, angle: float, shift: tuple[float, float]
) -> None:
    source = np.array(points)
    assume(np.ptp(source, axis=0).max() > 1.0)
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    truth = np.array([[c, -s, shift[0]], [s, c, shift[1]]])
    found = estimate_similarity(source, source @ truth[:, :2].T + truth[:, 2])
    assert np.allclose(found, truth, atol=1e-6 * (1 + abs(truth).max()), rtol=1e-6)


@given(st.lists(st.tuples(POINT, POINT), min_size=2, max_size=7))
def test_the_estimate_is_always_a_similarity(pairs: list[tuple[tuple[float, float], tuple[float, float]]]) -> None:
    source, target = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    assume(np.ptp(source, axis=0).max() > 1.0)
    (a, b, _), (c, d, _) = estimate_similarity(source, target)
    assert a == d and b == -c


BOX = st.tuples(st.floats(-100, 100), st.floats(-100, 100), st.floats(0.1, 200), st.floats(0.1, 200)).map(
    lambda v: Box(x0=v[0], y0=v[1], x1=v[0] + v[2], y1=v[1] + v[3])
)


@given(BOX, BOX)
def test_iou_is_symmetric_and_bounded(a: Box, b: Box) -> None:
    assert a.iou(b) == b.iou(a)
    assert 0.0 <= a.iou(b) <= 1.0 + 1e-12
    assert math.isclose(a.iou(a), 1.0)
