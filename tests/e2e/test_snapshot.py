"""The face of each match and unknown as a JPEG over MQTT, if configured; never stored. test_daemon_process.py: none without."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from device import Device
from mosquitto import Subscriber
from pictures import Pixels, empty_scene, view
from PIL import Image


def test_faces_are_published_if_configured(
    make_device: Callable[..., Device],
    subscriber: Subscriber,
    portrait_files: dict[str, Path],
    collins: Pixels,
    hopper: Pixels,
) -> None:
    device = make_device(pace="camera", mqtt={"snapshot": True})
    device.enroll("Eileen", portrait_files["collins"])
    wall = [empty_scene()] * 25
    device.camera.show([*wall, *[view(collins, i) for i in range(10)] * 3, *wall])
    device.camera.show([*[view(hopper, i) for i in range(10)] * 3, *wall])
    device.start()
    assert device.ends() == 0
    expected = ["match", "gone", "unknown", "gone"]
    assert [h.json["event_type"] for h in subscriber.wait("/event", len(expected))] == expected
    pictures = subscriber.on("/snapshot")
    assert len(pictures) == 2
    shown = [h.json for h in subscriber.on("/snapshot/about")]
    events = [h.json["event_id"] for h in subscriber.on("/event") if h.json["event_type"] in ("match", "unknown")]
    assert [s["event_id"] for s in shown] == events
    assert shown[0]["name"] == "Eileen"
    for heard in pictures:
        picture = Image.open(io.BytesIO(heard.payload))
        assert (picture.format, picture.size, picture.mode) == ("JPEG", (112, 112), "RGB")
        assert (heard.qos, heard.retain) == (0, False)
    assert not any(b"JFIF" in path.read_bytes() for path in device.state.iterdir())
