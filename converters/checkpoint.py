"""Why a checkpoint (.pt, .pth, .ckpt, .bin, .safetensors) of a network of one's own cannot be converted as it is."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edge_oneshot.errors import ModelError

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
HOW = (
    "weights alone do not define a network: build it in Python, load the weights, and write a .pt2 file with "
    "torch.export.save(torch.export.export(net.eval(), (torch.zeros(1, 3, 112, 112),)), 'net.pt2'); for a checkpoint of "
    "this project's training run `pip install -e training` in the repository"
)


def refused(path: Path) -> ModelError:
    """The error for a checkpoint that no reader takes."""
    return ModelError(f"{path}: expected a network with its graph, got {_content(path)}", HOW)


def _content(path: Path) -> str:
    """What the file holds, in words. Nothing in it is executed."""
    if path.suffix.lower() == ".safetensors":
        return "weights (safetensors)"
    if find_spec("torch") is None:
        return "a checkpoint"
    import torch

    try:
        found: Any = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises errors of many types for files that are none of its own
        whole = "Unsupported global" in str(error) or "weights_only" in str(error)
        if "TorchScript" in str(error):
            return "a TorchScript archive"
        return "a pickled Python object" if whole and path.read_bytes()[:2] == b"PK" else "no file that torch reads"
    for name in ("state_dict", "model_state_dict", "model"):
        found = found.get(name, found) if isinstance(found, dict) else found
    if isinstance(found, dict) and found and all(isinstance(v, torch.Tensor) for v in found.values()):
        return f"a state_dict: the weights of {len(found)} tensors, first {next(iter(found))}"
    return f"a {type(found).__name__}"
