"""The envelope of a request and of its answers, the same on the control socket and on MQTT.

request   {"verb": "...", "arguments": {...}}                         one JSON line
answer    {"progress": "..."} any number of times, then one of
          {"status": "ok", "data": {...}}
          {"status": "error", "kind": "GalleryError", "error": "...", "hint": "...", "faults": [...]}
"""

from __future__ import annotations

import json
import queue
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from edge_oneshot import errors
from edge_oneshot.control.codec import from_json, to_json, wrong
from edge_oneshot.control.requests import REQUESTS, AnyRequest, Request
from edge_oneshot.errors import ControlError, EdgeOneshotError

if TYPE_CHECKING:
    from edge_oneshot.types import Frame

MAX_REQUEST_BYTES = 64 * 1024 * 1024  # a picture of 48 MB in base64
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Progress:
    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """response: an instance of the request's response class."""

    response: object


@dataclass(frozen=True, slots=True)
class Failed:
    error: EdgeOneshotError


Answer = Progress | Finished | Failed


@dataclass(slots=True)
class PendingRequest:
    """A request that the loop serves. The side that it came from reads `answers`, with a time limit."""

    request: AnyRequest
    answers: queue.SimpleQueue[Answer] = field(default_factory=queue.SimpleQueue)
    abandoned: bool = False  # set by that side when the client has gone: no one waits for the answer
    picture: Frame | EdgeOneshotError | None = None  # of request.image, once it was decoded ahead of the loop

    def progress(self, text: str) -> None:
        self.answers.put(Progress(text))

    def finish(self, response: object) -> None:
        expected = self.request.response
        if not isinstance(response, expected):
            raise TypeError(f"{self.request.verb}: expected {expected.__name__}, got {type(response).__name__}")
        self.answers.put(Finished(response))

    def fail(self, error: EdgeOneshotError) -> None:
        self.answers.put(Failed(error))


class RequestSource(Protocol):
    """Where requests come from: the control socket, SIGHUP, and MQTT if it is enabled. The loop polls each of them."""

    def next_request(self) -> PendingRequest | None: ...


# ---- JSON


def parse_request(line: bytes | bytearray) -> AnyRequest:
    """Raises ControlError unless `line` is a JSON object with a known verb and valid arguments.

    A bytearray is emptied, so that a large request is not in memory more often than needed.
    """
    try:
        text = line.decode()
        if isinstance(line, bytearray):
            line.clear()
        data = json.loads(text)
        del text
    except (ValueError, RecursionError) as e:
        raise ControlError(f"request: expected one line of JSON: {e}", "see docs/reference/requests.md") from None
    if not isinstance(data, dict) or not isinstance(data.get("verb"), str):
        raise ControlError('request: expected {"verb": "…", "arguments": {…}}', "see docs/reference/requests.md")
    return make_request(data["verb"], data.get("arguments", {}))


def make_request(verb: str, arguments: object) -> AnyRequest:
    """Raises ControlError that names the argument at fault."""
    kind = REQUESTS.get(verb)
    if kind is None:
        raise ControlError(f"unknown request {verb[:60]!r}: expected one of {', '.join(REQUESTS)}")
    if not isinstance(arguments, dict):
        raise wrong(f"{verb} arguments", "a JSON object", arguments)
    return from_json(kind, arguments, verb, strict=True)


def request_line(request: AnyRequest) -> bytes:
    return json.dumps({"verb": request.verb, "arguments": to_json(request)}).encode() + b"\n"


def answer_json(answer: Answer) -> dict[str, Any]:
    if isinstance(answer, Progress):
        return {"progress": answer.text}
    if isinstance(answer, Finished):
        return {"status": "ok", "data": to_json(answer.response)}
    e = answer.error
    faults = [str(getattr(f, "message", f)) for f in getattr(e, "faults", ())]
    return {"status": "error", "kind": type(e).__name__, "error": e.message, "hint": e.hint, "faults": faults}


def read_answer(request: Request[R], data: object) -> Answer:
    """An answer line of the daemon. Raises ControlError if its data are not the response of this request."""
    name = f"answer to {request.verb}"
    if not isinstance(data, Mapping):
        raise wrong(name, "a JSON object", data)
    if "progress" in data:
        return Progress(str(data["progress"]))
    if data.get("status") != "ok":
        return Failed(_error(data))
    return Finished(from_json(request.response, data.get("data"), f"{name}: data", strict=False))


def _error(data: Mapping[str, Any]) -> EdgeOneshotError:
    """The exception that an error answer was made from, so that a request ends alike with and without a daemon."""
    kind = getattr(errors, str(data.get("kind")), None)
    if not (isinstance(kind, type) and issubclass(kind, EdgeOneshotError)):
        kind = ControlError
    error = kind(str(data.get("error", "unknown error")), str(data.get("hint", "")))
    if isinstance(faults := data.get("faults"), list) and faults:
        error.faults = tuple(map(str, faults))  # type: ignore[attr-defined]
    return error


def result_of(request: Request[R], answer: Answer) -> R:
    """The response, typed as the request's. Raises the error of a failed request."""
    if isinstance(answer, Failed):
        raise answer.error
    assert isinstance(answer, Finished) and isinstance(answer.response, request.response)
    response: R = answer.response
    return response
