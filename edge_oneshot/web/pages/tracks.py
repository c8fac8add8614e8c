"""A visit as the page shows it: what happened, why, and the score against the threshold. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from edge_oneshot.control.review import VisitRecord
from edge_oneshot.web.words import Words

Record = Mapping[str, Any]
SCALE = (-0.2, 1.0)  # of the bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The best score and the threshold, as x of a bar from 0 to 100."""

    score: float
    threshold: float

    @property
    def reached(self) -> bool:
        return self.score >= self.threshold

    @property
    def score_x(self) -> float:
        return _x(self.score)

    @property
    def threshold_x(self) -> float:
        return _x(self.threshold)


def _x(score: float) -> float:
    low, high = SCALE
    return round(100 * min(1.0, max(0.0, (score - low) / (high - low))), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """camera: slug of the camera."""

    camera: str
    visit: VisitRecord

    @property
    def first_at(self) -> datetime:
        return datetime.fromisoformat(self.visit.first_at)

    @property
    def day(self) -> date:
        return self.visit.day

    @property
    def bar(self) -> Bar | None:
        score, threshold = self.visit.score, self.visit.threshold
        return None if score is None or threshold is None else Bar(score=score, threshold=threshold)


def why(track: Record, words: Words, names: Mapping[str, str], candidates: bool) -> list[str]:
    """The explanation of one track, in sentences. candidates: name also people who did not match."""
    said = [words("visits.frames", frames=track["frames"], compared=track["compared"])]
    for refused in track["refused"].values():
        said.append(words("visits.refused", frames=refused["frames"], last=refused["last"]))
    if track["best"] is not None and candidates:
        said.append(words("visits.best", **_candidate(track["best"], names, words), threshold=track["threshold"]))
        if track["second"] is not None:
            said.append(words("visits.second", **_candidate(track["second"], names, words)))
    pad = track["pad"]
    if pad["decision"] != "not_performed":
        decision = words.get("visits.pad_" + pad["decision"], pad["decision"])
        said.append(words("visits.pad", decision=decision, method=pad["method"]))
    return [*said, _sentence(track["why"])]


def _candidate(candidate: Mapping[str, Any], names: Mapping[str, str], words: Words) -> dict[str, object]:
    identity = candidate["identity"]
    name = words("visits.removed_since") if identity is None else names.get(identity, identity)
    return {"name": name, "score": candidate["score"]}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
