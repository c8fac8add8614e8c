"""Picture -> faces: BlazeFace (Bazarevsky et al. 2019), as its card describes it."""

from __future__ import annotations

import numpy as np

from edge_oneshot.errors import ModelError
from edge_oneshot.model.bundle import Bundle
from edge_oneshot.model.card import DetectorCard
from edge_oneshot.model.runtime import Runtime
from edge_oneshot.types import Box, Face, Float32Array, UInt8Array
from edge_oneshot.vision.shrink import Reducer, shrink

# The last bits of a float network depend on the processor: measured, up to 3e-5 px of the network's input. The cut-outs must
# not depend on it, so the points are rounded to a grid. The accuracy of the networks is about a pixel.
STEPS_PER_PX = 16


class BlazeFaceDetector:
    """Finds faces and their landmarks.

    A picture is letterboxed to the card's size and normalised as the card says; float32 (1, H, W, 3).
    Belongs to one thread. Raises ModelError when model and card disagree.
    """

    def __init__(self, bundle: Bundle, runtime: str = "auto", threads: int = 1) -> None:
        self.card = bundle.detector
        self.runtime = Runtime(bundle.model, bundle.path, runtime, threads)
        self._anchors = make_anchors(self.card)
        self._min_logit = np.log(self.card.min_score / (1 - self.card.min_score))
        self._check(bundle)
        self._reduce = Reducer()
        self._shown = np.zeros((1, 1, 3), dtype=np.uint8)  # the picture that was searched last, in the network's size

    def _check(self, bundle: Bundle) -> None:
        spec, count = self.card.input, len(self._anchors)
        values = 4 + 2 * len(self.card.landmarks)
        shapes = {t.shape[-1]: i for i, t in enumerate(self.runtime.outputs)}
        got = sorted(t.shape for t in self.runtime.outputs)
        if got != [(1, count, 1), (1, count, values)]:
            raise ModelError(
                f"{bundle.path} outputs: the card's strides, anchors and landmarks give "
                f"{[(1, count, 1), (1, count, values)]}, the model has {got}",
                "use the card that belongs to this detector",
            )
        self._boxes_at, self._scores_at = shapes[values], shapes[1]
        shape = (1, *spec.shape)
        if (
            len(self.runtime.inputs) != 1
            or self.runtime.inputs[0].shape != shape
            or self.runtime.inputs[0].dtype != np.float32
        ):
            raise ModelError(
                f"{bundle.path} input: the card expects float32 {shape}, the model has "
                f"{[(str(t.dtype), t.shape) for t in self.runtime.inputs]}",
                "use the card that belongs to this detector",
            )

    def detect(self, pixels: UInt8Array, border: float = 0.0) -> list[Face]:
        """Faces of a picture, uint8 (H, W, 3) RGB, in its px; best detection score first.

        border: width of a black border around the picture, as a share of the picture's width. A face that fills the
        picture is larger than the network knows, and found with a border only.
        """
        scale, pad = self.prepare(pixels, self.runtime.input()[0], border)
        outputs = self.runtime.invoke(None)
        return self.decode(outputs[self._boxes_at][0], outputs[self._scores_at][0, :, 0], scale, pad)

    def prepare(self, pixels: UInt8Array, canvas: Float32Array, border: float = 0.0) -> tuple[float, Float32Array]:
        """Letterbox uint8 (H, W, 3) into canvas, the network's input. Returns the scale and the (x, y) padding in input px.

        border: as for `detect`. The canvas around the picture becomes black, so a border is a smaller scale.
        """
        spec = self.card.input
        height, width = pixels.shape[:2]
        around = 2 * border * width
        scale = min(spec.width_px / (width + around), spec.height_px / (height + around))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        self._shown = pixels if size == (width, height) else shrink(pixels, size, self._reduce)
        x, y = (spec.width_px - size[0]) // 2, (spec.height_px - size[1]) // 2
        black = np.float32(spec.mean[0] / spec.std[0])
        if size != (spec.width_px, spec.height_px):
            canvas.fill(-black)
        area = canvas[y : y + size[1], x : x + size[0]]
        np.multiply(self._shown, np.float32(1 / spec.std[0]), out=area)
        area -= black
        return scale, np.array([x, y], dtype=np.float32)

    def luma(self) -> Float32Array:
        """The brightness of the picture that was searched last, as the network saw it: float32 (h, w), 0-255.

        It is the green channel, which is the nearest to luma and costs no sum.
        """
        return self._shown[:, :, 1].astype(np.float32)

    def decode(self, regressors: Float32Array, logits: Float32Array, scale: float, pad: Float32Array) -> list[Face]:
        """Raw outputs float32 (A, 4 + 2K) and (A,) -> faces in picture px, after blended non-maximum suppression.

        Boxes and landmarks are rounded to 1 / STEPS_PER_PX px of the network's input.
        """
        keep = np.flatnonzero(logits >= self._min_logit)
        if not keep.size:
            return []
        scores = (1.0 / (1.0 + np.exp(-np.minimum(logits[keep], 50)))).astype(np.float32, copy=False)
        # (M, 2 + K, 2): centre, size, landmarks, all but the size relative to the anchor
        values = regressors[keep].reshape(len(keep), -1, 2)
        points = values + self._anchors[keep][:, np.newaxis]
        points[:, 1] = values[:, 1]
        faces = [self._face(p, s, scale, pad) for p, s in blend(points, scores, self.card.nms_iou)]
        return [f for f in faces if f is not None]

    def _face(self, points: Float32Array, score: float, scale: float, pad: Float32Array) -> Face | None:
        points = np.rint(points * np.float32(STEPS_PER_PX)) / np.float32(STEPS_PER_PX)
        placed, size = (points - pad) / scale, points[1] / scale
        width, height = size.tolist()
        if width <= 0 or height <= 0:
            return None
        half = size / 2
        (x0, y0), (x1, y1) = (placed[0] - half).tolist(), (placed[0] + half).tolist()
        return Face(
            box=Box(x0=x0, y0=y0, x1=x1, y1=y1),
            landmarks=placed[2:],
            landmark_names=self.card.landmarks,
            detection_score=score,
        )


