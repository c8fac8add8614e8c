"""PyTorch by litert-torch, Google's converter: slower to install and run than the built-in reader, but supports more networks."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converters.flatbuffer import load
from converters.graph import Graph
from edge_oneshot.errors import ModelError


def from_module(module: Any, shape: Sequence[int]) -> Graph:
    """torch.nn.Module in eval mode, or the module of an exported program -> graph with input (N, H, W, C).

    shape: of its input, (N, C, H, W). ModelError: litert-torch fails.
    """
    import litert_torch
    import torch

    n, c, h, w = (int(v) for v in shape)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.tflite"
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                last = litert_torch.to_channel_last_io(module, args=[0])
                litert_torch.convert(last, (torch.zeros(n, h, w, c),)).export(str(path))
        except Exception as error:  # the compiler behind it raises errors of many types
            raise ModelError(
                f"litert-torch cannot convert it: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
                "try --reader own, or export to ONNX",
            ) from error
        finally:
            logging.disable(level)
        return load(path)


def from_program(program: Any) -> Graph:
    """torch.export.ExportedProgram with one input (N, C, H, W) -> graph with input (N, H, W, C)."""
    images = set(program.graph_signature.user_inputs)
    shapes = [n.meta["val"].shape for n in program.graph.nodes if n.name in images]
    if len(shapes) != 1 or len(shapes[0]) != 4 or not all(isinstance(v, int) for v in shapes[0]):
        raise ModelError(
            f"exported program: expected one input (N, C, H, W) of fixed size, got {[tuple(s) for s in shapes]}",
            "export the encoder alone, without dynamic_shapes",
        )
    return from_module(program.module(), shapes[0])
