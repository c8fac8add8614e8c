"""The section `visits`: what is kept of visits for a review."""

from __future__ import annotations

from dataclasses import dataclass

from edge_oneshot.config.key import key as _key


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitsConfig:
    pictures: bool = _key(
        False,
        "keep an encrypted picture of the face of each visit for the review; this is biometric data, and needs a key; "
        "false erases all of them",
    )
    picture_days: int = _key(7, "days after which a picture is erased", low=1, high=365)
    picture_mb: int = _key(50, "greatest size of all pictures, MB; the oldest are erased first", low=1, high=10000)
    asked_share: float = _key(
        0.1,
        "share of visits, drawn at random, whose result the page asks you to confirm, to measure this door's error rates; "
        "0: none",
        low=0,
        high=1,
    )
