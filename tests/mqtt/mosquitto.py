"""A real mosquitto process on a free loopback port, and a subscriber that stores each message."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from mqtt_parts import wait_until
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Mosquitto:
    """`start`, `stop`, `kill`, `restart`; the port stays the same. config: lines added to a plain listener."""

    def __init__(self, folder: Path, config: str = "", listener: bool = True, anonymous: bool = True) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", f"allow_anonymous {str(anonymous).lower()}"] if listener else []
        if os.geteuid() == 0:
            lines.append("user root")  # otherwise it drops root and cannot read the test's files
        self._config.write_text("\n".join([*lines, config, ""]).replace("{PORT}", str(self.port)))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Mosquitto:
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen([MOSQUITTO, "-v", "-c", str(self._config)], stdout=log, stderr=log)
        wait_until(self._listens, f"mosquitto on {self.port}: {self.log()[-2000:]}")
        return self

    def _listens(self) -> bool:
        assert self._process is not None and self._process.poll() is None, f"mosquitto ended: {self.log()[-2000:]}"
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self) -> str:
        return (self.folder / "mosquitto.log").read_text(errors="replace")

    def signal(self, number: int) -> None:
        """SIGHUP: read ACL and password files again. SIGUSR1: save the persistent state."""
        assert self._process is not None
        self._process.send_signal(number)

    def reload(self) -> None:
        self.signal(signal.SIGHUP)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)
        self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()


def passwords(folder: Path, **users: str) -> Path:
    """A mosquitto password file."""
    path = folder / "passwords"
    folder.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    for name, password in users.items():
        subprocess.run(["mosquitto_passwd", "-b", str(path), name, password], check=True, capture_output=True)
    return path


@dataclass(frozen=True)
class Heard:
    topic: str
    payload: bytes
    retain: bool
    properties: dict[str, Any] = field(default_factory=dict)
    qos: int = 0

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.payload)


class Subscriber:
    """Stores each message below `topic`; reconnects when the broker restarts. A context manager."""

    def __init__(self, port: int, topic: str = "#", host: str = "127.0.0.1", **login: str) -> None:
        self.heard: list[Heard] = []
        self.subscriptions = 0
        self._topic, self._address = topic, (host, port)
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        if login:
            self._client.username_pw_set(login["username"], login["password"])
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> Subscriber:
        self._client.connect(*self._address)
        self._client.loop_start()
        assert self._ready.wait(10), "not subscribed"
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        assert not reason.is_failure, str(reason)
        client.subscribe(self._topic, qos=1)

    def _on_subscribe(self, *args: Any) -> None:
        self.subscriptions += 1
        self._ready.set()

    def _on_message(self, client: Any, userdata: Any, m: Any) -> None:
        self.heard.append(Heard(m.topic, bytes(m.payload), m.retain, dict(m.properties.json()), m.qos))

    def on(self, suffix: str) -> list[Heard]:
        """The messages on topics that end with `suffix`, in order."""
        return [h for h in list(self.heard) if h.topic.endswith(suffix)]

    def wait(self, suffix: str, count: int = 1, timeout_s: float = 30.0) -> list[Heard]:
        return wait_until(
            lambda: (h := self.on(suffix)) if len(self.on(suffix)) >= count else None,
            f"{count} messages on …{suffix}, got {[h.topic for h in self.heard]}",
            timeout_s,
        )
