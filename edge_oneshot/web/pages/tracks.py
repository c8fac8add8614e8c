"""Records of tracks -> visits: what happened, who it was, why, and the score against the threshold. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from edge_oneshot.web.words import Words

Record = Mapping[str, Any]
RESULTS = ("match", "unknown", "rejected", "nothing")
PAUSE = timedelta(seconds=90)  # tracks of one person that are closer together are one visit
SCALE = (-0.2, 1.0)  # of the bar


def result_of(track: Record) -> str:
    """One of RESULTS: the event of the track that says most."""
    kinds = {e["event_type"] for e in track["events"]}
    return next((r for r in RESULTS if r in kinds), "nothing")


def who(track: Record) -> str | None:
    """The identity that the track was reported as; None for every result but a match, or if the person was removed."""
    votes: Mapping[str, int] = track["matched_frames"]
    if result_of(track) != "match" or not votes:
        return None
    return max(votes, key=lambda identity: votes[identity])


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


@dataclass(slots=True, kw_only=True)
class Visit:
    """Tracks that follow each other, of one camera with one result. tracks: oldest first."""

    camera: str
    result: str
    identity: str | None
    tracks: list[Record] = field(default_factory=list)

    @property
    def first_at(self) -> datetime:
        return datetime.fromisoformat(self.tracks[0]["first_at"])

    @property
    def last_at(self) -> datetime:
        return datetime.fromisoformat(self.tracks[-1]["last_at"])

    @property
    def in_sight(self) -> bool:
        return any(t.get("in_sight") for t in self.tracks)

    @property
    def bar(self) -> Bar | None:
        """The track with the highest margin."""
        bars = [b for b in map(bar_of, self.tracks) if b is not None]
        return max(bars, key=lambda b: b.score - b.threshold, default=None)

    @property
    def day(self) -> date:
        return self.first_at.astimezone().date()


def bar_of(track: Record) -> Bar | None:
    if track["best"] is None or track["threshold"] is None:
        return None
    return Bar(score=track["best"]["score"], threshold=track["threshold"])


def visits_of(camera: str, tracks: Sequence[Record]) -> list[Visit]:
    """The newest first."""
    visits: list[Visit] = []
    for track in sorted(tracks, key=lambda t: str(t["first_at"])):
        result, identity = result_of(track), who(track)
        last = next((v for v in reversed(visits) if (v.result, v.identity) == (result, identity)), None)
        here = bool(track.get("in_sight")) and result == "nothing"  # not decided yet
        if last is not None and not here and datetime.fromisoformat(track["first_at"]) - last.last_at <= PAUSE:
            last.tracks.append(track)
        else:
            visits.append(Visit(camera=camera, result=result, identity=identity, tracks=[track]))
    return visits[::-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What the list shows; "" and None: all."""

    person: str = ""
    camera: str = ""
    result: str = ""
    day: date | None = None

    def passes(self, visit: Visit) -> bool:
        return (
            self.person in ("", visit.identity)
            and self.camera in ("", visit.camera)
            and self.result in ("", visit.result)
            and self.day in (None, visit.day)
        )


def why(track: Record, words: Words, names: Mapping[str, str], candidates: bool) -> list[str]:
    """The explanation of one track, in sentences. candidates: name also people who did not match."""
    said = [words("visits.frames", frames=track["frames"], compared=track["compared"])]
    for refused in track["refused"].values():
        said.append(words("visits.refused", frames=refused["frames"], last=refused["last"]))
    if track["best"] is not None and candidates:
        said.append(words("visits.best", **_candidate(track["best"], names, words), threshold=track["threshold"]))
        if track["second"] is not None:
            said.append(words("visits.second", **_candidate(track["second"], names, words)))
    if track["pad"]["decision"] != "not_performed":
        said.append(words("visits.pad", decision=track["pad"]["decision"], method=track["pad"]["method"]))
    return [*said, _sentence(track["why"])]


def _candidate(candidate: Mapping[str, Any], names: Mapping[str, str], words: Words) -> dict[str, object]:
    identity = candidate["identity"]
    name = words("visits.removed_since") if identity is None else names.get(identity, identity)
    return {"name": name, "score": candidate["score"]}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def people_in(visits: Iterable[Visit]) -> set[str]:
    return {v.identity for v in visits if v.identity is not None}
