"""The access rules of people, in a table beside theirs: rules that cannot be read are noticed, and the person is allowed nowhere.

In a sealed gallery they are encrypted with the key of the gallery. A person without a row is allowed everywhere and always.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from edge_oneshot.gallery.rows import GalleryRows
from edge_oneshot.storage.database import Database, Row, text
from edge_oneshot.types.access import UNREADABLE, AccessRules, rules_from_json

TABLE = "access"


def read(db: Database, rows: GalleryRows, identity_ids: Iterable[str]) -> dict[str, AccessRules]:
    """identity_id -> rules, of those of these people who have some."""
    if not db.rows(f"SELECT 1 FROM {TABLE} LIMIT 1") and not db.contents_set_aside(TABLE):
        return {}
    people = {rows.key(i): i for i in identity_ids}
    clause, values = ("WHERE identity_id = ?", tuple(people)) if len(people) == 1 else ("", ())
    found = dict(db.read(TABLE, lambda row: _rules_of(db, row), clause, values, proven=db.cipher is not None))
    lost = db.contents_set_aside(TABLE)  # the reading itself may have set a row aside
    known = {people[key]: rules for key, rules in found.items() if key in people}
    unreadable = {i: UNREADABLE for key, i in people.items() if any(f"'{key}'" in content for content in lost)}
    return unreadable | known


def write(db: Database, rows: GalleryRows, identity_id: str, rules: AccessRules | Mapping[str, object]) -> None:
    """Replace the rules of one person. Part of a transaction. rules: if there is none in it, the row is deleted.

    A mapping of JSON values is stored as it is: those of a later release, which this one cannot read.
    """
    key = rows.key(identity_id)
    found = rules.to_json() if isinstance(rules, AccessRules) else dict(rules)
    db.execute(f"DELETE FROM {TABLE} WHERE identity_id = ?", (key,))
    if found:
        stored = db.hide(json.dumps(found, separators=(",", ":")), TABLE, key)
        db.execute(f"INSERT INTO {TABLE} (identity_id, rules) VALUES (?, ?)", (key, stored))
    db.delete_set_aside(lambda source, content: source != TABLE or f"'{key}'" not in content)


def _rules_of(db: Database, row: Row) -> tuple[str, AccessRules]:
    """(what stands for the id, rules). Raises ValueError for a row that was not written here."""
    key = text(row[0])
    stored = db.reveal(text(row[1]), TABLE, key)
    value = json.loads(stored)
    if not isinstance(value, dict):
        raise ValueError(f"expected access rules, got {stored!r}"[:200])
    try:
        return key, rules_from_json(value)
    except ValueError:  # of a later release: they stay as they are
        return key, AccessRules(unknown=json.dumps(value, sort_keys=True, separators=(",", ":")))
