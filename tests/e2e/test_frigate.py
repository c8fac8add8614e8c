"""`edge-oneshot bridge frigate`: what it writes, what it leaves alone, and what it does while Frigate or the daemon is away."""

from __future__ import annotations

import io
import json
import logging
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from device import Device
from example_messages import response_of
from frigate_parts import FrigateServer, message
from hypothesis import given
from hypothesis import strategies as st
from mosquitto import Mosquitto
from paho.mqtt import publish
from pictures import Pixels, empty_scene, view
from PIL import Image
from waiting import wait_until

from edge_oneshot.bridge.frigate import BACKOFF_S, MOST_TRIES, MOST_WAITING, PACE_S, Bridge
from edge_oneshot.bridge.frigate_api import Frigate, FrigateError
from edge_oneshot.control.protocol import PendingRequest
from edge_oneshot.control.requests import Identify
from edge_oneshot.errors import ControlError
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.requests import Requests

ID = "1607123955.475377-mxklsc"


def jpeg(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@pytest.fixture
def server() -> Iterator[FrigateServer]:
    running = FrigateServer()
    yield running
    running.close()


class Run:
    """A bridge with a clock that jumps to the next moment at which it may work."""

    def __init__(self, server: FrigateServer, recognizer: Recognizer, cameras: frozenset[str] = frozenset()) -> None:
        self.now, self.away = 1000.0, False
        self.requests = Requests(recognizer, lambda event: None)
        self.bridge = Bridge(Frigate(server.url), self.ask, cameras, lambda: self.now)

    def ask(self, request: Identify) -> Any:
        if self.away:
            raise ControlError("the daemon is not running", "start it")
        pending = PendingRequest(request)
        self.requests.start(pending)
        return response_of(pending)

    def take(self, *messages: Any) -> None:
        for one in messages:
            self.bridge.take(one)
            self.work()

    def work(self) -> None:
        self.now += PACE_S
        self.bridge.work()


@pytest.fixture
def run(server: FrigateServer, recognizer: Recognizer, collins: Pixels) -> Run:
    recognizer.enroll("Eileen Collins", collins)
    server.events[ID] = {"snapshot": jpeg(view(collins, 3))}
    return Run(server, recognizer)


def test_a_match_becomes_the_sub_label_of_the_event(run: Run, server: FrigateServer) -> None:
    run.take(message(kind="new"))
    ((event_id, body),) = server.written
    assert (event_id, body["subLabel"]) == (ID, "Eileen Collins") and 0.5 < body["subLabelScore"] <= 1
    run.take(message(taken=2.0), message(taken=3.0, kind="end"))
    assert len(server.written) == 1 and run.bridge.counts.compared == 1, "a named event is not compared again"


def test_an_unknown_person_and_a_picture_without_a_face_are_not_named(
    run: Run, server: FrigateServer, hopper: Pixels
) -> None:
    server.events[ID]["snapshot"] = jpeg(empty_scene())
    run.take(message(taken=1.0))
    server.events[ID]["snapshot"] = jpeg(hopper)
    run.take(message(taken=1.0), message(taken=2.0))
    assert server.written == []
    assert (run.bridge.counts.unusable, run.bridge.counts.compared) == (1, 1), "the same picture once"


def test_a_better_picture_is_compared_and_there_is_an_end(run: Run, server: FrigateServer, hopper: Pixels) -> None:
    server.events[ID]["snapshot"] = jpeg(hopper)
    run.take(*(message(taken=float(n)) for n in range(MOST_TRIES + 3)))
    assert run.bridge.counts.compared == MOST_TRIES


def test_the_sub_label_of_something_else_stays(run: Run, server: FrigateServer) -> None:
    for n, label in enumerate(("Delivery", ["Delivery", 0.9])):
        run.take(message(f"1.{n}-a", sub_label=label))
    assert server.asked == [("GET", "/api/config")], "not even the picture is taken"
    server.events[ID]["sub_label"] = "Delivery"  # it was set after the message
    run.take(message())
    assert server.written == [] and run.bridge.counts.left_alone == 3


@pytest.mark.parametrize("cameras", [None, ["porch"], "porch"])
def test_a_configuration_of_another_form_is_an_error_of_frigate(server: FrigateServer, cameras: object) -> None:
    server.config["cameras"] = cameras
    with pytest.raises(FrigateError, match="expected cameras"):
        Frigate(server.url).own_faces()


def test_cameras_whose_faces_frigate_recognizes_are_left_alone(
    run: Run, server: FrigateServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.config["face_recognition"]["enabled"] = True
    server.config["cameras"]["garden"] = {"face_recognition": {"enabled": False}}
    server.events["2.1-b"] = dict(server.events[ID])
    run.take(message(), message("2.1-b", camera="garden"))
    assert [event_id for event_id, _ in server.written] == ["2.1-b"]
    warning = next(r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert "recognizes faces itself for porch:" in warning and "garden" not in warning


def test_the_address_is_checked_before_the_first_event(
    server: FrigateServer, recognizer: Recognizer, caplog: pytest.LogCaptureFixture
) -> None:
    Run(server, recognizer).bridge.check()
    with pytest.raises(FrigateError, match=r"expected cameras of Frigate .*, got nowhere"):
        Run(server, recognizer, frozenset({"nowhere"})).bridge.check()
    server.answer = (404, {})
    with pytest.raises(FrigateError):
        Run(server, recognizer).bridge.check()
    server.close()
    with caplog.at_level(logging.WARNING):
        Run(server, recognizer).bridge.check()  # Frigate may start later
    assert "cannot reach Frigate" in caplog.text


def test_what_is_no_person_or_another_camera_is_ignored(server: FrigateServer, recognizer: Recognizer) -> None:
    run = Run(server, recognizer, frozenset({"porch"}))
    run.take(message(label="car"), message(false_positive=True), message(has_snapshot=False), message(camera="garden"))
    for event_id in ("../../config", "a/b", "", "..", "x" * 65, "é"):
        run.take(message(event_id))
    assert server.asked == []


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.dictionaries(st.sampled_from(["after", "id", "camera", "label", "snapshot"]), inner, max_size=4),
    max_leaves=8,
)


@given(JSON)
def test_no_message_raises(data: Any) -> None:
    bridge = Bridge(Frigate("http://127.0.0.1:9"), lambda request: pytest.fail("asked"))
    bridge.take(data if isinstance(data, dict) else {"after": data})
    changed = message()
    changed["after"]["snapshot"] = data
    bridge.take(changed)
    assert bridge.waiting == 1


def test_the_queue_is_bounded_and_keeps_the_newest_message_of_each_event(run: Run) -> None:
    for n in range(MOST_WAITING + 5):
        for taken in (1.0, 2.0):
            run.bridge.take(message(f"{n}.1-a", taken=taken))
    assert run.bridge.waiting == MOST_WAITING and run.bridge.counts.dropped == 5


@pytest.mark.parametrize("who", ["frigate", "daemon"])
def test_events_wait_while_the_other_side_is_away(
    run: Run, server: FrigateServer, who: str, caplog: pytest.LogCaptureFixture
) -> None:
    run.away, server.answer = who == "daemon", (503, {}) if who == "frigate" else None
    run.bridge.take(message())
    tried = 0
    for _ in range(1200):  # ten minutes
        run.now += PACE_S
        tried += run.bridge.work()
    assert run.bridge.waiting == 1 and 600 / BACKOFF_S[1] - 1 <= tried < 60, "it backs off to a minute"
    assert sum(r.levelno == logging.WARNING for r in caplog.records) == 1
    run.away, server.answer = False, None
    run.now += BACKOFF_S[1]
    run.work()
    assert [event_id for event_id, _ in server.written] == [ID] and run.bridge.waiting == 0


def test_an_event_that_frigate_does_not_know_does_not_stop_the_others(run: Run, server: FrigateServer) -> None:
    run.bridge.take(message("9.9-gone"))
    run.take(message())
    run.work()
    assert [event_id for event_id, _ in server.written] == [ID] and run.bridge.waiting == 0


def test_an_event_that_fails_again_and_again_does_not_hold_up_the_others(
    run: Run, server: FrigateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run.bridge._frigate.snapshot

    def snapshot(event_id: str) -> bytes:
        if event_id != ID:
            raise FrigateError("HTTP 500")
        return real(event_id)

    monkeypatch.setattr(run.bridge._frigate, "snapshot", snapshot)
    run.bridge.take(message("1.0-broken"))
    run.take(message())
    for _ in range(10):
        run.now += BACKOFF_S[1]
        run.work()
    assert [event_id for event_id, _ in server.written] == [ID] and run.bridge.waiting == 1


def test_the_token_goes_to_frigate_and_to_no_other_host(server: FrigateServer) -> None:
    frigate, other = Frigate(server.url, "secret"), FrigateServer()
    try:
        frigate.own_faces()
        assert server.headers[-1]["authorization"] == "Bearer secret"
        server.answer = (302, {"location": f"{other.url}/api/config"})
        with pytest.raises(FrigateError, match="HTTP 302"):
            frigate.own_faces()
        assert other.asked == []
        server.answer = (401, {})
        with pytest.raises(FrigateError, match="refuses") as caught:
            frigate.own_faces()
        assert "--token-file" in caught.value.hint
    finally:
        other.close()


def test_from_frigates_event_to_its_sub_label(
    make_device: Callable[..., Device],
    broker: Mosquitto,
    server: FrigateServer,
    portrait_files: dict[str, Path],
    collins: Pixels,
) -> None:
    """The real command, daemon, control socket and broker; only Frigate is a stand-in."""
    device = make_device(pace="camera", fps=2.0)
    device.enroll("Eileen Collins", portrait_files["collins"])
    device.camera.show([empty_scene()] * 400)
    device.start()
    server.events[ID] = {"snapshot": jpeg(view(collins, 3))}
    command = [*device.command, "bridge", "frigate", "--url", server.url]
    log = device.folder / "bridge.log"
    with log.open("wb") as file:
        bridge = subprocess.Popen(command, stdout=file, stderr=file, env=device.environment)
    try:
        wait_until(lambda: "listening to frigate/events" in log.read_text(), "the bridge to listen", 60)
        for payload in (b"no JSON", json.dumps(message()).encode()):
            publish.single("frigate/events", payload, qos=1, hostname="127.0.0.1", port=broker.port)
        wait_until(lambda: server.written, "the sub label", 60)
        assert server.written[0][1]["subLabel"] == "Eileen Collins"
        bridge.send_signal(signal.SIGTERM)
        assert bridge.wait(20) == 0 and "Traceback" not in log.read_text()
        assert "named=1" in log.read_text()
    finally:
        bridge.kill()
        bridge.wait()
