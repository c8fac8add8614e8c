"""Limits on the clients of the control socket, in total and per user, and on large requests."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from edge_oneshot.errors import ControlError

MAX_CLIENTS = 16
MAX_OF_USER = 8  # so that one user cannot take every place
SLOW_S = 1.0  # after this time a client that still sends its request may lose its place to another client
LANE_WAIT_S = 45.0  # longer than decoding a picture takes, shorter than the timeout of the command line


@dataclass(slots=True, eq=False)
class Place:
    """The place of one client. reading_since: when the server began to wait for bytes of the request; None: it does not wait.

    While the client is in the lane for large requests, a minimum speed applies instead.
    """

    connection: socket.socket
    user: int
    reading_since: float | None = field(default_factory=time.monotonic)
    in_lane: bool = False


class Places:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: list[Place] = []
        self._lane = threading.Lock()

    @contextmanager
    def taken(self, connection: socket.socket) -> Iterator[Place]:
        """A place for this client. Raises ControlError if there is none."""
        place = Place(connection, user_of(connection))
        with self._lock:
            self._make_room(place.user)
            self._taken.append(place)
        try:
            yield place
        finally:
            with self._lock, contextlib.suppress(ValueError):  # the place was taken away
                self._taken.remove(place)

    def _make_room(self, user: int) -> None:
        """If no place is free, disconnect the client that has been sending its request for the longest time."""
        same = [p for p in self._taken if p.user == user]
        if len(same) < MAX_OF_USER and len(self._taken) < MAX_CLIENTS:
            return
        whose = same if len(same) >= MAX_OF_USER else self._taken
        slow = [(since, p) for p in whose if (since := p.reading_since) is not None]
        since, slowest = min(slow, key=lambda found: found[0], default=(time.monotonic(), None))
        if slowest is None or time.monotonic() - since < SLOW_S:
            raise ControlError(f"more than {len(whose)} clients at once", "try again")
        self._taken.remove(slowest)
        with contextlib.suppress(OSError):
            slowest.connection.shutdown(socket.SHUT_RDWR)  # its thread reads the end of input

    def enter_lane(self, place: Place, held: ExitStack) -> None:
        """Wait for the lane, which serves one large request or answer at a time; `held` releases it.

        Raises ControlError after LANE_WAIT_S.
        """
        if place.in_lane:
            return
        place.reading_since = None  # the client is not slow: it waits for its turn
        if not self._lane.acquire(timeout=LANE_WAIT_S):
            raise ControlError("other large requests are still being served", "try again, or send a smaller picture")
        held.callback(self._lane.release)
        place.in_lane = True

    def wait_until_free(self, timeout_s: float) -> None:
        """Wait until all clients have disconnected, at most `timeout_s`."""
        end = time.monotonic() + timeout_s
        while self._taken and time.monotonic() < end:
            time.sleep(0.01)


def user_of(connection: socket.socket) -> int:
    """The user id of the process at the other end, as reported by the kernel."""
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(user)
