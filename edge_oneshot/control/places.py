"""Who is served over the control socket, and who may send a large request: bounded in all and for each user."""

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
SLOW_S = 1.0  # a client that has not sent its request by then loses its place to another one that needs it
LANE_WAIT_S = 45.0  # longer than the decoding of a picture, shorter than the command line waits


@dataclass(slots=True, eq=False)
class Place:
    """Of one client. reading_since: since when the server waits for the bytes of its request; None: it does not.

    In the lane it has a speed to keep instead.
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
            with self._lock, contextlib.suppress(ValueError):  # it was given away
                self._taken.remove(place)

    def _make_room(self, user: int) -> None:
        """Give away the place of the slowest client, if a place is needed."""
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
        """For a request or an answer that is large: one at a time, until `held` ends. Raises ControlError after LANE_WAIT_S."""
        if place.in_lane:
            return
        place.reading_since = None  # it is not slow: it waits
        if not self._lane.acquire(timeout=LANE_WAIT_S):
            raise ControlError("other large requests are still being served", "try again, or send a smaller picture")
        held.callback(self._lane.release)
        place.in_lane = True

    def wait_until_free(self, timeout_s: float) -> None:
        """Wait until every client has gone, at most so long."""
        end = time.monotonic() + timeout_s
        while self._taken and time.monotonic() < end:
            time.sleep(0.01)


def user_of(connection: socket.socket) -> int:
    """The user id of the process at the other end, as the kernel states it."""
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(user)
