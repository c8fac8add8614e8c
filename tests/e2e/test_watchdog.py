"""The watchdog is fed in every state. test_daemon_process.py has the states running, paused and camera_lost, and a loop that hangs."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from device import COMMAND, Device
from mosquitto import Mosquitto, Subscriber
from pictures import empty_scene

MakeDevice = Callable[..., Device]
TURNS = 6  # of the loop, which waits for at most 0.2 s in each
# A disk of its own for the state, in a namespace of its own, full before the daemon starts.
FULL_DISK = 'mount -t tmpfs -o size=64k none "$0" && head -c 64k /dev/zero >"$0/rest" || true; exec "$@"'


def still_fed(device: Device) -> None:
    fed = device.notify.heard.count("WATCHDOG=1")
    device.wait(lambda: device.notify.heard.count("WATCHDOG=1") >= fed + TURNS, f"{TURNS} turns of the loop")


def test_it_is_fed_while_the_camera_shows_nothing(make_device: MakeDevice) -> None:
    device = make_device(pace="camera", fps=20)
    rng = np.random.default_rng(1)
    device.camera.show([rng.integers(0, 20, (480, 640, 3), np.uint8) for _ in range(8)] * 40)
    device.start()
    device.wait(lambda: device.status()["state"] == "camera_dark", "ten seconds of black pictures")
    still_fed(device)
    assert device.stop() == 0


def test_it_is_fed_without_a_broker(make_device: MakeDevice) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    device = make_device(pace="camera", mqtt={"port": port})
    device.camera.show([empty_scene()] * 300)
    device.start()
    device.wait(lambda: device.status()["broker"] == "unreachable", "the loss of the broker")
    still_fed(device)
    assert device.stop() == 0


def test_it_is_fed_on_a_full_disk(short_path: Path, broker: Mosquitto, subscriber: Subscriber) -> None:
    state = short_path / "state"
    state.mkdir()
    probe = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs none "$0"', str(state)]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace here")
    command = ["unshare", "-rm", "sh", "-c", FULL_DISK, str(state), *COMMAND]
    with Device(short_path, broker.port, pace="camera", command=command) as device:
        device.camera.show([empty_scene()] * 300)
        device.start()
        device.wait(lambda: subscriber.on("/health"), "health")
        found = device.wait(
            lambda: [h.json for h in subscriber.on("/health") if h.json["gallery"]["fault"]], "the fault"
        )
        assert "is full" in found[0]["gallery"]["fault"]
        still_fed(device)
        assert device.stop() == 0
