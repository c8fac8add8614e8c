"""The loop without a process, a thread or a sleep: `step` is a plain call, on frames with set times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pictures import Pixels, empty_scene, frame, view

from edge_oneshot.config import CameraConfig, Config, DecisionConfig, DeviceConfig
from edge_oneshot.control.protocol import Request
from edge_oneshot.gallery.people import People
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.mqtt.topics import Topics
from edge_oneshot.recognition.enrollment import enroll_from_frame
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.service.daemon import GALLERY_EVERY_NS, Daemon, State
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.types import Event, Identity

STEP_NS = 100_000_000
WALL = empty_scene()


class Loop:
    """A daemon without camera and broker, and a clock that stands at `now_ns`."""

    def __init__(self, pipeline: Pipeline, state: Path, **decision: float) -> None:
        self.config = Config(
            device=DeviceConfig(slug="front", state_dir=str(state)),
            camera=CameraConfig(uri="folder:x"),
            decision=DecisionConfig(**decision),
        )  # type: ignore[arg-type]
        self.pipeline = pipeline
        self.people = People(Gallery(self.config.gallery_path), pipeline.encoder.card, pipeline.encoder.encoder_id)
        reporter = Reporter(Topics("edge-oneshot", "front"), None, None)
        tracker = build_tracker(self.config, pipeline, lambda: self.people.references)
        self.daemon = Daemon(self.config, pipeline, self.people, tracker, reporter)
        self.now_ns = time.monotonic_ns()

    def step(self, pixels: Pixels | None, ns: int = STEP_NS) -> list[Event]:
        self.now_ns += ns
        return self.daemon.step(None if pixels is None else frame(pixels, self.now_ns), self.now_ns)

    def show(self, pixels: list[Pixels]) -> list[tuple[str, str | None]]:
        return [(e.event_type, e.body.get("identity")) for p in pixels for e in self.step(p)]

    def enroll(self, identity_id: str, pixels: Pixels) -> None:
        """Past the daemon: another connection writes to the gallery."""
        identity = Identity(identity_id=identity_id, name=identity_id.title())
        made = enroll_from_frame(self.pipeline, frame(pixels), identity, self.people.references)
        with Gallery(self.config.gallery_path) as gallery:
            gallery.add(made.identity, [made.template])


@pytest.fixture
def loop(pipeline: Pipeline, tmp_path: Path) -> Iterator[Loop]:
    made = Loop(pipeline, tmp_path)
    yield made
    made.people.gallery.close()


@pytest.fixture(scope="module")
def grace(hopper: Pixels) -> list[Pixels]:
    return [view(hopper, i) for i in range(12)]


def test_a_stranger_then_gone(loop: Loop, grace: list[Pixels]) -> None:
    assert loop.show(grace) == [("unknown", None)]
    assert loop.show([WALL] * 30) == [("gone", None)]


def test_gone_comes_without_frames_too(loop: Loop, grace: list[Pixels]) -> None:
    loop.show(grace)
    assert loop.step(None, 1_999_999_999) == []
    assert [e.event_type for e in loop.step(None, 1)] == ["gone"]


def test_a_change_of_the_gallery_is_seen_within_half_a_second(loop: Loop, grace: list[Pixels]) -> None:
    loop.enroll("grace", grace[0])
    assert loop.daemon.people.names == {}
    loop.step(None, GALLERY_EVERY_NS)
    assert loop.daemon.people.names == {"grace": "Grace"}
    assert loop.show(grace) == [("match", "grace")]
    assert loop.daemon.tracker.present == (["grace"], 0)


def test_somebody_removed_while_in_sight_is_told_no_more(loop: Loop, grace: list[Pixels]) -> None:
    loop.enroll("grace", grace[0])
    loop.step(None, GALLERY_EVERY_NS)
    loop.show(grace)
    with Gallery(loop.config.gallery_path) as gallery:
        gallery.remove("grace")
    loop.step(None, GALLERY_EVERY_NS)
    assert loop.daemon.tracker.present == ([], 0)
    assert loop.show([WALL] * 30) == []
    assert loop.show(grace) == [("unknown", None)]


def test_paused_nobody_is_looked_at(loop: Loop, grace: list[Pixels]) -> None:
    loop.daemon.handler.start(Request(verb="pause", arguments={}))
    assert loop.daemon.state is State.PAUSED
    assert loop.show(grace) == []
    assert loop.daemon.frames == 0
    loop.daemon.handler.start(Request(verb="resume", arguments={}))
    assert loop.show(grace) == [("unknown", None)]


def test_while_somebody_is_enrolled_nobody_is_told_as_unknown(loop: Loop, grace: list[Pixels]) -> None:
    request = Request(verb="enroll", arguments={"name": "Grace"})
    loop.daemon.handler.start(request)
    told = loop.show(grace)
    assert told in ([], [("match", "grace")])
    answers = []
    while not request.answers.empty():
        answers.append(request.answers.get())
    assert answers[-1]["status"] == "ok"
    assert loop.daemon.people.names == {"grace": "Grace"}
    assert ("match", "grace") in told + loop.show(grace)


def test_times_of_the_stages_are_told(loop: Loop, grace: list[Pixels]) -> None:
    loop.show(grace[:3])
    health = loop.daemon.health()
    assert {"locate", "align", "quality", "encode", "decide", "frame"} <= set(health.stages_ms)
    assert all(0 <= p50 <= p95 for p50, p95 in health.stages_ms.values())
    assert (health.state, health.fps, loop.daemon.frames) == ("running", 10.0, 3)
