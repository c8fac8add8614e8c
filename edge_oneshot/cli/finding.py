"""What `edge-oneshot setup` looks for on the network: brokers, and Home Assistant."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

MQTT_PORT, HOME_ASSISTANT_PORT = 1883, 8123
USUAL_HOSTS = ("localhost", "homeassistant.local", "homeassistant", "mosquitto.local")
LOOK_S = 2.0


def find_brokers(hosts: tuple[str, ...] = USUAL_HOSTS) -> list[tuple[str, int]]:
    """(host, port) of each broker that accepts connections: those of mDNS, this device, Home Assistant's usual names."""
    places = dict.fromkeys([*((host, MQTT_PORT) for host in hosts), *_announced()])
    with ThreadPoolExecutor(len(places)) as pool:
        return [place for place, there in zip(places, pool.map(lambda p: answers(*p), places), strict=True) if there]


def _announced() -> list[tuple[str, int]]:
    """What mDNS announces as _mqtt._tcp, where avahi-browse is installed."""
    if shutil.which("avahi-browse") is None:
        return []
    command = ["avahi-browse", "--resolve", "--parsable", "--terminate", "_mqtt._tcp"]
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
        rows = [line.split(";") for line in done.stdout.splitlines() if line.startswith("=")]
        return [(row[6], int(row[8])) for row in rows if len(row) > 8]
    return []


def answers(host: str, port: int) -> bool:
    """Whether a server accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=LOOK_S):
            return True
    except OSError:
        return False


def home_assistant_at(host: str) -> bool:
    """Whether Home Assistant seems to run beside this broker."""
    return host.startswith("homeassistant") or answers(host, HOME_ASSISTANT_PORT)
