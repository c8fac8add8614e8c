"""litert-torch as the second reader of .pt2 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converter_parts import pixels, run

from converters.sources import load_source
from edge_oneshot.errors import ModelError


def save(torch: Any, path: Path) -> Any:
    """Standardises each map, which the own reader has no rule for; flattens a map before PReLU."""

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.InstanceNorm2d(8)
            self.slope, self.last = torch.nn.PReLU(8 * 16 * 16), torch.nn.Linear(8 * 16 * 16, 5)

        def forward(self, x: Any) -> Any:
            return self.last(self.slope(self.norm(self.conv(x)).flatten(1)))

    torch.manual_seed(0)
    net = Net().eval()
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, 32, 32),)), path)
    return net


def test_it_reads_what_the_own_reader_refuses(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="a PyTorch source")
    pytest.importorskip("litert_torch", reason="the second reader of PyTorch")
    net = save(torch, tmp_path / "net.pt2")
    with pytest.raises(ModelError, match="PyTorch operator"):
        load_source(tmp_path / "net.pt2", "own")
    source = load_source(tmp_path / "net.pt2")
    assert source.reader == "litert-torch"
    image = pixels(1)[0].astype(np.float32) / 255
    expected = net(torch.from_numpy(image.transpose(2, 0, 1)[None])).detach().numpy()
    np.testing.assert_allclose(run(source.graph, image), expected, atol=1e-4 * np.abs(expected).max())


def test_the_own_reader_is_tried_first(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="a PyTorch source")
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    torch.export.save(torch.export.export(net.eval(), (torch.zeros(1, 3, 32, 32),)), tmp_path / "net.pt2")
    assert load_source(tmp_path / "net.pt2").reader == "own"


def test_a_reader_is_for_pytorch_alone(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=r"--reader own: expected a \.pt2 file, got .*net\.onnx"):
        load_source(tmp_path / "net.onnx", "own")
