"""Who is enrolled, as the loop sees it: the gallery on disk, and its comparable templates as a matrix in memory.

The matrix is made again when the file has changed, whoever changed it: this process, another instance, or a command.
"""

from __future__ import annotations

from edge_oneshot.card import Comparator
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.compare import References


class People:
    """Belongs to the thread that opened the gallery. Call `refresh` now and then; it costs one PRAGMA when nothing changed."""

    def __init__(self, gallery: Gallery, comparator: Comparator, encoder_id: str) -> None:
        self.gallery = gallery
        self._comparator, self._encoder_id = comparator, encoder_id
        self._version = -1
        self.references = References(comparator, encoder_id, ())
        self.names: dict[str, str] = {}
        self.refresh()

    def refresh(self, *, force: bool = False) -> bool:
        """Read again if another connection committed, or if `force` (after a write of our own). True if it was read."""
        version = self.gallery.version()
        if version == self._version and not force:
            return False
        self._version = version
        self.references = References(self._comparator, self._encoder_id, self.gallery.templates())
        self.names = {i.identity_id: i.name for i in self.gallery.identities()}
        return True
