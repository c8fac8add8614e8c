"""A sample of `benchmarks.convert_fuzz`: each random network is exact, or refused with the operator's name."""

from __future__ import annotations

import pytest

from benchmarks.convert_fuzz import fate, operator_of

pytest.importorskip("torch", reason="the networks are PyTorch's")
pytest.importorskip("ai_edge_quantizer", reason="pip install 'edge-oneshot-convert'")


@pytest.mark.parametrize("seed", [*range(8), 15026])  # the last computes x - x
def test_exact_or_refused(seed: int) -> None:
    found = fate(seed)
    assert found["fate"] in ("exact", "refused"), found
    if found["fate"] == "refused":
        assert operator_of(found["why"]).startswith("aten::"), found["why"]
