"""The live view: it shows what recognition saw, changes nothing, and costs nothing while no one looks."""

from __future__ import annotations

import io
import itertools
import json
import time
from typing import Any

import pytest
from example_messages import answers_of
from pictures import Pixels, empty_scene, frame, view
from PIL import Image

from edge_oneshot.config import Config, DecisionConfig
from edge_oneshot.control.codec import to_json
from edge_oneshot.control.protocol import PendingRequest, Progress, result_of
from edge_oneshot.control.requests import Capture, Enroll, View
from edge_oneshot.errors import ControlError
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service import views
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.vision.hints import HINTS, LOOK

CLOCK = itertools.count(time.monotonic_ns(), 100_000_000)  # capture times


@pytest.fixture
def daemon(recognizer: Recognizer) -> Daemon:
    config = Config(decision=DecisionConfig())
    return Daemon(config, recognizer, build_tracker(config, recognizer), Reporter())


def show(daemon: Daemon, *pictures: Pixels) -> list[Any]:
    """Frames of a camera whose clock does not follow that of a busy machine."""
    events = []
    for pixels in pictures:
        ns = next(CLOCK)
        events += daemon.step(frame(pixels, ns), ns)
    return events


def begin(daemon: Daemon, timeout_s: float = 10.0) -> PendingRequest:
    pending = PendingRequest(View(timeout_s=timeout_s))
    daemon.requests.start(pending)
    return pending


def answer(pending: PendingRequest) -> Any:
    return result_of(pending.request, pending.answers.get_nowait())


def test_a_match_is_named_and_an_unknown_face_is_not(daemon: Daemon, collins: Pixels, hopper: Pixels) -> None:
    daemon.recognizer.enroll("Ada", collins)
    seen = []
    for portrait in (collins, hopper):
        pending = begin(daemon)
        show(daemon, view(portrait, 1))
        seen.append(answer(pending))
    (known,), (unknown,) = seen[0].faces, seen[1].faces
    assert (known.decision, known.identity, known.name) == ("match", "ada", "Ada")
    assert known.score > known.threshold and known.inter_eye_px > 24 and known.faults == []
    assert (unknown.decision, unknown.identity, unknown.name) == ("non_match", None, None)
    assert "ada" not in json.dumps(to_json(unknown)).lower()
    assert seen[0].size == [640, 480] and seen[0].state == "running"
    assert Image.open(io.BytesIO(seen[0].jpeg)).size == (640, 480)


def test_recognition_goes_on_while_someone_looks(daemon: Daemon, collins: Pixels) -> None:
    daemon.recognizer.enroll("Ada", collins)
    events = []
    for n in range(6):
        pending = begin(daemon)
        events += show(daemon, view(collins, n))
        answer(pending)
    assert [e.event_type for e in events] == ["match"]


def test_a_decided_person_who_stays_is_named_in_each_frame(daemon: Daemon, collins: Pixels) -> None:
    """Also in the frames in which the face is not encoded."""
    daemon.recognizer.enroll("Ada", collins)
    seen = []
    for _ in range(12):
        pending = begin(daemon)
        show(daemon, view(collins, 0))
        (face,) = answer(pending).faces
        seen.append((face.decision, face.name, face.score is None))
    assert seen == [("match", "Ada", False)] * 12


def test_all_who_wait_get_one_frame_and_none_is_made_for_no_one(
    daemon: Daemon, collins: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    real = views.to_jpeg
    monkeypatch.setattr(views, "to_jpeg", lambda *a: made.append(1) or real(*a))  # type: ignore[func-returns-value]
    waiting = [begin(daemon) for _ in range(3)]
    waiting[0].abandoned = True
    show(daemon, view(collins, 1), view(collins, 2))
    assert len(made) == 1
    assert waiting[0].answers.empty()
    assert answer(waiting[1]) is answer(waiting[2])


def test_a_wide_picture_is_made_smaller(daemon: Daemon) -> None:
    pending = begin(daemon)
    show(daemon, empty_scene((1920, 1080)))
    viewed = answer(pending)
    assert viewed.size == [1920, 1080]
    assert Image.open(io.BytesIO(viewed.jpeg)).size == (640, 360)


def test_without_a_frame_it_ends_with_an_error(daemon: Daemon) -> None:
    pending = begin(daemon, 0.1)
    daemon.step(None, time.monotonic_ns())
    assert pending.answers.empty()
    daemon.step(None, time.monotonic_ns() + 200_000_000)
    with pytest.raises(ControlError, match=r"no frame from the camera within 0\.1 s"):
        answer(pending)
    stopped = begin(daemon)
    daemon.requests.stop()
    with pytest.raises(ControlError, match="the daemon is stopping"):
        answer(stopped)


def test_paused_or_enrolling_it_shows_the_picture_alone(daemon: Daemon, collins: Pixels) -> None:
    daemon._pause(True)
    pending = begin(daemon)
    show(daemon, view(collins, 1))
    viewed = answer(pending)
    assert (viewed.state, viewed.faces) == ("paused", [])
    daemon._pause(False)
    daemon.requests.start(PendingRequest(Capture()))
    pending = begin(daemon)
    show(daemon, view(collins, 1))
    assert answer(pending).state == "enrolling"


def test_the_hint_of_an_enrollment_is_the_one_that_the_terminal_gets(daemon: Daemon) -> None:
    enrolling, looking = PendingRequest(Enroll(name="Zoë")), PendingRequest(View())
    daemon.requests.start(enrolling)
    start = time.monotonic_ns()
    for n in range(1, 20):
        if n == 19:
            daemon.requests.start(looking)
        daemon.step(frame(empty_scene(seed=n), start + n * 100_000_000), start + n * 100_000_000)
    said = [a.text for a in answers_of(enrolling) if isinstance(a, Progress)]
    assert said == [LOOK, HINTS["no_face"]]
    assert answer(looking).hint == said[-1]
    daemon.requests.stop()


def test_each_face_has_the_hint_that_helps_first(daemon: Daemon, collins: Pixels) -> None:
    seen = []
    for picture in (view(collins, 1), (view(collins, 1) * 0.05).astype("uint8")):
        pending = begin(daemon)
        show(daemon, picture)
        seen += [(face.hint, bool(face.faults)) for face in answer(pending).faces]
    assert seen == [("", False), (HINTS["blurred"], True)]
