"""One frame through: locate > align > quality > pad > encode > compare > decide. No threads, no I/O, no clock but a stopwatch."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edge_oneshot.config import QualityConfig
from edge_oneshot.matching.compare import References
from edge_oneshot.matching.decide import decide, not_compared
from edge_oneshot.matching.threshold import Rule
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.types import Embedding, Face, Frame, Observation, PadDecision, Sample
from edge_oneshot.vision import align, quality
from edge_oneshot.vision.locate import FaceLocator
from edge_oneshot.vision.pad import PadMethod

if TYPE_CHECKING:
    from collections.abc import Iterator

STAGES = ("locate", "align", "quality", "encode", "decide")


@dataclass(slots=True)
class Stopwatch:
    """Seconds per stage of the last frame; the daemon turns them into health figures."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class Pipeline:
    """The way of one frame. locator is None exactly when the encoder's card says regions = "frame".

    rule gives `threshold`; call `follow` when the gallery has changed, since the threshold may depend on its size.
    pad: the method of presentation attack detection; None: it is not performed.
    """

    def __init__(
        self,
        encoder: TwinEncoder,
        locator: FaceLocator | None,
        gates: QualityConfig,
        rule: Rule,
        pad: PadMethod | None = None,
    ) -> None:
        if (locator is None) != (encoder.card.regions == "frame"):
            raise ValueError(f"locator: expected {'none' if locator else 'one'} for regions {encoder.card.regions!r}")
        self.encoder, self.locator, self.gates, self.rule, self.pad = encoder, locator, gates, rule, pad
        self.threshold = rule(())
        self.stopwatch = Stopwatch()

    def follow(self, references: References) -> None:
        """Take the threshold for this gallery."""
        self.threshold = self.rule(references.template_counts)

    def observe(self, frame: Frame, references: References) -> list[Observation]:
        """Every region of the frame, largest first, with its decision."""
        self.stopwatch.seconds.clear()
        return [self._observe(sample, references) for sample in self.samples(frame)]

    def samples(self, frame: Frame) -> list[Sample]:
        """Regions found, aligned, measured and judged, not yet encoded; largest first. Those with `faults` must not be used."""
        if self.locator is None:
            return [self._sample(frame, None)]
        with self.stopwatch.stage("locate"):
            faces = self.locator.locate(frame)
        return [self._sample(frame, face) for face in faces]

    @property
    def pad_method(self) -> str:
        """The name of the method of presentation attack detection, or "not_performed"."""
        return PadDecision.NOT_PERFORMED.value if self.pad is None else self.pad.name

    def encode(self, sample: Sample) -> Embedding:
        with self.stopwatch.stage("encode"):
            return self.encoder.encode(sample.chip)

    def _sample(self, frame: Frame, face: Face | None) -> Sample:
        card = self.encoder.card
        with self.stopwatch.stage("align"):
            chip = align.whole_frame(frame, card) if face is None else align.align(frame, face, card)
        with self.stopwatch.stage("quality"):
            sample = Sample(face=face, chip=chip, quality=quality.measure(frame, face, chip, self.gates))
        if self.pad is None or not sample.quality.good:
            return sample
        with self.stopwatch.stage("pad"):
            result = self.pad.judge(frame, face, chip)
        if result.decision is PadDecision.NOT_PERFORMED:
            raise ValueError(
                f"{self.pad.name}: expected bona_fide or attack, got not_performed; nothing may pass unjudged"
            )
        return replace(sample, pad=result)

    def _observe(self, sample: Sample, references: References) -> Observation:
        if sample.faults:
            return Observation(sample=sample, embedding=None, decision=not_compared(sample.faults, self.threshold))
        embedding = self.encode(sample)
        with self.stopwatch.stage("decide"):
            decision = decide(embedding, references, self.threshold, self.encoder.card)
        return Observation(sample=sample, embedding=embedding, decision=decision)
