"""Pictures -> chips through the device's own code: decode, detect, align. The converter uses the chips that the device would."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from converters.graph import Array
from edge_oneshot.cameras.images import SUFFIXES, load_image
from edge_oneshot.errors import ModelError
from edge_oneshot.model.card import EncoderCard
from edge_oneshot.vision.align import align, whole_frame
from edge_oneshot.vision.locate import BORDER


def find_pictures(folder: Path, option: str = "--calibration") -> list[Path]:
    """Every picture below `folder`, sorted by path. ModelError: there is none. option: named in the message."""
    if not folder.is_dir():
        raise ModelError(f"{option} {folder}: expected a folder of pictures, got none", "check the path")
    found = sorted(
        Path(at) / name
        for at, _, names in os.walk(folder, followlinks=True)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES
    )
    if not found:
        raise ModelError(
            f"{option} {folder}: expected pictures ({', '.join(sorted(SUFFIXES))}), got no such file",
            "put ten to a hundred pictures of what the camera will see there",
        )
    return found


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """At most `count` of the paths, chosen by the digest of their names: the same choice on every machine."""
    ranked = sorted(paths, key=lambda p: hashlib.sha256("/".join(p.parts[-2:]).encode()).digest())
    return sorted(ranked[:count])


def chips_digest(chips: Iterable[Array]) -> str:
    """One digest of all chips, "sha256:<hex>"."""
    total = hashlib.sha256()
    for chip in chips:
        total.update(np.ascontiguousarray(chip).tobytes())
    return "sha256:" + total.hexdigest()


class ChipReader:
    """Reads the chip of a picture: the face nearest its centre, aligned; or the whole picture for regions = "frame".

    In labelled pictures the face nearest the centre is the one that the label names.
    """

    def __init__(self, card: EncoderCard) -> None:
        from edge_oneshot.config import Config, ModelConfig
        from edge_oneshot.recognition.compose import build_locator

        self.card = card
        self._locator = build_locator(Config(model=ModelConfig(threads=1))) if card.regions == "face" else None

    def read(self, path: Path) -> Array | None:
        """uint8 (H, W, C), or None if no face was found. CameraError: the file is not a picture."""
        frame = load_image(path)
        if self._locator is None:
            return whole_frame(frame, self.card).pixels
        faces = self._locator.locate(frame) or self._locator.locate(frame, BORDER)
        if not faces:
            return None
        cx, cy = frame.size[0] / 2, frame.size[1] / 2
        subject = min(faces, key=lambda f: math.hypot((f.box.x0 + f.box.x1) / 2 - cx, (f.box.y0 + f.box.y1) / 2 - cy))
        return align(frame, subject, self.card).pixels

    def read_all(self, paths: Sequence[Path]) -> tuple[list[Array], list[Path]]:
        """Chips of the pictures that have one, and the pictures that have none."""
        chips, missed = [], []
        for path in paths:
            chip = self.read(path)
            if chip is None:
                missed.append(path)
            else:
                chips.append(chip)
        return chips, missed
