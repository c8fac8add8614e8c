"""Eight networks of the zoo that the own reader handles: exact in float, and int8 that the device can run.

`python -m benchmarks.zoo` measures all of them, on real pictures and with every reader.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from converter_parts import pixels

from benchmarks.zoo.measure import apart, is_exact, normalised, quantised, run_float
from benchmarks.zoo.networks import BY_NAME, NETWORKS
from converters.sources import load_source

HERE = ("mobilefacenet", "speaker_se_resnet", "koch_twin", "silu_net", "hardswish_net", "relu_net",
        "relu6_net", "grouped_net")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", HERE)
def test_the_own_reader_is_exact(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the zoo needs PyTorch")
    from benchmarks.zoo import torch_source

    network = BY_NAME[name]
    square = np.stack(pixels(12, max(network.height, network.width), network.channels))
    pictures = square[:, : network.height, : network.width]
    batch = normalised(pictures).transpose(0, 3, 1, 2).copy()
    torch.manual_seed(0)
    net = torch_source.liven(network.make(), batch[:8])
    expected = torch_source.results(net, batch[8:])
    torch.export.save(torch.export.export(net, (torch.from_numpy(batch[:1]),)), tmp_path / "net.pt2")
    graph = load_source(tmp_path / "net.pt2", "own").graph
    assert is_exact(*apart(run_float(graph, normalised(pictures[8:])), expected))
    found = quantised(graph, list(pictures[:8]), pictures[8:], expected)
    assert found["reference_error"] <= 1e-4
    assert found["undelegated"] == []
    assert found["int8_cosine"] > 0.8  # weights are random: benchmarks.zoo has the figures


def test_names_are_unique_and_enough() -> None:
    assert len(BY_NAME) == len(NETWORKS) >= 36
