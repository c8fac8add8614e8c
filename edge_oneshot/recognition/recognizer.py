"""One object for recognition: pipeline, references and threshold rule. Daemon, commands, evaluation and scripts all use it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from edge_oneshot.cameras.images import to_frame
from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery.naming import check_id, clean_name, propose_id
from edge_oneshot.gallery.people import People
from edge_oneshot.matching.compare import References, decide, not_compared, score_all
from edge_oneshot.matching.threshold import Rule, Threshold
from edge_oneshot.recognition.enrollment import CaptureSession, Enrollment, enroll_from_frame, probe_from_frame
from edge_oneshot.types import Box, Decision, DecisionKind, Embedding, Frame, Identity, Observation, Sample, UInt8Array

if TYPE_CHECKING:
    from edge_oneshot.config import Config
    from edge_oneshot.gallery.store import Gallery
    from edge_oneshot.recognition.pipeline import Pipeline

Picture = str | os.PathLike[str] | bytes | UInt8Array | Frame
"""A path, the bytes of a picture file, uint8 (H, W, 3) RGB, or a Frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """One face of a picture, compared. identity and name: of the match (for verify: of the claimed person), else None.

    decision: its kind, score, threshold, margin and the stated error rate. sample: the face, its quality and its faults.
    no_rate: the stated error rate does not hold for this person, and none can be stated.
    """

    identity: str | None
    name: str | None
    decision: Decision
    sample: Sample
    no_rate: bool = False

    @property
    def matched(self) -> bool:
        return self.decision.kind is DecisionKind.MATCH

    @property
    def score(self) -> float | None:
        """Comparison score, higher = more alike. None: nothing was compared."""
        return self.decision.score

    @property
    def threshold(self) -> float:
        return self.decision.threshold

    @property
    def box(self) -> Box | None:
        """Of the face, px of the picture. None for an encoder of whole frames."""
        return None if self.sample.face is None else self.sample.face.box


