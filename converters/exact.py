"""The source check: does the graph compute the same output as the source model in its own framework?

It runs on real pictures, once for the graph as the reader built it and once for the float reference after all passes.
The certificate compares int8 with that reference, so without this check a fault of the reader would be certified.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from converters.card import Json
from converters.flatbuffer import serialize
from converters.graph import Array
from converters.litert import activations, embed
from converters.passes.structure import fix_batch, remove_shape_arithmetic
from converters.reference import Reference
from converters.rules import Layer
from converters.sources import Source
from edge_oneshot.errors import EXIT_NOT_CERTIFIED, ModelError

LEAST_PICTURES = 32
RELATIVE = 1e-4  # of the length of an output; float32 operations in another order differ by about 1e-6
COSINE = 0.9999
VARYING = (
    1e-2  # of the mean distance between outputs: a fault must not hide behind a part that is the same for all pictures
)
OMITTED = "not compared with the source model (--no-source-check)"


class NotExactError(ModelError):
    """The graph differs from its source."""

    exit_code = EXIT_NOT_CERTIFIED


@dataclass(frozen=True)
class Agreement:
    """The worst values over all pictures. error: length of the difference, divided by the length of the source's output.

    varying: length of the difference, divided by the distance between the outputs of two pictures (root mean squares).
    """

    error: float
    cosine: float
    varying: float

    @property
    def passed(self) -> bool:
        return self.error <= RELATIVE and self.cosine >= COSINE and self.varying <= VARYING


def agreement(expected: Array, got: Array) -> Agreement:
    """expected, got: outputs (N, D) of the source and of the graph. Values that are not finite never agree."""
    a, b = expected.astype(np.float64), got.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1)
    difference = np.linalg.norm(a - b, axis=1)
    floor = 1e-30
    cosine = (a * b).sum(axis=1) / np.maximum(lengths * np.linalg.norm(b, axis=1), floor)
    cosine = np.where(difference <= RELATIVE * lengths, np.maximum(cosine, COSINE), cosine)  # two outputs of zero agree
    spread = float(np.sqrt(2 * ((a - a.mean(axis=0)) ** 2).sum(axis=1).mean()))
    found = Agreement(
        float((difference / np.maximum(lengths, floor)).max()),
        float(cosine.min()),
        float(np.sqrt((difference**2).mean())) / max(spread, floor) if spread > 1e-5 * float(lengths.mean()) else 0.0,
    )
    finite = np.isfinite(a).all() and np.isfinite(b).all()
    return found if finite else Agreement(float("inf"), -1.0, float("inf"))


class SourceCheck:
    """The source's outputs on pictures, for comparison with the graph at any stage."""

    def __init__(
        self, source: Source, chips: Sequence[Array], mean: Sequence[float], std: Sequence[float], *, bgr: bool = False
    ) -> None:
        """chips: uint8 (H, W, C) in the colour order of the graph. bgr: the source takes the reverse order.

        Raises ModelError: too few pictures, a missing framework, or a source that its framework cannot run.
        """
        if len(chips) < LEAST_PICTURES:
            raise ModelError(
                f"source check: expected at least {LEAST_PICTURES} calibration pictures, got {len(chips)}",
                "add pictures to --calibration, or skip the check with --no-source-check",
            )
        if source.reference is None:
            raise ModelError(
                "source check: the reader of this format cannot run the source model",
                "set Source.reference in the reader, or skip the check with --no-source-check",
            )
        self.source, self.chips = source, list(chips)
        self.reference: Reference = source.reference()
        shift, scale = (np.asarray(v, np.float32) for v in (mean, std))
        self.inputs = [c.astype(np.float32) if source.takes_pixels else (c - shift) / scale for c in self.chips]
        self._reverse = bgr
        try:
            rows = [self.reference.run(self._feed(x)).reshape(-1) for x in self.inputs]
        except ModelError:
            raise
        except Exception as error:  # each framework has its own exception types
            raise ModelError(
                f"source check: {self.reference.framework} cannot run the source model: {(str(error).splitlines() or [''])[0]}",
                "run the model in that framework on one picture first",
            ) from error
        self.expected = np.stack(rows)

    def _feed(self, x: Array) -> Array:
        return np.ascontiguousarray(x[..., ::-1]) if self._reverse else x

    def read(self) -> None:
        """Compare the graph as the reader built it. NotExactError names the first layer that differs."""
        graph = self.source.graph
        fix_batch(graph)
        remove_shape_arithmetic(graph)
        model = serialize(graph)
        got = embed(model, self.inputs)
        found = self._compare(got)
        if not found.passed:
            worst = int(np.argmax(np.linalg.norm(got - self.expected, axis=1)))
            raise NotExactError(
                f"{self._differs('the graph as read', found)}; {self._first_layer(model, self.inputs[worst])}",
                "this is a fault of the converter; report it with this line, and convert with another reader "
                "(litert-torch, onnx2tf) to a float .tflite file",
            )

    def passes(self, reference: bytes, names: Sequence[str]) -> Json:
        """Compare the float reference after all passes, which takes raw pixels. Returns the entry for the card."""
        found = self._compare(embed(reference, self.chips))
        if not found.passed:
            raise NotExactError(
                f"{self._differs('the graph after the passes', found)}; passes: {', '.join(names)}",
                "this is a fault of the converter; report it with this line",
            )
        return {
            "framework": self.reference.framework,
            **({"reader": self.source.reader} if self.source.reader else {}),
            "pictures": len(self.chips),
            "relative_error": float(f"{found.error:.2g}"),
            "cosine": round(found.cosine, 7),
            "limits": {"relative_error": RELATIVE, "cosine": COSINE},
        }

    def _compare(self, got: Array) -> Agreement:
        expected = self.expected
        if got.shape != expected.shape:
            raise NotExactError(
                f"source check: expected {expected.shape[1]} numbers, as from the source, got {got.shape[1]}",
                "this is a fault of the converter; report it",
            )
        lengths = np.linalg.norm(expected, axis=1)
        if np.allclose(lengths, 1, atol=1e-4):  # a pass may remove the source's last L2 normalisation
            got = got / np.maximum(np.linalg.norm(got, axis=1, keepdims=True), 1e-12)
        return agreement(expected, got)

    def _differs(self, what: str, found: Agreement) -> str:
        return (
            f"source check: {what} differs from the source in {self.reference.framework}: expected a relative error of at most "
            f"{RELATIVE:g} and a cosine of at least {COSINE}, got {found.error:.2g} and {found.cosine:.4f}"
            + (f"; {100 * found.varying:.2g} % of the distance between two pictures" if found.varying > VARYING else "")
        )

    def _first_layer(self, model: bytes, x: Array) -> str:
        """Names the first layer whose output differs for the input `x`."""
        if self.reference.layers is None or not self.source.layers:
            return f"{self.reference.framework} gives no intermediate results"
        theirs = self.reference.layers(self._feed(x))
        ours = next(iter(activations(model, [x])))
        for layer in self.source.layers:
            if layer.name not in theirs or layer.tensor.name not in ours:
                continue
            a, b = self._as_stored(layer, theirs[layer.name]), ours[layer.tensor.name].reshape(1, -1)
            if a.shape != b.shape or agreement(a, b).error > RELATIVE:
                return f"the first layer that differs is {layer.label}"
        return "no intermediate result differs"

    def _as_stored(self, layer: Layer, value: Array) -> Array:
        """A result of the source as one row in the order of the graph."""
        if value.ndim == 4 and self.reference.channels_first:
            value = value.transpose(0, 2, 3, 1)
        elif layer.chw is not None:
            value = value.reshape(1, *layer.chw).transpose(0, 2, 3, 1)
        return value.reshape(1, -1)
