"""Small groups take the shape of their tail from all groups together, and keep their own rate."""

from __future__ import annotations

from typing import Any

import pytest

from edge_oneshot.evaluation.cohort_fit import share_tail
from edge_oneshot.evaluation.labels import EVERY_GROUP
from edge_oneshot.matching.cohort import tail_score
from edge_oneshot.model.card import Tail

POOLED = {"from_score": 0.45, "rate": 0.002, "shape": -0.1, "scale": 0.05, "kind": "gpd"}
SMALL = {"from_score": 0.55, "rate": 0.003, "shape": 0.49, "scale": 0.04, "kind": "gpd"}


def tail(group: dict[str, Any]) -> Tail:
    return Tail(**{key: group["tail"][key] for key in ("from_score", "rate", "shape", "scale")})


def test_a_small_group_does_not_bend_its_own_tail() -> None:
    groups = {EVERY_GROUP: {"tail": POOLED}, "small": {"tail": SMALL, "identities": 348}}
    shared = share_tail(groups)
    before, after, pooled = tail(groups["small"]), tail(shared["small"]), tail(shared[EVERY_GROUP])
    assert pooled == tail(groups[EVERY_GROUP]) and shared["small"]["identities"] == 348
    assert (after.from_score, after.rate, after.shape) == (0.55, 0.003, -0.1)
    assert tail_score(before, 1e-5) > 0.9 > 0.75 > tail_score(after, 1e-5)
    # Beyond the score where the group's tail begins, excesses are those of all groups: the same score at equal shares of it.
    begin = next(r / 1e7 for r in range(1, 20000) if tail_score(pooled, r / 1e7) <= 0.55)
    for share in (0.1, 0.01, 0.001):
        assert tail_score(after, share * after.rate) == pytest.approx(tail_score(pooled, share * begin), abs=1e-3)


def test_without_the_pooled_group_nothing_changes() -> None:
    assert share_tail({"small": {"tail": SMALL}}) == {"small": {"tail": SMALL}}
