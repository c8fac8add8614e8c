"""The audit log: enrollments, removals, log-ins and changes of accounts, one JSON line each, mode 0600."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_oneshot.web.accounts import open_own

log = logging.getLogger(__name__)

KEYS = frozenset(("ts", "what", "account", "address", "about"))
SAME_S = 60.0
MAX_BYTES = 1_000_000  # then the file becomes audit.log.1, and the one before is deleted


class Audit:
    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        self._latest: dict[tuple[str, str, str], float] = {}  # (what, account, about) -> time of the last entry

    def add(self, what: str, account: str, address: str, about: str = "") -> None:
        """what: a fixed word. about: the person or account that it concerns. A disk that fails is logged, no more."""
        line = {"ts": datetime.now(UTC).isoformat(timespec="seconds"), "what": what, "account": account}
        line |= {"address": address, "about": about}
        try:
            with self._lock:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                if self.path.exists() and self.path.stat().st_size > MAX_BYTES:
                    self.path.replace(self.path.with_suffix(".log.1"))
                with os.fdopen(open_own(self.path, os.O_WRONLY | os.O_APPEND), "a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")  # ASCII: a name may contain line separators
        except OSError as e:
            log.error("cannot write %s: %s; %s by %s is not recorded", self.path, e.strerror or e, what, account)

    def refused(self, account: str, address: str, about: str) -> None:
        """Add a refusal, the same one once a minute: an account cannot push other entries out."""
        self.seldom("refused", account, address, about)

    def seldom(self, what: str, account: str, address: str, about: str) -> None:
        """`add`, the same once a minute."""
        now, key = time.monotonic(), (what, account, about)
        if now - self._latest.get(key, -SAME_S) >= SAME_S:
            self._latest[key] = now
            self.add(what, account, address, about)

    def last(self, count: int) -> list[dict[str, Any]]:
        """The newest entries, newest first."""
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return []
        found = []
        for line in reversed(lines):
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # cut off in a power failure
            if isinstance(entry, dict) and entry.keys() >= KEYS:
                found.append(entry)
            if len(found) == count:
                break
        return found
