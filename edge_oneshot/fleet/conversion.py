"""Sealing fleet.sqlite, unsealing it, and giving it another key."""

from __future__ import annotations

from collections.abc import Callable

from edge_oneshot.fleet.store import PRIVATE, hide, reveal
from edge_oneshot.storage.database import Database
from edge_oneshot.storage.rows import sql_name


def rewrite(db: Database) -> Callable[[], None]:
    """For storage.conversion.convert: read what is private with the present key; the result writes it with the new one."""
    found: list[tuple[str, str, tuple[str, ...], tuple[str | bytes, ...], bytes]] = []
    for table, (keys, column) in PRIVATE.items():
        for row in db.rows(f"SELECT {sql_name(column)}, {', '.join(map(sql_name, keys))} FROM {sql_name(table)}"):
            if row[0]:  # a conflict that was dismissed has no content
                found.append((table, column, keys, row[1:], reveal(db, row[0], table, *row[1:])))

    def write() -> None:
        for table, column, keys, about, data in found:
            where = " AND ".join(f"{sql_name(key)} = ?" for key in keys)
            sql = f"UPDATE {sql_name(table)} SET {sql_name(column)} = ? WHERE {where}"
            db.execute(sql, (hide(db, data, table, *about), *about))

    return write
