"""One object for recognition: pipeline, references and threshold rule. Daemon, commands, evaluation and scripts all use it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Self

from edge_oneshot.cameras.images import to_frame
from edge_oneshot.config.access import AccessConfig
from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery.naming import check_id, clean_name, propose_id
from edge_oneshot.gallery.people import People
from edge_oneshot.matching.attention import WHOLE, Task
from edge_oneshot.matching.compare import References, decide, not_compared
from edge_oneshot.matching.threshold import Rule, Threshold
from edge_oneshot.recognition.access import Access
from edge_oneshot.recognition.enrollment import CaptureSession, Enrollment, enroll_from_frame, probe_from_frame
from edge_oneshot.recognition.glance import compare_in_steps
from edge_oneshot.recognition.kept import to_keep
from edge_oneshot.recognition.matcher import Matcher, build_matchers
from edge_oneshot.recognition.recognition import Recognition, recognition_of, refusal_of
from edge_oneshot.types import Embedding, Frame, Identity, Observation, Refusal, Sample, UInt8Array

if TYPE_CHECKING:
    from edge_oneshot.config import Config
    from edge_oneshot.gallery.site import Site
    from edge_oneshot.gallery.store import Gallery
    from edge_oneshot.matching.track import Tracker
    from edge_oneshot.model.card import EncoderCard
    from edge_oneshot.model.encoder import TwinEncoder
    from edge_oneshot.recognition.pipeline import Pipeline

Picture = str | os.PathLike[str] | bytes | UInt8Array | Frame
"""A path, the bytes of a picture file, uint8 (H, W, 3) RGB, or a Frame."""


class Recognizer:
    """Recognizes the people of one gallery. Its threshold is always the one for that gallery.

    A person is compared by the encoder of the template. While the gallery holds templates of an older encoder that is
    known, that encoder works beside the current one, with a threshold of its own (`matchers`).

    Belongs to the thread that made it (interpreter, database connection). Close it, or use it as a context manager.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        rule: Rule,
        gallery: Gallery,
        find_encoder: Callable[[str], TwinEncoder | None] = lambda encoder_id: None,
        site: Site | None = None,
        access: Access | None = None,
    ) -> None:
        """find_encoder: loads the encoder of old templates by its encoder_id; None: it is not known. site: what it adapts to.

        access: applies the access rules of people; None: as on a device without a name.
        Raises StorageError if the gallery cannot be read. Most callers use `open`.
        """
        self.pipeline = pipeline
        self._rule, self._find_encoder = rule, find_encoder
        self.access = access or Access(AccessConfig(), "")
        self.matchers: tuple[Matcher, ...] = ()  # the current encoder's first
        encoder = pipeline.encoder
        self.people = People(gallery, encoder.card, encoder.encoder_id, self._follow, self._load)
        self.site: Site | None = None
        self.adapt_to(site)

    @classmethod
    def open(
        cls, config: Config | str | os.PathLike[str] | None = None, *, gallery: str | os.PathLike[str] | None = None
    ) -> Self:
        """A recognizer of the configured models and gallery.

        config: a Config, or the path of a TOML file; None: $EDGE_ONESHOT_CONFIG, then /etc/edge-oneshot/default.toml, then
        the defaults. gallery: another gallery file than the configured one; ":memory:" for one that ends with this object.
        Raises ConfigError, ModelError, StorageError.
        """
        from edge_oneshot.config import find_config
        from edge_oneshot.recognition import compose

        if config is None or isinstance(config, str | os.PathLike):
            config = find_config(None if config is None else Path(config))
        rule = compose.build_rule(config, (pipeline := compose.build_pipeline(config)).encoder)
        older = compose.build_older(config, pipeline)
        opened = compose.open_gallery(config, gallery)
        try:
            site, access = compose.open_site(config, pipeline.encoder), Access(config.access, config.device_slug)
            return cls(pipeline, rule, opened, older, site, access)
        except BaseException:
            opened.close()
            raise

    def close(self) -> None:
        self.people.gallery.close()
        if self.site is not None:
            self.site.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- what it compares with

    @property
    def encoder_id(self) -> str:
        return self.pipeline.encoder.encoder_id

    @property
    def references(self) -> References:
        """Those of the current encoder."""
        return self.people.references

    @property
    def rule(self) -> Rule:
        return self._rule

    @rule.setter
    def rule(self, rule: Rule) -> None:
        self._rule = rule
        self._follow(self.people.parts)

    @property
    def threshold(self) -> Threshold:
        """That of the current encoder, for the gallery as it was read last."""
        return self.matchers[0].threshold

    def _load(self, encoder_ids: Set[str]) -> dict[str, EncoderCard]:
        """Load the encoders of old templates that are known, and unload those that are not needed any more."""
        loaded = {e.encoder_id: e for e in self.pipeline.older}
        found = (loaded.get(i) or self._find_encoder(i) for i in sorted(encoder_ids))
        self.pipeline.older = tuple(e for e in found if e is not None)
        return {e.encoder_id: e.card for e in self.pipeline.older}

    def _follow(self, parts: Sequence[References]) -> None:
        self.matchers = build_matchers((self.pipeline.encoder, *self.pipeline.older), parts, self._rule)

    def _matcher(self, encoder_id: str) -> Matcher | None:
        return next((m for m in self.matchers if m.encoder.encoder_id == encoder_id), None)

    def score(self, identity_id: str, embedding: Embedding) -> float | None:
        """Comparison score with the person's best template; None if the person is not compared by this encoder."""
        matcher = self._matcher(embedding.encoder_id)
        return None if matcher is None else matcher.references.score(identity_id, embedding)

    def alike(self, a: Embedding, b: Embedding) -> bool:
        """Whether two embeddings of one encoder would match at its threshold."""
        matcher = self._matcher(a.encoder_id)
        return matcher is not None and matcher.alike(a, b)

    def unlike(self, a: Embedding, b: Embedding) -> bool:
        """Whether two embeddings of one encoder are as different as those of 99 in 100 pairs of people."""
        matcher = self._matcher(a.encoder_id)
        return matcher is not None and matcher.unlike(a, b)

    def adapt_to(self, site: Site | None) -> None:
        """Adapt to this site from now on, and close the one before; None: to none."""
        if self.site is not None:
            self.site.close()
        self.site = site
        self.people.adapt(None if site is None else site.adaptation)

    # ---- live frames

    def observe(self, frame: Frame) -> list[Observation]:
        """Every face of a live frame, largest first, with its decision. Poor and unknown faces are values, not errors."""
        return [self._observe(sample) for sample in self.pipeline.samples(frame)]

    def follow(self, frame: Frame, tracker: Tracker) -> list[Observation]:
        """As `observe`, for a tracker's next frame: skips the networks whose result cannot change a decision."""
        samples = self.pipeline.samples(frame, looks=tracker.looks(frame.captured_ns))
        tasks = tracker.plan(samples, frame.captured_ns)
        return [self._observe(sample, task) for sample, task in zip(samples, tasks, strict=True)]

    def _observe(self, sample: Sample, task: Task = WHOLE) -> Observation:
        if sample.faults or not task.encode:
            return Observation(sample=sample, embedding=None, decision=not_compared(sample.faults, self.threshold))
        (decided, *others), one_view = compare_in_steps(self.pipeline, sample, self._used, task)
        return Observation(
            sample=sample,
            embedding=decided.embedding,
            decision=decided.decision,
            others=tuple(others),
            one_view=one_view,
        )

    @property
    def _used(self) -> Sequence[Matcher]:
        """Those whose encoder has a template of a person. An empty gallery: the current encoder's."""
        return [m for m in self.matchers if len(m.references)] or self.matchers[:1]

    # ---- pictures

    def identify(self, picture: Picture) -> list[Recognition]:
        """Compare every face of a picture with every enrolled person (1:N, open-set), largest face first.

        An unknown person has identity None, and so has one who is `denied` by the access rules. A face that a quality gate refuses
        has `decision.kind` NOT_COMPARED.
        Raises CameraError for a picture that cannot be read.
        """
        self.people.refresh()
        observations = (self._observe(sample) for sample in self.pipeline.picture_samples(to_frame(picture)))
        return [recognition_of(self.people, self.access, o.sample, o.decision) for o in observations]

    def identify_one(self, picture: Picture) -> Recognition:
        """The same for a picture of one person. Raises AcquisitionError unless it shows exactly one usable face."""
        self.people.refresh()
        observation = self._observe(probe_from_frame(self.pipeline, to_frame(picture)))
        return recognition_of(self.people, self.access, observation.sample, observation.decision)

    def verify(self, name: str, picture: Picture) -> Recognition:
        """Compare a picture with one enrolled person (1:1). name: name or identity.

        The threshold is that of a gallery with this person alone, since no other person is compared. Raises AcquisitionError
        unless the picture shows exactly one usable face, GalleryError for an unknown person or one without a template of
        an encoder in use.
        """
        self.people.refresh()
        identity = self.people.gallery.lookup(name)
        sample = probe_from_frame(self.pipeline, to_frame(picture))
        own = [t for t in self.people.gallery.find(identity.identity_id).templates if self.people.comparable(t)]
        if not own:
            raise GalleryError(
                f"{identity.identity_id!r} has no template of an encoder in use",
                f"edge-oneshot enroll --name {identity.name!r} --replace",
            )
        matcher = self._matcher(own[0].encoder_id)
        assert matcher is not None, "a template is comparable only by an encoder in use"
        references = self.people.references_of(own, own[0].encoder_id)
        probe = self.pipeline.encode(sample, matcher.encoder)
        decision = decide(probe, references, matcher.rule([len(own)]), matcher.encoder.card)
        return recognition_of(self.people, self.access, sample, decision, identity)

    def refusal(self, identity_id: str) -> Refusal | None:
        """Why this person is not allowed here now by the access rules; None: the person is allowed."""
        return refusal_of(self.people, self.access, identity_id)

    # ---- enrollment

    def enroll(
        self,
        name: str,
        picture: Picture,
        *,
        identity_id: str | None = None,
        replace: bool = False,
        beside: bool = False,
        accept_no_rate: bool = False,
    ) -> Enrollment:
        """Enroll a person from one picture and store the template; of the picture only what gallery.keep_capture says is kept.

        identity_id: the id in topics; made from the name if None. replace: renew a person who is enrolled already.
        beside: give that person one more template, as for the night; the best of them counts, and the threshold allows for it.
        accept_no_rate: enroll also a person for whom no error rate can be stated, such as a small child.
        Raises EnrollmentError with every fault, GalleryError if the name or the id is taken; then nothing is stored.
        """
        self.people.refresh()
        identity = self.new_identity(name, identity_id)
        self.people.check_free(identity, replace=replace, beside=beside)
        enrollment = self.enrollment_of(identity, picture, accept_no_rate=accept_no_rate)
        self.store(enrollment, replace=replace, beside=beside)
        return enrollment

    def enrollment_of(self, identity: Identity, picture: Picture, *, accept_no_rate: bool = False) -> Enrollment:
        """An enrollment from one picture. Pass it to `store`. Raises EnrollmentError with every fault."""
        frame, known = to_frame(picture), self.references
        return enroll_from_frame(self.pipeline, frame, identity, known, accept_no_rate=accept_no_rate)

    def new_identity(self, name: str, identity_id: str | None = None) -> Identity:
        """The identity for an enrollment: the given id, else the id that this name already has, else one made from it."""
        name = clean_name(name)
        if identity_id is not None:
            return Identity(identity_id=check_id(identity_id), name=name)
        known = (i for i in self.people.gallery.identities() if i.name.casefold() == name.casefold())
        return next(known, None) or Identity(identity_id=propose_id(name), name=name)

    def capture_session(self, identity: Identity, timeout_s: float, *, accept_no_rate: bool = False) -> CaptureSession:
        """An enrollment from live frames, starting now. Pass its result to `store`."""
        return CaptureSession(
            self.pipeline,
            identity,
            self.references,
            self.threshold.value,
            prompt_ns=time.monotonic_ns(),
            timeout_s=timeout_s,
            accept_no_rate=accept_no_rate,
        )

    def store(self, enrollment: Enrollment, *, replace: bool = False, beside: bool = False) -> None:
        """Raises GalleryError; then nothing is stored."""
        kept = to_keep(enrollment, self.pipeline.encoder.card) if self.people.gallery.keeps_captures else {}
        templates = [enrollment.template]
        self.people.add(enrollment.identity, templates, replace=replace, beside=beside, captures=kept)
