"""A camera that repeats one picture, or shows black, is named; presence expires, and the first other frame ends the state."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from example_messages import response_of
from pictures import Pixels, empty_scene, frame, view

from edge_oneshot.config import Config, DeviceConfig
from edge_oneshot.control.protocol import PendingRequest
from edge_oneshot.control.requests import Enroll
from edge_oneshot.errors import EnrollmentError
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.service.sight import Sight, State

S = 1_000_000_000
BLACK = np.zeros((480, 640, 3), np.uint8)


@pytest.fixture
def daemon(make_recognizer: Callable[..., Recognizer], tmp_path: Path) -> Daemon:
    config = Config(device=DeviceConfig(state_dir=str(tmp_path)))
    recognizer = make_recognizer(config.gallery_path)
    return Daemon(config, recognizer, build_tracker(config, recognizer), Reporter())


def test_presence_expires_when_the_picture_is_frozen(daemon: Daemon, hopper: Pixels) -> None:
    events, now_ns = [], 10**12
    for i in range(12):
        now_ns += S // 10
        events += [e.event_type for e in daemon.step(frame(view(hopper, i), now_ns), now_ns)]
    assert events == ["unknown"] and daemon.tracker.present == ([], 1)
    for _ in range(70):
        now_ns += S
        events += [e.event_type for e in daemon.step(frame(view(hopper, 0), now_ns), now_ns)]
    assert daemon.state is State.CAMERA_FROZEN and daemon.health().state == "camera_frozen"
    assert events == ["unknown", "gone"] and daemon.tracker.present == ([], 0)
    assert daemon.vitals.frames < 12 + 65, "a frozen picture is not examined"
    daemon.step(frame(empty_scene(), now_ns + S), now_ns + S)
    assert daemon.state is State.RUNNING


def test_a_black_picture_is_named(daemon: Daemon) -> None:
    noise = np.random.default_rng(1)
    now_ns = 10**12
    for _ in range(12):
        now_ns += S
        dark = noise.integers(0, 20, BLACK.shape, np.uint8)
        daemon.step(frame(dark, now_ns), now_ns)
    assert daemon.state is State.CAMERA_DARK and daemon.status().state == "camera_dark"
    daemon.step(frame(empty_scene(), now_ns + S), now_ns + S)
    assert daemon.state is State.RUNNING


def test_a_paused_daemon_stays_paused(daemon: Daemon) -> None:
    daemon._pause(True)
    for second in range(70):
        daemon.step(frame(BLACK, second * S), second * S)
    assert daemon.state is State.PAUSED


def test_a_frozen_picture_enrolls_no_person(daemon: Daemon, hopper: Pixels) -> None:
    now_ns = time.monotonic_ns() - S
    daemon.step(frame(view(hopper, 0), now_ns), now_ns)  # the camera freezes while someone stands there
    pending = PendingRequest(Enroll(name="Eve", timeout_s=5.0))
    daemon.requests.start(pending)
    for _ in range(70):
        now_ns += S // 10
        daemon.step(frame(view(hopper, 0), now_ns), now_ns)
    with pytest.raises(EnrollmentError, match="no usable frame within 5 s") as caught:
        response_of(pending)
    assert caught.value.faults == ("the camera repeats one picture",)
    assert daemon.recognizer.people.names == {}


def test_noise_and_a_lamp_in_the_night_are_no_fault() -> None:
    sight, random = Sight(), np.random.default_rng(2)
    still = random.integers(60, 200, BLACK.shape, np.uint8)
    night = BLACK.copy()
    night[200:280, 300:380] = 200
    for second in range(100):
        noisy = still.copy()
        noisy[8 * (second % 50), 8] += 1
        assert sight.look(frame(noisy, second * S)) is State.RUNNING
    for second in range(100, 200):
        lamp = night.copy()
        lamp[::8, ::8] += random.integers(0, 3, lamp[::8, ::8].shape, np.uint8)
        assert sight.look(frame(lamp, second * S)) is State.RUNNING
