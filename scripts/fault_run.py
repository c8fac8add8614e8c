"""What scripts/faults.py runs: a publisher process, a proxy that witnesses, a subscriber that logs, a real mosquitto."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from socket import socket
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "mqtt")]

import paho.mqtt.client as paho  # noqa: E402
from fault_proxy import CONNECT, KINDS, PUBACK, PUBLISH, FaultProxy  # noqa: E402
from mosquitto import Mosquitto  # noqa: E402
from mqtt_parts import BODIES, event  # noqa: E402
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion  # noqa: E402
from paho.mqtt.packettypes import PacketTypes  # noqa: E402
from paho.mqtt.properties import Properties  # noqa: E402

from edge_oneshot.config import MqttConfig  # noqa: E402
from edge_oneshot.control.responses import People  # noqa: E402
from edge_oneshot.events.outbox import Outbox  # noqa: E402
from edge_oneshot.mqtt.client import MqttLink  # noqa: E402
from edge_oneshot.mqtt.commands import MqttRequests  # noqa: E402
from edge_oneshot.mqtt.shared import Limits  # noqa: E402

# Shorter than the daemon's, so that 200 faults take minutes and not hours.
LIMITS = Limits(
    ack_timeout_s=1.5, connack_s=2.0, backoff_base_s=0.1, backoff_max_s=1.0, stable_s=0.5, session_expiry_s=2
)
ALL_KINDS = (*KINDS, "restart_broker", "kill_publisher")
B = "edge-oneshot/porch"


def publisher(port: int, folder: Path, total: int, rate: float, bound: int) -> None:
    """Commit events until the journal has `total`, then wait for an empty outbox and print the last status.

    Answers requests meanwhile. A process that starts in the second half signs, if there is a key.
    """
    journal, key = folder / "journal", folder / "key"
    done = len(journal.read_text().split()) if journal.exists() else 0
    box = Outbox(folder / "outbox.sqlite", max_events=bound)
    signs = key.exists() and done >= total // 2
    link = MqttLink(
        MqttConfig(host="127.0.0.1", port=port, sign_key_file=str(key) if signs else ""), "porch", box, limits=LIMITS
    )
    door = MqttRequests(link)

    def serve() -> None:
        while (request := door.next_request()) is not None:
            request.finish(People(identities=[]))
        door.next_request()  # sends the answers

    link.start()
    kinds = list(BODIES)
    with journal.open("a") as notes:
        next_at = time.monotonic()
        for number in range(done, total):
            e = event(kinds[number % len(kinds)])
            if not box.events.commit(e):
                raise SystemExit("the disk did not take an event")
            notes.write(e.event_id + "\n")
            notes.flush()
            link.wake()
            serve()
            next_at = max(next_at + 1 / rate, time.monotonic() - 1.0)
            time.sleep(max(0.0, next_at - time.monotonic()))
    while box.events.status().depth:
        serve()
        time.sleep(0.05)
    status = box.events.status()
    link.stop()
    box.close()
    print(json.dumps({"overflow": status.dropped_overflow, "age": status.dropped_age}), flush=True)


class Witness(FaultProxy):
    """Notes what the publisher handed over and what the broker acknowledged, by the packets themselves."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self.handed: list[tuple[str, bool]] = []  # event_id, late: of each whole PUBLISH on <b>/event
        self.acknowledged: set[str] = set()  # event ids whose copy on <b>/event the broker acknowledged with success
        self._v5: dict[socket, bool] = {}
        self._flying: dict[tuple[socket, int], str] = {}

    def _forward(self, packet: bytes, to: socket, from_broker: bool, client: socket) -> bool:
        kind = packet[0] >> 4
        if kind == CONNECT and not from_broker:
            self._v5[client] = packet[packet.index(b"MQTT") + 4] == 5
        elif kind == PUBLISH and not from_broker:
            topic, number, payload = parse_publish(packet, self._v5[client])
            if topic == f"{B}/event":
                message = json.loads(payload)
                self.handed.append((message["event_id"], message["late"]))
                self._flying[client, number] = message["event_id"]
        elif kind == PUBACK and from_broker:
            number = int.from_bytes(packet[2:4], "big")
            success = packet[1] == 2 or packet[4] < 0x80
            if success and (client, number) in self._flying:
                self.acknowledged.add(self._flying[client, number])
        return super()._forward(packet, to, from_broker, client)


