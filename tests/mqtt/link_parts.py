"""Waiting for a link and its outbox, and a process with a link of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mqtt_parts import wait_until

from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt.client import MqttLink

MakeLink = Callable[..., MqttLink]
CONNACK = b"\x20\x03\x00\x00\x00"  # MQTT 5: accepted


def until(link: MqttLink, state: str) -> None:
    wait_until(lambda: link.status().state == state, f"state {state}, got {link.status()}")


def empty(outbox: Outbox) -> None:
    wait_until(lambda: outbox.events.status().depth == 0, f"an empty outbox, got {outbox.events.status()}")


def publisher(port: int, path: Path, then: str) -> subprocess.Popen[bytes]:
    """A process with a link of its own; returns when it has done `then`."""
    code = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from mqtt_parts import QUICK, event, wait_until
from edge_oneshot.config import MqttConfig
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt.client import MqttLink
outbox = Outbox(Path({str(path)!r}))
link = MqttLink(MqttConfig(host="127.0.0.1", port={port}), "porch", outbox, limits=QUICK)
{then}
print("done", flush=True)
time.sleep(600)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"done\n"
    child.stdout.close()
    return child
