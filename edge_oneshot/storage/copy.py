"""A copy in memory of a file on a disk that is full or read-only: it can be read, although SQLite cannot open the file."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from edge_oneshot.storage.database import Database


class Copy(Database):
    """What the file holds, the write-ahead log of a process that was killed included. An absent file gives an empty copy.

    What is written here ends with the copy.
    """

    def _connect(self) -> sqlite3.Connection:
        copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=not self._any_thread)
        if not self.path.exists() or not self.path.stat().st_size:
            return copy
        log = self.path.with_name(f"{self.path.name}-wal")
        ways = ["mode=ro"]
        # The side files cannot be made, so no other process has the file open: it can be read without locks. A log is read
        # with its index in memory; `immutable` would ignore it.
        ways.append("mode=ro&vfs=unix-none" if log.exists() and log.stat().st_size else "mode=ro&immutable=1")
        for way in ways:
            try:
                with closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?{way}", uri=True)) as source:
                    if "vfs" in way:
                        source.execute("PRAGMA locking_mode = EXCLUSIVE")
                    source.backup(copy)
                return copy
            except sqlite3.OperationalError:
                if way == ways[-1]:
                    copy.close()
                    raise
        raise AssertionError("unreachable")
