"""This project, and its networks alone, as peers of the field: `edge-oneshot` and `floor`."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from peers.adapters import Found, Peer

from edge_oneshot.config import Config, ModelConfig
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.benchmarking import InvokeTimer, random_references
from edge_oneshot.evaluation.dataset import off_centre
from edge_oneshot.evaluation.under_test import open_recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.types import Frame

TEMPLATES = 1000
APART_NS, STEP_NS = 60_000_000_000, 100_000_000


class Own(Peer):
    """The recognizer and the daemon with the default configuration and one thread.

    `decide` is a frame unrelated to the previous one: every face is undecided. `follow` is the daemon's step
    on a frame of a clip, ten frames a second.
    """

    def __init__(self, data: Path) -> None:
        self._config = replace(Config(), model=ModelConfig(threads=1))
        self.recognizer = open_recognizer(self._config)
        self.dimension = self.recognizer.pipeline.encoder.card.dimension
        self._timer = InvokeTimer.of_pipeline(self.recognizer.pipeline, time.process_time)
        self._now_ns, self._daemon = time.monotonic_ns(), None
        self.invoke_ms = 0.0  # CPU time of all invokes of the last frame
        self.events: dict[str, int] = {}

    def _frame(self, picture: Any, after_ns: int) -> Frame:
        self._now_ns += after_ns
        return Frame(pixels=picture, seq=0, captured_ns=self._now_ns, captured_at=datetime.now(UTC), source="field")

    def faces(self, picture: Any) -> Found:
        """The face nearest the centre, if the quality gates pass it: the protocol of `edge-oneshot evaluate`."""
        frame, pipeline = self._frame(picture, APART_NS), self.recognizer.pipeline
        samples = sorted(pipeline.picture_samples(frame), key=lambda s: off_centre(s, frame))[:1]
        centre = (picture.shape[1] / 2, picture.shape[0] / 2)
        return [(centre, pipeline.encode(s).vector) for s in samples if not s.faults]

    def use_gallery(self) -> None:
        self.recognizer.people.use(random_references(self.recognizer.pipeline.encoder, TEMPLATES), {})

    def decide(self, picture: Any, references: Any) -> int:
        self._timer.reset()
        with self._timer.running():
            observations = self.recognizer.observe(self._frame(picture, APART_NS))
        self.invoke_ms = 1e3 * sum(self._timer.seconds.values())
        return sum(o.embedding is not None for o in observations)

    def start(self, portraits: Any) -> int:
        """A new daemon whose gallery holds TEMPLATES people, among them those of the portraits that can be enrolled."""
        people = self.recognizer.people
        self.use_gallery()
        rest = random_templates(self.recognizer, TEMPLATES - len(portraits))
        people.gallery.add_all(rest, replace=True)
        enrolled = 0
        for number, portrait in enumerate(portraits):
            try:
                self.recognizer.enroll(f"Shown {number}", portrait, replace=True, accept_no_rate=True)
                enrolled += 1
            except EdgeOneshotError as e:
                print(f"portrait {number}: {e}", flush=True)
        people.refresh(force=True)
        self._daemon = Daemon(self._config, self.recognizer, build_tracker(self._config, self.recognizer), Reporter())
        self.events = {}
        self._now_ns += APART_NS
        return enrolled

    def follow(self, picture: Any) -> int:
        """One step of the daemon; the number of tracks in sight."""
        assert self._daemon is not None
        frame = self._frame(picture, STEP_NS)
        for event in self._daemon.step(frame, frame.captured_ns):
            self.events[event.event_type] = self.events.get(event.event_type, 0) + 1
        known, unknown = self._daemon.tracker.present
        return len(known) + unknown


def random_templates(recognizer: Any, count: int) -> list[Any]:
    from edge_oneshot.types import Embedding, Identity, Quality, Template

    encoder = recognizer.pipeline.encoder
    vectors = np.random.default_rng(0).standard_normal((count, encoder.card.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    quality = Quality(inter_eye_px=40.0, sharpness=100.0, luma=120.0, contrast=50.0, yaw_deg=0.0)
    return [
        (
            Identity(identity_id=f"p{i}", name=f"Person {i}"),
            [
                Template(
                    template_id=f"t{i}",
                    identity_id=f"p{i}",
                    embedding=Embedding(vector=v, encoder_id=encoder.encoder_id),
                    quality=quality,
                    created_at=datetime.now(UTC),
                )
            ],
        )
        for i, v in enumerate(vectors)
    ]


class Floor(Peer):
    """Each network invoked once for each face, the finder once for each frame: no pixel is prepared, no result read."""

    dimension = 1

    def __init__(self, data: Path) -> None:
        pipeline = open_recognizer(replace(Config(), model=ModelConfig(threads=1))).pipeline
        self._networks = dict(InvokeTimer.of_pipeline(pipeline)._runtimes)
        self._finder = self._networks.pop("finder")
        self.expected = 0  # faces of the frames to come

    def decide(self, picture: Any, references: Any) -> int:
        self._finder._interpreter.invoke()
        for _ in range(self.expected):
            for network in self._networks.values():
                network._interpreter.invoke()
        return self.expected
