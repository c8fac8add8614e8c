"""A real daemon and a real broker on a sealed device: it recognizes, and its state folder names no one while it runs and after."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from device import Device
from mosquitto import Subscriber
from pictures import Pixels, empty_scene, view

from edge_oneshot.config import load_config
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.storage.keys import Keys


def test_a_sealed_device_recognizes_and_names_no_one_on_the_disk(
    make_device: Callable[..., Device],
    subscriber: Subscriber,
    portrait_files: dict[str, Path],
    collins: Pixels,
    tmp_path: Path,
) -> None:
    key = tmp_path / "gallery.key"
    device = make_device(pace="camera", fps=20, gallery={"key_file": str(key)})
    device.call("gallery", "seal")
    device.enroll("Canary Eileen", portrait_files["collins"])
    config = load_config(device.config)
    with Gallery(config.gallery_path, Keys(key)) as gallery:
        (template,) = gallery.templates()
        assert template.identity_id == "canary-eileen"
    raw = template.embedding.vector.astype("<f4").tobytes()
    canaries = [b"anary", raw[:16], raw[400:416], base64.b64encode(raw)[:24]]

    def leaks() -> list[str]:
        files = [p for p in device.state.rglob("*") if p.is_file()]
        return [p.name for p in files if any(c in p.read_bytes() for c in canaries)]

    device.camera.show([*[empty_scene()] * 5, *(view(collins, i) for i in range(400))])
    device.start()
    subscriber.wait("/match/canary-eileen", 1)
    status = json.loads(device.call("status", "--json"))
    assert status["sealed"] and set(status["set_aside"].values()) == {0}
    assert leaks() == []
    assert device.stop() == 0
    files = {p.name for p in device.state.glob("*.sqlite")}
    assert leaks() == [] and files >= {"gallery.sqlite", "outbox-front.sqlite", "explain-front.sqlite"}
    assert "canary-eileen" in device.call("explain", "--last", "10m")
    key.rename(key.with_suffix(".gone"))
    done = subprocess.run(
        [*device.command, "run"], capture_output=True, text=True, timeout=120, check=False, env=device.environment
    )
    assert (
        done.returncode == 78
        and f"there is no key at {key}" in done.stderr
        and "restore the key from your backup" in done.stderr
    )
