"""The daemon as a process, from camera to broker: what it publishes, how it starts and stops, which faults it survives."""

from __future__ import annotations

import base64
import io
import json
import re
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import paho.mqtt.publish
import pytest
from device import Device
from mosquitto import Mosquitto, Subscriber
from pictures import Pixels, empty_scene, view
from PIL import Image
from waiting import wait_until

from edge_oneshot.events.schema import load
from edge_oneshot.gallery.store import Gallery

MakeDevice = Callable[..., Device]
WALL = empty_scene()


@pytest.fixture(scope="session")
def eileen(collins: Pixels) -> list[Pixels]:
    return [view(collins, i) for i in range(12)]


@pytest.fixture(scope="session")
def grace(hopper: Pixels) -> list[Pixels]:
    return [view(hopper, i) for i in range(12)]


def events(subscriber: Subscriber) -> list[tuple[str, str | None]]:
    return [(h.json["event_type"], h.json.get("identity")) for h in subscriber.on("/event")]


def values(subscriber: Subscriber, suffix: str) -> list[str]:
    """The payloads on a topic, without consecutive repeats."""
    payloads = [h.payload.decode() for h in subscriber.on(suffix)]
    return [p for i, p in enumerate(payloads) if i == 0 or payloads[i - 1] != p]


def test_a_match_and_an_unknown_person_from_camera_to_broker(
    make_device: MakeDevice,
    subscriber: Subscriber,
    portrait_files: dict[str, Path],
    eileen: list[Pixels],
    grace: list[Pixels],
) -> None:
    """An enrolled person, an empty scene, an unknown person, an empty scene, until the folder ends."""
    device = make_device()
    assert device.enroll("Eileen Collins", portrait_files["collins"])["identity"] == "eileen-collins"
    device.camera.show([*eileen, *[WALL] * 25, *grace, *[WALL] * 25])
    device.start()
    assert device.ends() == 0, device.log()
    wait_until(lambda: values(subscriber, "/availability")[-1:] == ["offline"], "offline")

    expected = [("match", "eileen-collins"), ("gone", "eileen-collins"), ("unknown", None), ("gone", None)]
    assert events(subscriber) == expected
    assert [h.topic for h in subscriber.heard if "/match/" in h.topic] == ["edge-oneshot/front/match/eileen-collins"]
    assert len(subscriber.on("/unknown")) == 1
    assert not any(h.retain for h in subscriber.on("/event"))
    schema = load("event-v1")
    for heard in subscriber.on("/event"):
        jsonschema.validate(heard.json, schema)
    match = subscriber.on("/event")[0].json
    assert (match["name"], match["device"], match["pad"]) == ("Eileen Collins", "front", "not_performed")
    assert match["score"] >= match["threshold"] and match["frames"] == 3
    assert "Eileen" not in subscriber.on("/unknown")[0].payload.decode()

    assert values(subscriber, "/availability") == ["online", "offline"]
    assert values(subscriber, "/person/eileen-collins/state") == ["OFF", "ON", "OFF"]
    present = [(p["identities"], p["unknown"]) for p in (h.json for h in subscriber.on("/presence"))]
    changes = [p for i, p in enumerate(present) if i == 0 or present[i - 1] != p]
    assert changes == [([], 0), (["eileen-collins"], 0), ([], 0), ([], 1), ([], 0)]
    info, health = subscriber.on("/info")[-1].json, subscriber.on("/health")[-1].json
    assert info["encoder_id"] == health["encoder_id"] == match["encoder_id"]
    assert health["gallery"] == {"identities": 1, "templates": 1, "fault": ""}

    notified = device.notify.heard
    assert notified[0] == "READY=1"
    assert notified[-1] == "STOPPING=1"
    assert notified.count("WATCHDOG=1") >= device.camera.count  # one for each frame
    assert re.search(r"the camera has ended after 74 frames", device.log())


def endless(device: Device, pictures: list[Pixels], times: int = 400) -> None:
    device.camera.show(pictures * times)


def test_sigterm_is_a_clean_end(make_device: MakeDevice, subscriber: Subscriber, broker: Mosquitto) -> None:
    device = make_device(pace="camera")
    endless(device, [WALL])
    device.start()
    subscriber.wait("/availability")
    assert device.stop() == 0
    wait_until(lambda: values(subscriber, "/availability") == ["online", "offline"], "offline")
    assert (
        "Received DISCONNECT from edge-oneshot-front" in broker.log()
    )  # published by the daemon, not by the broker as its will
    assert device.notify.heard[-1] == "STOPPING=1"
    assert not (device.state / "front.sock").exists()
    assert "Traceback" not in device.log()


