"""Why something was told, or was not: a short record of each track, kept on the device, without pictures or templates.

The daemon offers every frame's observations; a track that has ended becomes one row. It holds names, also of candidates
who were not matched: it never leaves the device but to somebody who may open its socket. Off with decision.explain_tracks = 0.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edge_oneshot.config import DecisionConfig
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.types import Candidate, DecisionKind, Event, Observation, PadDecision, PadResult, Withheld

log = logging.getLogger(__name__)

MAX_REASONS = 12  # kinds of fault kept of one track
PRUNE_EVERY = 50  # rows between two looks at the limit
HINDERED = {
    Withheld.NEWEST: "the newest frame's best candidate was somebody else",
    Withheld.DIVIDED: "of those that matched alone no more than two in three named that person",
}


@dataclass(slots=True)
class _Seen:
    """A track that is still in sight."""

    first_at: datetime
    last_at: datetime
    frames: int = 0
    compared: int = 0
    votes: Counter[str] = field(default_factory=Counter)
    withheld: Counter[Withheld] = field(default_factory=Counter)
    refused: dict[str, dict[str, Any]] = field(default_factory=dict)
    best: Observation | None = None
    pad: PadResult = field(default_factory=PadResult)  # the last one, but an attack stays
    events: list[dict[str, str]] = field(default_factory=list)
    told: set[str] = field(default_factory=set)

    def take(self, observation: Observation, withheld: Withheld | None, at: datetime) -> None:
        self.frames += 1
        self.last_at = at
        decision, pad = observation.decision, observation.sample.pad
        if pad.decision is PadDecision.ATTACK or (
            pad.decision is PadDecision.BONA_FIDE and self.pad.decision is not PadDecision.ATTACK
        ):
            self.pad = pad
        if decision.kind is DecisionKind.NOT_COMPARED:
            for fault in decision.faults:
                if fault.code in self.refused or len(self.refused) < MAX_REASONS:
                    entry = self.refused.setdefault(fault.code, {"frames": 0})
                    entry["frames"] += 1
                    entry["last"] = fault.message
            return
        self.compared += 1
        if withheld is not None:
            self.withheld[withheld] += 1
        if decision.kind is DecisionKind.MATCH and decision.candidate is not None:
            self.votes[decision.candidate.identity_id] += 1
        before = None if self.best is None else self.best.decision.score
        if self.best is None or before is None or (decision.score is not None and decision.score > before):
            self.best = observation


def reason(
    frames: int,
    compared: int,
    votes: Mapping[str, int],
    withheld: Mapping[Withheld, int],
    told: Iterable[str],
    config: DecisionConfig,
) -> str:
    """In one sentence: why this track was told as it was, or was not told. Pure."""
    told = set(told)
    most = max(votes.values(), default=0)
    hindered = " and ".join(
        f"{words} (at {withheld[o]} of {compared} frames)" for o, words in HINDERED.items() if withheld.get(o)
    )
    if "match" in told:
        return f"told as a match: {most} of {compared} compared frames matched alone, and at least {config.confirm_frames} together"
    if "unknown" in told:
        return f"told as unknown: {config.unknown_frames} compared frames in a row without a match" + (
            f"; at least {config.confirm_frames} together reached the threshold for one person, but {hindered}"
            if hindered
            else ""
        )
    if not compared:
        few = frames < config.unknown_frames
        return "nothing was told: every frame was refused by a gate" + (
            f", and {frames} frames are fewer than the {config.unknown_frames} needed to tell `rejected`" if few else ""
        )
    if most:
        several = " for several people" if len(votes) > 1 else ""
        return f"not told as a match: {sum(votes.values())} of {compared} compared frames matched{several} alone, " + (
            f"and at least {config.confirm_frames} together for one person, but {hindered}"
            if hindered
            else f"but never at least {config.confirm_frames} frames together"
        )
    return (
        f"not told: {compared} compared frames, none over the threshold; "
        f"`unknown` needs {config.unknown_frames} in a row"
    )


class Journal:
    """Tracks of one camera's daemon in a SQLite file (0600), at most config.explain_tracks of them.

    A file that cannot be written is said once in the log and in `fault`; the daemon goes on without it.
    """

    def __init__(self, path: Path, config: DecisionConfig) -> None:
        self._config, self.path, self.fault = config, path, ""
        self._open: dict[int, _Seen] = {}
        self._rows = 0
        self._db: sqlite3.Connection | None = None
        self.reconfigure(config)

    def reconfigure(self, config: DecisionConfig) -> None:
        """Keep as many tracks as this says from now on. With 0 what was kept stays in the file, as after a restart."""
        self._config = config
        if not config.explain_tracks:
            self._open.clear()
            return
        try:
            if self._db is None:
                self._db = _connect(self.path)
            self._prune()
        except (sqlite3.Error, OSError) as e:
            self._failed(e)

    def observe(self, tracks: Sequence[tuple[int, Observation, Withheld | None]], at: datetime) -> None:
        """One frame, as Tracker.seen_at gives it. at: when it was captured, aware UTC."""
        if not self._config.explain_tracks:
            return
        for number, observation, withheld in tracks:
            seen = self._open.get(number)
            if seen is None:
                seen = self._open[number] = _Seen(first_at=at, last_at=at)
            seen.take(observation, withheld, at)

    def told(self, event: Event) -> None:
        """An event of a track went out."""
        seen = self._open.get(int(event.body.get("track", -1)))
        if seen is not None:
            seen.told.add(event.event_type)
            seen.events.append({"event_id": event.event_id, "event_type": event.event_type})

    def keep(self, alive: Iterable[int]) -> None:
        """Write down the tracks that are not in sight any more. alive: numbers of those that are."""
        here = set(alive)
        for number in [n for n in self._open if n not in here]:
            self._write(number, self._open.pop(number))

    def forget(self, identity_id: str) -> None:
        """Somebody was removed from the gallery: their id leaves the records, too."""
        for seen in self._open.values():
            seen.votes.pop(identity_id, None)
            if seen.best is not None and identity_id in _named(seen.best):
                seen.best = None
        if self._db is not None:
            try:
                _scrub(self._db, identity_id)
            except sqlite3.Error as e:
                self._failed(e)

    def keep_only(self, identity_ids: Iterable[str]) -> None:
        """Forget everybody else: who was removed from the gallery while this daemon did not run."""
        known = set(identity_ids)
        try:
            records = [] if self._db is None else read(self._db)
        except sqlite3.Error as e:
            self._failed(e)
            return
        for identity_id in {i for r in records for i in _names(r)} - known:
            self.forget(identity_id)

    def report(self, last_s: float | None = None, event_id: str | None = None) -> dict[str, Any]:
        """{"tracks": oldest first, those in sight last, "kept": limit, "fault": ""}. Raises EdgeOneshotError when it is off."""
        if not self._config.explain_tracks:
            raise EdgeOneshotError(
                "nothing is kept to explain: decision.explain_tracks is 0", "set it to the number of tracks to keep"
            )
        records = [] if self._db is None else read(self._db)
        records += [self._record(n, s) | {"in_sight": True} for n, s in self._open.items()]
        return {"tracks": select(records, last_s, event_id), "kept": self._config.explain_tracks, "fault": self.fault}

    def close(self) -> None:
        self.keep(())
        if self._db is not None:
            self._db.close()
            self._db = None

    def _record(self, number: int, seen: _Seen) -> dict[str, Any]:
        record: dict[str, Any] = {
            "track": number,
            "first_at": seen.first_at.isoformat(timespec="milliseconds"),
            "last_at": seen.last_at.isoformat(timespec="milliseconds"),
            "frames": seen.frames,
            "compared": seen.compared,
            "matched_frames": dict(seen.votes),
            "refused": seen.refused,
            "best": None,
            "second": None,
            "threshold": None,
            "events": seen.events,
            "pad": {"decision": seen.pad.decision.value, "score": seen.pad.score, "method": seen.pad.method},
            "why": reason(seen.frames, seen.compared, seen.votes, seen.withheld, seen.told, self._config),
        }
        if seen.best is not None:
            decision = seen.best.decision
            record |= {
                "best": _candidate(decision.candidate),
                "second": _candidate(decision.runner_up),
                "threshold": round(decision.threshold, 4),
                "target_fmr": decision.target_fmr,
                "target_fpir": decision.target_fpir,
                "quality": seen.best.sample.quality.measures(),
            }
        return record

    def _write(self, number: int, seen: _Seen) -> None:
        if self._db is None:
            return
        try:
            with self._db:
                self._db.execute(
                    "INSERT INTO track (record) VALUES (?)",
                    (json.dumps(self._record(number, seen), ensure_ascii=False),),
                )
            self._rows += 1
            if self._rows % PRUNE_EVERY == 0:
                self._prune()
        except sqlite3.Error as e:
            self._failed(e)

    def _prune(self) -> None:
        assert self._db is not None
        with self._db:
            self._db.execute(
                "DELETE FROM track WHERE id <= (SELECT max(id) FROM track) - ?", (self._config.explain_tracks,)
            )

    def _failed(self, error: Exception) -> None:
        if not self.fault:
            log.warning("tracks cannot be kept for `explain` in %s: %s", self.path, error)
        self.fault = str(error)


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The records of a file that no daemon holds. Raises EdgeOneshotError."""
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return read(db)
    except (sqlite3.Error, ValueError) as e:
        raise EdgeOneshotError(f"cannot read {path}: {e}", "check its permissions, or remove it") from None


