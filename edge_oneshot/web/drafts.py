"""Pictures that were uploaded and wait for a confirmation: in memory only, for ten minutes."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field

LIFE_S = 600.0
MOST = 4
SIGNS = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"RIFF": "image/webp", b"GIF8": "image/gif"}


@dataclass(slots=True, kw_only=True)
class Draft:
    """account: whose it is. way: new, add or replace. identity: of the person who gets the template; "" for a new one.

    visit, camera: the visit that the picture is of, without an answer yet, and its camera; "" of another picture.
    """

    account: str
    name: str
    way: str
    picture: bytes
    identity: str = ""
    accept_no_rate: bool = False
    visit: str = ""
    camera: str = ""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    at: float = field(default_factory=time.monotonic)

    @property
    def kind(self) -> str | None:
        """The media type, for the kinds that every browser shows; else None."""
        return next((kind for sign, kind in SIGNS.items() if self.picture.startswith(sign)), None)


class Drafts:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, Draft] = {}

    def keep(self, draft: Draft) -> None:
        with self._lock:
            self._kept = {t: d for t, d in self._kept.items() if time.monotonic() - d.at < LIFE_S}
            while len(self._kept) >= MOST:
                del self._kept[next(iter(self._kept))]
            self._kept[draft.token] = draft

    def find(self, token: str, account: str) -> Draft | None:
        with self._lock:
            draft = self._kept.get(token)
        fresh = draft is not None and time.monotonic() - draft.at < LIFE_S and draft.account == account
        return draft if fresh else None

    def drop(self, token: str) -> None:
        with self._lock:
            self._kept.pop(token, None)
