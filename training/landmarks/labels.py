"""Labels for the landmark network: YuNet's landmarks (Wu, Peng and Yu 2023), averaged over eight views of a face.

Each view is turned, scaled and moved a little, and every second one is mirrored. The landmarks of the views are mapped
back and averaged. Needs opencv-python and YuNet's .onnx file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from converters.face import pictures_of
from converters.graph import Array

LOOKS, NEEDED, SIDE_PX = 8, 3, 320
MIRRORED = [1, 0, 2, 4, 3]  # YuNet's eyes, nose, mouth corners when left and right are swapped


def steady(detector: Any, bgr: Array, first: Array, random: np.random.Generator) -> Array | None:
    """uint8 (H, W, 3) BGR and landmarks (5, 2) px -> averaged ones, or None if too few views have a face."""
    import cv2

    centre, eyes = first.mean(0), first[1] - first[0]
    apart, upright = float(np.linalg.norm(eyes)), -float(np.arctan2(eyes[1], eyes[0]))
    found = []
    for look in range(LOOKS):
        scale, angle = (55 + 25 * random.random()) / apart, upright + np.radians(random.normal() * 8)
        rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = SIDE_PX / 2 + random.normal(size=2) * 6 - rotation @ centre
        view = cv2.warpAffine(bgr, np.column_stack([rotation, shift]), (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR)
        if look % 2:
            view = view[:, ::-1].copy()
        faces = detector.detect(view)[1]
        if faces is None:
            continue
        marks = faces[:, 4:14].reshape(-1, 5, 2)
        if look % 2:
            marks = marks[:, MIRRORED]
            marks[..., 0] = SIDE_PX - 1 - marks[..., 0]
        nearest = marks[np.linalg.norm(marks.mean(1) - SIDE_PX / 2, axis=1).argmin()]
        back = (nearest - shift) @ np.linalg.inv(rotation).T
        if np.linalg.norm(back.mean(0) - centre) < 0.5 * apart:
            found.append(back)
    if len(found) < NEEDED:
        return None
    # halfway between median and mean: there are few views, and sometimes an outlier
    middle: Array = (np.median(found, axis=0) + np.mean(found, axis=0)) / 2
    return middle


def label(lfw: Path, yunet: Path, out: Path) -> None:
    """Write names (NAME/NAME_0001), sets and landmarks float32 (N, 5, 2) px of the pictures of sets 1-4 to `out` (.npz)."""
    import cv2

    detector = cv2.FaceDetectorYN.create(str(yunet), "", (SIDE_PX, SIDE_PX), 0.5, 0.3, 50)
    marks = np.load(lfw / "yunet_landmarks.npz")
    first = {str(n): m for n, m in zip(marks["names"], marks["landmarks5"], strict=True)}
    names, numbers, landmarks, missed = [], [], [], 0
    every = [(path, number) for number in "1234" for path in pictures_of(lfw, number)]
    for i, (path, number) in enumerate(every):
        name, bgr = f"{path.parent.name}/{path.stem}", cv2.imread(str(path))
        found = (
            steady(detector, bgr, first[name].astype(np.float64), np.random.default_rng(i)) if name in first else None
        )
        if found is None:
            missed += 1
            continue
        names.append(name)
        numbers.append(number)
        landmarks.append(found)
        if i % 500 == 0:
            print(f"labelled {i} of {len(every)}", file=sys.stderr, flush=True)
    np.savez(out, names=np.array(names), sets=np.array(numbers), landmarks=np.array(landmarks, np.float32))
    print(f"{out}: {len(names)} pictures labelled, {missed} with too few views", file=sys.stderr)


def to_alignment(landmarks: Array) -> Array:
    """YuNet's five (N, 5, 2) -> eyes, nose and the middle of the mouth, float64 (N, 4, 2)."""
    five = landmarks.astype(np.float64)
    return np.stack([five[:, 0], five[:, 1], five[:, 2], (five[:, 3] + five[:, 4]) / 2], axis=1)
