"""The TFLite interpreter, LiteRT or its predecessor tflite-runtime, behind one small face.

Tensor contract: batch 1, NHWC. One interpreter belongs to one thread: invoke() releases the GIL but allows no
concurrent call. Results are copies: a held view of a tensor makes the next invoke() raise.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.errors import ModelError

RUNTIMES = {"litert": "ai_edge_litert.interpreter", "tflite": "tflite_runtime.interpreter"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """shape, dtype as numpy has them. scale, zero_point: real = scale * (q - zero_point); scale 0 = not quantized."""

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero_point: int


class Runtime:
    """A loaded model. Raises ModelError if no runtime is installed or the model cannot be loaded."""

    def __init__(self, model: bytes, where: object, runtime: str = "auto", threads: int = 1) -> None:
        self.name, module = _import_runtime(runtime)
        try:
            with _without_chatter():
                self._interpreter = module.Interpreter(model_content=model, num_threads=threads)
                self._interpreter.allocate_tensors()
        except (AttributeError, ImportError, SystemError) as e:
            # tflite-runtime 2.14 is built against numpy 1: it imports under numpy 2 and then breaks here.
            raise ModelError(f"{module.__name__} does not work with numpy {np.__version__}: {e}",
                             "pip install 'numpy<2', or use ai-edge-litert") from None
        except (RuntimeError, ValueError) as e:
            raise ModelError(f"{where}: {self.name} cannot load the model: {e}", "copy or convert the model again") from None
        self.inputs = tuple(_tensor(d) for d in self._interpreter.get_input_details())
        self.outputs = tuple(_tensor(d) for d in self._interpreter.get_output_details())

    def invoke(self, value: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Run the model on its only input, of exactly the declared shape and dtype; returns copies of all outputs."""
        self._interpreter.set_tensor(self.inputs[0].index, value)
        self._interpreter.invoke()
        return tuple(self._interpreter.get_tensor(t.index) for t in self.outputs)


@contextmanager
def _without_chatter() -> Iterator[None]:
    """LiteRT announces its delegate on the process's standard error, in the middle of what a person reads; no setting
    turns that off. Errors come as exceptions and are not lost."""
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
    return Tensor(name=detail["name"], index=detail["index"], shape=tuple(int(n) for n in detail["shape"]),
                  dtype=np.dtype(detail["dtype"]), scale=float(scale), zero_point=int(zero_point))


def _import_runtime(wanted: str) -> tuple[str, Any]:
    errors = []
    for name in RUNTIMES if wanted == "auto" else (wanted,):
        try:
            return name, importlib.import_module(RUNTIMES[name])
        except ImportError as e:
            errors.append(f"{name}: {e}")
    raise ModelError(f"no TFLite runtime: {'; '.join(errors)}", "pip install ai-edge-litert")
