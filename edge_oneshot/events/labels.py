"""What people said about visits: who it was, and whom to ignore. Of one camera, in a SQLite file (0600), in memory as well.

A label keeps whether the result was right (`outcome`), so it counts on when the person is removed: only the name is erased.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from edge_oneshot.storage.database import Checksum, Count, Database, Row, Schema, text
from edge_oneshot.storage.keys import NO_KEYS, Keys
from edge_oneshot.storage.optional import OptionalDatabase, delete_moved_aside

MOST = 20000
Who = Literal["person", "stranger", "unclear"]
Outcome = Literal["right", "missed", "wrong_name", "false_match", "unclear"]
SCHEMA = Schema(
    kind="labels",
    application_id=0x454F6C61,  # "EOla"
    table="label",
    damage_hint="the daemon moves it aside and begins a new one",
    busy_timeout_s=2.0,
    wal=False,
    synchronous="FULL",
    private=(("label", "record"), ("ignored", "identity")),
    steps=(
        (
            "CREATE TABLE label (id INTEGER PRIMARY KEY AUTOINCREMENT, visit TEXT NOT NULL, record TEXT NOT NULL) STRICT",
        ),
        (Checksum("label"), Count("label")),
        ("CREATE TABLE ignored (id INTEGER PRIMARY KEY AUTOINCREMENT, identity TEXT NOT NULL) STRICT",),
        (Checksum("ignored"), Count("ignored")),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """visit: its key. at: when the visit began, RFC 3339. result: as it was reported. who, identity: who it was.

    asked: whether the visit is in the random sample.
    """

    visit: str
    at: str
    result: str
    who: Who
    identity: str | None
    outcome: Outcome
    asked: bool


def outcome_of(result: str, reported: str | None, who: Who, identity: str | None) -> Outcome:
    """What the result of a visit was, given who it was. result, reported: the result and the identity of a match.

    A person who was denied was recognized all the same.
    """
    recognized = result in ("match", "denied")
    if who == "unclear":
        return "unclear"
    if who == "stranger":
        return "false_match" if recognized else "right"
    if not recognized:
        return "missed"
    return "right" if reported == identity else "wrong_name"


class Labels:
    """Belongs to one thread."""

    def __init__(self, path: Path, keys: Keys = NO_KEYS) -> None:
        """keys: as in Database."""
        self._file = OptionalDatabase(path, SCHEMA, "what was said about visits is not kept", keys)
        self.path, self._known = path, None if path.exists() else dict[str, Label]()
        self._ignored = None if path.exists() else frozenset[str]()

    @property
    def fault(self) -> str:
        return self._file.fault

    @property
    def set_aside(self) -> int:
        """Rows that could not be read."""
        return self._file.run(Database.count_set_aside, 0) if self.path.exists() else 0

    @property
    def all(self) -> dict[str, Label]:
        """Visit -> label."""
        if self._known is None:
            nothing: list[Label] = []
            self._known = {label.visit: label for label in self._file.run(_read, nothing)}
        return self._known

    def put(self, label: Label) -> bool:
        """Store a label instead of the one that the visit had. False if the file cannot be written."""
        known = self.all
        if not self._file.run(lambda db: _put(db, label), False):
            return False
        self._file.written()
        known.pop(label.visit, None)
        known[label.visit] = label
        for visit in list(known)[: max(0, len(known) - MOST)]:
            del known[visit]
        return True

    def drop(self, visit: str) -> bool:
        """Erase the label of a visit. False if the file cannot be written."""
        if visit not in self.all:
            return True
        done = self._file.run(lambda db: db.execute("DELETE FROM label WHERE visit = ?", (visit,)) >= 0, False)
        if done:
            self.all.pop(visit, None)
        return done

    @property
    def ignored(self) -> frozenset[str]:
        """The identities whose events are not published."""
        if self._ignored is None:
            nothing: list[str] = []
            self._ignored = frozenset(self._file.run(_read_ignored, nothing))
        return self._ignored

    def ignore(self, identity_id: str, on: bool) -> bool:
        """Begin or end to ignore a person. False if the file cannot be written."""
        if (identity_id in self.ignored) == on:
            return True
        if (now := self._file.run(lambda db: _write_ignored(db, identity_id, on), None)) is None:
            return False
        self._file.written()
        self._ignored = now
        return True

    def forget(self, identity_id: str) -> None:
        """Erase a person, who was removed from the gallery."""
        self.ignore(identity_id, False)
        for label in [label for label in self.all.values() if label.identity == identity_id]:
            self.put(replace(label, identity=None))
        if self.path.exists():
            self._file.run(Database.delete_set_aside, None)
        delete_moved_aside(self.path)

    def keep_only(self, identity_ids: Iterable[str]) -> None:
        """Forget all other people."""
        kept = set(identity_ids)
        for identity in ({label.identity for label in self.all.values() if label.identity} | self.ignored) - kept:
            self.forget(identity)

    def close(self) -> None:
        self._file.close()


def forget_in_labels(state_dir: Path, identity_id: str, keys: Keys = NO_KEYS) -> None:
    """Remove a person from the labels of every instance while no daemon runs. A file that fails is logged."""
    for path in sorted(state_dir.glob("labels-*.sqlite")):
        labels = Labels(path, keys)
        labels.forget(identity_id)
        labels.close()


def _put(db: Database, label: Label) -> bool:
    db.execute("DELETE FROM label WHERE visit = ?", (label.visit,))
    content = db.hide(json.dumps(asdict(label), ensure_ascii=False), "label", "record")
    db.execute("INSERT INTO label (visit, record) VALUES (?, ?)", (label.visit, content))
    db.execute("DELETE FROM label WHERE id <= (SELECT max(id) FROM label) - ?", (MOST,))
    return True


def _read_ignored(db: Database) -> list[str]:
    return db.read("ignored", lambda row: db.reveal(text(row[1]), "ignored", "identity"))


def _write_ignored(db: Database, identity: str, on: bool) -> frozenset[str]:
    """Add or remove one; all of the file. What is in memory is not written: the file may have failed when it was read."""
    wanted = {*_read_ignored(db), identity} if on else {*_read_ignored(db)} - {identity}
    db.execute("DELETE FROM ignored")
    rows = [(db.hide(i, "ignored", "identity"),) for i in sorted(wanted)]
    db.execute_many("INSERT INTO ignored (identity) VALUES (?)", rows)
    return frozenset(wanted)


def _read(db: Database) -> list[Label]:
    """Oldest first. A row that cannot be read is set aside."""
    return db.read("label", lambda row: _parse(row, db), "ORDER BY id")


def _parse(row: Row, db: Database) -> Label:
    record = json.loads(db.reveal(text(row[2]), "label", "record"))
    label = Label(**{name: record[name] for name in Label.__slots__})
    if label.who not in get_args(Who) or label.outcome not in get_args(Outcome) or label.visit != text(row[1]):
        raise ValueError(f"expected a label, got {record!r}"[:200])
    if not isinstance(label.asked, bool) or not isinstance(label.identity, str | None):
        raise ValueError(f"expected a label, got {record!r}"[:200])
    return label
