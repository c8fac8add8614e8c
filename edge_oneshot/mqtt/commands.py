"""Requests over MQTT, off by default. The local socket (control/) serves the same requests.

    <b>/request/<verb>    {...arguments, "transaction": "x", "ts": "2026-09-30T14:03:22Z"}
    <b>/response/<verb>   {"status": "ok", "data": {...}, "transaction": "x"}
                          {"status": "error", "error": "...", "hint": "...", "transaction": "x"}
                          {"status": "progress", "data": {"progress": "..."}, "transaction": "x"}

Anyone who may publish there may enroll: the broker's ACL grants the permission. Retained requests are ignored, and so
are those older than 10 s, by their `ts` or by their time in the queue. One request runs at a time, and `cancel` beside
it. A repeated transaction gets the same response and is not performed again. No message can raise an error here or
choose a topic.
"""

from __future__ import annotations

import logging
import queue
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from edge_oneshot.control.protocol import Answer, Failed, PendingRequest, Progress, answer_json, make_request
from edge_oneshot.errors import ControlError
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.payloads import decode
from edge_oneshot.mqtt.shared import Incoming
from edge_oneshot.mqtt.topics import Topics

log = logging.getLogger(__name__)

# Templates do not leave or enter the device this way, so there is no export and no import.
VERBS = (
    *("enroll", "cancel", "forget", "rename", "ignore", "list", "verify", "identify", "confirm"),
    *("pause", "resume", "capture", "explain", "reload", "status"),
)
MAX_AGE_S = 10.0
MAX_BYTES = 1024 * 1024
_MAX_WAITING = 16
_MAX_WAITING_BYTES = 4 * MAX_BYTES  # of their payloads
_REMEMBERED = 100  # answered transactions


@dataclass(slots=True)
class _Asked:
    """A request that waits or runs. transaction: as the requester sent it, None without one. size: bytes."""

    pending: PendingRequest
    transaction: str | int | None
    at: float
    size: int

    @property
    def verb(self) -> str:
        return self.pending.request.verb


