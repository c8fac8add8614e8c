"""What a long run shows while it goes on, and how Ctrl-C stops it between two steps."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Progress:
    """Lines on standard error about a long loop: how far it is, how fast, and the time left.

    On a terminal it is one line that changes; in a log, a line every 15 s. The first comes at once.
    """

    def __init__(self, total: int, start: int, what: str) -> None:
        self._total, self._start, self._what, self._began = total, start, what, time.perf_counter()
        self._terminal = sys.stderr.isatty()
        self._next = self._began

    def show(self, done: int, also: str = "") -> None:
        """done: how many of the total; also: what else the line shows."""
        now = time.perf_counter()
        if now < self._next:
            return
        self._next = now + (1.0 if self._terminal else 15.0)
        left = (now - self._began) / (done - self._start) * (self._total - done)
        text = f"{self._what} {done} of {self._total}, {also + ', ' if also else ''}{duration(left)} left"
        print(
            f"\r{text:<78}" if self._terminal else text, end="" if self._terminal else "\n", file=sys.stderr, flush=True
        )

    def clear(self) -> None:
        """Free the line of a terminal for other output."""
        if self._terminal:
            print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def interrupt() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether Ctrl-C was pressed. A step is finished first; a second Ctrl-C stops at once."""
    pressed: list[bool] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def press(*_: object) -> None:
        pressed.append(True)
        signal.signal(signal.SIGINT, earlier)

    earlier = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, earlier)
