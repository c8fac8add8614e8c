"""The scores of a door's unknown visitors on disk: counts for each day (matching/door.py), no embedding and no name.

One file for each camera, 0600, beside the gallery, with the raise of the threshold that followed from them. If it is damaged,
or was counted with another encoder, counting begins again and the log says so; the daemon works without it.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from statistics import median

import numpy as np

from edge_oneshot.gallery.rows import floats
from edge_oneshot.matching.door import BINS, MAX_RAISE, Histogram
from edge_oneshot.storage.database import Checksum, Count, Database, Row, Schema, Value, text
from edge_oneshot.storage.optional import OptionalDatabase
from edge_oneshot.types import Float64Array

log = logging.getLogger(__name__)

MAX_DAY = 10**9
DAYS = 90  # days with a visit that are kept
# A day counts at most DAY_TIMES the usual number of visits of the other days, and DAY_MORE: one visitor who comes very often
# must not outweigh the others. The first day has no others.
DAY_TIMES, DAY_MORE, FIRST_DAY = 1.5, 5, 100
SCHEMA = Schema(
    kind="door record",
    application_id=0x454F646F,  # "EOdo"
    table="days",
    damage_hint="the daemon moves it aside at its next start and begins a new one",
    busy_timeout_s=2.0,
    wal=True,
    synchronous="NORMAL",  # no wait for the disk at each visit; a power cut may lose the last ones, and damages nothing
    steps=(
        (
            """CREATE TABLE days (
                id          INTEGER PRIMARY KEY AUTOINCREMENT,
                day         INTEGER NOT NULL,  -- by the wall clock, which may be wrong: only its change counts
                visits      INTEGER NOT NULL,
                comparisons INTEGER NOT NULL,
                cut         REAL NOT NULL,
                counts      BLOB NOT NULL,     -- float64, little-endian, one for each bin, as are the next two
                squares     BLOB NOT NULL,
                best        BLOB NOT NULL
            ) STRICT""",
            """CREATE TABLE door (
                id        INTEGER PRIMARY KEY CHECK (id = 1),
                made_with TEXT NOT NULL,       -- what the scores depend on: encoder, adaptation
                raised    REAL NOT NULL,
                raise_day INTEGER NOT NULL     -- when it last changed
            ) STRICT""",
        ),
        (Checksum("days"), Checksum("door")),
        (Count("days"), Count("door")),
    ),
)
_COLUMNS = "id, day, visits, comparisons, cut, counts, squares, best"


class DoorRecord:
    """The counts and the raise of one camera. Belongs to one thread.

    made_with: what the scores depend on, as text; counts that were made with another are erased.
    """

    def __init__(self, path: Path, made_with: str) -> None:
        self._path, self.made_with = path, made_with
        self._file = OptionalDatabase(path, SCHEMA, "what this door's visitors scored is lost at the next start")
        self._days: dict[int, tuple[int, Histogram]] = {}  # row id -> (day, counts)
        self.raised, self.raise_day = 0.0, 0
        if path.exists():
            self._load()

    def close(self) -> None:
        self._file.close()

    @property
    def days(self) -> int:
        """Days with a visit that are kept."""
        return len(self._days)

    def total(self) -> Histogram:
        """The counts of all kept days."""
        return sum((h for _, h in self._days.values()), Histogram())

    def add(self, scores: Float64Array, threshold: float, day: int) -> bool:
        """Count one visit, as Histogram.add. False: this day already has its share of visits."""
        newest = max(self._days, default=0)
        if newest == 0 or self._days[newest][0] != day:
            newest += 1
            self._days[newest] = (day, Histogram())
        usual = [h.visits for row, (_, h) in self._days.items() if row != newest]
        histogram = self._days[newest][1]
        if histogram.visits >= (DAY_TIMES * median(usual) + DAY_MORE if usual else FIRST_DAY):
            return False
        histogram.add(scores, threshold)
        for row in sorted(self._days)[:-DAYS]:
            del self._days[row]
        self._file.run(lambda db: self._write(db, newest), None)
        return True

    def set_raise(self, raised: float, day: int) -> None:
        self.raised, self.raise_day = raised, day
        self._file.run(lambda db: self._write(db, None), None)

    def reset(self) -> int:
        """Erase counts and raise; the number of visits that they came from."""
        visits = self.total().visits
        self._days, self.raised, self.raise_day = {}, 0.0, 0
        if self._path.exists():
            self._file.run(_erase, None)
        return visits

    # ---- the file

    def _load(self) -> None:
        """Read everything. Rows that cannot be read are set aside; without the head, or with another's, counting begins again."""
        nothing: tuple[list[tuple[str, float, int]], list[tuple[int, int, Histogram]]] = ([], [])
        head, days = self._file.run(lambda db: (db.read("door", _head), db.read("days", _day, "ORDER BY id")), nothing)
        if head and head[0][0] == self.made_with:
            _, self.raised, self.raise_day = head[0]
            self._days = {row: (day, counts) for row, day, counts in days}
        elif head or days:
            why = (
                "the counts were made with another encoder or adaptation"
                if head
                else "it is not known how the counts were made"
            )
            log.warning("%s: the measurement of this door begins again: %s", self._path, why)
            self._file.run(_erase, None)

    @property
    def set_aside(self) -> int:
        """Rows that could not be read."""
        return self._file.run(Database.count_set_aside, 0) if self._path.exists() else 0

    def _write(self, db: Database, row: int | None) -> None:
        db.execute(
            "INSERT OR REPLACE INTO door (id, made_with, raised, raise_day) VALUES (1, ?, ?, ?)",
            (self.made_with, self.raised, self.raise_day),
        )
        if row is not None:
            day, h = self._days[row]
            blobs = (a.astype("<f8").tobytes() for a in (h.counts, h.squares, h.best))
            marks = ", ".join("?" * 8)
            values: tuple[Value, ...] = (row, day, h.visits, h.comparisons, h.cut, *blobs)
            db.execute(f"INSERT OR REPLACE INTO days ({_COLUMNS}) VALUES ({marks})", values)
            db.execute("DELETE FROM days WHERE id < ?", (min(self._days),))
        self._file.written()


