"""Sources: whatever was trained becomes a float graph. A framework is imported only for a source of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.flatbuffer import parse
from converters.graph import Graph
from edge_oneshot.errors import ModelError
from edge_oneshot.model.bundle import split

KINDS = ".tflite, .pt2, .onnx, .keras, a SavedModel folder, or a checkpoint of this project's training (.pt)"
_INSTALL = {
    "torch": "pip install torch --index-url https://download.pytorch.org/whl/cpu",
    "onnx": "pip install onnx",
    "tensorflow": "pip install tensorflow-cpu",
    "ai_edge_quantizer": "pip install 'edge-oneshot[convert]'",
}


@dataclass(frozen=True)
class Source:
    """graph: float. takes_pixels: it takes raw pixels already. facts: card fields that the source itself tells."""

    graph: Graph
    takes_pixels: bool = False
    facts: dict[str, Any] | None = None


def require(module: str, why: str) -> Any:
    """Import an optional module, or say in one line what to install."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModelError(f"{why} needs {module}, which is not installed", _INSTALL[module]) from error


def load_source(path: Path) -> Source:
    """Read any source. ModelError: unknown kind, missing framework, or a file that is not what its name says."""
    if not path.exists():
        raise ModelError(f"{path}: no such file", f"expected {KINDS}")
    suffix = path.suffix.lower()
    if suffix == ".tflite":
        model, _ = split(path.read_bytes(), path)
        return Source(parse(model, str(path)))
    if suffix == ".onnx":
        require("onnx", f"{path.name}: an ONNX model")
        from converters.from_onnx import load_onnx

        return Source(load_onnx(path))
    if suffix == ".pt2":
        require("torch", f"{path.name}: an exported PyTorch program")
        from converters.from_torch import load_pt2

        return Source(load_pt2(path))
    if suffix == ".pt":
        require("torch", f"{path.name}: a training checkpoint")
        return _checkpoint(path)
    if suffix == ".keras" or (path / "saved_model.pb").is_file():
        return Source(_tensorflow(path))
    raise ModelError(f"{path}: no source that is known here", f"expected {KINDS}")


def _checkpoint(path: Path) -> Source:
    try:
        from training.omniglot.graph import float_graph
        from training.omniglot.train import load
    except ImportError as error:
        raise ModelError(
            f"{path.name}: a training checkpoint is read by the training package: {error}",
            "run from the repository; for a network of your own, torch.export.save it as .pt2",
        ) from error
    model, _ = load(path)
    side = int(model.encoder.side_px)
    head = model.head
    return Source(
        float_graph(model.encoder),
        takes_pixels=True,
        facts={
            "input": {
                "width_px": side,
                "height_px": side,
                "channels": 1,
                "colour": "L",
                "normalisation": {"mean": [255.0], "std": [255.0]},
            },
            "regions": "frame",
            "alignment": None,
            "comparator": {
                "kind": "weighted-l1",
                "weights": [float(w) for w in head.weights.detach()],
                "bias": float(head.bias.detach()),
            },
        },
    )


def _tensorflow(path: Path) -> Graph:
    """Keras or SavedModel through TensorFlow's own converter to a float .tflite. The passes fix the batch and its shape arithmetic."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tf = require("tensorflow", f"{path.name}: a Keras model or SavedModel")
    try:
        if path.suffix.lower() == ".keras":
            model = tf.keras.models.load_model(path, compile=False)
            shapes = [tuple(t.shape) for t in model.inputs]
            if any(None in shape[1:] for shape in shapes):
                raise ModelError(
                    f"{path}: expected a fixed height and width, got {shapes}", "build it with a fixed picture size"
                )
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
        else:
            converter = tf.lite.TFLiteConverter.from_saved_model(str(path))
        return parse(bytes(converter.convert()), str(path))
    except ModelError:
        raise
    except Exception as error:  # TensorFlow raises whatever it stumbles over in a damaged or foreign file
        raise ModelError(
            f"{path}: TensorFlow cannot convert it: {str(error).splitlines()[0]}",
            "check that it loads with tf.keras.models.load_model or tf.saved_model.load",
        ) from error
