"""What a sealed file has beside its rows: the id of its key, the number of its changes, and an authenticator of all rows.

In a sealed file the checksum of a row is a keyed one, so only a holder of the key can write a row, and so is that of the number
of rows. The table `seal` has one row. In a file of a kind that is `whole` it is written at the end of each transaction that
changes something, which reads the checksums of all rows: rows that were exchanged for others of an old copy are noticed as well.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import sqlite3
from pathlib import Path

from edge_oneshot.errors import UnusableFile
from edge_oneshot.storage.cipher import Cipher
from edge_oneshot.storage.rows import DIGEST, Row, Rows, row_digest, sql_name
from edge_oneshot.storage.schema import Schema

log = logging.getLogger(__name__)

SEAL = "seal"  # the table
CHANGED = "rows were changed, deleted, or put back from an older copy"
MARK = 0x02000000  # this bit of application_id is set in a sealed file, so that no earlier release opens it
CREATE = (
    f"CREATE TABLE {SEAL} (id INTEGER PRIMARY KEY CHECK (id = 1), key_id TEXT NOT NULL, counter INTEGER NOT NULL, "
    "rows BLOB NOT NULL) STRICT"
)

_WITH_CHECKSUMS = (
    "SELECT t.name FROM main.sqlite_schema t JOIN pragma_table_info(t.name) c "
    f"WHERE t.type = 'table' AND c.name = '{DIGEST}' ORDER BY t.name"
)


class SealedRows(Rows):
    """The seal of one connection. Without a key everything here is as for a plain file."""

    schema: Schema
    cipher: Cipher | None = None  # of this kind of file, derived from the key of the device
    key_id = ""  # of the key of the device
    _row_key = b""

    @property
    def whole(self) -> bool:
        """Whether this file is sealed, and authenticates all of its rows together."""
        return self.cipher is not None and self.schema.whole

    def take_key(self, key: Cipher | None) -> None:
        """Read and write with this key of the device from now on; None: as a plain file."""
        self.cipher, self.key_id, self._row_key = None, "", b""
        if key is not None:
            self.cipher, self.key_id = key.derived(self.kind), key.key_id
            self._row_key = self.cipher.authenticator(b"", "key of row checksums")

    def digest(self, *values: object) -> bytes:
        return row_digest(*values, key=self._row_key)

    def hide(self, text: str, *about: str) -> str:
        """`text` as this file stores it: sealed, in base64, if the file is sealed. about: table and column."""
        return text if self.cipher is None else _ascii(self.cipher.encrypt(text.encode(), *about))

    def hide_alike(self, text: str, *about: str) -> str:
        """The same, but equal texts give equal results, for columns that are searched."""
        return text if self.cipher is None else _ascii(self.cipher.encrypt_alike(text.encode(), *about))

    def reveal(self, stored: str, *about: str) -> str:
        """What `hide` or `hide_alike` was given. Raises ValueError if it was changed."""
        if self.cipher is None:
            return stored
        return self.cipher.decrypt(base64.b64decode(stored, validate=True), *about).decode()

    @property
    def counter(self) -> int:
        """The number of changes; 0 for a plain file."""
        if self.cipher is None:
            return 0
        found = self.rows(f"SELECT counter FROM {SEAL}")
        if not found:
            what = f"the {self.kind} {self.path} has lost its seal: another program has deleted it"
            raise UnusableFile(what, self.schema.damage_hint)
        return int(found[0][0])

    def check_seal(self) -> None:
        """Note rows that were changed, deleted or put back by another program, and seal what is there."""
        if self.whole and not self.seal_holds():
            self.note_seal()

    def note_seal(self, what: str = CHANGED, counter: int = 0) -> None:
        """Count a breach of the seal among the rows that are set aside. counter: what it counts at least from now on."""
        log.error("%s %s: its seal is broken: %s", self.kind, self.path, what)
        if self.read_only:
            self._skipped.add((SEAL,))
            return
        with self.together():
            self.note(SEAL, what)
            self.write_seal(counter)

    def write_seal(self, counter: int = 0) -> None:
        """Seal the rows as they are. Part of a transaction."""
        assert self.cipher is not None
        number = max(counter, self.counter + 1)
        self.execute(f"UPDATE {SEAL} SET counter = ?, rows = ?", (number, self._authenticator(number)))

    def create_seal(self) -> None:
        self.execute(CREATE)
        self.execute(f"INSERT INTO {SEAL} VALUES (1, ?, 0, x'')", (self.key_id,))

    def seal_holds(self) -> bool:
        """Whether the rows are those that the last transaction of this program has left."""
        with self.snapshot():
            stored = self.rows(f"SELECT key_id, counter, rows FROM {SEAL}")
            if len(stored) != 1 or not isinstance(stored[0][2], bytes) or stored[0][0] != self.key_id:
                return False
            return hmac.compare_digest(stored[0][2], self._authenticator(stored[0][1]))

    def _authenticator(self, counter: int) -> bytes:
        assert self.cipher is not None
        state = hashlib.sha256()
        # Asked anew: another process may have brought the file to a newer version since this one has opened it.
        for name in (n for (n,) in self.rows(_WITH_CHECKSUMS) if isinstance(n, str)):
            digests = sorted(_bytes(row) for row in self.rows(f"SELECT {DIGEST} FROM {sql_name(name)}"))
            state.update(row_digest(name, len(digests), b"".join(digests), key=self._row_key))
        return self.cipher.authenticator(state.digest(), "rows", str(counter))


def key_id_of(db: sqlite3.Connection) -> str | None:
    """The id of the key of a sealed file; None if it has none."""
    try:
        found = db.execute(f"SELECT key_id FROM {SEAL}").fetchall()
    except sqlite3.OperationalError as e:
        if e.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        return None  # no such table
    return found[0][0] if len(found) == 1 and isinstance(found[0][0], str) else None


def _bytes(row: Row) -> bytes:
    return row[0] if isinstance(row[0], bytes) else b""


def _ascii(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def is_sealed(path: Path) -> bool | None:
    """Whether the header of the file says so; None if there is no file. Raises PermissionError."""
    try:
        with path.open("rb") as file:
            header = file.read(72)
    except FileNotFoundError:
        return None
    return bool(int.from_bytes(header[68:72], "big") & MARK) if header else None
