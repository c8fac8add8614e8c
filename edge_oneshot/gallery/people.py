"""The enrolled people in memory: the templates that can be compared, as a matrix, and the names.

They are read again when the file has changed, whether this process, another instance or a command changed it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.compare import References
from edge_oneshot.matching.no_rate import applies
from edge_oneshot.model.card import EncoderCard
from edge_oneshot.types import Identity, Template

log = logging.getLogger(__name__)


class People:
    """Belongs to the thread that opened the gallery. Call `refresh` regularly; without a change it costs one PRAGMA."""

    def __init__(
        self,
        gallery: Gallery,
        card: EncoderCard,
        encoder_id: str,
        on_read: Callable[[References], None] = lambda references: None,
    ) -> None:
        """on_read: called with the references each time they were read. Raises StorageError, as `refresh` does."""
        self.gallery = gallery
        self._card, self._encoder_id, self._on_read = card, encoder_id, on_read
        self._version = -1
        self.skipped = 0  # damaged templates at the last reading
        self.references = References(card.comparator, encoder_id, ())
        self.names: dict[str, str] = {}
        self.no_rate: frozenset[str] = frozenset()  # the identities for whom no error rate can be stated
        self.refresh()

    def refresh(self, *, force: bool = False) -> bool:
        """Read again if another connection committed, or if `force` (after a write of this process). True if it was read."""
        version = self.gallery.version()
        if version == self._version and not force:
            return False
        self._version, self.skipped = version, 0
        templates = self._usable(self.gallery.templates(self._skip))
        self.references = References(self._card.comparator, self._encoder_id, templates)
        self.names = {i.identity_id: i.name for i in self.gallery.identities()}
        self.no_rate = frozenset(t.identity_id for t in templates if self.lacks_rate(t))
        self._on_read(self.references)
        return True

    def use(self, references: References, names: Mapping[str, str]) -> None:
        """Compare with these references instead of the gallery's, until it is read again. For measurements."""
        self.references, self.names, self.no_rate = references, dict(names), frozenset()
        self._on_read(references)

    # ---- changes; the references, and the threshold that follows them, are read again after each

    def add(self, identity: Identity, templates: Sequence[Template], *, replace: bool = False) -> None:
        """As Gallery.add."""
        self.gallery.add(identity, templates, replace=replace)
        self.refresh(force=True)

    def add_all(self, people: Sequence[tuple[Identity, Sequence[Template]]], *, replace: bool = False) -> None:
        """As Gallery.add_all. The gallery is read once."""
        self.gallery.add_all(people, replace=replace)
        self.refresh(force=True)

    def rename(self, identity_id: str, name: str) -> None:
        """As Gallery.rename."""
        self.gallery.rename(identity_id, name)
        self.refresh(force=True)

    def remove(self, identity_id: str) -> None:
        """As Gallery.remove."""
        self.gallery.remove(identity_id)
        self.refresh(force=True)

    def comparable(self, template: Template) -> bool:
        """Whether `template` is of this encoder and undamaged."""
        return template.encoder_id == self._encoder_id and bool(self._usable([template]))

    def lacks_rate(self, template: Template) -> bool:
        """Whether no error rate can be stated for a template: by its mark, or by the rule of this encoder's card.

        The rule also finds templates that were stored before the card had one.
        """
        own = template.encoder_id == self._encoder_id
        return template.no_rate or (own and applies(self._card.no_rate, template.embedding))

    def _usable(self, templates: Sequence[Template]) -> list[Template]:
        """Without the damaged ones: the other people are still compared, and the person can enroll again."""
        usable = []
        for template in templates:
            try:
                self.check(template)
                usable.append(template)
            except GalleryError as e:
                self._skip(e)
        return usable

    def _skip(self, damage: GalleryError) -> None:
        """A damaged row stays in the gallery, so that `remove` and --replace still delete it."""
        self.skipped += 1
        log.error("skipped: %s", damage)

    def check(self, template: Template) -> None:
        """Raises GalleryError for a template that this encoder cannot have made: a longer vector matches every person."""
        if template.encoder_id != self._encoder_id:
            return
        vector = template.embedding.vector
        length = float(np.linalg.norm(vector))
        unit = self._card.comparator.kind == "cosine"
        if vector.size != self._card.dimension or (unit and length > 1.001):
            expected = f"{self._card.dimension} values{' of length 1' if unit else ''}"
            raise GalleryError(
                f"template {template.template_id} of {template.identity_id!r} is damaged: expected {expected}, "
                f"got {vector.size} of length {length:.3f}",
                "enroll that person again with --replace",
            )
