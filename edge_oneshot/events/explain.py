"""Why a track was reported as it was, or was not reported: a record of one track, as `explain` prints it. Pure.

A record holds no picture and no template. It names candidates that did not match.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NotRequired, TypedDict

from edge_oneshot.config import DecisionConfig
from edge_oneshot.types import Candidate, DecisionKind, Denied, Event, Observation, PadDecision, PadResult, Withheld

MAX_FAULTS = 12  # kinds of fault that one record keeps
WITHHELD = {
    Withheld.NEWEST: "the newest frame's best candidate was another person",
    Withheld.DIVIDED: "single-frame matches disagreed on the identity",
}


class CandidateRecord(TypedDict):
    """identity: None if that person has been removed from the gallery since."""

    identity: str | None
    score: float


class FaultRecord(TypedDict):
    """frames: how many had this fault. last: the message of the last one."""

    frames: int
    last: str


class EventRecord(TypedDict):
    """reason: of `denied`."""

    event_id: str
    event_type: str
    reason: NotRequired[str]


class PadRecord(TypedDict):
    decision: str
    score: float | None
    method: str | None


class TrackRecord(TypedDict):
    """One track. refused: code of a gate -> the frames that failed it. best, second, threshold: at the best frame.

    matched_frames: identity -> frames that matched on their own. why: the explanation in one sentence. adaptation: version of
    the adaptation to the site by which the scores were made; absent if there was none.
    """

    track: int
    first_at: str
    last_at: str
    frames: int
    compared: int
    matched_frames: dict[str, int]
    refused: dict[str, FaultRecord]
    best: CandidateRecord | None
    second: CandidateRecord | None
    threshold: float | None
    events: list[EventRecord]
    pad: PadRecord
    why: str
    target_fmr: NotRequired[float | None]
    target_fpir: NotRequired[float | None]
    quality: NotRequired[dict[str, float]]
    adaptation: NotRequired[str]
    in_sight: NotRequired[bool]


@dataclass(slots=True)
class OpenTrack:
    """What is known of a track that is still in sight. pad: of the last frame, but an attack stays."""

    first_at: datetime
    last_at: datetime
    frames: int = 0
    compared: int = 0
    held: int = 0  # frames that passed all gates, and were not compared since other faces came first
    votes: Counter[str] = field(default_factory=Counter)
    withheld: Counter[Withheld] = field(default_factory=Counter)
    refused: dict[str, FaultRecord] = field(default_factory=dict)
    best: Observation | None = None
    pad: PadResult = field(default_factory=PadResult)
    events: list[EventRecord] = field(default_factory=list)

    def add(self, observation: Observation, withheld: Withheld | None, at: datetime) -> None:
        """One frame. withheld: what kept the track from being reported as a match at this frame."""
        self.frames += 1
        self.last_at = at
        decision, pad = observation.decision, observation.sample.pad
        if pad.decision is PadDecision.ATTACK or (
            pad.decision is PadDecision.BONA_FIDE and self.pad.decision is not PadDecision.ATTACK
        ):
            self.pad = pad
        if decision.kind is DecisionKind.NOT_COMPARED:
            self.held += not decision.faults
            for fault in decision.faults:
                if fault.code in self.refused or len(self.refused) < MAX_FAULTS:
                    frames = self.refused[fault.code]["frames"] if fault.code in self.refused else 0
                    self.refused[fault.code] = {"frames": frames + 1, "last": fault.message}
            return
        self.compared += 1
        if withheld is not None:
            self.withheld[withheld] += 1
        if decision.kind is DecisionKind.MATCH and decision.candidate is not None:
            self.votes[decision.candidate.identity_id] += 1
        before = None if self.best is None else self.best.decision.margin
        better = before is None or (decision.margin is not None and decision.margin > before)
        if self.best is None or (better if self.best.one_view == observation.one_view else self.best.one_view):
            self.best = observation

    def add_event(self, event: Event) -> None:
        """An event that this track caused."""
        record: EventRecord = {"event_id": event.event_id, "event_type": event.event_type}
        if "reason" in event.body:
            record["reason"] = event.body["reason"]
        self.events.append(record)

    def forget(self, identity_id: str) -> None:
        """Remove a person from what is known."""
        self.votes.pop(identity_id, None)
        if self.best is not None:
            decision = self.best.decision
            if identity_id in {c.identity_id for c in (decision.candidate, decision.runner_up) if c is not None}:
                self.best = None

    def record(self, number: int, config: DecisionConfig) -> TrackRecord:
        record: TrackRecord = {
            "track": number,
            "first_at": self.first_at.isoformat(timespec="milliseconds"),
            "last_at": self.last_at.isoformat(timespec="milliseconds"),
            "frames": self.frames,
            "compared": self.compared,
            "matched_frames": dict(self.votes),
            "refused": dict(self.refused),
            "best": None,
            "second": None,
            "threshold": None,
            "events": list(self.events),
            "pad": {"decision": self.pad.decision.value, "score": self.pad.score, "method": self.pad.method},
            "why": reason(
                self.frames,
                self.compared,
                self.votes,
                self.withheld,
                [event["event_type"] for event in self.events],
                config,
                self.held,
                next((event["reason"] for event in reversed(self.events) if "reason" in event), ""),
            ),
        }
        if self.best is not None:
            decision = self.best.decision
            record["best"] = _candidate(decision.candidate)
            record["second"] = _candidate(decision.runner_up)
            record["threshold"] = round(decision.threshold, 4)
            record["target_fmr"], record["target_fpir"] = decision.target_fmr, decision.target_fpir
            record["quality"] = self.best.sample.quality.measures()
            if decision.adaptation:
                record["adaptation"] = decision.adaptation
        return record


def reason(
    frames: int,
    compared: int,
    votes: Mapping[str, int],
    withheld: Mapping[Withheld, int],
    event_types: Iterable[str],
    config: DecisionConfig,
    held: int = 0,
    denied: str = "",
) -> str:
    """In one sentence: why this track was reported as it was, or was not reported. votes: identity -> frames that matched.

    held: frames that passed all gates and were not compared, since other faces came first (matching/attention.py). denied: why
    the person was last not allowed, as Denied; "": always allowed.
    """
    reported = set(event_types)
    obstacles = " and ".join(
        f"{words} (at {withheld[w]} of {compared} frames)" for w, words in WITHHELD.items() if withheld.get(w)
    )
    together = f"at least {config.confirm_frames} frames together reached the threshold for one person, but {obstacles}"
    if reported & {"match", "denied"}:
        most = max(votes.values(), default=0)
        said = ["a match"] if "match" in reported else []
        said += [f"denied ({Denied(denied).words})"] if denied else []
        return (
            f"reported as {' and as '.join(said)}: {most} of {compared} compared frames matched on their own, "
            f"and at least {config.confirm_frames} together"
        )
    if "unknown" in reported:
        return f"reported as unknown: {config.unknown_frames} compared frames in a row without a match" + (
            f"; {together}" if obstacles else ""
        )
    start = "nothing was reported: "
    if "rejected" in reported:
        start = "reported as rejected: the person left before the track was decided; "
    if not compared:
        few = frames < config.unknown_frames
        return f"{start}{_not_compared(frames, held)}" + (
            f", and {frames} frames are fewer than the {config.unknown_frames} that `rejected` needs" if few else ""
        )
    if any(votes.values()):
        several = " for several people" if len(votes) > 1 else ""
        return f"{start}{sum(votes.values())} of {compared} compared frames matched on their own{several}; " + (
            together if obstacles else f"but never at least {config.confirm_frames} frames together"
        )
    return (
        f"{start}none of {compared} compared frames reached the threshold; "
        f"`unknown` needs {config.unknown_frames} in a row"
    )


def _not_compared(frames: int, held: int) -> str:
    if not held:
        return "every frame failed a gate"
    waited = "other faces in the picture were compared first"
    if held >= frames:
        return f"no frame was compared, since {waited}"
    return f"{frames - held} of {frames} frames failed a gate, and in the others {waited}"


def select(records: Sequence[TrackRecord], last_s: float | None, event_id: str | None) -> list[TrackRecord]:
    """The records of one event, or of the tracks that were seen within the last seconds; all if both are None."""
    if event_id is not None:
        return [r for r in records if any(e["event_id"] == event_id for e in r["events"])]
    if last_s is None:
        return list(records)
    since = datetime.now(UTC) - timedelta(seconds=last_s)
    return [r for r in records if datetime.fromisoformat(r["last_at"]) >= since]


def names(record: TrackRecord) -> set[str]:
    """The identities in a record."""
    places = (record["best"], record["second"])
    return set(record["matched_frames"]) | {
        p["identity"] for p in places if p is not None and p["identity"] is not None
    }


def without(record: TrackRecord, identity_id: str) -> TrackRecord:
    """The record without a person."""
    record = record.copy()
    record["matched_frames"] = {i: n for i, n in record["matched_frames"].items() if i != identity_id}
    record["best"], record["second"] = _hidden(record["best"], identity_id), _hidden(record["second"], identity_id)
    return record


def _hidden(candidate: CandidateRecord | None, identity_id: str) -> CandidateRecord | None:
    if candidate is None or candidate["identity"] != identity_id:
        return candidate
    return {"identity": None, "score": candidate["score"]}


def _candidate(candidate: Candidate | None) -> CandidateRecord | None:
    return None if candidate is None else {"identity": candidate.identity_id, "score": round(candidate.score, 4)}
