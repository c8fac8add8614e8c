"""The enrolled people in memory: the templates that can be compared, as a matrix, and the names.

They are read again when the file has changed, whether by this process, another instance or a command.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence, Set

import numpy as np

from edge_oneshot.errors import GalleryError, StorageError
from edge_oneshot.gallery.store import NO_RULES, NOTHING, Gallery
from edge_oneshot.matching.adaptation import Adaptation
from edge_oneshot.matching.compare import References
from edge_oneshot.matching.no_rate import applies
from edge_oneshot.model.card import EncoderCard
from edge_oneshot.types import AccessRules, Identity, Template

log = logging.getLogger(__name__)

MAX_TEMPLATES = 5  # of one person and encoder: each one matches strangers, too


class People:
    """Belongs to the thread that opened the gallery. Call `refresh` regularly; without a change it costs one PRAGMA."""

    def __init__(
        self,
        gallery: Gallery,
        card: EncoderCard,
        encoder_id: str,
        on_read: Callable[[Sequence[References]], None] = lambda parts: None,
        load: Callable[[Set[str]], Mapping[str, EncoderCard]] = lambda encoder_ids: {},
    ) -> None:
        """card, encoder_id: of the current encoder. Raises StorageError, as `refresh` does.

        on_read: called with `parts` each time the gallery was read. load: called before with the ids of the other encoders
        whose templates people still have; returns the cards of those that can encode a probe.
        """
        self.gallery = gallery
        self._on_read, self._load = on_read, load
        self._encoder_id = encoder_id
        self._adaptation: Adaptation | None = None
        self._cards = {encoder_id: card}  # of the encoders in use, the current one first
        self._version = -1
        self._stand_in = False  # `parts` are not those of the gallery
        self.skipped = (
            0  # templates that their encoder cannot have made, and rows that are set aside, at the last reading
        )
        self._set_aside, self._contents = 0, list[str]()  # the rows that are set aside, at the last reading
        self.fault = ""  # why the gallery could not be read again
        # The references of each encoder in use, the current one first. Each person is in one of them.
        self.parts: tuple[References, ...] = (References(card.comparator, encoder_id, ()),)
        # The people who are compared by the encoder of an old template, until they are enrolled again: identity_ids.
        self.old: frozenset[str] = frozenset()
        self.names: dict[str, str] = {}
        self.no_rate: frozenset[str] = frozenset()  # identities for whom no error rate can be stated (_lacking_rate)
        self.access: dict[str, AccessRules] = {}  # identity_id -> rules, of the people who have some
        self.refresh()

    def refresh(self, *, force: bool = False) -> bool:
        """Read again if another connection committed, or if `force` (after a write of this process). True if it was read."""
        version = self.gallery.version()
        if version == self._version and not force:
            return False
        self._version, self.skipped, self._stand_in = version, 0, False
        self.parts = self._read()
        self._set_aside, self._contents = self.gallery.set_aside, self.gallery.contents_set_aside()
        self.skipped += self._set_aside
        self.names = {i.identity_id: i.name for i in self.gallery.identities()}
        self.access = self.gallery.access()
        self._on_read(self.parts)
        return True

    def _read_again(self, identity_id: str) -> None:
        """After a write of this process about one person: read that person, and everything only if that is not enough.

        It is not enough after another connection's write, while a row is set aside, and while people have templates of several
        encoders.
        """
        simple = len(self.parts) == 1 and not (self.references.foreign or self.skipped or self._stand_in)
        if not simple or self.gallery.version() != self._version or self.gallery.set_aside:
            self.refresh(force=True)
            return
        templates = self.gallery.templates_of(identity_id)
        if any(t.encoder_id != self._encoder_id for t in templates) or len(self._usable(templates)) < len(templates):
            self.refresh(force=True)
            return
        self.parts = (self.references.with_person(identity_id, templates),)
        self.no_rate = self.no_rate - {identity_id} | self._lacking_rate(templates, templates)
        names = {i: name for i, name in self.names.items() if i != identity_id}
        if templates:
            names[identity_id] = self.gallery.find(identity_id).identity.name
        else:
            self.access.pop(identity_id, None)
        self.names = dict(sorted(names.items(), key=lambda item: (item[1].casefold(), item[0])))
        self._on_read(self.parts)

    def try_refresh(self) -> None:
        """As `refresh`, but a failure of the file or its disk is logged once and kept in `fault`: these people are still known."""
        try:
            self.refresh()
            self.fault = ""
        except StorageError as e:
            if not self.fault:
                log.error("%s", e)
            self.fault = str(e)

    def _read(self) -> tuple[References, ...]:
        """Each person is compared by the current encoder, or until enrolled again by the encoder of the old template."""
        templates, own = self.gallery.templates(), self._encoder_id
        templates = [
            *self._usable(t for t in templates if t.encoder_id == own),
            *(t for t in templates if t.encoder_id != own),
        ]
        renewed = {t.identity_id for t in templates if t.encoder_id == own}
        old = [t for t in templates if t.identity_id not in renewed]
        self._cards = {own: self._cards[own], **self._load({t.encoder_id for t in old})}
        parts, compared, used = [], set[str](), [t for t in templates if t.encoder_id == own]
        for encoder_id, card in list(self._cards.items())[1:]:
            mine = self._usable(t for t in old if t.encoder_id == encoder_id and t.identity_id not in compared)
            parts.append(References(card.comparator, encoder_id, mine))
            compared.update(parts[-1].identity_ids)
            used += mine
        rest = [t for t in templates if t.identity_id not in compared]
        self.no_rate, self.old = self._lacking_rate(templates, used), frozenset(compared)
        return self.references_of(rest, own), *parts

    def references_of(self, templates: Sequence[Template], encoder_id: str) -> References:
        """References of some templates by an encoder in use. Those of the current encoder are adapted to the site."""
        adaptation = self._adaptation if encoder_id == self._encoder_id else None
        return References(self._cards[encoder_id].comparator, encoder_id, templates, adaptation)

    def adapt(self, adaptation: Adaptation | None) -> None:
        """Subtract this from templates and probes of the current encoder from now on; None: nothing. The gallery stays as it is."""
        if adaptation is not self._adaptation:
            self._adaptation = adaptation
            self.refresh(force=True)

    def _lacking_rate(self, templates: Iterable[Template], used: Iterable[Template]) -> frozenset[str]:
        """The identities for whom no error rate can be stated: by the mark of a template, or by the rule of a card.

        The rule is that of the card of the encoder that compares the person (used: these templates), since it is a score
        of that encoder. It also finds templates that were stored before the card had one.
        """
        marked = {t.identity_id for t in templates if t.no_rate}
        ruled = {t.identity_id for t in used if applies(self._cards[t.encoder_id].no_rate, t.embedding)}
        return frozenset(marked | ruled)

    def use(self, references: References, names: Mapping[str, str]) -> None:
        """Compare with these references instead of the gallery's, until it is read again. For measurements."""
        self._load(frozenset())
        self._stand_in = True
        self.parts, self.names, self.no_rate, self.old = (references,), dict(names), frozenset(), frozenset()
        self._on_read(self.parts)

    @property
    def references(self) -> References:
        """Those of the current encoder."""
        return self.parts[0]

    @property
    def templates(self) -> int:
        """Number of templates: those in use, and those of an encoder that compares no one by them."""
        return self.references.foreign + sum(map(len, self.parts))

    @property
    def unchangeable(self) -> str:
        """Why the gallery cannot be read again or changed now; "" if it can."""
        return self.fault or str(self.gallery.fault or "")

    @property
    def whole(self) -> bool:
        """Whether `names` has everybody who was enrolled: the file can be read, and no row of it is set aside."""
        return not self.unchangeable and not self._set_aside

    def may_hold(self, identity_id: str) -> bool:
        """Whether a row that is set aside names this person."""
        key = self.gallery.stored_as(identity_id)
        return any(f"'{key}'" in content for content in self._contents)

    # ---- changes; the references, and the threshold that follows them, are read again after each

    def add(
        self,
        identity: Identity,
        templates: Sequence[Template],
        *,
        replace: bool = False,
        beside: bool = False,
        captures: Mapping[str, bytes] = NOTHING,
    ) -> None:
        """As Gallery.add. beside: keep the person's templates of the current encoder (`check_free`)."""
        self.check_free(identity, replace=replace, beside=beside)
        if beside and len(self.own(identity)) + len(templates) > MAX_TEMPLATES:
            raise GalleryError(
                f"{identity.name!r} gets no further templates: expected at most {MAX_TEMPLATES} together",
                "enroll again with --replace, and add the best captures",
            )
        kept = self.own(identity) if beside else []
        self.gallery.add(identity, [*kept, *templates], replace=replace or beside, captures=captures)
        self._read_again(identity.identity_id)

    def check_free(self, identity: Identity, *, replace: bool = False, beside: bool = False) -> None:
        """As Gallery.check_free. beside: the person must have 1 to MAX_TEMPLATES - 1 templates of the current encoder."""
        self.gallery.check_free(identity, replace=replace or beside)
        if beside and not 0 < (count := len(self.own(identity))) < MAX_TEMPLATES:
            expected = f"expected 1 to {MAX_TEMPLATES - 1} templates of the current encoder, got {count}"
            raise GalleryError(
                f"{identity.name!r} gets no further template: {expected}",
                "enroll without --add" if not count else "enroll again with --replace, and add the best captures",
            )

    def own(self, identity: Identity) -> list[Template]:
        """The usable templates of the current encoder."""
        templates = self.gallery.templates_of(identity.identity_id)
        return self._usable(t for t in templates if t.encoder_id == self._encoder_id)

    def add_all(
        self,
        people: Sequence[tuple[Identity, Sequence[Template]]],
        *,
        replace: bool = False,
        access: Mapping[str, AccessRules] = NO_RULES,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        """As Gallery.add_all. The gallery is read once."""
        self.gallery.add_all(people, replace=replace, access=access, progress=progress)
        self.refresh(force=True)

    def rename(self, identity_id: str, name: str) -> None:
        """As Gallery.rename."""
        self.gallery.rename(identity_id, name)
        self._read_again(identity_id)

    def set_access(self, identity_id: str, rules: AccessRules) -> None:
        """As Gallery.set_access. In force at once."""
        self.gallery.set_access(identity_id, rules)
        self.access = self.gallery.access()

    def remove(self, identity_id: str) -> None:
        """As Gallery.remove."""
        self.gallery.remove(identity_id)
        self._read_again(identity_id)

    def comparable(self, template: Template) -> bool:
        """Whether `template` is undamaged, and of an encoder in use by which the person is compared."""
        part = next((p for p in self.parts if p.encoder_id == template.encoder_id), None)
        return part is not None and template.identity_id in part.identity_ids and bool(self._usable([template]))

    def _usable(self, templates: Iterable[Template]) -> list[Template]:
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
        """Raises GalleryError for a template that its encoder cannot have made: a longer vector matches every person.

        A template of an encoder that is not in use passes: it is not compared.
        """
        if (card := self._cards.get(template.encoder_id)) is None:
            return
        vector = template.embedding.vector
        length = float(np.linalg.norm(vector))
        unit = card.comparator.kind == "cosine"
        if vector.size != card.dimension or (unit and length > 1.001):
            expected = f"{card.dimension} values{' of length 1' if unit else ''}"
            raise GalleryError(
                f"template {template.template_id} of {template.identity_id!r} is damaged: expected {expected}, "
                f"got {vector.size} of length {length:.3f}",
                "enroll that person again with --replace",
            )
