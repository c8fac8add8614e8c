"""A track of rendered frames through the daemon's tracker: whether it reports a match with one enrolled person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from edge_oneshot.config import Config
from edge_oneshot.evaluation.conditions.trials import Look
from edge_oneshot.evaluation.under_test import open_recognizer
from edge_oneshot.matching.compare import References, not_compared
from edge_oneshot.matching.threshold import Target
from edge_oneshot.matching.track import ResultKind
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.types import Box, Chip, Embedding, Face, Fault, Float32Array, Observation, Quality, Sample, Template

FRAME_NS = 100_000_000
EYES = ("image_left_eye", "image_right_eye")
NOT_KEPT = Quality(inter_eye_px=0.0, sharpness=0.0, luma=0.0, contrast=0.0, yaw_deg=0.0)


class TrackTrials:
    """Plays tracks against a gallery of one person, with the tracker and the evidence of the daemon.

    references: name -> template vector float32 (D,). Raises ModelError.
    """

    def __init__(self, config: Config, references: dict[str, Float32Array]) -> None:
        self._config, self._references = config, references
        self._recognizer = open_recognizer(config)
        self.encoder_id = self._recognizer.encoder_id

    def matches(self, looks: Sequence[Look], person: str, threshold: float, *, gates: bool) -> bool:
        """Whether the track of these frames is reported as a match with the person. gates: whether they refuse frames."""
        recognizer = self._recognizer
        recognizer.people.use(self._gallery(person), {person: person})
        recognizer.rule = replace(recognizer.rule, target=Target(score=threshold))
        tracker, results = build_tracker(self._config, recognizer), []
        for number, look in enumerate(looks, 1):
            seen = [] if look.vector is None else [self._observe(look, gates)]
            results += tracker.update(seen, number * FRAME_NS)
        return any(r.kind is ResultKind.MATCH for r in results)

    def _gallery(self, person: str) -> References:
        template = Template(
            template_id=person,
            identity_id=person,
            embedding=Embedding(vector=self._references[person], encoder_id=self.encoder_id),
            quality=NOT_KEPT,
            created_at=datetime.now(UTC),
        )
        return References(self._recognizer.pipeline.encoder.card.comparator, self.encoder_id, [template])

    def _observe(self, look: Look, gates: bool) -> Observation:
        """The observation that the recognizer makes of such a sample. Tracker and evidence use its box and embedding only."""
        assert look.vector is not None
        x0, y0, x1, y1 = look.box
        face = Face(
            box=Box(x0=x0, y0=y0, x1=x1, y1=y1),
            landmarks=np.array([[x0, y0], [x1, y0]], dtype=np.float32),
            landmark_names=EYES,
            detection_score=1.0,
        )
        chip = Chip(pixels=np.zeros((1, 1, 3), dtype=np.uint8), transform=np.eye(2, 3))
        faults = tuple(Fault(code=code, message=code) for code in look.faults) if gates else ()
        sample = Sample(face=face, chip=chip, quality=replace(NOT_KEPT, faults=faults))
        if faults:
            return Observation(sample=sample, embedding=None, decision=not_compared(faults, self._recognizer.threshold))
        made = self._recognizer.matchers[0].compare(Embedding(vector=look.vector, encoder_id=self.encoder_id))
        return Observation(sample=sample, embedding=made.embedding, decision=made.decision)
