"""The audit log: enrollments, removals, log-ins and changes of accounts, one JSON line each, mode 0600."""

from __future__ import annotations

import json
import logging
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_oneshot.web.accounts import give_to_owner

log = logging.getLogger(__name__)

MAX_BYTES = 1_000_000  # then the file becomes audit.log.1, and the one before is deleted


class Audit:
    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()

    def add(self, what: str, account: str, address: str, about: str = "") -> None:
        """what: a fixed word. about: the person or account that it concerns. A disk that fails is logged, no more."""
        line = {"ts": datetime.now(UTC).isoformat(timespec="seconds"), "what": what, "account": account}
        line |= {"address": address, "about": about}
        try:
            with self._lock:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                if self.path.exists() and self.path.stat().st_size > MAX_BYTES:
                    self.path.replace(self.path.with_suffix(".log.1"))
                descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                with os.fdopen(descriptor, "a", encoding="utf-8") as file:
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                give_to_owner(self.path)
        except OSError as e:
            log.error("cannot write %s: %s; %s by %s is not recorded", self.path, e.strerror or e, what, account)

    def last(self, count: int) -> list[dict[str, Any]]:
        """The newest entries, newest first."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()[-count:]
        except OSError:
            return []
        found = []
        for line in reversed(lines):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # cut off in a power failure
        return found