class MqttRequests:
    """Create it before link.start(). The loop calls `next_request` in each turn, as it does for the local socket."""

    def __init__(self, link: MqttLink) -> None:
        self._link = link
        self._waiting: queue.Queue[_Asked] = queue.Queue(_MAX_WAITING)
        self._held: _Asked | None = None  # taken from the queue, but another request still runs
        self._running: list[_Asked] = []
        self._answered: OrderedDict[tuple[str, str | int], dict[str, Any]] = OrderedDict()
        self._flooded = False
        link.subscribe(link.topics.request("x")[:-1] + "+", self.take)

    def next_request(self) -> PendingRequest | None:
        """Send what is to be answered; the next request to serve, or None."""
        for asked in list(self._running):
            self._send_answers(asked)
        while (asked_next := self._held or self._take_waiting()) is not None:
            self._held = None
            if self._is_known(asked_next):
                continue
            if time.monotonic() - asked_next.at > MAX_AGE_S:
                self._refuse(
                    asked_next, "waited too long", "another request is running: cancel it, or send this one again"
                )
                continue
            if self._running and asked_next.verb != "cancel":
                self._held = asked_next
                return self._cancel_behind(asked_next)
            self._running.append(asked_next)
            return asked_next.pending
        return None

    # ---- on the link's thread

    def take(self, message: Incoming) -> None:
        """Queue the request of a message. Never raises."""
        verb = message.topic.rsplit("/", 1)[-1]
        if message.retained or verb not in VERBS:
            log.info(
                "mqtt: request %r ignored: %s", verb[:40], "it was retained" if message.retained else "no such request"
            )
            return
        if not message.payload:
            return  # it empties a retained request
        arguments = _parse(message.payload)
        if arguments is None:
            error = f"expected a JSON object of at most {MAX_BYTES} bytes, got something else"
            self._reply(verb, {"status": "error", "error": error, "hint": "see docs/reference/mqtt.md"})
            return
        transaction, sent_at = arguments.pop("transaction", None), arguments.pop("ts", None)
        if not _is_transaction(transaction):
            error = "transaction: expected at most 64 printable characters, or a whole number"
            self._reply(verb, {"status": "error", "error": error, "hint": "see docs/reference/mqtt.md"})
            return
        if sent_at is not None and not _is_fresh(sent_at):
            error = f"ts: expected a time of the last {MAX_AGE_S:g} s, got {str(sent_at)[:40]!r}"
            failure = Failed(ControlError(error, "check both clocks"))
            self._reply(verb, _response(failure, transaction))
            return
        try:
            request = make_request(verb, arguments)
        except ControlError as e:
            self._reply(verb, _response(Failed(e), transaction))
            return
        asked = _Asked(PendingRequest(request), transaction, time.monotonic(), len(message.payload))
        with self._waiting.mutex:
            waiting = [asked.size, *(a.size for a in self._waiting.queue)]
        if len(waiting) <= _MAX_WAITING and sum(waiting) <= _MAX_WAITING_BYTES:
            self._waiting.put_nowait(asked)  # this thread alone puts
            self._flooded = False
            return
        if not self._flooded:
            limit = f"{_MAX_WAITING} requests or {_MAX_WAITING_BYTES} bytes"
            log.warning("mqtt: more than %s wait; further ones are dropped", limit)
        self._flooded = True

    # ---- on the loop's thread

    def _take_waiting(self) -> _Asked | None:
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None

    def _cancel_behind(self, held: _Asked) -> PendingRequest | None:
        """A `cancel` that came after `held` goes first: it is what ends the wait."""
        with self._waiting.mutex:
            waiting: list[_Asked] = [a for a in self._waiting.queue if a.verb == "cancel"]
            found = waiting[0] if waiting else None
            if found is not None:
                self._waiting.queue.remove(found)
        if found is None or self._is_known(found):
            return None
        self._running.append(found)
        return found.pending

    def _is_known(self, asked: _Asked) -> bool:
        """Whether this transaction was answered (then the response is sent again) or is running."""
        if asked.transaction is None:
            return False
        key = (asked.verb, asked.transaction)
        if key in self._answered:
            self._reply(asked.verb, self._answered[key])
            return True
        return any((a.verb, a.transaction) == key for a in self._running)

    def _send_answers(self, asked: _Asked) -> None:
        while True:
            try:
                answer = asked.pending.answers.get_nowait()
            except queue.Empty:
                return
            response = _response(answer, asked.transaction)
            self._reply(asked.verb, response)
            if not isinstance(answer, Progress):
                self._running.remove(asked)
                if asked.transaction is not None:
                    self._answered[asked.verb, asked.transaction] = response
                    while len(self._answered) > _REMEMBERED:
                        self._answered.popitem(last=False)
                return

    def _refuse(self, asked: _Asked, error: str, hint: str) -> None:
        self._reply(asked.verb, _response(Failed(ControlError(error, hint)), asked.transaction))

    def _reply(self, verb: str, response: dict[str, Any]) -> None:
        self._link.reply(self._link.topics.response(verb), response)


def acl_lines(topics: Topics, device_user: str) -> list[str]:
    """The lines that a mosquitto ACL needs for requests, for the log."""
    return [
        f"user {device_user or '<the device>'}",
        f"topic read {topics.request('x')[:-1]}#",
        f"topic write {topics.response('x')[:-1]}#",
        "user <the requester>",
        f"topic write {topics.request('x')[:-1]}#",
        f"topic read {topics.response('x')[:-1]}#",
    ]


def _response(answer: Answer, transaction: str | int | None) -> dict[str, Any]:
    response = answer_json(answer)
    if isinstance(answer, Progress):
        response = {"status": "progress", "data": response}
    elif isinstance(answer, Failed):
        response = {k: response[k] for k in ("status", "error", "hint", "faults") if response[k]}
    return response if transaction is None else {**response, "transaction": transaction}


def _parse(payload: bytes) -> dict[str, Any] | None:
    """The object in `payload`; None for anything else."""
    return None if len(payload) > MAX_BYTES else decode(payload)


def _is_transaction(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= 64 and value.isprintable()
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53)


def _is_fresh(sent_at: object) -> bool:
    """A time of the last 10 s by this device's clock, up to 10 s ahead."""
    try:
        moment = datetime.fromisoformat(str(sent_at))
        return abs((datetime.now(UTC) - moment).total_seconds()) <= MAX_AGE_S
    except (ValueError, TypeError, OverflowError):
        return False
