"""The journal: a short record of each of the last tracks, for `explain`. It stays on the device.

The daemon adds each frame's observations; a track that has left becomes one row. A record names candidates that did not
match, so only users who may open the control socket can read it. decision.explain_tracks = 0 switches the journal off.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TypedDict

from edge_oneshot.config import DecisionConfig
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.events.explain import OpenTrack, TrackRecord, names, select, without
from edge_oneshot.events.track_check import checked
from edge_oneshot.storage.database import Checksum, Count, Database, Row, Schema, text
from edge_oneshot.storage.keys import NO_KEYS, Keys
from edge_oneshot.storage.optional import OptionalDatabase, delete_moved_aside
from edge_oneshot.storage.rows import DIGEST
from edge_oneshot.types import Event, Observation, Withheld

log = logging.getLogger(__name__)

PRUNE_EVERY = 50  # rows between two deletions of the oldest
SCHEMA = Schema(
    kind="journal",
    application_id=0x454F6A6F,  # "EOjo"
    table="track",
    damage_hint="the daemon moves it aside at its next start and begins a new one",
    busy_timeout_s=2.0,
    wal=False,
    synchronous="NORMAL",  # the last records may be lost in a power cut
    # IF NOT EXISTS: the first release wrote no version.
    private=(("track", "record"),),
    steps=(
        ("CREATE TABLE IF NOT EXISTS track (id INTEGER PRIMARY KEY AUTOINCREMENT, record TEXT NOT NULL) STRICT",),
        (Checksum("track"),),
        (Count("track"),),
    ),
)


class Report(TypedDict):
    """tracks: oldest first, those in sight last. kept: how many are kept. fault: why none can be stored, or ""."""

    tracks: list[TrackRecord]
    kept: int
    fault: str


class Journal:
    """The tracks of one camera's daemon in a SQLite file (0600), at most config.explain_tracks of them.

    If the file cannot be written, the daemon continues without it; the log says so once, and `fault` does.
    """

    def __init__(self, path: Path, config: DecisionConfig, keys: Keys = NO_KEYS) -> None:
        """keys: as in Database."""
        self._config, self.path = config, path
        self._open: dict[int, OpenTrack] = {}
        self._rows = 0
        self._file = OptionalDatabase(path, SCHEMA, "tracks are not kept for `explain`", keys)
        self.reconfigure(config)

    @property
    def fault(self) -> str:
        return self._file.fault

    @property
    def set_aside(self) -> int:
        """Records that could not be read."""
        return self._file.run(Database.count_set_aside, 0) if self.path.exists() else 0

    def reconfigure(self, config: DecisionConfig) -> None:
        """Keep config.explain_tracks tracks from now on. With 0 the records in the file stay there."""
        self._config = config
        if config.explain_tracks:
            self._file.run(self._prune, None)
        else:
            self._open.clear()

    def observe(self, tracks: Sequence[tuple[int, Observation, Withheld | None]], at: datetime) -> None:
        """Add one frame, as Tracker.seen_at gives it. at: when it was captured, aware UTC."""
        if not self._config.explain_tracks:
            return
        for number, observation, withheld in tracks:
            track = self._open.setdefault(number, OpenTrack(first_at=at, last_at=at))
            track.add(observation, withheld, at)

    def add_event(self, event: Event) -> None:
        """Add an event that was published, to the track that caused it."""
        track = self._open.get(int(event.body.get("track", -1)))
        if track is not None:
            track.add_event(event)

    def close_tracks(self, in_sight: Iterable[int]) -> None:
        """Write the tracks that have left. in_sight: the numbers of those that have not."""
        stay = set(in_sight)
        for number in [n for n in self._open if n not in stay]:
            self._write(self._open.pop(number).record(number, self._config))

    def forget(self, identity_id: str) -> None:
        """Remove a person, who was removed from the gallery, from the records, too."""
        for track in self._open.values():
            track.forget(identity_id)
        if self.path.exists():
            self._file.run(lambda db: _scrub(db, identity_id), None)
        delete_moved_aside(self.path)

    def keep_only(self, identity_ids: Iterable[str]) -> None:
        """Forget all other people: those who were removed from the gallery while the daemon did not run."""
        if not self.path.exists():
            return
        records: list[TrackRecord] = self._file.run(_read, [])
        for identity_id in {i for r in records for i in names(r)} - set(identity_ids):
            self.forget(identity_id)

    def report(self, last_s: float | None = None, event_id: str | None = None) -> Report:
        """The selected tracks (explain.select). Raises EdgeOneshotError if the journal is off."""
        if not self._config.explain_tracks:
            raise EdgeOneshotError(
                "no tracks are kept: decision.explain_tracks is 0", "set it to the number of tracks to keep"
            )
        records: list[TrackRecord] = self._file.run(lambda db: _read(db, event_id), [])
        for number, track in self._open.items():
            record = track.record(number, self._config)
            record["in_sight"] = True
            records.append(record)
        return {
            "tracks": select(records, last_s, event_id),
            "kept": self._config.explain_tracks,
            "fault": self._file.fault,
        }

    def close(self) -> None:
        """Write the open tracks and close the file."""
        self.close_tracks(())
        self._file.close()

    def _write(self, record: TrackRecord) -> None:
        sql = "INSERT INTO track (record) VALUES (?)"
        if self._file.run(lambda db: db.execute(sql, (_content(db, record),)), 0):
            self._file.written()
            self._rows += 1
            if self._rows % PRUNE_EVERY == 0:
                self._file.run(self._prune, None)

    def _prune(self, db: Database) -> None:
        db.execute("DELETE FROM track WHERE id <= (SELECT max(id) FROM track) - ?", (self._config.explain_tracks,))


def read_journal(path: Path, keys: Keys = NO_KEYS) -> list[TrackRecord]:
    """The records of a file while no daemon runs. Raises StorageError."""
    if not path.exists():
        return []
    with closing(Database(path, SCHEMA, read_only=True, keys=keys)) as db:
        return _read(db)


def forget_in_journals(state_dir: Path, identity_id: str, keys: Keys = NO_KEYS) -> None:
    """Remove a person from the journals of every instance while no daemon runs. A file that fails is logged."""
    for path in sorted(state_dir.glob("explain-*.sqlite")):
        file = OptionalDatabase(path, SCHEMA, f"remove {path}: it may still name {identity_id!r}", keys)
        file.run(lambda db: _scrub(db, identity_id), None)
        file.close()
        delete_moved_aside(path)


def _read(db: Database, containing: str | None = None) -> list[TrackRecord]:
    """The records, oldest first. containing: only those with this text. A row that cannot be read is set aside.

    A row with a wrong checksum may contain any text.
    """
    return [record for _, record in _numbered(db, containing)]


def _numbered(db: Database, containing: str | None = None) -> list[tuple[int, TrackRecord]]:
    """(row id, record)."""
    table, where = db.tables["track"], ""
    if db.cipher is not None:
        containing = None  # a sealed record cannot be searched
    if containing is not None:
        damaged = f" OR {DIGEST} IS NOT {table.digest_of()}" if table.checked else ""
        where = f"WHERE instr(record, ?){damaged} "
    values = () if containing is None else (containing,)

    def parse(row: Row) -> tuple[int, TrackRecord]:
        return int(row[0]), checked(json.loads(db.reveal(text(row[1]), "track", "record")))

    return db.read("track", parse, f"{where}ORDER BY id", values)


def _content(db: Database, record: TrackRecord) -> str:
    return db.hide(json.dumps(record, ensure_ascii=False), "track", "record")


def _scrub(db: Database, identity_id: str) -> None:
    """Remove a person from all records. A row that cannot be read may name any person, so it is deleted."""
    for number, record in _numbered(db, identity_id):
        if identity_id in names(record):
            content = _content(db, without(record, identity_id))
            db.execute("UPDATE track SET record = ? WHERE id = ?", (content, number))
    db.delete_set_aside()