def parse_publish(packet: bytes, v5: bool) -> tuple[str, int, bytes]:
    """Topic, packet identifier and payload of a PUBLISH with QoS 1."""
    at = 1
    while packet[at] & 128:
        at += 1
    at += 1
    length = int.from_bytes(packet[at : at + 2], "big")
    topic, at = packet[at + 2 : at + 2 + length].decode(), at + 2 + length
    number, at = int.from_bytes(packet[at : at + 2], "big"), at + 2
    if v5:
        size = shift = 0
        while True:
            size |= (packet[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if not packet[at - 1] & 128:
                break
        at += size
    return topic, number, packet[at:]


class Log:
    """The subscriber, connected to the broker directly. Its session outlives the broker's restarts and its own absence."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[float, str, bool, bytes]] = []  # when, topic, retain flag, payload: events
        self.asked = 0
        self.answers: list[Any] = []
        self.connected = threading.Event()
        self._port = port
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="the-log", protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda c, *_: c.subscribe(
            [(f"{B}/{t}", 1) for t in ("event", "match/#", "unknown", "response/#")]
        )
        self._client.on_subscribe = lambda *_: self.connected.set()
        self._client.on_disconnect = lambda *_: self.connected.clear()
        self._client.on_message = self._note

    def _note(self, client: Any, userdata: Any, m: Any) -> None:
        if "/response/" in m.topic:
            self.answers.append(json.loads(m.payload)["transaction"])
        else:
            self.heard.append((time.time(), m.topic, bool(m.retain), bytes(m.payload)))

    def start(self) -> None:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 86400
        self.connected.clear()
        self._client.connect("127.0.0.1", self._port, clean_start=False, properties=properties)
        self._client.loop_start()
        assert self.connected.wait(30)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def ask(self) -> None:
        """Send a request, if there is a broker now."""
        if self.connected.is_set():
            self._client.publish(f"{B}/request/list", json.dumps({"transaction": self.asked}), qos=1)
            self.asked += 1


class Run:
    """One publisher, one broker, one log. bound: of the outbox. saving: lines of mosquitto.conf on when it saves."""

    def __init__(
        self, folder: Path, total: int, rate: float, bound: int = 1_000_000, saving: str = "autosave_interval 0"
    ) -> None:
        self.folder, self.total, self.rate, self.bound = folder, total, rate, bound
        keep = f"persistence true\npersistence_location {folder}/\nmax_queued_messages 0\n{saving}"
        self.broker = Mosquitto(folder / "broker", keep)
        self.log = Log(self.broker.port)
        self.proxy = Witness(self.broker.port)
        self.child: subprocess.Popen[bytes] | None = None
        self.faults: Counter[str] = Counter()
        self.dropped = 0

    def __enter__(self) -> Run:
        self.broker.start()
        self.log.start()
        self.broker.signal(signal.SIGUSR1)  # saves the log's subscription: also a broker that is killed remembers it
        self.proxy.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        self.log.stop()
        self.proxy.__exit__()
        self.broker.stop()

    def spawn(self) -> None:
        options = [self.proxy.port, self.folder, self.total, self.rate, self.bound]
        script = Path(__file__).with_name("faults.py")
        self.child = subprocess.Popen(
            [sys.executable, script, "--publisher", *map(str, options)], stdout=subprocess.PIPE
        )

    def committed(self) -> list[str]:
        journal = self.folder / "journal"
        return journal.read_text().split() if journal.exists() else []

    def fault(self, kind: str, seconds: float) -> None:
        before = self.proxy.hits
        if kind == "kill_publisher":
            assert self.child is not None and self.child.stdout is not None
            if self.child.poll() is not None:
                return
            self.child.send_signal(signal.SIGKILL)
            self.child.wait()
            self.child.stdout.close()
            self.spawn()
            self.proxy.hits += 1
        elif kind == "restart_broker":
            self.proxy.fault = "refuse"
            self.broker.stop()
            self.log.connected.clear()
            time.sleep(seconds)
            self.broker.start()
            assert self.log.connected.wait(30), "the log is not back"
            self.proxy.hits += 1
        elif kind == "kill_broker":
            self.broker.kill()
            self.log.connected.clear()
            time.sleep(seconds)
            self.broker.start()  # whoever comes first is served first: the publisher, or the log
            self.proxy.hits += 1
        else:
            self.proxy.fault = kind
            time.sleep(seconds)
            end = time.monotonic() + 5
            while self.proxy.hits == before and time.monotonic() < end:
                time.sleep(0.01)
        self.proxy.fault = ""
        self.faults[kind] += self.proxy.hits > before

    def finish(self) -> None:
        """Wait until the outbox is empty and the log has what the broker had."""
        assert self.child is not None
        out, _ = self.child.communicate(timeout=600)
        assert self.child.returncode == 0, "the publisher failed"
        self.dropped = sum(json.loads(out).values())
        assert self.log.connected.wait(30), "the log is not back"
        heard = -1
        while heard != len(self.log.heard):
            heard = len(self.log.heard)
            time.sleep(1.0)
