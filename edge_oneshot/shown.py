"""What may be shown: text without characters that control a terminal, and without passwords.

Everything received is untrusted: any client of the broker may publish, and a file or a device may have any name. Every
error, log line and finding passes through here.
"""

from __future__ import annotations

import re

_JOINERS = "\u200c\u200d"  # ZWNJ and ZWJ: part of Persian names and of emoji
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:/{1,2})([^\s'\"<>]+)")
_LOGIN = re.compile(r"(?<![^\s'\"(=/])([^\s'\"/@:=]*:)(?!/)[^\s'\"]+@(?=[\w\[])")  # user:password@host without a scheme
_SECRET = re.compile(r"(?i)(pass\w*|pwd|psw|secret|token|credential\w*|api_?key)(=)(?!\*)([^\s'\"&]+)")
_LOCAL = ("file:", "folder:", "v4l2:", "picamera2:")  # paths on this device
# Parameters of a URL whose values may be shown; the value of every other one may be a secret.
_HARMLESS = frozenset(
    ("channel", "subtype", "stream", "transport", "fps", "width", "height", "resolution", "profile", "unicast", "proto")
)


_LONGEST = 4000  # characters of a message, which may quote what it got


def plain(text: str) -> str:
    """`text` for a terminal or a log: C0, C1, bidirectional controls, lone surrogates and the like are replaced."""
    return "".join(c if c.isprintable() or c in _JOINERS else "\N{REPLACEMENT CHARACTER}" for c in text)


def shown(text: str) -> str:
    """A message for a log or a terminal: `plain`, line by line, without passwords, and of bounded length."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}…"
    return "\n".join(map(plain, redact(text).split("\n")))


def plain_json(text: str) -> str:
    """A JSON document for a terminal, of the same value: such characters are escaped. Line ends stay."""
    return "".join(c if c.isprintable() or c == "\n" or c in _JOINERS else _escaped(c) for c in text)


def redact(text: str) -> str:
    """`text` without the passwords that it contains, whatever their place in a URL."""
    if ":" not in text and "=" not in text:
        return text
    text = _URL.sub(lambda m: m[0] if m[1].startswith(_LOCAL) else m[1] + _address(m[2]), text)
    return _SECRET.sub(r"\1\2***", _LOGIN.sub(lambda m: m[0] if m[1] in _LOCAL else "***@", text))


def redact_uri(uri: str) -> str:
    """One whole URI, of which a password may contain spaces and quotation marks, too."""
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://?", uri)
    return redact(uri) if scheme is None or uri.startswith(_LOCAL) else scheme[0] + _address(uri[scheme.end() :])


def _address(text: str) -> str:
    """What follows the scheme: up to the last @ are user and password, and parameters may hold either."""
    _, at, rest = text.rpartition("@")
    first, *more = re.split(r"([?&;/])", rest)
    return ("***@" if at else "") + _segment(first) + _tail(more)


def _tail(parts: list[str]) -> str:
    done, secret = [], False
    for separator, segment in zip(parts[::2], parts[1::2], strict=True):
        if "=" not in segment or (secret and separator == "/"):
            # Behind a hidden value this may be more of it: a password may contain & and /.
            done.append(separator + ("***" if secret and segment else segment))
            continue
        shown = _segment(segment)
        secret = shown.endswith("***")
        done.append(separator + shown)
    return "".join(done)


def _segment(text: str) -> str:
    name, equals, value = text.partition("=")
    if not equals or (name.lower() in _HARMLESS and re.fullmatch(r"[A-Za-z0-9.]{0,12}", value)):
        return text
    return f"{name}=***"


def _escaped(c: str) -> str:
    if ord(c) < 0x10000:
        return f"\\u{ord(c):04x}"
    high, low = divmod(ord(c) - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
