"""Opening a file: its kind, version and key, its integrity, and the steps that bring it to the newest version."""

from __future__ import annotations

import contextlib
import logging
import re
import sqlite3
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from edge_oneshot.errors import ConfigError, UnusableFile
from edge_oneshot.storage import disk
from edge_oneshot.storage.cipher import Cipher
from edge_oneshot.storage.faults import failed
from edge_oneshot.storage.keys import Keys
from edge_oneshot.storage.rows import ASIDE, Checksum, Count
from edge_oneshot.storage.schema import Schema, columns_of, foreign, missing, newest, run_step, tables_of
from edge_oneshot.storage.sealed import MARK, SEAL, SealedRows, key_id_of

log = logging.getLogger(__name__)

CACHE_KIB = 256  # of pages, for each connection; SQLite's default of 2 MB would keep whole files in memory as they grow
# What SQLite's check reports of a single row or of an index. Rows are checked when they are read, indexes are made again.
_ROW_FAULT = re.compile(r"(NULL|NUMERIC|TEXT|INT|INTEGER|REAL|BLOB|non-\w+) value in |CHECK constraint failed")
_INDEX_FAULT = re.compile(
    r"row \d+ missing from index|wrong # of entries in index|non-unique entry in index|row not in PRIMARY"
)


class Opening(SealedRows):
    """What is done once with a connection, before its rows are used; the base of Database."""

    log_emptied: bool
    _db: sqlite3.Connection
    _keys: Keys
    _emptied: bool  # the file had 0 bytes
    _seen: int  # data_version when the seal was checked last

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]: ...

    @abstractmethod
    def truncate_log(self, wait_s: float) -> bool: ...

    def _prepare_in_turn(self) -> None:
        """Prepare, and try again while other processes open the file: SQLite reports some of these locks without waiting."""
        end = time.monotonic() + self.schema.busy_timeout_s
        while True:
            try:
                return self._prepare()
            except sqlite3.OperationalError as e:
                if (e.sqlite_errorcode & 0xFF) != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def _prepare(self) -> None:
        schema, db = self.schema, self._db
        if not self.read_only and disk.forbids_writing(self.path):
            raise self._damaged("its header forbids writing")
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute(f"PRAGMA cache_size = {-CACHE_KIB}")
        if not self.read_only:
            db.execute(f"PRAGMA journal_mode = {'WAL' if schema.wal else 'DELETE'}")
            db.execute(f"PRAGMA synchronous = {schema.synchronous}")
            db.execute("PRAGMA secure_delete = 1")
            db.execute("PRAGMA recursive_triggers = 1")  # so that REPLACE counts the row that it deletes
        self._require_own_kind()
        self._check()
        self.tables = tables_of(db)
        if not self.read_only:
            self._repair(foreign)
            self._begin_seal()
        self._seen = int(self._pragma("data_version"))
        broken = self.whole and not self.seal_holds()  # before a step of the schema writes it anew
        if not self.read_only:
            self._migrate()
            self.tables = tables_of(db)
            if not self._complete():
                raise self._damaged("the tables are not those of its version")
            self._repair(missing)
            for table in self.tables.values():
                for statement in table.triggers() if table.checked else ():
                    db.execute(statement)
        if self._emptied and not self.read_only:
            self._emptied = False
            self.note("file", f"{self.path} had 0 bytes: what it held is lost")
        before = self.count_set_aside()
        self.verify()
        if broken and self.count_set_aside() == before:  # else it is known what was changed
            self.note_seal()
        if not self.read_only and schema.wal:
            self.log_emptied = self.truncate_log(0.0)

    def _repair(self, needed: Callable[[sqlite3.Connection, Schema], list[str]]) -> None:
        """Run the statements that the file needs, if any."""
        if needed(self._db, self.schema):
            with self.transaction():  # another process may have run them while this one waited for the lock
                for statement in needed(self._db, self.schema):
                    log.warning("%s %s: another program has changed it; running %s", self.kind, self.path, statement)
                    self._db.execute(statement)

    def _require_own_kind(self) -> None:
        """Raises UnusableFile for a file of another program or of a later release."""
        schema, db = self.schema, self._db
        mark = int(self._pragma("application_id"))
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        if mark not in (0, schema.application_id, schema.application_id | MARK) or (
            mark == 0 and tables and schema.table not in tables
        ):
            raise UnusableFile(
                self._failed(
                    "open", f"expected a file of this program, got application_id {mark} and tables {tables[:5]}"
                ),
                "check device.state_dir",
                state="foreign",
            )
        self._find_key(mark == schema.application_id | MARK, bool(tables))
        version = int(self._pragma("user_version"))
        if version > len(schema.steps):
            raise UnusableFile(
                self._failed("open", f"expected schema version {len(schema.steps)} or less, got {version}"),
                "install the release that wrote it, or a newer one",
                state="newer",
            )

    def _find_key(self, sealed: bool, filled: bool) -> None:
        """Take the key that this file needs. filled: it has tables. Raises UnusableFile."""
        keys = self._keys
        try:
            if sealed:
                self.take_key(self._key_of_file())
            # Before the first sealing the folder of the key may be one that the daemon has no way to. This weakens nothing: who can
            # close that folder can also delete the key.
            elif keys and not (filled and keys.hidden) and (key := keys.current()) is not None:
                if not filled:
                    self.take_key(key)
                elif keys.required:
                    why = f"it is not sealed, although there is the key {keys.credential or keys.path}"
                    raise UnusableFile(
                        self._failed("open", f"{why}: it was replaced, or put back from an old copy"),
                        "restore a sealed copy; if you trust this file: edge-oneshot gallery seal --trust-plain"
                        + ("; after `gallery unseal`: delete the credential" if keys.credential else ""),
                        state="plain",
                    )
        except ConfigError as e:
            raise UnusableFile(self._failed("open", e.message), e.hint, state="key") from e

    def _key_of_file(self) -> Cipher:
        keys, key_id = self._keys, key_id_of(self._db)
        if key_id is None:
            raise self._damaged(f"it is sealed, and its table {SEAL} does not name a key")
        if (found := keys.find(key_id)) is not None:
            return found
        there = keys and (keys.current() or keys.pending())
        got = f"{keys.source} is another key ({there.key_id})" if there else f"there is no key at {keys.path}"
        raise UnusableFile(
            self._failed("open", f"it is sealed with the key {key_id[:16]}, and {got}"),
            f"restore the key from your backup to {keys.path}. Without it this file cannot be read: keep it, and set "
            "device.state_dir to a new folder"
            if keys
            else "open it as a part of the device, with its key",
            state="sealed" if there else "key",
        )

    def _mark(self) -> int:
        return self.schema.application_id | (MARK if self.cipher is not None else 0)

    def _begin_seal(self) -> None:
        """Make a new file a sealed one, if there is a key."""
        if self.cipher is None or SEAL in self.tables:
            return
        with self.transaction():
            self.tables = tables_of(self._db)
            if SEAL not in self.tables:  # else another process was faster
                self._db.execute(f"PRAGMA application_id = {self._mark()}")
                self.create_seal()

    def _complete(self) -> bool:
        """Whether the tables are those of the newest version."""
        found = tables_of(self._db)
        aside = found.get("set_aside")
        return columns_of(newest(self.schema)).items() <= columns_of(found).items() and (
            aside is None or aside.columns == ASIDE
        )

    def _check(self) -> None:
        """Check the whole file. An index that does not fit its table is made again. Raises UnusableFile."""
        problems = [str(row[0]).replace("\n", " ") for row in self._db.execute("PRAGMA integrity_check")]
        if not self.read_only and any(map(_INDEX_FAULT.search, problems)):
            with contextlib.suppress(sqlite3.IntegrityError):  # two rows have the same key
                self._db.execute("REINDEX")
                problems = [str(row[0]).replace("\n", " ") for row in self._db.execute("PRAGMA integrity_check")]
        for problem in problems:
            if problem != "ok" and not _ROW_FAULT.match(problem):
                raise self._damaged(problem)

    def _damaged(self, why: object) -> UnusableFile:
        return UnusableFile(self._failed("open", f"the file is damaged: {why}"), self.schema.damage_hint)

    def _migrate(self) -> None:
        """Bring the file to the newest version, each step in one transaction."""
        schema = self.schema
        if self._pragma("application_id") != (mark := self._mark()):
            self._db.execute(f"PRAGMA application_id = {mark}")
        if (
            int(self._pragma("user_version")) < len(schema.steps) and self._complete()
        ):  # only the number in the header is wrong, or another process was faster
            self._db.execute(f"PRAGMA user_version = {len(schema.steps)}")
        for number, step in enumerate(schema.steps, start=1):
            if int(self._pragma("user_version")) >= number:
                continue
            with self.transaction():
                # Another process may have done this step while this one waited for the lock.
                if int(self._pragma("user_version")) >= number:
                    continue
                self._refuse_unchecked(step)
                try:
                    run_step(self._db, step)
                except sqlite3.DatabaseError as e:
                    # a table is missing, or is there already; a column has another type
                    if e.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT):
                        raise
                    raise self._damaged(e) from e
                self._db.execute(f"PRAGMA user_version = {number}")
                self.tables = tables_of(self._db)
                if self.whole:
                    self.write_seal()

    def _refuse_unchecked(self, step: Sequence[str | Checksum | Count]) -> None:
        """A sealed file has had checksums from its first row on: without them another program has written its rows.

        A file that is `whole` notices that by its seal, and its rows are encrypted with what they belong to.
        """
        if self.cipher is None or self.whole:
            return
        for part in step:
            if not isinstance(part, str) and part.table in self.tables and self.rows(f'SELECT 1 FROM "{part.table}"'):
                raise self._damaged(f"it is sealed, and the rows of its table {part.table} have lost their checksums")

    def _pragma(self, name: str) -> Any:
        return self._db.execute(f"PRAGMA {name}").fetchone()[0]

    def _failed(self, doing: str, why: str) -> str:
        return failed(doing, self.schema, self.path, why)
