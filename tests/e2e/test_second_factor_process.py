"""The second factor through a real daemon and a real broker: by the command, and by a request over MQTT."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from device import Device
from mosquitto import Mosquitto, Subscriber
from pictures import Pixels, empty_scene, view

from edge_oneshot.config import MqttConfig
from edge_oneshot.mqtt.subscriber import Subscriber as Client


def test_a_match_opens_only_with_its_confirmation(
    make_device: Callable[..., Device],
    broker: Mosquitto,
    subscriber: Subscriber,
    portrait_files: dict[str, Path],
    collins: Pixels,
) -> None:
    device = make_device(pace="camera", fps=20, decision={"second_factor_s": 60.0}, mqtt={"requests": True})
    device.enroll("Eileen", portrait_files["collins"])
    wall = [empty_scene()] * 5
    device.camera.show([*wall, *[view(collins, i) for i in range(12)] * 33])
    device.start()
    (match,) = subscriber.wait("/match/eileen", 1)
    assert not subscriber.on("/confirmed/eileen")
    assert "confirmed: Eileen (eileen)" in device.call("confirm", "Eileen", "--by", "tag")
    (first,) = subscriber.wait("/confirmed/eileen", 1)
    assert (first.json["match_event_id"], first.json["confirmed_by"]) == (match.json["event_id"], "tag")
    assert (first.json["late"], first.retain, first.json["pad"]) == (False, False, "not_performed")
    with Client(MqttConfig(host="127.0.0.1", port=broker.port), ["x"], lambda m: None, "phone") as phone:
        sent = phone.publish(
            f"{subscriber.on('/match/eileen')[0].topic.split('/match')[0]}/request/confirm",
            json.dumps({"name": "eileen", "by": "phone"}).encode(),
            retain=False,
        )
        device.wait(lambda: phone.step(0.01) and sent.is_published(), "the acknowledgement")
    second = subscriber.wait("/confirmed/eileen", 2)[1]
    assert second.json["confirmed_by"] == "phone" and second.json["event_id"] != first.json["event_id"]
    assert device.stop() == 0
