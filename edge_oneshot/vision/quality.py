"""The quality of one capture: the measures of `Quality`. They decide whether a capture is used."""

from __future__ import annotations

import math

import numpy as np

from edge_oneshot.types import BoolArray, Chip, Face, Float32Array, Float64Array, Frame, Quality
from edge_oneshot.vision.align import LUMA, undo

# Distance of the tip of the nose in front of the line through the pupils, in inter-pupillary distances: about 35 mm of
# 63 mm (rounded from anthropometric tables of adults; it scales the estimate and is not measured on the person).
NOSE_DEPTH = 0.55
# Of an adult's frontal face, in the same unit: nose tip and mouth below the line through the pupils (medians of 2,983
# adults of UTKFace's threshold part), and the mouth in front of the eyes (about 8 mm of 63 mm).
NOSE_DROP, MOUTH_DROP, MOUTH_DEPTH = 0.58, 1.01, 0.12
MIN_DEPTH = 0.25  # a nose nearer to the plane of the eyes, at 32 degrees from above, gives no reliable yaw


def measure(frame: Frame, face: Face | None, chip: Chip, *, fills_picture: bool = False) -> Quality:
    """Measure a chip and its face (None for bundles of whole frames). No faults: those are for vision/gates.py.

    fills_picture: the face of a still picture that was found with a border. Brightness, contrast and sharpness are then
    those of the part inside, since the edge of the picture is sharp and what lies outside is black.
    """
    luma = chip.pixels[..., 0].astype(np.float32) if chip.pixels.shape[2] == 1 else chip.pixels @ LUMA
    edges = laplacian(luma)
    if fills_picture and (inside := shown(chip, frame.size)).any():
        luma, edges = luma[1:-1, 1:-1][inside], edges[inside]
    (mean, squares), sharpness = variance(luma), variance(edges)[1]
    contrast = float(np.sqrt(np.float32(squares)))
    if face is None:
        return Quality(inter_eye_px=0.0, sharpness=sharpness, luma=mean, contrast=contrast, yaw_deg=0.0)
    return Quality(
        sharpness=sharpness,
        luma=mean,
        contrast=contrast,
        inter_eye_px=face.inter_eye_px,
        yaw_deg=estimate_yaw_deg(face),
        pitch_deg=estimate_pitch_deg(face),
        hidden=face.hidden,
        cropped=outside(chip.transform, (chip.pixels.shape[1], chip.pixels.shape[0]), frame.size),
    )


def shown(chip: Chip, frame: tuple[int, int]) -> BoolArray:
    """The pixels of a chip (H, W, C), without its outermost ones, whose neighbours all show the frame: bool (H - 2, W - 2).

    frame: (width, height).
    """
    height, width = chip.pixels.shape[:2]
    v, u = np.mgrid[0:height, 0:width] + 0.5
    x, y = undo(chip.transform, np.stack([u.ravel(), v.ravel()], axis=1)).T
    inside = ((x >= 0) & (y >= 0) & (x < frame[0]) & (y < frame[1])).reshape(height, width)
    rows = inside[:-2] & inside[1:-1] & inside[2:]
    whole: BoolArray = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    return whole


def outside(transform: Float64Array, chip: tuple[int, int], frame: tuple[int, int]) -> float:
    """The share of the chip's area outside the frame, [0, 1]. transform: px of the frame -> px of the chip.

    chip, frame: (width, height). The corners of the chip are mapped into the frame, and their quadrilateral is clipped at
    the four borders (Sutherland and Hodgman 1974, "Reentrant polygon clipping").
    """
    (a, b, c), (d, e, f) = transform.tolist()
    determinant = a * e - b * d
    corners = [
        complex((e * (u - c) - b * (v - f)) / determinant, (a * (v - f) - d * (u - c)) / determinant)
        for u, v in ((0, 0), (chip[0], 0), chip, (0, chip[1]))
    ]
    width, height = frame
    if all(0 <= p.real <= width and 0 <= p.imag <= height for p in corners):
        return 0.0
    kept = corners
    # A border as a direction n and a distance: a point p is inside where Re(p * n) <= distance.
    for n, distance in ((-1, 0), (1, width), (1j, 0), (-1j, height)):
        depths = [(p * n).real - distance for p in kept]
        cut: list[complex] = []
        for i, (p, depth) in enumerate(zip(kept, depths, strict=True)):
            before, depth_before = kept[i - 1], depths[i - 1]
            if (depth > 0) != (depth_before > 0):
                cut.append(before + (p - before) * depth_before / (depth_before - depth))
            if depth <= 0:
                cut.append(p)
        kept = cut
    return min(1.0, max(0.0, 1.0 - _area(kept) / _area(corners)))


