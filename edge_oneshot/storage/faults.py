"""What an error of SQLite or of the system means: the StorageError that explains it."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from edge_oneshot.errors import StorageError, UnusableFile
from edge_oneshot.storage import disk
from edge_oneshot.storage.schema import Schema

# What an error code of SQLite means as a system error.
_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_AUTH: errno.EACCES,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
}


def failed(doing: str, schema: Schema, path: Path, why: object) -> str:
    return f"cannot {doing} the {schema.kind} {path}: {why}"


def storage_error(error: OSError | sqlite3.Error, doing: str, schema: Schema, path: Path) -> StorageError:
    """doing: "open", "read" or "write"."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return UnusableFile(failed(doing, schema, path, f"the file is damaged: {error}"), schema.damage_hint)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        why = f"another process has locked it for {schema.busy_timeout_s:g} s"
        return StorageError(failed(doing, schema, path, why), f"`fuser {path}` names the process; end it, or try again")
    if isinstance(error, sqlite3.ProgrammingError):
        return StorageError(failed(doing, schema, path, error), "this is a mistake of the calling program")
    if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT):  # a table is missing, for instance
        if doing == "open":
            return UnusableFile(failed(doing, schema, path, f"the file is damaged: {error}"), schema.damage_hint)
        return StorageError(failed(doing, schema, path, error), schema.damage_hint)
    number = (error.errno or 0) if isinstance(error, OSError) else _ERRNO.get(code, 0)
    message = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    reason = disk.explain(number, message, path, schema.kind)
    return StorageError(failed(doing, schema, path, reason.why), reason.hint, disk=reason.disk)
