"""Quality of one capture: it decides whether a capture is used at all, and never edits a comparison score.

The measures are those of `Quality`. Each fault says what was measured, what is needed, and what the person can do.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from edge_oneshot.config import QualityConfig
from edge_oneshot.types import Chip, Face, Fault, Float32Array, Frame, Quality
from edge_oneshot.vision.align import LUMA

# How far the tip of the nose stands before the line through the pupils, in inter-pupillary distances: about 35 mm of
# 63 mm (rounded from adult anthropometric tables; it scales the estimate and is no measurement of this person).
NOSE_DEPTH = 0.55


def measure(frame: Frame, face: Face | None, chip: Chip, gates: QualityConfig) -> Quality:
    """Measure a chip (and its face; None for whole-frame bundles) and name the gates that it fails."""
    luma = chip.pixels[..., 0].astype(np.float32) if chip.pixels.shape[2] == 1 else chip.pixels @ LUMA
    mean, squares = variance(luma)
    quality = Quality(
        inter_eye_px=0.0 if face is None else face.inter_eye_px,
        sharpness=variance(laplacian(luma))[1],
        luma=mean,
        contrast=float(np.sqrt(np.float32(squares))),
        yaw_deg=0.0 if face is None else estimate_yaw_deg(face),
    )
    if face is None:
        return quality  # a drawing or a part on a belt has no eyes, and its light is the encoder's own matter
    return replace(quality, faults=tuple(_faults(quality, face, frame, gates)))


def _faults(q: Quality, face: Face, frame: Frame, gates: QualityConfig) -> list[Fault]:
    width, height = frame.size
    inside = all(0 <= x < width and 0 <= y < height for x, y in face.landmarks[:4])
    checks = (
        (q.inter_eye_px >= gates.min_inter_eye_px, "too_far",
         f"{q.inter_eye_px:.0f} px between the eyes, {gates.min_inter_eye_px:g} needed: come closer"),
        (inside, "cropped", "the face reaches over the border of the picture: move to the middle"),
        (abs(q.yaw_deg) <= gates.max_yaw_deg, "turned",
         f"face turned by about {abs(q.yaw_deg):.0f} degrees, at most {gates.max_yaw_deg:g}: look at the camera"),
        (q.luma >= gates.min_luma, "too_dark", f"brightness {q.luma:.0f}, {gates.min_luma:g} needed: more light on the face"),
        (q.luma <= gates.max_luma, "too_bright",
         f"brightness {q.luma:.0f}, at most {gates.max_luma:g}: less light, or no sun behind"),
        (q.contrast >= gates.min_contrast, "flat",
         f"contrast {q.contrast:.0f}, {gates.min_contrast:g} needed: even, brighter light; clean the lens"),
        (q.sharpness >= gates.min_sharpness, "blurred",
         f"sharpness {q.sharpness:.0f}, {gates.min_sharpness:g} needed: hold still, more light, check the focus"),
    )
    return [Fault(code=code, message=message) for ok, code, message in checks if not ok]


def laplacian(luma: Float32Array) -> Float32Array:
    """4-neighbour Laplacian of a float32 (H, W) picture, without its border: (H - 2, W - 2).

    Its variance is the sharpness measure of Pech-Pacheco et al. 2000 ("Diatom autofocusing in brightfield microscopy").
    """
    inner = luma[1:-1, 1:-1]
    return luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner


def variance(values: Float32Array) -> tuple[float, float]:
    """Mean and variance of a picture in one go; as numpy's mean() and var(), without doing the first twice."""
    mean = np.add.reduce(values, axis=None) / np.float32(values.size)
    centred = values - mean
    return float(mean), float(np.add.reduce(centred * centred, axis=None) / np.float32(values.size))


def estimate_yaw_deg(face: Face) -> float:
    """Yaw in degrees from eyes and nose under scaled orthography; positive = nose towards the image's right.

    Along the eye axis, a nose tip that stands NOSE_DEPTH before the eyes moves by NOSE_DEPTH * sin(yaw), while the eyes
    close up by cos(yaw): their ratio is NOSE_DEPTH * tan(yaw). Roll falls out, since the eye axis turns with the head.
    """
    (lx, ly), (rx, ry) = face.landmark("image_left_eye"), face.landmark("image_right_eye")
    nx, ny = face.landmark("nose")
    ex, ey = rx - lx, ry - ly
    squared = ex * ex + ey * ey
    if squared < 1e-6:
        return 90.0
    shift = ((nx - (lx + rx) / 2) * ex + (ny - (ly + ry) / 2) * ey) / squared
    return math.degrees(math.atan(shift / NOSE_DEPTH))
