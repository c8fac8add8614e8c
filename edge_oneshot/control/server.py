"""The local door: requests of the command line over a Unix socket, one JSON line each (control/protocol.py).

Whoever may open the socket may do everything, so the socket's mode (0660) and group are the permission. Each client has
a thread that only reads a line and writes answers; the requests are served by the loop, which owns everything else.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import queue
import socket
import socketserver
import threading
import time
from pathlib import Path

from edge_oneshot.control.protocol import MAX_REQUEST_BYTES, Answer, Request
from edge_oneshot.errors import ControlError

log = logging.getLogger(__name__)

MAX_CLIENTS = 8
READ_TIMEOUT_S = 10.0  # of silence
REQUEST_TIMEOUT_S = 60.0  # for all of a request: who sends a byte now and then must not keep a place
ANSWER_TIMEOUT_S = 660.0  # longer than the longest enrollment may wait
POLL_S = 0.5
LAST_ANSWERS_S = 1.0


class ControlServer:
    """Listens at `path`. Raises ControlError if another daemon does already, or the socket cannot be made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        if answers(path):
            raise ControlError(f"another daemon answers at {path}", "stop it, or run another instance with --instance")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = path.with_suffix(".lock").open("w")
            try:
                # Two daemons that start in the same moment would both find nobody there; only one of them gets the lock.
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)  # left behind by a process that was killed
                self._server = _Server(str(path), self._requests)
            except OSError:
                self._lock.close()
                raise
        except BlockingIOError:
            raise ControlError(
                f"another daemon holds {path}", "stop it, or run another instance with --instance"
            ) from None
        except OSError as e:
            raise ControlError(
                f"cannot make the socket {path}: {e.strerror or e}", "set device.socket to a path that you may write"
            ) from None
        path.chmod(0o660)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_S,), name="control", daemon=True)
        self._thread.start()

    def next_request(self) -> Request | None:
        """The next request that somebody waits for, or None. Called by the loop."""
        try:
            while (request := self._requests.get_nowait()).abandoned:
                pass
            return request
        except queue.Empty:
            return None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)
        # Clients that were just answered get a moment to hear it.
        end = time.monotonic() + LAST_ANSWERS_S
        for _ in range(MAX_CLIENTS):
            self._server.slots.acquire(timeout=max(0.0, end - time.monotonic()))
        self.path.unlink(missing_ok=True)
        self._lock.close()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64  # the default of 5 turns callers away while a thread is started
    block_on_close = False  # a client that waits for a face must not keep the daemon from stopping

    def __init__(self, path: str, requests: queue.SimpleQueue[Request]) -> None:
        self.requests = requests
        self.slots = threading.BoundedSemaphore(MAX_CLIENTS)
        old = os.umask(0o117)  # no moment in which others could connect
        try:
            super().__init__(path, _Client)
        finally:
            os.umask(old)


class _Client(socketserver.StreamRequestHandler):
    server: _Server
    timeout = READ_TIMEOUT_S

    def handle(self) -> None:
        if not self.server.slots.acquire(blocking=False):
            with contextlib.suppress(OSError):  # who hung up need not hear it
                self._send(
                    {
                        "status": "error",
                        "kind": "ControlError",
                        "error": "too many clients",
                        "hint": "try again",
                        "faults": [],
                    }
                )
            return
        try:
            self._serve()
        except (OSError, ValueError) as e:
            log.info("control client: %s", e)
        finally:
            self.server.slots.release()

    def _serve(self) -> None:
        line = self._read_line()
        if not line:
            return  # somebody asked whether we are there
        try:
            if len(line) > MAX_REQUEST_BYTES:
                raise ControlError(
                    f"request: expected at most {MAX_REQUEST_BYTES} bytes, got more", "send a smaller picture"
                )
            request = parse_request(line)
        except ControlError as e:
            request = Request(verb="", arguments={})
            request.fail(e)
        else:
            self.server.requests.put(request)
        try:
            while True:
                answer = self._next_answer(request)
                self._send(answer)
                if "status" in answer:
                    return
        finally:
            request.abandoned = True

    def _read_line(self) -> bytes:
        """One line, or what came of it before the end; longer than MAX_REQUEST_BYTES if there is more. Raises OSError."""
        deadline = time.monotonic() + REQUEST_TIMEOUT_S
        line, part = bytearray(), b""
        while b"\n" not in part and len(line) <= MAX_REQUEST_BYTES and (part := self.connection.recv(1 << 20)):
            line += part
            if time.monotonic() > deadline:
                raise TimeoutError(f"no complete request within {REQUEST_TIMEOUT_S:g} s")
        head, newline, _ = line.partition(b"\n")
        return bytes(head + newline)

    def _next_answer(self, request: Request) -> Answer:
        """Waits for the loop; notices meanwhile if the client hangs up, so that its request can be dropped."""
        waited = 0.0
        while waited < ANSWER_TIMEOUT_S:
            try:
                return request.answers.get(timeout=POLL_S)
            except queue.Empty:
                waited += POLL_S
                if self._hung_up():
                    raise OSError("hung up before the answer") from None
        return {
            "status": "error",
            "kind": "ControlError",
            "error": "the daemon did not answer",
            "hint": "restart it",
            "faults": [],
        }

    def _hung_up(self) -> bool:
        try:
            self.connection.setblocking(False)
            peeked: bytes = self.connection.recv(1, socket.MSG_PEEK)
            return not peeked
        except BlockingIOError:
            return False
        finally:
            self.connection.settimeout(READ_TIMEOUT_S)

    def _send(self, answer: Answer) -> None:
        # ASCII: an answer may quote what cannot be encoded, such as half a surrogate pair.
        self.wfile.write(json.dumps(answer).encode("ascii") + b"\n")


def parse_request(line: bytes) -> Request:
    """Raises ControlError unless `line` is a JSON object with a verb and, maybe, arguments."""
    try:
        data = json.loads(line)
        if (
            not isinstance(data, dict)
            or not isinstance(data.get("verb"), str)
            or not isinstance(data.get("arguments", {}), dict)
        ):
            raise ValueError('expected {"verb": "…", "arguments": {…}}')
    except (ValueError, RecursionError) as e:
        raise ControlError(f"request: {e}", "see docs/operations.md") from None
    return Request(verb=data["verb"], arguments=data.get("arguments", {}))


def answers(path: Path) -> bool:
    """Whether a daemon listens at `path`, even one that is too busy to take the call."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(path))
        except (TimeoutError, BlockingIOError):
            return True
        except OSError:
            return False
        return True
