"""An upgrade of the encoder, from the command line and a daemon process: old templates keep working until enrolled again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from device import Device
from mosquitto import Subscriber
from pictures import Pixels, empty_scene, view
from second_encoder import NAME, write_second_encoder
from waiting import wait_until

WALL = empty_scene()


def test_people_enrolled_before_and_after_an_upgrade_open_the_same_door(
    make_device: Callable[..., Device],
    subscriber: Subscriber,
    short_path: Path,
    portrait_files: dict[str, Path],
    collins: Pixels,
    hopper: Pixels,
) -> None:
    before = make_device()
    old = before.enroll("Eileen Collins", portrait_files["collins"])["encoder_id"]
    second = write_second_encoder(short_path / "second.tflite")
    device = make_device(instance="back", model={"encoder": str(second.path)})
    assert device.enroll("Grace Hopper", portrait_files["hopper"])["encoder_id"] == second.encoder_id != old

    check = device.call("gallery", "check")
    assert "1 people are compared by mobilefacenet-apart-int8, threshold" in check
    assert "old template: eileen-collins: edge-oneshot " in check
    assert " enroll --name … --id eileen-collins --replace" in check
    assert "old template: enroll again" in device.call("gallery", "list")
    assert "in use, old: enroll again" in device.call("gallery", "show", "Eileen Collins")
    eileen = json.loads(
        device.call("verify", "--name", "Eileen Collins", "--image", str(portrait_files["collins"]), "--json")
    )
    assert (eileen["decision"], eileen["encoder_id"]) == ("match", old)

    device.camera.show([*(view(collins, i) for i in range(5)), *[WALL] * 25, *(view(hopper, i) for i in range(5))])
    device.start()
    assert device.ends() == 0, device.log()
    wait_until(lambda: len([h for h in subscriber.on("/event") if h.json["event_type"] == "gone"]) == 2, "both events")
    found = {h.json["identity"]: h.json for h in subscriber.on("/event") if h.json["event_type"] == "match"}
    assert {i: e["encoder_id"] for i, e in found.items()} == {"eileen-collins": old, "grace-hopper": second.encoder_id}
    assert found["eileen-collins"]["threshold"] != found["grace-hopper"]["threshold"]
    assert "1 people have an old template" in device.log() and NAME in device.log()

    device.enroll("Eileen Collins", portrait_files["collins"], "--replace")
    assert "no problem found" in device.call("gallery", "check")
