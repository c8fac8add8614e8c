"""Enrollment: capture > exactly one face > quality > look-alike check > template. The picture is not kept."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from edge_oneshot.errors import AcquisitionError, EnrollmentError
from edge_oneshot.matching import no_rate
from edge_oneshot.matching.compare import References, score_all
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Candidate, Embedding, Fault, Float32Array, Frame, Identity, Quality, Sample, Template
from edge_oneshot.vision.hints import HOLD, LOOK, Prompter, hint

END_NS = 3_600_000_000_000  # after the last frame of a file: longer than any time limit
BURST_NS = 1_000_000_000  # after the first good frame, the best ones of this long make the template
BURST_FRAMES = 10
POOLED_FRAMES = 3  # the best ones: as good as all, and nearer to the claimed rate (docs/explanation/evaluation.md)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrollment:
    """The result of an enrollment. look_alike: the other enrolled person with the highest score, or None.

    frames: frames of the burst that the template was made of. self_score: lowest comparison score of the template with one of
    the best frames of the burst, used or not; None for a single frame. A low self_score predicts missed matches: the
    person moved, or two people took turns. older: the best frame by the encoders of old templates, to compare it with
    the people who still have one. own_score: the score against the templates that the person had; None: there were none.
    samples: the captures that the template was made of.
    """

    identity: Identity
    template: Template
    look_alike: Candidate | None
    frames: int = 1
    self_score: float | None = None
    older: tuple[Embedding, ...] = ()
    own_score: float | None = None
    samples: tuple[Sample, ...] = field(default=(), repr=False, compare=False)


Found = tuple[Sample | None, tuple[Fault, ...]]


def find_one(samples: Sequence[Sample]) -> Found:
    """The only sample if it has no fault, else the faults. No face and several faces are faults here."""
    sample, faults = _only(samples)
    return _good(sample, faults if sample is None else sample.faults)


def find_reference(samples: Sequence[Sample]) -> Found:
    """As find_one, for a template: with the stricter gates."""
    sample, faults = _only(samples)
    return _good(sample, faults if sample is None else (sample.reference_faults + sample.pad.faults or sample.faults))


def _good(sample: Sample | None, faults: tuple[Fault, ...]) -> Found:
    return (None, faults) if faults else (sample, ())


def _only(samples: Sequence[Sample]) -> Found:
    if not samples:
        return None, (Fault(code="no_face", message="no face found: look at the camera, come closer, more light"),)
    if len(samples) > 1:
        return None, (
            Fault(code="several_faces", message=f"{len(samples)} faces found, exactly 1 needed: one person at a time"),
        )
    return samples[0], ()


def enroll_from_frame(
    pipeline: Pipeline, frame: Frame, identity: Identity, references: References, *, accept_no_rate: bool = False
) -> Enrollment:
    """Enroll from one picture. Raises EnrollmentError with every fault; nothing is stored here.

    accept_no_rate: also a person for whom no error rate can be stated; the template is marked.
    """
    sample, faults = find_reference(pipeline.picture_samples(frame))
    if sample is None:
        raise EnrollmentError(
            f"{identity.name!r} was not enrolled from {frame.source}",
            "use another picture",
            tuple(f.message for f in faults),
        )
    enrollment = make_enrollment(
        pipeline, pipeline.encode(sample), sample.quality, identity, references, accept_no_rate
    )
    return replace(enrollment, older=pipeline.encode_older(sample), samples=(sample,))


def probe_from_frame(pipeline: Pipeline, frame: Frame) -> Sample:
    """The one probe of a picture, for verify and identify. Raises AcquisitionError with every fault."""
    sample, faults = find_one(pipeline.picture_samples(frame))
    if sample is None:
        raise AcquisitionError(
            f"nothing was compared: {frame.source} holds no usable probe",
            "use another picture",
            tuple(f.message for f in faults),
        )
    return sample


def make_enrollment(
    pipeline: Pipeline,
    embedding: Embedding,
    quality: Quality,
    identity: Identity,
    references: References,
    accept_no_rate: bool,
) -> Enrollment:
    """Raises EnrollmentError for a person for whom no error rate can be stated, unless `accept_no_rate`."""
    rule = pipeline.encoder.card.no_rate
    marked = rule is not None and no_rate.applies(rule, embedding)
    if rule is not None and marked and not accept_no_rate:
        raise EnrollmentError(
            f"{identity.name!r} was not enrolled: expected a face that the encoder can tell from others, got a score of "
            f"{no_rate.score(rule, embedding):.3f} against the cohort of small children (limit {rule.threshold:.3f}): for "
            "them no error rate can be stated",
            "do not let this face open anything. --accept-no-rate (accept_no_rate in requests and Python) enrolls it; "
            'its match events then carry "rate": "none". For an adult, use another picture: frontal, even light',
        )
    template = Template(
        template_id=str(uuid.uuid4()),
        identity_id=identity.identity_id,
        embedding=embedding,
        quality=quality,
        created_at=datetime.now(UTC),
        no_rate=marked,
    )
    others = (c for c in references.rank(embedding) if c.identity_id != identity.identity_id)
    own_score = references.score(identity.identity_id, embedding)
    return Enrollment(identity=identity, template=template, look_alike=next(others, None), own_score=own_score)


class CaptureSession:
    """Enrollment from live frames: one template of the best frames of one second, captured after the prompt.

    Offer it every frame; `progress` is a sentence for the waiting person (vision/hints.py). Raises EnrollmentError when the
    time is over.
    Nothing here waits or reads a clock.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        identity: Identity,
        references: References,
        threshold: float,
        *,
        prompt_ns: int,
        timeout_s: float,
        accept_no_rate: bool = False,
    ) -> None:
        """threshold: comparison score from which two frames count as one person. prompt_ns: frames before it are ignored.

        accept_no_rate: as for `enroll_from_frame`.
        """
        self._pipeline, self._identity = pipeline, identity
        self._references, self._threshold = references, threshold
        self._prompt_ns, self._deadline_ns = prompt_ns, prompt_ns + round(timeout_s * 1e9)
        self._timeout_s, self._accept_no_rate = timeout_s, accept_no_rate
        self._good: list[tuple[Sample, int]] = []
        self._faults: tuple[Fault, ...] = (Fault(code="no_frame", message="no frame from the camera yet"),)
        self._prompter = Prompter(LOOK, prompt_ns)

    @property
    def progress(self) -> str:
        """What the person can do now. It changes at most once a second."""
        return self._prompter.text

    def offer(self, frame: Frame, repeated: bool = False) -> Enrollment | None:
        """Take a frame; the finished enrollment, or None while it needs more. Raises EnrollmentError as `finish_if_due`.

        repeated: it is the same picture as the one before. A frozen camera does not show who stands there now.
        """
        if frame.captured_ns <= self._prompt_ns:
            return None
        if repeated:
            sample, self._faults = None, (Fault(code="frozen", message="the camera repeats one picture"),)
        else:
            sample, self._faults = find_reference(self._pipeline.samples(frame))
        if sample is not None:
            self._good.append((sample, frame.captured_ns))
            self._prompter.say(HOLD, frame.captured_ns)
        elif not self._good:
            self._prompter.say(hint(self._faults), frame.captured_ns)
        return self.finish_if_due(frame.captured_ns)

    def finish_if_due(self, now_ns: int) -> Enrollment | None:
        """Also to be called without a frame, and END_NS ahead when a file or folder has no more frames.

        Raises EnrollmentError after the deadline without a good frame, and for a person without a rate (`make_enrollment`).
        """
        if self._good and (
            len(self._good) >= BURST_FRAMES or now_ns - self._good[0][1] >= BURST_NS or now_ns >= self._deadline_ns
        ):
            return self._finish()
        if now_ns >= self._deadline_ns:
            ended = now_ns - self._deadline_ns >= END_NS // 2
            when = "before the camera ended" if ended else f"within {self._timeout_s:g} s"
            raise EnrollmentError(
                f"{self._identity.name!r} was not enrolled: no usable frame {when}",
                "correct what is listed and try again",
                tuple(f.message for f in self._faults),
            )
        return None

    def _finish(self) -> Enrollment:
        """Pool the best frames that match the very best one into one template; the lowest score against it is the self_score."""
        samples = sorted((s for s, _ in self._good), key=merit, reverse=True)[:POOLED_FRAMES]
        embeddings = [self._pipeline.encode(s) for s in samples]
        best, vectors, used = embeddings[0], np.stack([e.vector for e in embeddings]), samples[:1]
        comparator, frames = self._pipeline.encoder.card.comparator, 1
        if comparator.kind == "cosine":  # pooling was measured for unit vectors only
            same = score_all(comparator, vectors, best.vector) >= self._threshold
            same[0] = True
            best, frames = pooled(vectors[same], best.encoder_id), int(same.sum())
            used = [s for s, one in zip(samples, same, strict=True) if one]
        enrollment = make_enrollment(
            self._pipeline, best, samples[0].quality, self._identity, self._references, self._accept_no_rate
        )
        scores = score_all(comparator, vectors, best.vector)
        return replace(
            enrollment,
            frames=frames,
            self_score=float(scores.min()) if len(scores) > 1 else None,
            older=self._pipeline.encode_older(samples[0]),
            samples=tuple(used),
        )


def pooled(vectors: Float32Array, encoder_id: str) -> Embedding:
    """The normalised mean of unit vectors float32 (N, D), N >= 1.

    It has the highest mean cosine with them. Raises ValueError if they cancel out.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(mean))
    if length < 1e-6:
        raise ValueError(f"pooled: expected similar vectors, got a mean of length {length:g}")
    return Embedding(vector=(mean / length).astype(np.float32), encoder_id=encoder_id)


def merit(sample: Sample) -> float:
    """Larger, sharper and more frontal is better; it only orders frames that all passed the gates."""
    q = sample.quality
    return min(q.inter_eye_px, 60.0) / 60.0 + min(q.sharpness, 300.0) / 300.0 - abs(q.yaw_deg) / 90.0
