"""What responses tell of the adaptation to this site's strangers."""

from __future__ import annotations

from dataclasses import dataclass

from edge_oneshot.control.codec import out


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptationState:
    """What was learned of this site's strangers."""

    visits: int = out("visits of unknown people that were looked at")
    counted: int = out("of these, different visitors; a person counts once")
    needed: int = out("visitors after which learning is complete")
    version: str = out("names what is subtracted; empty: nothing yet")
    before: float | None = out(
        "mean score of two of the visitors without the adaptation; null: nothing is subtracted yet"
    )
    after: float | None = out("the same with the adaptation")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptationReset:
    visits: int = out("visits that had been looked at")
