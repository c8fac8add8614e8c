"""Sealing a file, unsealing it, and giving it another key: one transaction, while no other process has the file open."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from edge_oneshot.storage.cipher import Cipher
from edge_oneshot.storage.database import Database, Schema, text
from edge_oneshot.storage.keys import Keys
from edge_oneshot.storage.rows import DIGEST, count_again, sql_name
from edge_oneshot.storage.sealed import SEAL

BUSY_TIMEOUT_S = 5.0  # a command that is just ending has the file open; a daemon does not end
Rewrite = Callable[[Database], Callable[[], None]]


class Alone(Database):
    """A connection that shares the file with no other, in this process or another one. Raises StorageError if it is in use.

    Changes are in a write-ahead log until they are complete, so that no rollback journal holds what was there before.
    """

    def __init__(self, path: Path, schema: Schema, keys: Keys) -> None:
        super().__init__(path, replace(schema, wal=True, synchronous="FULL", busy_timeout_s=BUSY_TIMEOUT_S), keys=keys)

    def _connect(self) -> sqlite3.Connection:
        db = super()._connect()
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        return db

    def convert(self, key: Cipher | None, rewrite: Rewrite) -> int:
        """Give the file this key; None: make it a plain file. Returns how many rows that were set aside it has lost.

        rewrite: reads what is private with the present key, and returns what writes it with the new one.
        """
        with self.transaction():
            lost = self.count_set_aside()
            write = rewrite(self)
            self.take_key(key)
            self.execute(f"PRAGMA application_id = {self._mark()}")
            self.execute(f"DROP TABLE IF EXISTS {SEAL}")
            if key is not None:
                self.create_seal()
            write()
            # Their contents are as the file stored them before.
            self.delete_set_aside()
            for name, table in self.tables.items():
                if table.checked:
                    self.execute(f"UPDATE {sql_name(name)} SET {DIGEST} = {table.digest_of()}")
                    self.execute(count_again(name))
        self.execute("VACUUM")
        self.truncate_log(1.0)
        return lost


def convert(path: Path, schema: Schema, keys: Keys, key: Cipher | None, rewrite: Rewrite | None = None) -> int | None:
    """As Alone.convert, for the file at `path`. None: it has this key already. Raises StorageError."""
    with closing(Alone(path, schema, keys)) as db:
        if db.key_id == ("" if key is None else key.key_id):
            return None
        return db.convert(key, rewrite or private_columns)


def private_columns(db: Database) -> Callable[[], None]:
    """The rewriting of a file whose private texts are in the columns that its schema names."""
    found: list[tuple[str, str, int | str, str]] = []
    for table, column in db.schema.private:
        (key,) = db.tables[table].key
        for row in db.rows(f"SELECT {sql_name(key)}, {sql_name(column)} FROM {sql_name(table)}"):
            found.append((table, column, row[0], db.reveal(text(row[1]), table, column)))
    alike = {(t, c) for t, c in db.schema.private if db.tables[t].key == (c,)}

    def write() -> None:
        for table, column, key, value in found:
            hide = db.hide_alike if (table, column) in alike else db.hide
            db.execute(
                f"UPDATE {sql_name(table)} SET {sql_name(column)} = ? WHERE {sql_name(db.tables[table].key[0])} = ?",
                (hide(value, table, column), key),
            )

    return write
