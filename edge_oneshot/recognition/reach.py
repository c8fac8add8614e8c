"""How far the shipped models recognize: a small table that `evaluate conditions --range` writes. `camera test` and the forecast
after an enrollment read it.

It holds for the encoder and the settings that it names. No model is loaded.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from edge_oneshot.config import Config

SHIPPED = Path(__file__).resolve().parents[1] / "models" / "range.json"
SHARE = 0.9  # of the people who are recognized close up: the range ends where fewer are
LIGHTS = {1.0: "by day", 0.25: "at a quarter of the brightness"}
FIELD_OF_VIEW_DEG = 66.0  # horizontal, of Raspberry Pi Camera Module 3
INTER_PUPILLARY_M = 0.063  # the mean of adults (Dodgson 2004, "Variation and extrema of human interpupillary distance")


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeTable:
    """points: light -> (px between the eyes, share recognized), falling px, in frames of `width_px`. From one frame.

    people: measured. settings: what was configured (`settings_of`). commit: of the measured code; "" if it is not known.
    """

    points: dict[float, list[tuple[float, float]]]
    width_px: int
    people: int
    threshold: float
    settings: dict[str, object]
    encoder_id: str
    version: str
    commit: str

    def limit_px(self, light: float = 1.0) -> float | None:
        """The px between the eyes at which SHARE of the people recognized close up by day are still recognized.

        Linear between the measured points. None if they are not even close up. The least measured px if the curve does not
        fall so far.
        """
        points = self.points.get(light, [])
        wanted = SHARE * max((share for _, share in self.points.get(1.0, [])), default=1.0)
        if not points or points[0][1] < wanted:
            return None
        for (px, share), (px_next, share_next) in pairwise(points):
            if share_next < wanted:
                return px_next + (px - px_next) * (wanted - share_next) / (share - share_next)
        return points[-1][0]

    def distance_m(self, light: float, width_px: int, field_of_view_deg: float) -> float | None:
        """The range of a camera with pictures of `width_px`. A wider picture than was measured gives a lower bound.

        The encoder gains from more px between the eyes, but the detector sees the whole picture in its own size: it finds a
        face by the share of the picture's width.
        """
        px = self.limit_px(light)
        return None if px is None else distance_m(px, min(width_px, self.width_px), field_of_view_deg)

    def words(self, width_px: int, field_of_view_deg: float) -> list[str]:
        """One sentence for each light. width_px, field_of_view_deg: of the camera's pictures."""
        found = []
        for light, name in LIGHTS.items():
            metres = self.distance_m(light, width_px, field_of_view_deg)
            about = "at least" if width_px > self.width_px else "about"
            if self.points.get(light):
                text = f"recognizes to {about} {metres:.1f} m" if metres is not None else "recognizes too few people"
                found.append(f"{text} {name}")
        return found

    def differs(self, encoder_id: str, config: Config) -> list[str]:
        """What was measured with other values than those in use: the keys with their values now."""
        found = [] if encoder_id == self.encoder_id else ["another encoder"]
        for section, keys in cast(dict[str, dict[str, object]], settings_of(config)).items():
            measured = cast(dict[str, object], self.settings.get(section, {}))
            found += [f"{section}.{k} = {v}" for k, v in keys.items() if measured.get(k) != v]
        return [text.replace("decision.accepted = ", "decision.") for text in found]


def settings_of(config: Config) -> dict[str, object]:
    """The configuration that the range depends on: JSON values by section and key. accepted: the stated rate."""
    model, decision = config.model, config.decision
    return {
        "camera": {"range": config.camera.range},
        "quality": asdict(config.quality),
        "model": {"detector": model.detector, "refiner": model.refiner, "landmarks": model.landmarks},
        "decision": {"accepted": decision.stated, "strangers": decision.strangers, "cohort": model.cohort},
    }


def read(path: Path = SHIPPED) -> RangeTable | None:
    """The table; None if there is none."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    points = {float(light): [(px, share) for px, share in rows] for light, rows in values.pop("points").items()}
    return RangeTable(points=points, **values)


def distance_m(inter_eye_px: float, width_px: int, field_of_view_deg: float) -> float:
    """The distance of a frontal face, by a pinhole camera: focal length (px) x INTER_PUPILLARY_M / inter_eye_px.

    width_px, field_of_view_deg: of the whole picture, horizontal.
    """
    focal_px = width_px / 2 / math.tan(math.radians(field_of_view_deg) / 2)
    return focal_px * INTER_PUPILLARY_M / inter_eye_px
