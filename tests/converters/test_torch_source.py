"""PyTorch sources compute what torch computes, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converter_parts import pixels, run

from converters.sources import load_source
from edge_oneshot.errors import ModelError


def torch_network(torch: Any) -> Any:
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        """Every layer that has a rule, with paddings that TFLite has and others."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.PReLU(8))
            self.wise = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU6())
            self.down = nn.Sequential(nn.Conv2d(8, 16, 5, 2, 2), nn.LeakyReLU(0.2), nn.MaxPool2d(2))
            self.dilated = nn.Conv2d(16, 16, 3, padding="same", dilation=2)
            self.dense = nn.Linear(16 * 16, 24)
            self.norm = nn.BatchNorm1d(24)
            self.last = nn.Linear(24, 7)

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            x = x + self.wise(x)
            x = self.down(x)
            x = torch.sigmoid(self.dilated(x)) * x
            return self.last(torch.relu(self.norm(self.dense(torch.flatten(x, 1)))) - 0.5)

    torch.manual_seed(0)
    net = Net()
    for p in net.parameters():
        nn.init.normal_(p, std=0.5)
    for module in net.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return net.eval()


def image(side: int = 32) -> np.ndarray:
    return (pixels(1, side)[0].astype(np.float32) - 127) / 64


def agree(graph: Any, expected: np.ndarray, x: np.ndarray) -> None:
    got = run(graph, x).reshape(-1)
    np.testing.assert_allclose(got, expected.reshape(-1), atol=2e-5 * np.abs(expected).max())


def test_exported_program(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="a PyTorch source")
    net, x = torch_network(torch), image()
    batch = torch.tensor(x.transpose(2, 0, 1)[None])
    torch.export.save(torch.export.export(net, (batch,)), tmp_path / "net.pt2")
    agree(load_source(tmp_path / "net.pt2").graph, net(batch).detach().numpy(), x)


def test_operator_without_a_rule_is_named(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="a PyTorch source")

    class Normalising(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return torch.nn.functional.normalize(x.flatten(1))

    torch.export.save(torch.export.export(Normalising(), (torch.ones(1, 3, 8, 8),)), tmp_path / "net.pt2")
    with pytest.raises(ModelError, match=r"PyTorch operator aten::.*no rule.*comparator"):
        load_source(tmp_path / "net.pt2")


@pytest.mark.parametrize("dim", [1, -1])
@pytest.mark.parametrize("dense", [True, False])
def test_branches_are_joined(tmp_path: Path, dim: int, dense: bool) -> None:
    """A flattened map is (H, W, C) here and (C, H, W) in the source; joined to another it gets the source's order."""
    torch = pytest.importorskip("torch", reason="the source needs PyTorch")

    class Branches(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3, 2)
            self.one, self.two = torch.nn.Linear(36, 5), torch.nn.Linear(36, 3)

        def forward(self, x: Any) -> Any:
            flat = torch.flatten(self.conv(x), 1)
            return torch.cat([self.one(flat), self.two(flat)] if dense else [flat, flat], dim)

    batch = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    net = Branches().eval()
    torch.export.save(torch.export.export(net, (batch,)), tmp_path / "net.pt2")
    agree(load_source(tmp_path / "net.pt2").graph, net(batch).detach().numpy(), batch[0].permute(1, 2, 0).numpy())


def test_dynamic_shapes_are_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="a PyTorch source")
    side = torch.export.Dim("side", min=8, max=64)
    program = torch.export.export(
        torch.nn.Conv2d(3, 4, 3), (torch.ones(1, 3, 16, 16),), dynamic_shapes=({2: side, 3: side},)
    )
    torch.export.save(program, tmp_path / "net.pt2")
    with pytest.raises(ModelError, match="fixed input shape"):
        load_source(tmp_path / "net.pt2")


def test_damaged_pt2(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="a PyTorch source")
    (tmp_path / "net.pt2").write_bytes(b"PK nothing")
    with pytest.raises(ModelError, match="cannot be read as an exported program"):
        load_source(tmp_path / "net.pt2")
