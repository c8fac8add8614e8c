"""What this site's strangers have in common, on disk: the sum over NEEDED visitors, never the embedding of one.

One file for each camera, 0600, beside the gallery. It is written when learning is complete (matching/adaptation.py). The
visitors themselves are kept in memory only: a restart before that begins again, since without them a person could count
once more after each restart. If the file is damaged, or was learned with another encoder, learning begins again and the
log says so; the daemon works without it.
"""

from __future__ import annotations

import logging
from pathlib import Path

from edge_oneshot.gallery.rows import floats
from edge_oneshot.matching.adaptation import NEEDED, STEP, Adaptation, Visitors
from edge_oneshot.storage.database import Checksum, Count, Database, Row, Schema, Value, text
from edge_oneshot.storage.optional import OptionalDatabase, delete_moved_aside
from edge_oneshot.types import Embedding

log = logging.getLogger(__name__)

SCHEMA = Schema(
    kind="adaptation",
    application_id=0x454F6164,  # "EOad"
    table="adaptation",
    damage_hint="the daemon moves it aside at its next start and begins a new one",
    busy_timeout_s=2.0,
    wal=False,
    synchronous="FULL",
    steps=(
        (
            """CREATE TABLE adaptation (
                id        INTEGER PRIMARY KEY CHECK (id = 1),
                made_with TEXT NOT NULL,  -- encoder_id
                visits    INTEGER NOT NULL,
                total     BLOB NOT NULL,  -- float64, little-endian
                before    REAL NOT NULL,
                after     REAL NOT NULL
            ) STRICT""",
        ),
        (Checksum("adaptation"),),
        (Count("adaptation"),),
    ),
)
_COLUMNS = "made_with, visits, total, before, after"


class Site:
    """The adaptation of one camera. Belongs to one thread."""

    def __init__(self, path: Path, dimension: int, encoder_id: str) -> None:
        """dimension, encoder_id: of the encoder whose embeddings are adapted."""
        self._path, self._dimension, self._encoder_id = path, dimension, encoder_id
        self._file = OptionalDatabase(path, SCHEMA, "what was learned of strangers is lost at the next start")
        self.adaptation: Adaptation | None = None  # in force; None: nothing is subtracted
        self._visitors: Visitors | None = Visitors(dimension)  # None: learning is complete
        if path.exists():
            nothing: list[tuple[str, Adaptation]] = []
            for made_with, found in self._file.run(lambda db: db.read("adaptation", self._read), nothing):
                self._take(made_with, found)

    def close(self) -> None:
        self._file.close()

    @property
    def visits(self) -> int:
        """Visits of unknown people that were looked at."""
        known = self._visitors or self.adaptation
        return 0 if known is None else known.visits

    @property
    def counted(self) -> int:
        """Of these, visitors who count."""
        known = self._visitors or self.adaptation
        return 0 if known is None else known.counted

    def learn(self, visit: Embedding, day: int) -> bool:
        """Learn from the visit of an unknown person. True if `adaptation` has changed."""
        visitors = self._visitors
        if visitors is None or visit.encoder_id != self._encoder_id or not visitors.add(visit.vector, day):
            return False
        if visitors.counted % STEP:
            return False
        self.adaptation = a = visitors.learned()
        log.info("adaptation to this site: %d of %d visitors, from %d visits", a.counted, NEEDED, a.visits)
        if a.counted == NEEDED:
            self._visitors = None
            self._file.run(self._write, None)
        return True

    def reset(self) -> int:
        """Forget everything that was learned, in memory and on disk; the number of visits that it came from."""
        visits, self.adaptation, self._visitors = self.visits, None, Visitors(self._dimension)
        if self._path.exists():
            self._file.run(_erase, None)
        delete_moved_aside(self._path)
        return visits

    def _read(self, row: Row) -> tuple[str, Adaptation]:
        """(encoder_id, adaptation). Raises ValueError or TypeError for a row that cannot be."""
        _, made_with, visits, total, before, after = row
        sums = floats(total)
        if made_with == self._encoder_id and len(sums) != self._dimension:
            raise ValueError(f"expected {self._dimension} values, got {len(sums)}")
        return text(made_with), Adaptation(visits=visits, counted=NEEDED, total=sums, before=before, after=after)

    def _take(self, made_with: str, found: Adaptation) -> None:
        if made_with == self._encoder_id:
            self.adaptation, self._visitors = found, None
            return
        log.warning("%s: adaptation to this site begins again: it was learned with another encoder", self._path)
        self._file.run(_erase, None)

    def _write(self, db: Database) -> None:
        a = self.adaptation
        assert a is not None
        values: tuple[Value, ...] = (
            *(1, self._encoder_id, a.visits, a.total.astype("<f8").tobytes()),
            *(a.before, a.after),
        )
        db.execute(f"INSERT OR REPLACE INTO adaptation (id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", values)
        self._file.written()


def erase(path: Path) -> None:
    """Erase what was learned, after decision.adapt was switched off. A failure is logged."""
    if path.exists():
        file = OptionalDatabase(path, SCHEMA, f"remove {path}: it may still hold what was learned of strangers")
        file.run(_erase, None)
        file.close()
    delete_moved_aside(path)


def _erase(db: Database) -> None:
    db.execute("DELETE FROM adaptation")
    db.delete_set_aside()
