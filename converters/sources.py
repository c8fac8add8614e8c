"""Sources: a trained model in any known format becomes a float graph. A framework is imported only for its own format.

Other formats are plug-ins: an entry point in the group `edge_oneshot_convert.sources`, named after the file's suffix
without the dot, that refers to a function Path -> Source. training/pyproject.toml registers `.pt` so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from converters import checkpoint
from converters.card import Preparation
from converters.flatbuffer import parse
from converters.graph import Graph
from converters.reference import Reference, onnx_reference, tensorflow_reference, tflite_reference, torch_reference
from converters.rules import Layer
from edge_oneshot.errors import EdgeOneshotError, ModelError
from edge_oneshot.model.bundle import split

PLUGINS = "edge_oneshot_convert.sources"
KINDS = ".tflite, .pt2, .onnx, .keras or a SavedModel folder"
_INSTALL = {
    "torch": "pip install 'edge-oneshot-convert[torch]'",
    "litert_torch": "pip install 'edge-oneshot-convert[litert-torch]'",
    "onnx": "pip install 'edge-oneshot-convert[onnx]'",
    "onnxruntime": "pip install 'edge-oneshot-convert[onnx]'",
    "tensorflow": "pip install 'edge-oneshot-convert[keras]'",
}


@dataclass(frozen=True)
class Source:
    """graph: float. takes_pixels: its input is raw pixels, 0 to 255. preparation: None if the file does not state it.

    reference: opens the source in its own framework, to compare the graph with it (exact.py); ModelError if the framework
    is missing. layers: inner results of the source that the graph has, in order, to name the first that differs.
    """

    graph: Graph
    takes_pixels: bool = False
    preparation: Preparation | None = None
    reader: str = ""  # which of the readers of a format
    reference: Callable[[], Reference] | None = None
    layers: Sequence[Layer] = ()


def require(module: str, what: str) -> Any:
    """Import an optional module. ModelError: it is missing; the hint is the command that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ModelError(f"{what} needs {module}, which is not installed", _INSTALL[module]) from error


def load_source(path: Path, reader: str = "auto") -> Source:
    """Read any source. ModelError: unknown format, missing framework, or damaged file.

    reader: of a .pt2 file. "own", "litert-torch", or "auto": litert-torch for what the built-in reader ("own") refuses.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such file", f"name a {KINDS}")
    suffix = ".savedmodel" if (path / "saved_model.pb").is_file() else path.suffix.lower()
    if suffix == ".pt2":
        return _pt2(path, reader)
    if reader != "auto":
        raise ModelError(f"--reader {reader}: expected a .pt2 file, got {path}", "omit --reader")
    read = _READERS.get(suffix) or _plugin(suffix)
    try:
        if read is not None:
            return read(path)
    except ModelError:
        raise
    except EdgeOneshotError as error:  # of a plug-in for checkpoints
        if suffix in checkpoint.SUFFIXES:
            raise checkpoint.refused(path) from error
        raise
    if suffix in checkpoint.SUFFIXES:
        raise checkpoint.refused(path)
    raise ModelError(f"{path}: expected {KINDS}, got {suffix or 'a file without a suffix'}", f"convert {KINDS}")


def _plugin(suffix: str) -> Callable[[Path], Source] | None:
    for found in metadata.entry_points(group=PLUGINS, name=suffix.removeprefix(".")):
        try:
            reader: Callable[[Path], Source] = found.load()
        except ImportError as error:
            raise ModelError(
                f"{suffix}: the reader {found.value} cannot be imported: {error}", "install what it needs"
            ) from error
        return reader
    return None


def _tflite(path: Path) -> Source:
    model, _ = split(path.read_bytes(), path)
    graph = parse(model, str(path))
    layers = [Layer(t.name, f"{op.kind} {t.name}", t, None) for op in graph.ops for t in op.outputs]
    return Source(graph, reference=lambda: tflite_reference(model), layers=layers)


def _onnx(path: Path) -> Source:
    require("onnx", f"{path.name}: an ONNX model")
    from converters.from_onnx import load_model, read_onnx

    def reference() -> Reference:
        require("onnxruntime", f"{path.name}: comparing the graph with the ONNX model")
        return onnx_reference(path)

    model = load_model(path)
    rules = read_onnx(model, path)
    return Source(rules.finish(model.graph.output[0].name), reference=reference, layers=rules.layers)


def _pt2(path: Path, reader: str) -> Source:
    """Read with the built-in reader, which is fast and small, or with litert-torch, which supports more networks."""
    require("torch", f"{path.name}: an exported PyTorch program")
    from converters.from_torch import load_program, read_exported

    program = load_program(path)

    def reference() -> Reference:
        return torch_reference(program)

    if reader != "litert-torch":
        try:
            rules = read_exported(program)
            graph = rules.finish(program.graph_signature.user_outputs[0])
            return Source(graph, reader="own", reference=reference, layers=rules.layers)
        except ModelError:
            if reader == "own" or find_spec("litert_torch") is None:
                raise
    require("litert_torch", f"{path.name}: a network that the built-in reader cannot read")
    from converters.from_litert_torch import from_program

    return Source(from_program(program), reader="litert-torch", reference=reference)


def _tensorflow(path: Path) -> Source:
    """Keras or SavedModel, by TensorFlow's own converter to a float .tflite. Later passes fix the batch and shapes."""
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
        graph = parse(bytes(converter.convert()), str(path))
    except ModelError:
        raise
    except Exception as error:  # TensorFlow raises errors of many types for a damaged file
        raise ModelError(
            f"{path}: TensorFlow cannot convert it: {str(error).splitlines()[0]}",
            "check that tf.keras.models.load_model or tf.saved_model.load reads it",
        ) from error
    return Source(graph, reference=lambda: tensorflow_reference(tf, path))


_READERS: dict[str, Callable[[Path], Source]] = {
    ".tflite": _tflite,
    ".onnx": _onnx,
    ".keras": _tensorflow,
    ".savedmodel": _tensorflow,
}
