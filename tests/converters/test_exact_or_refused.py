"""Every PyTorch network is read exactly, or refused with the operator's name. Each case here once gave wrong numbers or a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converter_parts import run

from converters.sources import load_source
from edge_oneshot.errors import ModelError

torch = pytest.importorskip("torch", reason="a PyTorch source")
nn, F = torch.nn, torch.nn.functional
SIDE = 8


class Net(nn.Module):  # type: ignore[misc, name-defined]
    """Layers that the expressions below use. The map `conv(x)` has four channels, and four rows and columns."""

    def __init__(self, forward: str) -> None:
        super().__init__()
        self.conv, self.five = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(3, 5, 3, 2, 1)
        self.same = nn.Conv2d(4, 4, 3, 1, 1)
        self.dense, self.narrow = nn.Linear(64, 6), nn.Linear(4, 6)
        self.wide, self.both, self.long = nn.Linear(16, 6), nn.Linear(128, 6), nn.Linear(4, 64)
        self.prelu, self.prelus = nn.PReLU(), nn.PReLU(64)
        self.norm = nn.BatchNorm1d(64)
        self.rows = nn.Parameter(torch.linspace(-1, 2, 4).reshape(4, 1))  # along H, as long as C
        self.columns = nn.Parameter(torch.linspace(-2, 1, 4))  # along W, as long as C
        self.places = nn.Parameter(torch.randn(4, 4, 4))
        self.vector = nn.Parameter(torch.randn(64))
        self.text = forward

    def forward(self, x: Any) -> Any:
        return eval(self.text, {"torch": torch, "nn": nn, "F": F, "self": self, "x": x, "y": self.conv(x)})


def net(forward: str) -> Any:
    torch.manual_seed(0)
    found = Net(forward)
    with torch.no_grad():
        for p in found.parameters():
            p.add_(0.2 * torch.randn_like(p))
        found.norm.running_mean.normal_()
        found.norm.running_var.uniform_(0.5, 2)
    return found.eval()


def export(module: Any, path: Path) -> Path:
    torch.export.save(torch.export.export(module, (torch.zeros(1, 3, SIDE, SIDE),)), path)
    return path


EXACT = {
    "PReLU after a flatten": "self.dense(F.prelu(torch.flatten(y, 1), self.prelu.weight))",
    "a PReLU slope for each place of a flattened map": "self.dense(self.prelus(torch.flatten(y, 1)))",
    "LeakyReLU after a flatten": "self.dense(F.leaky_relu(torch.flatten(y, 1), 0.3))",
    "batch norm after a flatten": "self.dense(self.norm(torch.flatten(y, 1)))",
    "sum of flattened maps": "self.dense(torch.flatten(y, 1) + torch.flatten(self.same(y), 1))",
    "product of flattened maps": "self.dense(torch.flatten(y, 1) * torch.flatten(self.same(y), 1))",
    "product of a flattened map and a constant": "self.dense(torch.flatten(y, 1) * self.vector)",
    "flattened map as the output": "torch.flatten(y, 1)",
    "flattened map behind a ReLU as the output": "torch.relu(torch.flatten(y, 1))",
    "flattened map behind a PReLU as the output": "self.prelu(torch.flatten(y, 1))",
    "flattened map behind a factor as the output": "torch.flatten(y, 1) * 2",
    "flattened maps joined": "self.both(torch.cat([torch.flatten(y, 1), torch.flatten(self.same(y), 1)], 1))",
    "a flattened map and a row of numbers": "self.dense(torch.flatten(y, 1) + self.long(y.mean((2, 3))))",
    "alpha of add": "self.dense(torch.flatten(torch.add(y, self.same(y), alpha=2), 1))",
    "alpha of sub": "self.dense(torch.flatten(torch.sub(y, self.same(y), alpha=3), 1))",
    "alpha of add with a constant": "self.dense(torch.flatten(torch.add(y, self.places, alpha=2), 1))",
    "rsub": "self.dense(torch.flatten(1 - y, 1))",
    "constant along H": "self.dense(torch.flatten(y * self.rows, 1))",
    "constant along W": "self.dense(torch.flatten(y + self.columns, 1))",
    "constant at each place": "self.dense(torch.flatten(y * self.places, 1))",
    "constant on the left": "self.dense(torch.flatten(self.columns - y, 1))",
    "division by a constant along W": "self.dense(torch.flatten(y / (self.columns + 5), 1))",
    "a result used before and behind its ReLU": "self.dense(torch.flatten(torch.relu(y) + y, 1))",
    "a sum used before and behind its ReLU6": "(lambda s: self.dense(torch.flatten(F.relu6(s) - s, 1)))(y + self.same(y))",
    "a ReLU read twice": "(lambda r: self.dense(torch.flatten(r * y + r, 1)))(torch.relu(y))",
    "a ReLU in place": "(lambda r: self.dense(torch.flatten(y + r, 1)))(F.relu(y, inplace=True))",
    "max-pool with padding behind a ReLU": "self.dense(torch.flatten(F.max_pool2d(torch.relu(y), 3, 1, 1), 1))",
    "max-pool with padding of negative numbers": "self.wide(torch.flatten(F.max_pool2d(y - 9, 3, 2, 1), 1))",
    "average pool that counts its padding": "self.dense(torch.flatten(F.avg_pool2d(y, 3, 1, 1), 1))",
    "average pool that does not": "self.dense(torch.flatten(F.avg_pool2d(y, 3, 1, 1, count_include_pad=False), 1))",
    "ceil_mode that adds no window": "self.wide(torch.flatten(F.max_pool2d(y, 2, 2, ceil_mode=True), 1))",
    "a mean over the whole map, kept": "self.narrow(y.mean((-1, -2), keepdim=True).flatten(1))",
    "a factor for each channel, computed": "self.dense(torch.flatten(y * torch.sigmoid(y.mean((2, 3), keepdim=True)), 1))",
    "grouped convolution": "self.dense(torch.flatten(F.conv2d(y, self.same.weight[:, :2], None, 1, 1, 1, 2), 1))",
    "maps joined along the channels": "self.both(torch.flatten(torch.cat([y, self.same(y)], 1), 1))",
    "a vector as a map of one place": "self.narrow((y.mean((2, 3)).view(1, 4, 1, 1) * y).mean((2, 3)))",
    "constants that the graph computes": "self.dense(torch.flatten(y * (self.columns * 2).exp(), 1))",
}

REFUSED = {
    "ceil_mode that adds a window": ("torch.flatten(F.max_pool2d(y, 3, 2, ceil_mode=True), 1)", "max_pool2d"),
    "ceil_mode of an average": ("torch.flatten(F.avg_pool2d(y, 3, 2, ceil_mode=True), 1)", "avg_pool2d"),
    "dilated max-pool": ("torch.flatten(F.max_pool2d(y, 2, 1, dilation=2), 1)", "max_pool2d"),
    "divisor_override": ("torch.flatten(F.avg_pool2d(y, 2, 2, divisor_override=3), 1)", "avg_pool2d"),
    "padding on channels": ("torch.flatten(F.pad(y, (0, 0, 0, 0, 1, 1)), 1)", "pad"),
    "padding that removes": ("torch.flatten(F.pad(y, (-1, 0, 0, 0)), 1)", "pad"),
    "reflected padding": ("torch.flatten(F.pad(y, (1, 1, 1, 1), mode='reflect'), 1)", "pad"),
    "a linear layer along W": ("torch.flatten(self.narrow(y), 1)", "linear"),
    "a flatten of height and width alone": ("torch.flatten(y, 2)", "flatten"),
    "a mean over the channels": ("torch.flatten(y.mean(1), 1)", "mean"),
    "a mean over everything": ("y.mean().reshape(1, 1)", "mean"),
    "rounding division": ("torch.flatten(torch.div(y, 2, rounding_mode='floor'), 1)", "div"),
    "the index of a maximum": ("torch.flatten(F.max_pool2d(y, 2, return_indices=True)[0], 1)", "max_pool2d"),
    "dropout in training": ("torch.flatten(F.dropout(y, 0.5, True), 1)", "dropout"),
    "batch norm in training": ("torch.flatten(F.batch_norm(y, None, None, training=True), 1)", "batch_norm"),
    "a part of the channels": ("torch.flatten(y[:, 1:3], 1)", "slice"),
    "a ReLU in place on a view": ("torch.cat([torch.relu_(y.view(1, 64)), torch.flatten(y, 1)], 1)", "relu_"),
    "a ReLU in place on what a dropout returned": ("[F.dropout(y, 0.5, False), torch.relu_(y)][0].flatten(1)", "relu_"),
    "channels moved": ("torch.flatten(y.permute(0, 2, 3, 1), 1)", "permute"),
    "another row length": ("self.narrow(y.reshape(16, 4))", "reshape"),
    "a group norm": ("torch.flatten(F.group_norm(y, 2), 1)", "group_norm"),
}  # fmt: skip


def check_exact(module: Any, path: Path) -> None:
    graph = load_source(export(module, path)).graph
    for seed in range(3):
        x = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
        expected = module(x.clone()).detach().numpy().reshape(-1)
        got = run(graph, x[0].permute(1, 2, 0).numpy()).reshape(-1)
        assert got.shape == expected.shape
        assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("case", EXACT)
def test_exact(case: str, tmp_path: Path) -> None:
    check_exact(net(EXACT[case]), tmp_path / "net.pt2")


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_operator_and_its_place(case: str, tmp_path: Path) -> None:
    forward, operator = REFUSED[case]
    with pytest.raises(ModelError) as caught:
        load_source(export(net(forward), tmp_path / "net.pt2"))
    assert f"aten::{operator}" in caught.value.message, str(caught.value)
    assert caught.value.hint and "L2" not in caught.value.hint, "the hint must be about this operator"


def test_batch_norm_in_training_mode(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten()).train()
    with pytest.raises(ModelError, match=r"batch_norm.*training.*eval\(\)"):
        load_source(export(module, tmp_path / "net.pt2"))


def test_an_inner_l2_normalisation_has_its_own_hint(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="L2 normalisation"):
        load_source(export(net("F.normalize(torch.flatten(y, 1))"), tmp_path / "net.pt2"))