def _area(corners: list[complex]) -> float:
    """The area of a polygon, by the shoelace formula."""
    return abs(sum((corners[i - 1].conjugate() * p).imag for i, p in enumerate(corners))) / 2


def laplacian(luma: Float32Array) -> Float32Array:
    """The 4-neighbour Laplacian of a float32 (H, W) picture, without the border: float32 (H - 2, W - 2).

    Its variance is the sharpness measure of Pech-Pacheco et al. 2000 ("Diatom autofocusing in brightfield microscopy").
    """
    inner = luma[1:-1, 1:-1]
    return luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner


def variance(values: Float32Array) -> tuple[float, float]:
    """Mean and variance of a picture, as numpy's mean() and var(), without computing the mean twice."""
    mean = np.add.reduce(values, axis=None) / np.float32(values.size)
    centred = values - mean
    return float(mean), float(np.add.reduce(centred * centred, axis=None) / np.float32(values.size))


def estimate_yaw_deg(face: Face) -> float:
    """Yaw in degrees from eyes, nose and mouth under scaled orthography; positive = nose towards the right of the image.

    Along the eye axis, a nose tip `depth` in front of the eyes moves by depth * sin(yaw), and the distance of the eyes
    shrinks by cos(yaw), so their ratio is depth * tan(yaw). The pitch brings the tip, which lies below the eyes, nearer to
    their plane or further from it. Roll has no effect, since the eye axis rotates with the head.
    """
    axis, squared = _eye_axis(face)
    if squared < 1e-6:
        return 90.0
    shift = (_from_eyes(face, "nose") * axis.conjugate()).real / squared
    pitch = math.radians(estimate_pitch_deg(face))
    return math.degrees(math.atan(shift / max(MIN_DEPTH, NOSE_DEPTH * math.cos(pitch) - NOSE_DROP * math.sin(pitch))))


def estimate_pitch_deg(face: Face) -> float:
    """Pitch in degrees from eyes, nose and mouth under scaled orthography; positive = nose towards the mouth.

    The camera is above a face of positive pitch, or the person looks down. Rotated by the pitch, a landmark that lies
    `drop` below the eyes and `depth` in front of them appears drop * cos + depth * sin below them. The ratio of nose and
    mouth gives the tangent, so neither yaw, which shortens both alike, nor the size of the face has an effect. People
    differ: 90 % of mostly frontal portraits lie within 7 degrees of 0. 90 with coinciding eyes, or without a mouth below.
    """
    axis, squared = _eye_axis(face)
    nose = (_from_eyes(face, "nose") * axis.conjugate()).imag
    mouth = (_from_eyes(face, "mouth") * axis.conjugate()).imag
    if squared < 1e-6 or mouth <= 0:
        return 90.0
    ratio = nose / mouth
    return math.degrees(math.atan2(ratio * MOUTH_DROP - NOSE_DROP, max(1e-6, NOSE_DEPTH - ratio * MOUTH_DEPTH)))


def _eye_axis(face: Face) -> tuple[complex, float]:
    """The vector between the eyes, x + iy px of the frame, and its squared length."""
    axis = complex(*face.landmark("image_right_eye")) - complex(*face.landmark("image_left_eye"))
    return axis, axis.real**2 + axis.imag**2


def _from_eyes(face: Face, name: str) -> complex:
    """The vector from between the eyes to a landmark, x + iy px of the frame."""
    eyes = complex(*face.landmark("image_left_eye")) + complex(*face.landmark("image_right_eye"))
    return complex(*face.landmark(name)) - eyes / 2
