"""What all routes share: the cameras, the accounts, the sessions, the templates."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2

from edge_oneshot import __version__
from edge_oneshot.web.accounts import Accounts
from edge_oneshot.web.audit import Audit
from edge_oneshot.web.cameras import Cameras
from edge_oneshot.web.drafts import Drafts
from edge_oneshot.web.sessions import Pace, Sessions, Throttle
from edge_oneshot.web.words import Words

HERE = Path(__file__).parent
STATIC = {
    "style.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@dataclass(slots=True, kw_only=True)
class Site:
    """hosts: names in the Host header that are answered. secure: the browser sees https. edits: one change at a time."""

    cameras: Cameras
    accounts: Accounts
    audit: Audit
    hosts: frozenset[str]
    secure: bool = False
    words: Words = field(default_factory=Words)
    sessions: Sessions = field(default_factory=Sessions)
    throttle: Throttle = field(default_factory=Throttle)
    pace: Pace = field(default_factory=Pace)
    pictures: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(2))
    drafts: Drafts = field(default_factory=Drafts)
    edits: threading.Lock = field(default_factory=threading.Lock)
    hashing: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(2))
    static: dict[str, bytes] = field(default_factory=lambda: {n: (HERE / "static" / n).read_bytes() for n in STATIC})
    templates: jinja2.Environment = field(init=False)

    def __post_init__(self) -> None:
        self.templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        digest = hashlib.sha256(b"".join(self.static.values())).hexdigest()[:12]
        self.templates.globals |= {"t": self.words, "static": lambda name: f"/static/{name}?v={digest}"}
        self.templates.globals |= {"version": __version__, "language": self.words.language, "cameras": self.cameras.all}
        self.templates.filters |= _filters(self.words)

    @property
    def cookie(self) -> str:
        """The name of the session cookie. __Host-: the browser takes it only with Secure, for this host, for all paths."""
        return "__Host-session" if self.secure else "session"

    @property
    def known_cookie(self) -> str:
        """The name of the cookie of a browser that has logged in before."""
        return "__Host-known" if self.secure else "known"


def _filters(words: Words) -> dict[str, Callable[..., Any]]:
    def local(value: object) -> datetime:
        return datetime.fromisoformat(str(value)).astimezone()

    def day(value: object) -> str:
        return words("time.day", at=local(value))

    return {
        "clock": lambda value: f"{local(value):%H:%M}",
        "day": day,
        "moment": lambda value: f"{day(value)}, {local(value):%H:%M}",
        "initial": lambda name: str(name)[:1].upper(),
        "span": lambda seconds: span(words, float(seconds)),
        "megabytes": lambda count: f"{(count or 0) / 1e6:.0f} MB",
    }


def span(words: Words, seconds: float) -> str:
    """A span of time in the largest unit that fits."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return words(f"time.{unit}", n=round(seconds / size))
    return words("time.seconds", n=round(seconds))


def host_names(extra: Iterable[str] = ()) -> frozenset[str]:
    """The names of this device for the Host header: DNS rebinding needs another one."""
    import socket

    host = socket.gethostname().split(".")[0].lower()
    names = {"localhost", "127.0.0.1", "::1", host, f"{host}.local", f"{host}.lan", f"{host}.home", f"{host}.fritz.box"}
    return frozenset(names | {name.strip("[]").lower() for name in extra if name})
