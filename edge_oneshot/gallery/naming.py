"""Names of people -> identity ids: slugs [a-z0-9_-]+ that stand in topics."""

from __future__ import annotations

import re
import unicodedata

from edge_oneshot.errors import GalleryError

SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
MAX_NAME = 100
# Letters that Unicode does not decompose into a Latin letter and a mark.
LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ð": "d", "þ": "th", "ł": "l", "đ": "d", "ı": "i"})


def clean_name(name: str) -> str:
    """The name in Unicode NFC without outer blanks. Raises GalleryError if it is empty, too long, or holds controls."""
    text = unicodedata.normalize("NFC", name).strip()
    # Cc, Cf, Cs, Zl, Zp: invisible or line-breaking; they would let two different names look alike in a log.
    bad = [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")]
    if not text or len(text) > MAX_NAME or bad:
        got = f"{text[:20]!r} with {bad[0]!r}" if bad else f"{len(text)} characters"
        raise GalleryError(
            f"name: expected 1 to {MAX_NAME} printable characters, got {got}",
            "write the name without control characters",
        )
    return text


def propose_id(name: str) -> str:
    """The slug of a name: "Zoë" -> "zoe". Raises GalleryError if no letter or digit of it can be kept."""
    plain = unicodedata.normalize("NFKD", name.casefold().translate(LETTERS))
    # A letter of another script is not left out in silence: a Cyrillic "а" would make "lice" of "аlice".
    if foreign := [c for c in plain if c.isalnum() and not c.isascii()]:
        raise GalleryError(
            f"name {name!r}: no id can be made from it, since ids are a-z, 0-9, _ and -, and {foreign[0]!r} is not",
            "give one with --id",
        )
    slug = (
        re.sub(r"[^a-z0-9]+", "-", "".join(c for c in plain if not unicodedata.combining(c))).strip("-")[:64].strip("-")
    )
    if not slug:
        raise GalleryError(
            f"name {name!r}: no id can be made from it, since ids are a-z, 0-9, _ and -", "give one with --id"
        )
    return slug


def check_id(identity_id: str) -> str:
    """Refuses, and never mangles, an id that a person gave. Raises GalleryError."""
    if not SLUG.fullmatch(identity_id):
        raise GalleryError(
            f"id {identity_id!r}: expected 1 to 64 of a-z, 0-9, _ and -, a letter or digit first", "choose such an id"
        )
    return identity_id