class Recognizer:
    """Recognizes the people of one gallery. Its threshold is always the one for that gallery.

    Belongs to the thread that made it: interpreter and database connection must not be shared. Use one per thread.
    Close it, or use it as a context manager.
    """

    def __init__(self, pipeline: Pipeline, rule: Rule, gallery: Gallery) -> None:
        """Raises StorageError if the gallery cannot be read. Most callers use `open`."""
        self.pipeline = pipeline
        self._rule = rule
        self._threshold = rule(())
        encoder = pipeline.encoder
        self.people = People(gallery, encoder.card, encoder.encoder_id, self._follow)

    @classmethod
    def open(
        cls, config: Config | str | os.PathLike[str] | None = None, *, gallery: str | os.PathLike[str] | None = None
    ) -> Self:
        """A recognizer of the configured models and gallery.

        config: a Config, or the path of a TOML file; None: $EDGE_ONESHOT_CONFIG, then /etc/edge-oneshot/default.toml, then
        the defaults. gallery: another gallery file than the configured one; ":memory:" for one that ends with this object.
        Raises ConfigError, ModelError, StorageError.
        """
        from edge_oneshot.recognition import compose

        if config is None or isinstance(config, str | os.PathLike):
            config = compose.find_config(None if config is None else Path(config))
        pipeline = compose.build_pipeline(config)
        rule = compose.build_rule(config, pipeline.encoder)
        opened = compose.open_gallery(config.gallery_path if gallery is None else gallery)
        try:
            return cls(pipeline, rule, opened)
        except BaseException:
            opened.close()
            raise

    def close(self) -> None:
        self.people.gallery.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- what it compares with

    @property
    def encoder_id(self) -> str:
        return self.pipeline.encoder.encoder_id

    @property
    def references(self) -> References:
        return self.people.references

    @property
    def rule(self) -> Rule:
        return self._rule

    @rule.setter
    def rule(self, rule: Rule) -> None:
        self._rule = rule
        self._follow(self.people.references)

    @property
    def threshold(self) -> Threshold:
        """For the gallery as it was read last."""
        return self._threshold

    def _follow(self, references: References) -> None:
        self._threshold = self._rule(references.template_counts)

    def score(self, identity_id: str, embedding: Embedding) -> float | None:
        """Comparison score with the person's best template; None if the person has none of this encoder."""
        return self.references.score(identity_id, embedding)

    def alike(self, a: Embedding, b: Embedding) -> bool:
        """Whether two embeddings would match at the threshold."""
        comparator = self.pipeline.encoder.card.comparator
        return bool(score_all(comparator, a.vector[None], b.vector)[0] >= self.threshold.value)

    # ---- live frames

    def observe(self, frame: Frame) -> list[Observation]:
        """Every face of a live frame, largest first, with its decision. Poor and unknown faces are values, not errors."""
        return [self._observe(sample) for sample in self.pipeline.samples(frame)]

    def _observe(self, sample: Sample) -> Observation:
        if sample.faults:
            return Observation(sample=sample, embedding=None, decision=not_compared(sample.faults, self.threshold))
        embedding = self.pipeline.encode(sample)
        with self.pipeline.stage("decide"):
            decision = decide(embedding, self.references, self.threshold, self.pipeline.encoder.card)
        return Observation(sample=sample, embedding=embedding, decision=decision)

    # ---- pictures

    def identify(self, picture: Picture) -> list[Recognition]:
        """Compare every face of a picture with every enrolled person (1:N, open-set), largest face first.

        An unknown person has identity None; a face that a quality gate refuses has `decision.kind` NOT_COMPARED.
        Raises CameraError for a picture that cannot be read.
        """
        self.people.refresh()
        observations = (self._observe(sample) for sample in self.pipeline.picture_samples(to_frame(picture)))
        return [self._recognition(o.sample, o.decision) for o in observations]

    def identify_one(self, picture: Picture) -> Recognition:
        """The same for a picture of one person. Raises AcquisitionError unless it shows exactly one usable face."""
        self.people.refresh()
        sample, probe = probe_from_frame(self.pipeline, to_frame(picture))
        return self._recognition(sample, decide(probe, self.references, self.threshold, self.pipeline.encoder.card))

    def verify(self, name: str, picture: Picture) -> Recognition:
        """Compare a picture with one enrolled person (1:1). name: name or identity.

        The threshold is that of a gallery with this person alone, since no other person is compared. Raises AcquisitionError
        unless the picture shows exactly one usable face, GalleryError for an unknown person or one without a template of
        this encoder.
        """
        self.people.refresh()
        identity = self.people.gallery.lookup(name)
        sample, probe = probe_from_frame(self.pipeline, to_frame(picture))
        card = self.pipeline.encoder.card
        own = [t for t in self.people.gallery.find(identity.identity_id).templates if self.people.comparable(t)]
        if not own:
            raise GalleryError(
                f"{identity.identity_id!r} has no template of this encoder",
                f"edge-oneshot enroll --name {identity.name!r} --replace",
            )
        references = References(card.comparator, probe.encoder_id, own)
        decision = decide(probe, references, self._rule([len(own)]), card)
        return Recognition(
            identity=identity.identity_id,
            name=identity.name,
            decision=decision,
            sample=sample,
            no_rate=identity.identity_id in self.people.no_rate,
        )

    def _recognition(self, sample: Sample, decision: Decision) -> Recognition:
        candidate = decision.candidate if decision.kind is DecisionKind.MATCH else None
        found = None if candidate is None else candidate.identity_id
        name = None if found is None else self.people.names.get(found, found)
        no_rate = found in self.people.no_rate
        return Recognition(identity=found, name=name, decision=decision, sample=sample, no_rate=no_rate)

    # ---- enrollment

    def enroll(
        self,
        name: str,
        picture: Picture,
        *,
        identity_id: str | None = None,
        replace: bool = False,
        accept_no_rate: bool = False,
    ) -> Enrollment:
        """Enroll a person from one picture and store the template; the picture is not kept.

        identity_id: the id in topics; made from the name if None. replace: renew a person who is enrolled already.
        accept_no_rate: enroll also a person for whom no error rate can be stated, such as a small child.
        Raises EnrollmentError with every fault, GalleryError if the name or the id is taken; then nothing is stored.
        """
        self.people.refresh()
        identity = self.new_identity(name, identity_id)
        self.people.gallery.check_free(identity, replace=replace)
        enrollment = enroll_from_frame(
            self.pipeline, to_frame(picture), identity, self.references, accept_no_rate=accept_no_rate
        )
        self.store(enrollment, replace=replace)
        return enrollment

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

    def store(self, enrollment: Enrollment, *, replace: bool = False) -> None:
        """Raises GalleryError; then nothing is stored."""
        self.people.add(enrollment.identity, [enrollment.template], replace=replace)
