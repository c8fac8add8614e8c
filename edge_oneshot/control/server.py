"""The control socket: requests of the command line over a Unix socket, one JSON line each (control/protocol.py).

Every user who may open the socket may send every request, so the socket's mode (0660) and group are the permission. Each
client has a thread that reads one line and writes the answers; the loop serves the requests.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import queue
import socket
import socketserver
import stat
import threading
import time
from pathlib import Path
from typing import TextIO

from edge_oneshot.control.places import Place, Places
from edge_oneshot.control.protocol import (
    MAX_REQUEST_BYTES,
    Answer,
    Failed,
    PendingRequest,
    Progress,
    answer_json,
    parse_request,
)
from edge_oneshot.control.requests import Export
from edge_oneshot.errors import ControlError

log = logging.getLogger(__name__)

SMALL_BYTES = 64 * 1024  # of a request that is read at once
READ_TIMEOUT_S = 10.0  # for a small request
# For a large one, once it is its turn: a client that is slower than this is disconnected.
LANE_GRACE_S = 2.0
MIN_BYTES_PER_S = 4_000_000
ANSWER_TIMEOUT_S = 660.0  # longer than the longest enrollment
POLL_S = 0.5
LAST_ANSWERS_S = 1.0


class ControlServer:
    """Listens at `path`. Raises ControlError if another daemon does already, or the socket cannot be made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._requests: queue.SimpleQueue[PendingRequest] = queue.SimpleQueue()
        if answers(path):
            raise ControlError(f"another daemon answers at {path}", "stop it, or run another instance with --instance")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = open_lock(path.with_suffix(".lock"))
            try:
                # Two daemons that start at the same moment would both find no listener; only one of them gets the lock.
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_socket(path)  # left behind by a process that was killed
                self._server = _Server(str(path), self._requests)
            except OSError:
                self._lock.close()
                raise
        except BlockingIOError:
            raise ControlError(
                f"another daemon holds {path}", "stop it, or run another instance with --instance"
            ) from None
        except OSError as e:
            error = ControlError(
                f"cannot make the socket {path}: {e.strerror or e}", "set device.socket to a path that you may write"
            )
            error.disk = e.errno in (errno.EROFS, errno.ENOSPC, errno.EDQUOT)
            raise error from None
        path.chmod(0o660)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_S,), name="control", daemon=True)
        self._thread.start()

    def next_request(self) -> PendingRequest | None:
        """The next request whose client is still connected, or None. Called by the loop."""
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
        self._server.places.wait_until_free(LAST_ANSWERS_S)  # clients get a moment to read their last answer
        with contextlib.suppress(OSError):
            remove_socket(self.path)
        self._lock.close()


def remove_socket(path: Path) -> None:
    """Remove a socket, if there is one. Raises OSError for anything else at `path`, which stays as it is."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "expected a socket or nothing there, got another file, which is left as it is")
        path.unlink()


def open_lock(path: Path) -> TextIO:
    """The lock file, created if it is absent. Raises OSError if another kind of file is there; none is emptied."""
    file = path.open("a")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) or os.fstat(file.fileno()).st_size:
        file.close()
        raise OSError(errno.EEXIST, f"expected an empty lock file at {path}, got another file, which is left as it is")
    return file


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64  # the default of 5 refuses connections while a thread is started
    block_on_close = False  # a client that waits for a face must not delay the stop

    def __init__(self, path: str, requests: queue.SimpleQueue[PendingRequest]) -> None:
        self.requests = requests
        self.places = Places()
        old = os.umask(0o117)  # never open to others, not even briefly
        try:
            super().__init__(path, _Client)
        finally:
            os.umask(old)


class _Client(socketserver.StreamRequestHandler):
    server: _Server
    timeout = READ_TIMEOUT_S

    def handle(self) -> None:
        try:
            with contextlib.ExitStack() as held:
                place = held.enter_context(self.server.places.taken(self.connection))
                self._serve(place, held)
        except ControlError as e:
            with contextlib.suppress(OSError):  # the client may have closed the connection
                self._send(Failed(e))
        except OSError as e:
            log.info("control client: %s", e)

    def _serve(self, place: Place, held: contextlib.ExitStack) -> None:
        """Read and answer one request. held: what the client keeps until the answer, its place and perhaps the lane."""
        line = self._read_line(place, held)
        place.reading_since = None
        if not line:
            return  # a check whether a daemon listens here
        request = PendingRequest(parse_request(line))
        if isinstance(request.request, Export):
            self.server.places.enter_lane(place, held)
        self.server.requests.put(request)
        try:
            while True:
                answer = self._next_answer(request)
                self._send(answer)
                if not isinstance(answer, Progress):
                    return
        finally:
            request.abandoned = True

    def _read_line(self, place: Place, held: contextlib.ExitStack) -> bytearray:
        """One line, or what arrived before the end of input. Raises OSError, ControlError for a line that is too long.

        A client that sends slowly is disconnected. One request of more than SMALL_BYTES is read at a time, in the lane: the
        memory for it is needed once.
        """
        start, seconds = time.monotonic(), READ_TIMEOUT_S
        line, part = bytearray(), b""
        while b"\n" not in part and len(line) <= MAX_REQUEST_BYTES:
            if len(line) > SMALL_BYTES:
                if not place.in_lane:
                    self.server.places.enter_lane(place, held)
                    start = time.monotonic()
                seconds = LANE_GRACE_S + len(line) / MIN_BYTES_PER_S
            left = start + seconds - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no complete request within {seconds:.0f} s")
            self.connection.settimeout(left)
            part = self.connection.recv(1 << 18 if place.in_lane else SMALL_BYTES)
            if not part:
                break
            line += part
        self.connection.settimeout(READ_TIMEOUT_S)
        if (end := line.find(b"\n")) >= 0:
            del line[end + 1 :]
        if len(line) > MAX_REQUEST_BYTES:
            raise ControlError(
                f"request: expected at most {MAX_REQUEST_BYTES} bytes, got more", "send a smaller picture"
            )
        return line

    def _next_answer(self, request: PendingRequest) -> Answer:
        """Wait for the loop. Raises OSError when the client has closed the connection, so that its request is dropped."""
        waited = 0.0
        while waited < ANSWER_TIMEOUT_S:
            try:
                return request.answers.get(timeout=POLL_S)
            except queue.Empty:
                waited += POLL_S
                if self._hung_up():
                    raise OSError("the client closed the connection before the answer") from None
        return Failed(ControlError(f"the daemon did not answer within {ANSWER_TIMEOUT_S:g} s", "restart it"))

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
        # ASCII: an answer may quote text that UTF-8 cannot encode, such as half a surrogate pair.
        self.wfile.write(json.dumps(answer_json(answer)).encode("ascii") + b"\n")


def answers(path: Path) -> bool:
    """Whether a daemon listens at `path`, even one too busy to accept the connection."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(path))
        except (TimeoutError, BlockingIOError):
            return True
        except OSError:
            return False
        return True