def test_a_loop_that_hangs_does_not_feed_the_watchdog(make_device: MakeDevice, portrait_files: dict[str, Path]) -> None:
    """Another process holds the gallery's write lock: an enrollment waits for it, and so does the loop."""
    device = make_device(pace="camera")
    endless(device, [WALL])
    device.start()
    device.wait(lambda: device.notify.heard.count("WATCHDOG=1") > 3, "progress")
    lock = sqlite3.connect(device.state / "gallery.sqlite", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    enrolled: list[dict[str, Any]] = []
    client = threading.Thread(target=lambda: enrolled.append(device.enroll("Eileen", portrait_files["collins"])))
    client.start()
    try:

        def still() -> bool:
            """Not fed for 1.5 s; the loop alone would have done it seven times."""
            before = device.notify.heard.count("WATCHDOG=1")
            return not threading.Event().wait(1.5) and device.notify.heard.count("WATCHDOG=1") == before

        device.wait(still, "the loop to hang")
    finally:
        lock.execute("ROLLBACK")
        lock.close()
        client.join()
    assert enrolled[0]["identity"] == "eileen"
    before = device.notify.heard.count("WATCHDOG=1")
    device.wait(lambda: device.notify.heard.count("WATCHDOG=1") > before + 3, "progress again")
    assert device.stop() == 0


def stored_events(device: Device) -> list[dict[str, Any]]:
    path = device.state / f"outbox-{device.instance}.sqlite"
    if not path.exists():
        return []
    db = sqlite3.connect(path)
    try:
        rows = db.execute("SELECT event_id, event_type, body FROM events ORDER BY seq")
        return [{"id": i, "type": t, **json.loads(b)} for i, t, b in rows]
    except sqlite3.OperationalError:
        return []
    finally:
        db.close()


def test_kill_9_loses_nothing(
    make_device: MakeDevice, broker: Mosquitto, portrait_files: dict[str, Path], eileen: list[Pixels]
) -> None:
    """Killed while the broker is away: the next process delivers the stored events, marked as late."""
    device = make_device(pace="camera")
    device.enroll("Eileen", portrait_files["collins"])
    endless(device, [*eileen, *[WALL] * 30], 30)
    broker.stop()
    device.start()
    device.wait(lambda: {"match", "gone"} <= {e["type"] for e in stored_events(device)}, "events in the outbox")
    device.kill()
    kept = [e["id"] for e in stored_events(device)]
    assert kept
    assert (device.state / "front.sock").exists()

    broker.start()
    with Subscriber(broker.port) as subscriber:
        device.start()
        device.wait(lambda: {h.json["event_id"] for h in subscriber.on("/event")} >= set(kept), "the kept events")
        first = [h.json for h in subscriber.on("/event")][: len(kept)]
        assert [e["event_id"] for e in first] == kept
        assert all(e["late"] for e in first if e["event_type"] == "match")  # `gone` counts from its decision
        device.wait(lambda: not set(kept) & {e["id"] for e in stored_events(device)}, "their removal from the outbox")
        assert json.loads(device.call("gallery", "list", "--json"))[0]["identity"] == "eileen"
        assert device.stop() == 0


def test_a_broker_that_restarts_gets_every_event(
    make_device: MakeDevice, broker: Mosquitto, portrait_files: dict[str, Path], eileen: list[Pixels]
) -> None:
    device = make_device(pace="camera", decision={"gone_after_s": 0.5})
    device.enroll("Eileen", portrait_files["collins"])
    endless(device, [*eileen[:6], *[WALL] * 10], 100)
    device.start()

    def delivered() -> int:
        return len(
            re.findall(r"Received PUBLISH from \S+ \(d0, q1, r0, m\d+, 'edge-oneshot/front/event'", broker.log())
        )

    device.wait(lambda: delivered() >= 2, "events before")
    broker.stop()
    device.wait(lambda: len(stored_events(device)) >= 3, "events in the outbox")
    waiting = {e["id"] for e in stored_events(device)}
    broker.start()
    device.wait(lambda: not waiting & {e["id"] for e in stored_events(device)}, "the outbox to empty")
    status = device.status()
    assert status["broker"] == "online"
    assert status["outbox"]["dropped"] == 0
    assert delivered() >= status["events"] - status["outbox"]["depth"]
    assert device.stop() == 0


def test_an_absent_broker_stops_nothing(
    make_device: MakeDevice, broker: Mosquitto, portrait_files: dict[str, Path]
) -> None:
    broker.stop()
    device = make_device()
    device.enroll("Eileen", portrait_files["collins"])
    device.camera.show([portrait_files["collins"]] * 10)
    device.start(ready=False)
    assert device.ends() == 0
    assert [e["type"] for e in stored_events(device)] == ["match", "gone"]


def test_changes_of_the_gallery_are_seen_while_running(
    make_device: MakeDevice, subscriber: Subscriber, portrait_files: dict[str, Path], grace: list[Pixels]
) -> None:
    device = make_device(pace="camera", decision={"unknown_frames": 4})
    endless(device, grace, 200)
    device.start()
    device.wait(lambda: ("unknown", None) in events(subscriber), "a stranger")
    # by a second process, over the socket
    assert device.enroll("Grace Hopper", portrait_files["hopper"])["identity"] == "grace-hopper"
    device.wait(lambda: ("match", "grace-hopper") in events(subscriber), "a match")
    assert ("enrolled", "grace-hopper") in events(subscriber)
    # by another connection, without the daemon
    with Gallery(device.state / "gallery.sqlite") as gallery:
        gallery.remove("grace-hopper")
    device.wait(lambda: events(subscriber)[-1] == ("unknown", None), "a stranger again")
    device.wait(lambda: values(subscriber, "/person/grace-hopper/state")[-1] == "", "the emptied state")
    assert device.status()["gallery"] == {"identities": 0, "templates": 0, "fault": ""}
    assert device.stop() == 0


def test_enroll_from_the_running_daemons_camera(
    make_device: MakeDevice, subscriber: Subscriber, portrait_files: dict[str, Path], grace: list[Pixels]
) -> None:
    device = make_device(pace="camera")
    endless(device, grace, 200)
    device.start()
    assert "enrolled Grace as grace" in device.call("enroll", "--name", "Grace", "--timeout", "60")
    device.wait(lambda: ("match", "grace") in events(subscriber), "a match")
    assert "already enrolled" in device.call("enroll", "--name", "grace", expect=1)
    refused = device.call("verify", "--name", "grace", "--image", str(portrait_files["both"]), expect=6)
    assert "2 faces found" in refused
    assert device.stop() == 0


def test_two_instances_on_one_gallery(
    make_device: MakeDevice, subscriber: Subscriber, portrait_files: dict[str, Path], eileen: list[Pixels]
) -> None:
    front, back = (make_device(instance=name, pace="camera") for name in ("front", "back"))
    for device in (front, back):
        endless(device, eileen, 200)
        device.start()
    assert sorted(p.name for p in front.state.glob("*.sock")) == ["back.sock", "front.sock"]
    front.enroll("Eileen", portrait_files["collins"])
    for device in (front, back):
        device.wait(lambda d=device: subscriber.on(f"{d.instance}/match/eileen"), f"a match at {device.instance}")
    assert [h.topic for h in subscriber.heard if '"enrolled"' in h.payload.decode()] == ["edge-oneshot/front/event"]
    assert "removed Eileen" in back.call("gallery", "remove", "eileen", "--yes")
    front.wait(lambda: front.status()["gallery"]["identities"] == 0, "the removal at the other instance")
    second = back.call("run", expect=1)
    assert "another daemon answers" in second
    assert [device.stop() for device in (front, back)] == [0, 0]


def test_a_lost_camera_is_reported_and_comes_back(make_device: MakeDevice, subscriber: Subscriber) -> None:
    device = make_device(pace="camera", fps=20)
    endless(device, [WALL])
    device.start()
    away = device.camera.folder.with_name("away")
    device.camera.folder.rename(away)
    device.wait(
        lambda: any(h.json["state"] == "camera_lost" for h in subscriber.on("/health")), "camera_lost on health"
    )
    device.wait(
        lambda: any(line.startswith("STATUS=camera_lost: folder ") for line in device.notify.heard),
        "the reason for systemd",
    )
    assert device.status()["state"] == "camera_lost"
    fed = device.notify.heard.count("WATCHDOG=1")
    device.wait(lambda: device.notify.heard.count("WATCHDOG=1") > fed, "a fed watchdog, since the loop runs")
    away.rename(device.camera.folder)
    device.wait(lambda: subscriber.on("/health")[-1].json["state"] == "running", "running on health")
    assert device.stop() == 0


def test_a_camera_lost_for_too_long_ends_the_daemon(make_device: MakeDevice, subscriber: Subscriber) -> None:
    device = make_device(pace="camera", camera={"give_up_s": 1.0})
    endless(device, [WALL])
    device.start()
    subscriber.wait("/availability")
    device.camera.folder.rename(device.camera.folder.with_name("away"))
    assert device.ends() == 1
    assert re.search(r"error: no camera for \d+ s: .*camera-front.*\n.*fix: ", device.log(), re.DOTALL)
    wait_until(lambda: values(subscriber, "/availability")[-1] == "offline", "offline")
    assert device.notify.heard[-1] == "STOPPING=1"


def test_a_fault_that_no_retry_fixes_ends_the_daemon_at_once(make_device: MakeDevice) -> None:
    device = make_device(camera={"uri": "folder:/nowhere/at/all"})
    device.start(ready=False)
    assert device.ends() == 1
    assert "no such folder" in device.log()
    (device.config).write_text("[camera]\nfps = 0\n")
    device.start(ready=False)
    assert device.ends() == 78
    assert "camera.fps: expected a number from 0.1 to 120" in device.log()
    assert "READY=1" not in device.notify.heard


def test_pause_and_resume(make_device: MakeDevice, subscriber: Subscriber, eileen: list[Pixels]) -> None:
    device = make_device(pace="camera", decision={"unknown_frames": 3})
    endless(device, eileen, 200)
    device.start()
    device.wait(lambda: ("unknown", None) in events(subscriber), "a stranger")
    assert device.call("pause") == "recognition is paused\n"
    device.wait(lambda: events(subscriber)[-1] == ("gone", None), "gone, since no frame is processed")
    count = len(events(subscriber))
    fed = device.notify.heard.count("WATCHDOG=1")
    device.wait(lambda: device.notify.heard.count("WATCHDOG=1") > fed + 10, "ten turns of the loop")
    assert len(events(subscriber)) == count
    assert device.status()["state"] == "paused"
    assert json.loads(device.call("resume", "--json")) == {"paused": False}
    device.wait(lambda: events(subscriber)[-1] == ("unknown", None), "a stranger again")
    assert device.stop() == 0


def test_no_picture_is_ever_stored(
    make_device: MakeDevice, portrait_files: dict[str, Path], eileen: list[Pixels]
) -> None:
    device = make_device()
    device.enroll("Eileen", portrait_files["collins"])
    device.camera.show(eileen)
    device.start(ready=False)
    assert device.ends() == 0
    files = {p.name for p in device.state.rglob("*")}
    known = {"gallery.sqlite", "outbox-front.sqlite", "explain-front.sqlite", "front.sock", "front.lock"}
    assert {f.removesuffix("-wal").removesuffix("-shm") for f in files} <= known
    for path in device.state.iterdir():
        data = path.read_bytes()
        assert b"\xff\xd8\xff" not in data and b"\x89PNG" not in data, path
        assert len(data) < 100_000 + np.prod((64, 64))


def test_requests_over_mqtt_and_discovery(
    make_device: MakeDevice, broker: Mosquitto, subscriber: Subscriber, eileen: list[Pixels]
) -> None:
    """Requests over MQTT and Home Assistant's discovery with the real daemon."""
    device = make_device(pace="camera", mqtt={"requests": True, "discovery": "device", "health_every_s": 60.0})
    endless(device, eileen, 400)
    device.start()
    discovery = "homeassistant/device/edge_oneshot_front/config"
    device.wait(lambda: subscriber.on(discovery), "the discovery")

    def ask(verb: str, **arguments: Any) -> dict[str, Any]:
        payload = json.dumps({**arguments, "transaction": verb})
        paho.mqtt.publish.single(
            f"edge-oneshot/front/request/{verb}", payload, qos=1, hostname="127.0.0.1", port=broker.port
        )

        def final() -> list[dict[str, Any]]:
            return [h.json for h in subscriber.on(f"/response/{verb}") if h.json["status"] != "progress"]

        device.wait(final, f"the answer to {verb}")
        answer = final()[-1]
        assert answer["transaction"] == verb
        return answer

    assert ask("enroll", name="Eileen", timeout_s=60)["data"]["identity"] == "eileen"
    device.wait(lambda: subscriber.on("/match/eileen"), "a match")
    device.wait(lambda: "eileen" in subscriber.on(discovery)[-1].payload.decode(), "her entity")
    assert [p["name"] for p in ask("list")["data"]["identities"]] == ["Eileen"]
    buffer = io.BytesIO()
    Image.fromarray(eileen[3]).save(buffer, "JPEG", quality=92)
    picture = base64.b64encode(buffer.getvalue()).decode()
    assert ask("identify", image=picture)["data"]["identity"] == "eileen"
    assert ask("verify", name="eileen", image=picture)["data"]["decision"] == "match"
    assert ask("pause")["data"] == {"paused": True}
    device.wait(lambda: subscriber.on("/health")[-1].json["state"] == "paused", "the state")
    assert ask("forget", name="eileen")["status"] == "ok"
    assert "no person with the name or id" in ask("rename", name="eileen", to="Zoë")["error"]
    assert "the broker's access list" in device.log()
    assert device.stop() == 0
