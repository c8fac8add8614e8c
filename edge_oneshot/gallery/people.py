"""Who is enrolled, as the loop sees it: the gallery on disk, and its comparable templates as a matrix in memory.

The matrix is made again when the file has changed, whoever changed it: this process, another instance, or a command.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.compare import References
from edge_oneshot.model.card import EncoderCard
from edge_oneshot.types import Template

log = logging.getLogger(__name__)


class People:
    """Belongs to the thread that opened the gallery. Call `refresh` now and then; it costs one PRAGMA when nothing changed."""

    def __init__(
        self,
        gallery: Gallery,
        card: EncoderCard,
        encoder_id: str,
        on_read: Callable[[References], None] = lambda references: None,
    ) -> None:
        """on_read: told the references whenever they were read. Raises GalleryError, as `refresh` and `check` do."""
        self.gallery = gallery
        self._card, self._encoder_id, self._on_read = card, encoder_id, on_read
        self._version = -1
        self.references = References(card.comparator, encoder_id, ())
        self.names: dict[str, str] = {}
        self.refresh()

    def refresh(self, *, force: bool = False) -> bool:
        """Read again if another connection committed, or if `force` (after a write of our own). True if it was read."""
        version = self.gallery.version()
        if version == self._version and not force:
            return False
        self._version = version
        templates = self._sound(self.gallery.templates(self._leave_out))
        self.references = References(self._card.comparator, self._encoder_id, templates)
        self.names = {i.identity_id: i.name for i in self.gallery.identities()}
        self._on_read(self.references)
        return True

    def comparable(self, template: Template) -> bool:
        """Whether `template` is this encoder's, and sound."""
        return template.encoder_id == self._encoder_id and bool(self._sound([template]))

    def _sound(self, templates: Sequence[Template]) -> list[Template]:
        """Without the damaged ones. One must not keep everybody else out, nor the person themselves from enrolling again."""
        sound = []
        for template in templates:
            try:
                self.check(template)
                sound.append(template)
            except GalleryError as e:
                self._leave_out(e)
        return sound

    @staticmethod
    def _leave_out(damage: GalleryError) -> None:
        log.error("left out, and never compared: %s", damage)

    def check(self, template: Template) -> None:
        """Raises GalleryError for a template that says it is this encoder's and cannot be: a longer vector matches everybody."""
        if template.encoder_id != self._encoder_id:
            return
        vector = template.embedding.vector
        length = float(np.linalg.norm(vector))
        unit = self._card.comparator.kind == "cosine"
        if vector.size != self._card.dimension or (unit and length > 1.001):
            raise GalleryError(
                f"template {template.template_id} of {template.identity_id!r} is damaged: expected {self._card.dimension} values"
                f"{' of length 1' if unit else ''}, got {vector.size} of length {length:.3f}",
                "enroll that person again",
            )
