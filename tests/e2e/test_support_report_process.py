"""`support-report` beside a running daemon: its state and trends, counts of its tracks, and nobody's name."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

from device import Device
from mosquitto import Subscriber
from pictures import Pixels, view


def test_the_state_of_a_running_daemon_is_reported_without_a_name(
    make_device: Callable[..., Device],
    subscriber: Subscriber,
    short_path: Path,
    portrait_files: dict[str, Path],
    collins: Pixels,
) -> None:
    device = make_device(pace="camera", fps=20)
    device.enroll("Eileen Collins", portrait_files["collins"])
    device.camera.show([view(collins, i) for i in range(12)] * 60)
    device.start()
    device.wait(lambda: subscriber.on("/match/eileen-collins"), "a match")
    report = short_path / "report.tar.gz"
    device.call("support-report", str(report))
    with tarfile.open(report) as archive:
        parts = {Path(m.name).name: archive.extractfile(m).read().decode() for m in archive if m.isfile()}  # type: ignore[union-attr]
    health, tracks = json.loads(parts["health.json"]), json.loads(parts["tracks.json"])
    assert (health["state"], health["broker"], health["present"]["identities"]) == ("running", "online", 1)
    assert health["trends"]["threads"]["last"] > 1 and health["trends"]["threads"]["per_hour"] is None
    assert tracks["tracks"] == 1 and [list(kinds) for kinds in tracks["events"].values()] == [["match"]]
    everything = "\n".join(parts.values()).lower()
    assert "eileen" not in everything and "collins" not in everything and str(short_path) not in everything
    assert device.stop() == 0
