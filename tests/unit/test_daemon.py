"""The daemon's loop without process, thread or sleep: `step` is a plain call, on frames with set capture times."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from example_messages import response_of
from pictures import Pixels, empty_scene, frame, view

from edge_oneshot.config import CameraConfig, Config, DecisionConfig, DeviceConfig
from edge_oneshot.control.codec import to_json
from edge_oneshot.control.protocol import PendingRequest
from edge_oneshot.control.requests import Enroll, Pause, Resume
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.recognition.enrollment import enroll_from_frame
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.service.daemon import GALLERY_EVERY_NS, Daemon
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.service.sight import State
from edge_oneshot.types import Event, Identity

STEP_NS = 100_000_000
WALL = empty_scene()


class Loop:
    """A daemon without camera and broker, and a clock that only `step` moves."""

    def __init__(self, recognizer: Recognizer, state: Path, **decision: float) -> None:
        self.config = Config(
            device=DeviceConfig(slug="front", state_dir=str(state)),
            camera=CameraConfig(uri="folder:x"),
            decision=DecisionConfig(**decision),  # type: ignore[arg-type]
        )
        self.recognizer = recognizer
        reporter = Reporter()
        self.daemon = Daemon(self.config, recognizer, build_tracker(self.config, recognizer), reporter)
        self.now_ns = time.monotonic_ns()

    def step(self, pixels: Pixels | None, ns: int = STEP_NS) -> list[Event]:
        self.now_ns += ns
        return self.daemon.step(None if pixels is None else frame(pixels, self.now_ns), self.now_ns)

    def show(self, pixels: list[Pixels]) -> list[tuple[str, str | None]]:
        """The events of these frames: event type and identity."""
        return [(e.event_type, e.body.get("identity")) for p in pixels for e in self.step(p)]

    def enroll_elsewhere(self, identity_id: str, pixels: Pixels) -> None:
        """Another connection writes to the gallery."""
        identity = Identity(identity_id=identity_id, name=identity_id.title())
        made = enroll_from_frame(self.recognizer.pipeline, frame(pixels), identity, self.recognizer.references)
        with Gallery(self.config.gallery_path) as gallery:
            gallery.add(made.identity, [made.template])


@pytest.fixture
def loop(make_recognizer: Callable[..., Recognizer], tmp_path: Path) -> Loop:
    return Loop(make_recognizer(Config(device=DeviceConfig(state_dir=str(tmp_path))).gallery_path), tmp_path)


@pytest.fixture(scope="module")
def grace(hopper: Pixels) -> list[Pixels]:
    return [view(hopper, i) for i in range(12)]


def test_an_unknown_person_causes_unknown_then_gone(loop: Loop, grace: list[Pixels]) -> None:
    assert loop.show(grace) == [("unknown", None)]
    assert loop.show([WALL] * 30) == [("gone", None)]


def test_gone_is_published_without_frames_too(loop: Loop, grace: list[Pixels]) -> None:
    loop.show(grace)
    assert loop.step(None, 1_999_999_999) == []
    assert [e.event_type for e in loop.step(None, 1)] == ["gone"]


def test_a_change_of_the_gallery_is_seen_within_half_a_second(loop: Loop, grace: list[Pixels]) -> None:
    loop.enroll_elsewhere("grace", grace[0])
    assert loop.recognizer.people.names == {}
    loop.step(None, GALLERY_EVERY_NS)
    assert loop.recognizer.people.names == {"grace": "Grace"}
    assert loop.show(grace) == [("match", "grace")]
    assert loop.daemon.tracker.present == (["grace"], 0)


def test_a_person_removed_while_in_sight_is_no_longer_published(loop: Loop, grace: list[Pixels]) -> None:
    loop.enroll_elsewhere("grace", grace[0])
    loop.step(None, GALLERY_EVERY_NS)
    loop.show(grace)
    with Gallery(loop.config.gallery_path) as gallery:
        gallery.remove("grace")
    loop.step(None, GALLERY_EVERY_NS)
    assert loop.daemon.tracker.present == ([], 0)
    assert loop.show([WALL] * 30) == []
    assert loop.show(grace) == [("unknown", None)]


def test_no_frame_is_processed_while_paused(loop: Loop, grace: list[Pixels]) -> None:
    loop.daemon.requests.start(PendingRequest(Pause()))
    assert loop.daemon.state is State.PAUSED
    assert loop.show(grace) == []
    assert loop.daemon.vitals.frames == 0
    loop.daemon.requests.start(PendingRequest(Resume()))
    assert loop.show(grace) == [("unknown", None)]


def test_no_unknown_is_published_during_an_enrollment(loop: Loop, grace: list[Pixels]) -> None:
    pending = PendingRequest(Enroll(name="Grace"))
    loop.daemon.requests.start(pending)
    published = loop.show(grace)
    assert published in ([], [("match", "grace")])
    assert response_of(pending).identity == "grace"
    assert loop.recognizer.people.names == {"grace": "Grace"}
    assert ("match", "grace") in published + loop.show(grace)


def test_an_enrollment_decides_on_the_frames_it_got_when_the_camera_ends(loop: Loop, grace: list[Pixels]) -> None:
    pending = PendingRequest(Enroll(name="Grace"))
    loop.daemon.requests.start(pending)
    loop.show(grace[:2])
    assert loop.daemon.requests.job is not None
    loop.daemon._finish()
    assert response_of(pending).identity == "grace"


def test_health_reports_the_times_of_the_stages(loop: Loop, grace: list[Pixels]) -> None:
    loop.show(grace[:3])
    health = loop.daemon.health()
    assert {"locate", "align", "quality", "encode", "decide", "frame"} <= set(health.stages_ms)
    assert all(0 <= p50 <= p95 for p50, p95 in health.stages_ms.values())
    assert (health.state, health.fps, loop.daemon.vitals.frames) == ("running", 10.0, 3)


def test_status_reports_health_and_what_the_daemon_is(loop: Loop, grace: list[Pixels]) -> None:
    loop.show(grace)
    health, status = loop.daemon.health().message(), to_json(loop.daemon.status())
    moving = {"ts", "uptime_s", "camera_age_s", "rss_bytes", "temperature_c", "throttled"}
    assert {k: v for k, v in health.items() if k not in moving} == {k: status[k] for k in health.keys() - moving}
    assert set(status) - set(health) == {
        *("version", "instance", "device", "frames", "events", "present", "broker", "threshold", "accepted"),
        *("target_fmr", "target_fpir", "threshold_extrapolated", "old_templates", "rate", "sealed"),
    }
    assert (status["device"], status["frames"], status["events"], status["broker"]) == ("front", 12, 1, None)
    assert status["present"] == {"identities": [], "unknown": 1, "denied": []}
    assert status["threshold"] == round(loop.recognizer.threshold.value, 4)
