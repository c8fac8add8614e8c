"""Log records for systemd's journal with fields of their own, so that `journalctl EVENT_ID=…` finds the record of an event."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import sys
import traceback
from collections.abc import Mapping
from enum import Enum
from numbers import Number
from pathlib import Path

FRAMES = 6  # of a traceback that MESSAGE_TEMPLATE names
SOCKET = "/run/systemd/journal/socket"
# syslog(3)
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def connected() -> bool:
    """Whether standard error goes to the journal: systemd.exec(5), JOURNAL_STREAM."""
    try:
        about = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{about.st_dev}:{about.st_ino}"


class JournalHandler(logging.Handler):
    """Sends each record to the journal, with the fields in `record.journal` (extra={"journal": {…}})."""

    def __init__(self, path: str = SOCKET) -> None:
        super().__init__()
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(2.0)  # a full queue must not block the loop for ever

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        fields = {"MESSAGE": text, "PRIORITY": str(_PRIORITY.get(record.levelno, 6)), "LOGGER": record.name}
        fields["MESSAGE_TEMPLATE"] = template(record)
        fields |= {"SYSLOG_IDENTIFIER": "edge-oneshot"} | getattr(record, "journal", {})
        try:
            self._socket.sendto(datagram(fields), self._path)
        except OSError:  # no journal, or a record that is too large for a datagram: standard error goes to it, too
            print(text, file=sys.stderr)

    def close(self) -> None:
        self._socket.close()
        super().close()


def template(record: logging.LogRecord) -> str:
    """The message with numbers, states and kinds of errors filled in, and `…` for each text: it names no person, host or path.

    The messages of this package are constants in the code. Of a record of another package only its name is known.
    """
    if not record.name.startswith("edge_oneshot"):
        return "…"
    text, args = str(record.msg), record.args
    if args:
        values = (
            {k: _harmless(v) for k, v in args.items()} if isinstance(args, Mapping) else tuple(map(_harmless, args))
        )
        with contextlib.suppress(TypeError, ValueError):  # a number that arrived as text
            text %= values
    if record.exc_info and record.exc_info[1] is not None:
        raised = record.exc_info[1]
        frames = traceback.extract_tb(raised.__traceback__)[-FRAMES:]
        text += f"; {_harmless(raised)} at " + ", ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames)
    return text


def _harmless(value: object) -> object:
    if value is None or isinstance(value, Number):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, OSError) and value.errno is not None:
        return f"{type(value).__name__} {errno.errorcode.get(value.errno, value.errno)}"
    return type(value).__name__ if isinstance(value, BaseException) else "…"


def datagram(fields: Mapping[str, str]) -> bytes:
    """The native protocol of the journal (systemd: JOURNAL_NATIVE_PROTOCOL). A value with a newline is preceded by its length."""
    data = b""
    for name, value in fields.items():
        raw = value.encode(errors="replace")
        if b"\n" in raw:
            data += name.encode() + b"\n" + len(raw).to_bytes(8, "little") + raw + b"\n"
        else:
            data += name.encode() + b"=" + raw + b"\n"
    return data