def _erase(db: Database) -> None:
    db.execute("DELETE FROM days")
    db.execute("DELETE FROM door")


def _head(row: Row) -> tuple[str, float, int]:
    """(made_with, raised, raise_day). Raises ValueError or TypeError for a row that cannot be."""
    _, made_with, raised, day = row
    if not 0 <= raised <= MAX_RAISE or not 0 <= day < MAX_DAY:
        raise ValueError(f"expected a raise of 0 to {MAX_RAISE} on a day, got {raised} on {day}")
    return text(made_with), float(raised), int(day)


def _day(row: Row) -> tuple[int, int, Histogram]:
    """(id, day, counts). Raises ValueError or TypeError for a row that cannot be."""
    counts, squares, best = (_array(blob) for blob in row[5:8])
    h = Histogram(
        visits=int(row[2]), comparisons=int(row[3]), cut=float(row[4]), counts=counts, squares=squares, best=best
    )
    if not (0 < h.visits == best.sum() and h.comparisons == counts.sum() and math.isfinite(h.cut)):
        raise ValueError(f"expected {h.visits} visits and {h.comparisons} comparisons in the bins, got others")
    if not (0 < row[0] < MAX_DAY and 0 <= row[1] < MAX_DAY):
        raise ValueError(f"expected a number and a day below {MAX_DAY}, got {row[0]} and {row[1]}")
    return int(row[0]), int(row[1]), h


def _array(blob: object) -> Float64Array:
    values = floats(blob)
    if len(values) != BINS or not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(f"expected {BINS} counts, got {len(values)} values")
    return values