def forget_in_files(state_dir: Path, identity_id: str) -> None:
    """Somebody was removed while no daemon ran: out of the files of every instance. A file that fails is named in the log."""
    for path in state_dir.glob("explain-*.sqlite"):
        try:
            with closing(_connect(path)) as db:
                _scrub(db, identity_id)
        except (sqlite3.Error, OSError) as e:
            log.warning("cannot remove %s from %s: %s; remove the file", identity_id, path, e)


def _scrub(db: sqlite3.Connection, identity_id: str) -> None:
    with db:
        rows = db.execute("SELECT id, record FROM track WHERE instr(record, ?)", (json.dumps(identity_id),)).fetchall()
        for number, text in rows:
            record = json.dumps(_without(json.loads(text), identity_id), ensure_ascii=False)
            db.execute("UPDATE track SET record = ? WHERE id = ?", (record, number))


def read(db: sqlite3.Connection) -> list[dict[str, Any]]:
    return [json.loads(text) for (text,) in db.execute("SELECT record FROM track ORDER BY id")]


def select(records: list[dict[str, Any]], last_s: float | None, event_id: str | None) -> list[dict[str, Any]]:
    """Those seen within the last seconds, or that an event came from."""
    if event_id is not None:
        return [r for r in records if any(e["event_id"] == event_id for e in r["events"])]
    if last_s is None:
        return records
    since = datetime.now(UTC) - timedelta(seconds=last_s)
    return [r for r in records if datetime.fromisoformat(r["last_at"]) >= since]


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    path.chmod(0o600)
    db = sqlite3.connect(path, timeout=2.0)
    db.execute("PRAGMA secure_delete = ON")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("CREATE TABLE IF NOT EXISTS track (id INTEGER PRIMARY KEY AUTOINCREMENT, record TEXT NOT NULL) STRICT")
    return db


def _candidate(candidate: Candidate | None) -> dict[str, Any] | None:
    return None if candidate is None else {"identity": candidate.identity_id, "score": round(candidate.score, 4)}


def _names(record: dict[str, Any]) -> set[str]:
    places = (record["best"], record["second"])
    return set(record["matched_frames"]) | {
        p["identity"] for p in places if p is not None and p["identity"] is not None
    }


def _named(observation: Observation) -> set[str]:
    return {c.identity_id for c in (observation.decision.candidate, observation.decision.runner_up) if c is not None}


def _without(record: dict[str, Any], identity_id: str) -> dict[str, Any]:
    record["matched_frames"].pop(identity_id, None)
    for place in ("best", "second"):
        if record[place] is not None and record[place]["identity"] == identity_id:
            record[place] = record[place] | {"identity": None}
    return record
