"""The TFLite interpreter: LiteRT or its predecessor tflite-runtime, behind one interface.

Tensors have batch size 1 and the order NHWC. An interpreter belongs to one thread: invoke() releases the GIL but allows
no concurrent call. A view of a tensor that still exists makes the next invocation fail.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_oneshot import installation
from edge_oneshot.errors import ModelError

RUNTIMES = {"litert": "ai_edge_litert.interpreter", "tflite": "tflite_runtime.interpreter"}
PACKAGES = {"litert": "ai-edge-litert", "tflite": "tflite-runtime"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """shape, dtype: as in numpy. scale, zero_point: real = scale * (q - zero_point); scale 0: not quantized."""

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    scale: float
    zero_point: int


class Runtime:
    """A loaded model. Raises ModelError if no TFLite runtime is installed or the model cannot be loaded."""

    def __init__(self, model: bytes, where: object, runtime: str = "auto", threads: int = 1) -> None:
        self.name, module = import_runtime(runtime)
        try:
            with _without_stderr():
                self._interpreter = module.Interpreter(model_content=model, num_threads=threads)
                self._interpreter.allocate_tensors()
        except (AttributeError, ImportError, SystemError) as e:
            # tflite-runtime 2.14 is built for numpy 1: with numpy 2 it can be imported, but fails here.
            raise ModelError(
                f"{module.__name__} does not work with numpy {np.__version__}: {e}",
                f"{installation.how_to_add('numpy<2')}; or use ai-edge-litert",
            ) from None
        except (RuntimeError, ValueError) as e:
            raise ModelError(
                f"{where}: {self.name} cannot load the model: {e}", "copy or convert the model again"
            ) from None
        self.inputs = tuple(_tensor(d) for d in self._interpreter.get_input_details())
        self.outputs = tuple(_tensor(d) for d in self._interpreter.get_output_details())
        self._views = [self._interpreter.tensor(t.index) for t in (*self.inputs[:1], *self.outputs)]

    def input(self) -> NDArray[Any]:
        """A view of the single input, for `invoke(None)`. Write all of it, since a run may use its memory, and drop the view."""
        view: NDArray[Any] = self._views[0]()
        return view

    def invoke(self, value: NDArray[Any] | None) -> tuple[NDArray[Any], ...]:
        """Run the model on its single input, which has the declared shape and dtype. Returns copies of all outputs.

        value None: run it on what `input` holds, and return views of the outputs: drop them before the next run, which
        raises RuntimeError otherwise.
        """
        if value is not None:
            self._interpreter.set_tensor(self.inputs[0].index, value)
        self._interpreter.invoke()
        if value is None:
            return tuple(view() for view in self._views[1:])
        return tuple(self._interpreter.get_tensor(t.index) for t in self.outputs)


class PixelModel:
    """An int8 model that takes raw pixels and returns a vector: an encoder or the landmark network.

    Input: int8 (1, H, W, C) with scale 1 and zero point -128, so the only preprocessing is an XOR with 0x80.
    Output: int8 (1, D) with one scale. Raises ModelError if the model contradicts its card. One thread may use it.
    """

    def __init__(self, runtime: Runtime, where: object, shape: tuple[int, int, int], values: int) -> None:
        """where: the file, for messages. shape: (H, W, C), values: D, as the card states them."""
        self.runtime, self._shape = runtime, shape
        inputs, outputs = runtime.inputs, runtime.outputs
        facts: tuple[tuple[str, object, object], ...] = (
            ("inputs", 1, len(inputs)),
            ("outputs", 1, len(outputs)),
            ("input shape (batch, height, width, channels)", (1, *shape), inputs[0].shape),
            ("input type", np.dtype(np.int8), inputs[0].dtype),
            ("input scale and zero point (raw pixels)", (1.0, -128), (inputs[0].scale, inputs[0].zero_point)),
            ("output shape (batch, values)", (1, values), outputs[0].shape),
            ("output type", np.dtype(np.int8), outputs[0].dtype),
            ("output quantized", True, outputs[0].scale > 0),
        )
        for field, expected, got in facts:
            if expected != got:
                raise ModelError(
                    f"{where} {field}: expected {expected} (from the card), got {got} (in the model)",
                    "use the card of this model, or convert the model again",
                )

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (H, W, C) -> float32 (D,), dequantized. Raises ValueError for another shape."""
        if pixels.shape != self._shape:
            raise ValueError(f"pixels: expected {self._shape}, got {pixels.shape}")
        np.bitwise_xor(pixels, 0x80, out=self.runtime.input().view(np.uint8)[0])
        (quantized,), output = self.runtime.invoke(None), self.runtime.outputs[0]
        values: NDArray[np.float32] = (quantized[0].astype(np.float32) - output.zero_point) * np.float32(output.scale)
        return values


_STDERR = threading.Lock()


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Discard standard error: LiteRT prints the name of its delegate there, and no setting disables that.

    Errors are exceptions, so none is lost. One thread at a time: a second one would save and restore what the first has set,
    and the process would have no standard error any more.
    """
    with _STDERR:
        saved = os.dup(2)
        try:
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a file descriptor is wanted, not a path
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _tensor(detail: dict[str, Any]) -> Tensor:
    scale, zero_point = detail["quantization"]
    return Tensor(
        name=detail["name"],
        index=detail["index"],
        shape=tuple(int(n) for n in detail["shape"]),
        dtype=np.dtype(detail["dtype"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )


def installed(wanted: str) -> str:
    """The runtime that `wanted` (a name, or "auto") means here, such as "ai-edge-litert 2.3.0, aarch64"; it is not imported."""
    for name in RUNTIMES if wanted == "auto" else (wanted,):
        try:
            return f"{PACKAGES[name]} {importlib.metadata.version(PACKAGES[name])}, {platform.machine()}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "none"


def import_runtime(wanted: str) -> tuple[str, Any]:
    """(name, module) of the runtime that `wanted` means. Raises ModelError if none can be imported."""
    errors = []
    for name in RUNTIMES if wanted == "auto" else (wanted,):
        try:
            return name, importlib.import_module(RUNTIMES[name])
        except ImportError as e:
            errors.append(f"{name}: {e}")
    raise ModelError(
        f"cannot import a TFLite runtime: {'; '.join(errors)}", installation.how_to_add("ai-edge-litert>=2.1")
    )
