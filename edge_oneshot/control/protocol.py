"""What a request and its answer look like, whichever door they come through.

request   {"verb": "...", "arguments": {...}}                         one JSON line
answer    {"progress": "..."} any number of times, then one of
          {"status": "ok", "data": {...}}
          {"status": "error", "kind": "GalleryError", "error": "...", "hint": "...", "faults": [...]}
"""

from __future__ import annotations

import queue
from dataclasses import dataclass, field
from typing import Any, Protocol

from edge_oneshot import errors
from edge_oneshot.errors import ControlError, EdgeOneshotError

Answer = dict[str, Any]

MAX_REQUEST_BYTES = 64 * 1024 * 1024  # a picture of 48 MB in base64


@dataclass(slots=True)
class Request:
    """A request on its way through the loop. `answers` is read by the door that it came through, with a time limit."""

    verb: str
    arguments: dict[str, Any]
    answers: queue.SimpleQueue[Answer] = field(default_factory=queue.SimpleQueue)
    abandoned: bool = False  # set by the door when the client is gone: nobody waits for the answer

    def progress(self, text: str) -> None:
        self.answers.put({"progress": text})

    def finish(self, data: dict[str, Any]) -> None:
        self.answers.put({"status": "ok", "data": data})

    def fail(self, error: EdgeOneshotError) -> None:
        faults = [str(f) for f in getattr(error, "faults", ())]
        kind = type(error).__name__
        self.answers.put(
            {"status": "error", "kind": kind, "error": error.message, "hint": error.hint, "faults": faults}
        )


class Door(Protocol):
    """Where requests come from: the local socket, and MQTT if it is allowed. Asked in each turn of the loop."""

    def next_request(self) -> Request | None: ...


def raise_error(answer: Answer) -> None:
    """Turn an error answer back into the exception that caused it, so that both doors end alike."""
    kind = getattr(errors, str(answer.get("kind")), None)
    if not (isinstance(kind, type) and issubclass(kind, EdgeOneshotError)):
        kind = ControlError
    error = kind(str(answer.get("error", "unknown error")), str(answer.get("hint", "")))
    if faults := answer.get("faults"):
        error.faults = tuple(map(str, faults))  # type: ignore[attr-defined]
    raise error
