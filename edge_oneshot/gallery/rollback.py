"""An older copy of a sealed gallery in the place of the present one is noticed by a counter outside the gallery.

The counter lies beside the key. A person who can put back an old copy of that folder, too, or of the whole disk, is not noticed.
"""

from __future__ import annotations

import logging

from edge_oneshot.storage.database import Database
from edge_oneshot.storage.keys import Keys

log = logging.getLogger(__name__)


def check(db: Database, keys: Keys) -> None:
    """Note that the gallery has had fewer changes than the counter says. A plain gallery has no counter."""
    if db.cipher is None or not keys:
        return
    expected = keys.read_counter(db.key_id)
    if db.created and expected:
        db.note_seal("the gallery was deleted, and this is a new one", expected + 1)
    elif db.counter < expected:
        with db.transaction():
            if (got := db.counter) < expected:  # else another process has noted it
                what = f"expected the state after {expected} changes, got {got}: an older copy was put back"
                db.note_seal(what, expected + 1)
    store(db, keys)


def begin(db: Database, keys: Keys) -> None:
    """Count from here on: the owner has sealed this gallery."""
    store(db, keys, least=-1)


def store(db: Database, keys: Keys, least: int | None = None) -> None:
    """Write the counter. Where this user may not write it, a later older copy of the gallery is not noticed.

    least: a smaller number is not written; None: the one that is there.
    """
    if db.cipher is None or not keys:
        return
    try:
        if (number := db.counter) > (keys.read_counter(db.key_id) if least is None else least):
            keys.write_counter(db.key_id, number)
    except OSError as e:
        log.info(
            "cannot write %s: %s; an older copy of the gallery would not be noticed", keys.counter_path, e.strerror
        )
