"""Sessions of the browsers, in memory: a restart of the page ends them. And the limit on wrong passwords."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_oneshot.web.accounts import Account

IDLE_S = 7 * 86400.0
LIFE_S = 30 * 86400.0
MOST = 200  # sessions; the one that was used least recently ends
FREE_TRIES = 5
FREE_OF_ACCOUNT = 50  # of all strange browsers together: fewer would let one of them lock the account for the others
FIRST_WAIT_S = 30.0
LONGEST_WAIT_S = 900.0
KEYS = 2000
BURST, EACH_S = 20, 0.5  # requests of one token


@dataclass(slots=True, kw_only=True)
class Session:
    """csrf: the token that each form carries. browser: what it calls itself. notice: a sentence for the next page."""

    account: str
    stamp: str
    browser: str
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    number: str = field(default_factory=lambda: secrets.token_hex(8))
    started: float = field(default_factory=time.time)
    used: float = field(default_factory=time.time)
    notice: str = ""


class Sessions:
    """token -> Session. Only a digest of a token is kept."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._open: OrderedDict[str, Session] = OrderedDict()

    def start(self, account: Account, browser: str) -> str:
        """A new session; its token, 256 random bits."""
        token, now = secrets.token_urlsafe(32), self._clock()
        session = Session(account=account.name, stamp=account.stamp, browser=browser[:200], started=now, used=now)
        with self._lock:
            self._open[_key(token)] = session
            while len(self._open) > MOST:
                self._open.popitem(last=False)
        return token

    def find(self, token: str) -> Session | None:
        """The session of a token, unless it has expired."""
        now = self._clock()
        with self._lock:
            session = self._open.get(_key(token))
            if session is None:
                return None
            if now - session.used > IDLE_S or now - session.started > LIFE_S:
                del self._open[_key(token)]
                return None
            session.used = now
            self._open.move_to_end(_key(token))
            return session

    def end(self, session: Session) -> None:
        self.end_where(lambda s: s is session)

    def end_where(self, chosen: Callable[[Session], bool]) -> int:
        """End the chosen sessions; how many there were."""
        with self._lock:
            gone = [key for key, session in self._open.items() if chosen(session)]
            for key in gone:
                del self._open[key]
        return len(gone)

    def of(self, account: str) -> list[Session]:
        """The newest first."""
        with self._lock:
            return [s for s in reversed(self._open.values()) if s.account == account]


class Throttle:
    """Wrong passwords and codes: after five, each further one doubles the wait, from 30 s to 15 minutes.

    A key that starts with "account " has FREE_OF_ACCOUNT tries before it waits.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()  # key -> failures, time of the last one

    def wait_s(self, *keys: str) -> float:
        """Seconds until these may try again; 0: now."""
        with self._lock:
            return max((self._wait(key) for key in keys), default=0.0)

    def _wait(self, key: str) -> float:
        failures, last = self._failures.get(key, (0, 0.0))
        free = FREE_OF_ACCOUNT if key.startswith("account ") else FREE_TRIES
        if failures < free:
            return 0.0
        wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(20, failures - free))
        return max(0.0, last + wait - self._clock())

    def begin(self, *keys: str) -> float:
        """Seconds until these may try again; 0: now, and the try counts as failed until `succeeded`.

        Tries at the same time count as one after the other.
        """
        with self._lock:
            wait_s = max((self._wait(key) for key in keys), default=0.0)
            if wait_s == 0:
                self._count(keys)
            return wait_s

    def failed(self, *keys: str) -> None:
        with self._lock:
            self._count(keys)

    def _count(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            self._failures[key] = (self._failures.get(key, (0, 0.0))[0] + 1, self._clock())
            self._failures.move_to_end(key)
        while len(self._failures) > KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, *keys: str) -> None:
        with self._lock:
            for key in keys:
                self._failures.pop(key, None)


class Pace:
    """Requests of each token: BURST at once, then one every EACH_S."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._due: dict[str, float] = {}  # name -> when all its requests are paid for

    def wait_s(self, name: str) -> float:
        """0, and the request counts; or the seconds until the next one is allowed."""
        with self._lock:
            now = self._clock()
            due = max(now, self._due.get(name, now))
            if (wait_s := due + EACH_S - BURST * EACH_S - now) > 0:
                return wait_s
            self._due[name] = due + EACH_S
            return 0.0


def _key(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
