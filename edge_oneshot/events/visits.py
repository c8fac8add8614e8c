"""Records of tracks -> visits. Pure.

A visit is the tracks of one person at one camera that are at most PAUSE apart. Of tracks without an identity it is not known
whether they are of one person: they are one visit if they have the same result and are at most LOST apart, as where a face was
lost and found again. Tracks that overlap in time are different people.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from edge_oneshot.events.explain import TrackRecord

RESULTS = ("match", "denied", "unknown", "rejected", "nothing")
PAUSE = timedelta(seconds=90)
LOST = timedelta(seconds=10)
KEY = re.compile(r"\d{17}-\d{1,18}")


def key_of(first_at: str, track: int) -> str:
    """What names a track for good: its first moment (UTC, to the millisecond) and its number since the daemon's start."""
    return f"{re.sub(r'[^0-9]', '', first_at[:23]):0<17}-{track}"


def result_of(track: TrackRecord) -> str:
    """One of RESULTS: the event of the track that says most."""
    kinds = {e["event_type"] for e in track["events"]}
    return next((r for r in RESULTS if r in kinds), "nothing")


def identity_of(track: TrackRecord) -> str | None:
    """The identity that the track was reported as; None unless it was recognized (match, denied), or if the person was removed."""
    votes: Mapping[str, int] = track["matched_frames"]
    if result_of(track) not in ("match", "denied") or not votes:
        return None
    return max(votes, key=lambda identity: votes[identity])


@dataclass(slots=True, kw_only=True)
class Visit:
    """tracks: oldest first."""

    result: str
    identity: str | None
    tracks: list[TrackRecord] = field(default_factory=list)

    @property
    def key(self) -> str:
        """That of its first track."""
        return self.keys[0]

    @property
    def keys(self) -> list[str]:
        return [key_of(t["first_at"], t["track"]) for t in self.tracks]

    @property
    def last_at(self) -> datetime:
        return max(datetime.fromisoformat(t["last_at"]) for t in self.tracks)

    @property
    def in_sight(self) -> bool:
        return any(t.get("in_sight") for t in self.tracks)

    @property
    def best(self) -> TrackRecord | None:
        """The track whose best score is the furthest above the threshold; None if none was compared with anyone."""
        scored = [t for t in self.tracks if _margin(t) is not None]
        return max(scored, key=lambda t: _margin(t) or 0.0, default=None)

    def takes(self, track: TrackRecord, result: str, identity: str | None) -> bool:
        """Whether the track continues this visit."""
        pause = datetime.fromisoformat(track["first_at"]) - self.last_at
        one = pause <= PAUSE if identity is not None else timedelta(0) < pause <= LOST
        return (self.result, self.identity) == (result, identity) and one


def _margin(track: TrackRecord) -> float | None:
    best, threshold = track["best"], track["threshold"]
    return None if best is None or threshold is None else best["score"] - threshold


def visits_of(tracks: Sequence[TrackRecord]) -> list[Visit]:
    """The newest first. tracks: of one camera."""
    visits: list[Visit] = []
    for track in sorted(tracks, key=lambda t: t["first_at"]):
        result, identity = result_of(track), identity_of(track)
        undecided = bool(track.get("in_sight")) and result == "nothing"
        recent = [] if undecided else [v for v in reversed(visits[-20:]) if v.takes(track, result, identity)]
        if recent:
            recent[0].tracks.append(track)
        else:
            visits.append(Visit(result=result, identity=identity, tracks=[track]))
    return sorted(visits, key=lambda v: v.last_at, reverse=True)


def asked(key: str, share: float) -> bool:
    """Whether a visit is in the random sample: a draw that depends on nothing but the visit's key."""
    drawn = int.from_bytes(hashlib.sha256(f"edge-oneshot sample {key}".encode()).digest()[:7], "big")
    return drawn < share * 2**56
