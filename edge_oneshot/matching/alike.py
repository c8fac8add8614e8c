"""How often pictures of one enrolled person match the template of another one who looks alike, by a measured model. Pure.

The score of a picture of Bob with Alice's template is predicted from the score of the two templates:
score = intercept + slope x (score of the templates) + residual. `python -m training.face.alike` fits it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).resolve().parents[1] / "models" / "alike.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """tail: (residual, share of the residuals that reach it), rising residuals. people, triples: measured.

    lowest: the template score from which it holds; pairs below it match less often.
    """

    encoder_id: str
    intercept: float
    slope: float
    tail: tuple[tuple[float, float], ...]
    lowest: float
    people: int
    triples: int

    def share(self, templates: float, threshold: float) -> float:
        """The expected share of pictures of one person that match the other at `threshold`, from the score of their templates.

        The logarithm of the share is interpolated. Beyond the measured residuals it is the lowest measured share: an upper
        bound. So is the share of `lowest` for templates that are less alike.
        """
        wanted = threshold - self.intercept - self.slope * max(templates, self.lowest)
        if wanted <= self.tail[0][0]:
            return self.tail[0][1]
        for (low, high_share), (high, low_share) in pairwise(self.tail):
            if wanted <= high:
                part = (wanted - low) / (high - low)
                return math.exp((1 - part) * math.log(high_share) + part * math.log(low_share))
        return self.tail[-1][1]


def read(path: Path = SHIPPED) -> Alike | None:
    """The model; None if there is none."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    tail = tuple((float(residual), float(share)) for residual, share in values.pop("tail"))
    return Alike(tail=tail, **{k: v for k, v in values.items() if k in Alike.__dataclass_fields__})
