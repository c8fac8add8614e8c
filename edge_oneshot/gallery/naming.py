"""Names of people -> identity ids: slugs [a-z0-9_-]+ that are part of MQTT topics."""

from __future__ import annotations

import re
import unicodedata

from edge_oneshot.errors import GalleryError

SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
MAX_NAME = 100
JOINERS = ("\u200c", "\u200d")
UNJOINED = ("LATIN", "GREEK", "CYRILLIC", "FULLWIDTH")
# Letters that Unicode does not decompose into a Latin letter and a mark.
LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ð": "d", "þ": "th", "ł": "l", "đ": "d", "ı": "i"})


def clean_name(name: str) -> str:
    """The name in Unicode NFC, stripped. Raises GalleryError if it is empty, too long, or has control characters."""
    text = unicodedata.normalize("NFC", name).strip()
    # Cc, Cf, Cs, Zl, Zp: invisible or line-breaking; they would let two different names look alike in a log.
    bad = [
        c
        for i, c in enumerate(text)
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") and not _joins(text, i)
    ]
    if not text or len(text) > MAX_NAME or bad:
        got = f"{text[:20]!r} with {bad[0]!r}" if bad else f"{len(text)} characters"
        raise GalleryError(
            f"name: expected 1 to {MAX_NAME} printable characters, got {got}",
            "write the name without control characters",
        )
    return text


def _joins(text: str, i: int) -> bool:
    """Whether the character is a ZWNJ or ZWJ that joins: in Persian and Indic names and in emoji it belongs to the spelling.

    Between letters of a script that does not join it is invisible, and would let two names look alike.
    """
    if text[i] not in JOINERS or not 0 < i < len(text) - 1:
        return False
    return not any(
        c.isascii() or c in JOINERS or unicodedata.name(c, "").startswith(UNJOINED) for c in text[i - 1 : i + 2 : 2]
    )


def propose_id(name: str) -> str:
    """The slug of a name: "Zoë" -> "zoe". Raises GalleryError if the name has other letters than Latin ones, or none."""
    plain = unicodedata.normalize("NFKD", name.casefold().translate(LETTERS))
    # A letter of another script is refused and not dropped: the Cyrillic "а" in "аlice" would give "lice".
    if foreign := [c for c in plain if c.isalnum() and not c.isascii()]:
        raise _no_id(name, f"ids are a-z, 0-9, _ and -, got {foreign[0]!r}")
    letters = "".join(c for c in plain if not unicodedata.combining(c))
    slug = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:64].strip("-")
    if not slug:
        raise _no_id(name, "ids are a-z, 0-9, _ and -, got none of these")
    return slug


def check_id(identity_id: str) -> str:
    """The id as it was given. Raises GalleryError if it is no slug."""
    if not SLUG.fullmatch(identity_id):
        raise GalleryError(
            f"id {identity_id!r}: expected 1 to 64 of a-z, 0-9, _ and -, a letter or digit first", "choose such an id"
        )
    return identity_id


def _no_id(name: str, why: str) -> GalleryError:
    return GalleryError(f"name {name!r}: no id can be made from it: {why}", "give one with --id")
