"""Access rules through a real daemon and a real broker: set by the command, in force at once, and no match anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from device import Device
from mosquitto import Mosquitto, Subscriber
from pictures import Pixels, empty_scene, view

from edge_oneshot.control import requests as rq


def test_a_rule_that_is_set_while_a_person_stands_there_ends_the_match(
    make_device: Callable[..., Device],
    broker: Mosquitto,
    subscriber: Subscriber,
    portrait_files: dict[str, Path],
    collins: Pixels,
) -> None:
    device = make_device(pace="camera", fps=20, decision={"second_factor_s": 60.0})
    device.enroll("Eileen", portrait_files["collins"])
    device.camera.show([*[empty_scene()] * 5, *[view(collins, i) for i in range(40)] * 60])
    device.start()
    topic = "/person/eileen/state"
    subscriber.wait("/match/eileen", 1)
    device.wait(lambda: subscriber.on(topic)[-1].payload == b"ON", "ON")
    assert "denied here now" in device.call("access", "set", "eileen", "--doors", "cellar")
    (denied,) = subscriber.wait("/denied", 1)
    assert (denied.json["event_type"], denied.json["identity"], denied.json["reason"]) == ("denied", "eileen", "door")
    assert not denied.retain and denied.json["late"] is False
    device.wait(lambda: subscriber.on(topic)[-1].payload == b"OFF", "OFF")
    presence = subscriber.on("/presence")[-1].json
    assert (presence["identities"], presence["denied"]) == ([], ["eileen"])
    found = device.ask(rq.Identify(image=portrait_files["collins"].read_bytes()))
    assert (found.decision, found.identity, found.denied and found.denied.identity) == ("denied", None, "eileen")
    answer = device.ask(rq.Confirm(name="Eileen", by="tag"))
    assert (answer.confirmed, answer.denied) == (False, "door")
    assert device.ask(rq.Status()).present.denied == ["eileen"]
    assert len(subscriber.on("/match/eileen")) == 1 and not subscriber.on("/confirmed/eileen")
    device.ask(rq.SetAccess(name="eileen", access={}))
    assert len(subscriber.wait("/match/eileen", 2)) == 2, "allowed again, and still there"
    assert device.stop() == 0