def make_anchors(card: DetectorCard) -> Float32Array:
    """Anchor centres in input px, float32 (A, 2): each cell of each stride, `anchors_per_cell` times, row by row."""
    layers = []
    for stride, repeat in zip(card.strides, card.anchors_per_cell, strict=True):
        columns, rows = -(-card.input.width_px // stride), -(-card.input.height_px // stride)
        y, x = np.mgrid[0:rows, 0:columns]
        centres = np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1) * stride
        layers.append(np.repeat(centres, repeat, axis=0))
    return np.concatenate(layers).astype(np.float32)


def blend(points: Float32Array, scores: Float32Array, iou: float) -> list[tuple[Float32Array, float]]:
    """Blended non-maximum suppression: each cluster becomes its score-weighted mean, which steadies the landmarks.

    points: float32 (M, 2 + K, 2): centre, size, landmarks. Returns (points (2 + K, 2), best score), best first.
    """
    sizes, half = points[:, 1], points[:, 1] / 2
    low, high = points[:, 0] - half, points[:, 0] + half
    areas = np.maximum(sizes[:, 0] * sizes[:, 1], 1e-9)
    order = np.argsort(-scores, kind="stable")
    clusters = []
    while order.size:
        best = order[0]
        extent = np.maximum(np.minimum(high[order], high[best]) - np.maximum(low[order], low[best]), 0)
        overlap = extent[:, 0] * extent[:, 1]
        same = overlap / (areas[order] + areas[best] - overlap) >= iou
        same[0] = True
        members = order[same]
        weights = scores[members]
        weights /= np.add.reduce(weights)
        mean = np.dot(weights[np.newaxis], points[members].reshape(len(members), -1))
        clusters.append((mean.reshape(-1, 2), float(scores[best])))
        order = order[~same]
    return clusters
