"""The request `reload` over socket, MQTT and SIGHUP, with the real daemon and a real broker: live keys, other keys, refusals."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.publish
import pytest
from device import Device
from mosquitto import Mosquitto, Subscriber
from pictures import Pixels, view

from edge_oneshot.control.requests import Reload
from edge_oneshot.errors import ConfigError

MakeDevice = Callable[..., Device]


@pytest.fixture
def device(make_device: MakeDevice, collins: Pixels, portrait_files: dict[str, Path], subscriber: Subscriber) -> Device:
    """Eileen is enrolled, stands before the camera, and a match was published."""
    made = make_device(pace="camera", fps=5, decision={"target_fmr": 1e-3}, mqtt={"requests": True})
    made.enroll("Eileen", portrait_files["collins"])
    made.camera.show([view(collins, i) for i in range(12)] * 400)
    made.start()
    made.wait(lambda: subscriber.on("/match/eileen"), "a match")
    return made


def rewrite(device: Device, *changes: tuple[str, str]) -> None:
    text = device.config.read_text()
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text)
        assert count == 1, pattern
    device.config.write_text(text)


def over_mqtt(device: Device, broker: Mosquitto, subscriber: Subscriber, number: int) -> dict[str, Any]:
    payload = json.dumps({"transaction": number})
    paho.mqtt.publish.single(
        "edge-oneshot/front/request/reload", payload, qos=1, hostname="127.0.0.1", port=broker.port
    )
    found: list[dict[str, Any]] = device.wait(
        lambda: [h.json for h in subscriber.on("/response/reload") if h.json["transaction"] == number],
        f"answer {number}",
    )
    return found[-1]


def test_live_keys_change_and_the_others_are_named(device: Device, broker: Mosquitto, subscriber: Subscriber) -> None:
    before = device.status()["threshold"]
    rewrite(
        device,
        ("target_fmr = .*", "threshold = 0.9999\nwindow_frames = 7\nexplain_tracks = 0"),
        ("fps = 5.0", "fps = 6.0"),
        (r"\[model\]", "[quality]\nmin_sharpness = 2.0\n[model]"),
        ("health_every_s = 1.0", 'health_every_s = 1.0\npassword_file = "secret"\nusername = "somebody"'),
    )
    answer = over_mqtt(device, broker, subscriber, 1)
    assert answer["status"] == "ok"
    data = answer["data"]
    assert data["changed"] == {
        "quality.min_sharpness": {"before": 1.0, "now": 2.0},
        "decision.threshold": {"before": None, "now": 0.9999},
        "decision.window_frames": {"before": 10, "now": 7},
        "decision.explain_tracks": {"before": 2000, "now": 0},
    }
    assert data["restart_needed"] == ["camera.fps", "mqtt.username", "mqtt.password_file"]
    assert data["gallery"] == {"identities": 1, "templates": 1, "fault": ""} and data["threshold"] == 0.9999
    assert "somebody" not in json.dumps(answer) + device.log(), "values of keys that may be secret are not reported"
    assert device.status()["threshold"] == 0.9999 != before
    device.wait(lambda: subscriber.on("/info")[-1].json["threshold"] == 0.9999, "the new threshold in info")
    assert len(subscriber.on("/match/eileen")) == 1, "a match of a person in sight is not published again"
    device.wait(lambda: subscriber.on("/unknown"), "unknown, since no one reaches the new threshold")
    again = over_mqtt(device, broker, subscriber, 2)["data"]
    assert again["changed"] == {} and again["restart_needed"] == data["restart_needed"]
    assert device.stop() == 0


def test_a_configuration_with_a_fault_is_refused_and_nothing_changes(
    device: Device, broker: Mosquitto, subscriber: Subscriber
) -> None:
    before, good = device.status()["threshold"], device.config.read_text()
    fault = "decision.target_fmr: expected a number from 1e-07 to 0.5, got 7"
    rewrite(device, ("target_fmr = .*", "target_fmr = 7\nconfirm_frames = 4"))
    answer = over_mqtt(device, broker, subscriber, 1)
    assert answer["status"] == "error" and fault in answer["faults"] and "1 fault" in answer["error"]
    with pytest.raises(ConfigError) as caught:
        device.ask(Reload())
    assert fault in caught.value.faults
    assert fault in device.call("reload", expect=ConfigError.exit_code)
    device.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
    device.wait(
        lambda: "reload refused; nothing has changed" in device.log() and fault in device.log(), "the answer in the log"
    )
    for text, word in (("fps = [", "not valid TOML"), (None, "no configuration at")):
        device.config.unlink() if text is None else device.config.write_text(text)
        assert word in over_mqtt(device, broker, subscriber, len(word))["error"]
    # Valid as a file, but not together with the keys that change only at a restart.
    device.config.write_text(
        good.replace("fps = 5.0", "fps = 50.0").replace("target_fmr", "gone_after_s = 0.1\ntarget_fmr")
    )
    refused = over_mqtt(device, broker, subscriber, 9)
    assert "decision.gone_after_s: expected at least two frames at camera.fps (0.4 s)" in refused["faults"][0]
    assert "camera.fps" in refused["hint"]
    device.config.write_text(good)
    assert device.status()["threshold"] == before
    answer = over_mqtt(device, broker, subscriber, 10)
    assert answer["data"]["changed"] == {} and answer["data"]["restart_needed"] == [], (
        "nothing of the refused files was taken"
    )
    assert len(subscriber.on("/match/eileen")) == 1 and not subscriber.on("/unknown")
    assert device.stop() == 0


def test_the_command_and_the_signal(device: Device, subscriber: Subscriber) -> None:
    rewrite(device, ("target_fmr = .*", "target_fmr = 0.0001\nwindow_frames = 9"))
    assert "decision.window_frames: 9 (was 10)" in device.call("reload")
    frames = device.status()["frames"]
    device.wait(lambda: device.status()["frames"] > frames + 10, "ten more frames of the person in sight")
    assert len(subscriber.on("/match/eileen")) == 1 and not subscriber.on("/unknown"), "no match is published twice"
    rewrite(device, ("target_fmr = .*", "threshold = 0.99"))
    printed = device.call("reload")
    assert "decision.threshold: 0.99 (was None)" in printed and "threshold 0.990" in printed
    rewrite(device, ("threshold = 0.99", "target_fmr = 0.001"))
    device.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
    device.wait(lambda: device.status()["target_fmr"] == 0.001, "the reload that SIGHUP asked for")
    assert "decision.target_fmr = 0.001 (was 0.0001)" in device.log()
    assert device.stop() == 0
    assert "no daemon is running" in device.call("reload", expect=1)


def test_a_daemon_ends_when_its_terminal_closes(make_device: MakeDevice, collins: Pixels) -> None:
    made = make_device(pace="camera", fps=5, mqtt={"enabled": False})
    made.camera.show([view(collins, 0)] * 400)
    (ours, theirs), kept = pty.openpty(), os.dup(0)
    try:
        os.dup2(theirs, 0)
        made.start()
    finally:
        os.dup2(kept, 0)
        for descriptor in (ours, theirs, kept):
            os.close(descriptor)
    made.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
    assert made.ends() == 0
