"""Thousands of events through hundreds of broker faults; counts by the subscriber's log what became of each.

A publisher process commits events at a fixed rate and notes each one after commit() returned. A proxy breaks its
connection to a real mosquitto, mosquitto is restarted, and the publisher is killed (SIGKILL), in random order. The
subscriber is connected directly, with a session that outlives the broker's restarts, and logs what it hears.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "mqtt")]

import paho.mqtt.client as paho  # noqa: E402
from fault_proxy import KINDS, FaultProxy  # noqa: E402
from jsonschema import Draft202012Validator  # noqa: E402
from mosquitto import MOSQUITTO, Mosquitto  # noqa: E402
from mqtt_parts import BODIES, event, wait_until  # noqa: E402
from paho.mqtt import __version__ as paho_version  # noqa: E402
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion  # noqa: E402
from paho.mqtt.packettypes import PacketTypes  # noqa: E402
from paho.mqtt.properties import Properties  # noqa: E402

from edge_oneshot.config import MqttConfig  # noqa: E402
from edge_oneshot.events import schema  # noqa: E402
from edge_oneshot.events.outbox import Outbox  # noqa: E402
from edge_oneshot.mqtt.client import MqttLink  # noqa: E402
from edge_oneshot.mqtt.shared import Limits  # noqa: E402

# Shorter than the daemon's, so that 200 faults take minutes and not hours.
LIMITS = Limits(ack_timeout_s=1.5, connack_s=2.0, backoff_base_s=0.1, backoff_max_s=1.0, stable_s=0.5, session_expiry_s=2)
ALL_KINDS = (*KINDS, "restart_broker", "kill_publisher")
STALE_S = 3.0


def publisher(port: int, outbox_path: Path, journal: Path, total: int, rate: float, bound: int) -> None:
    """Commit events until the journal has `total`, then wait for an empty outbox and print the last status."""
    done = len(journal.read_text().split()) if journal.exists() else 0
    box = Outbox(outbox_path, max_events=bound)
    link = MqttLink(MqttConfig(host="127.0.0.1", port=port), "porch", box, limits=LIMITS)
    link.start()
    kinds = list(BODIES)
    with journal.open("a") as notes:
        next_at = time.monotonic()
        for number in range(done, total):
            e = event(kinds[number % len(kinds)])
            if not box.commit(e):
                raise SystemExit("the disk did not take an event")
            notes.write(e.event_id + "\n")
            notes.flush()
            link.wake()
            next_at = max(next_at + 1 / rate, time.monotonic() - 1.0)
            time.sleep(max(0.0, next_at - time.monotonic()))
    while box.status().depth:
        time.sleep(0.05)
    status = box.status()
    link.stop()
    box.close()
    print(json.dumps({"overflow": status.dropped_overflow, "age": status.dropped_age}), flush=True)


class Log:
    """The subscriber. Its session outlives the broker's restarts, so that whatever the broker took arrives here."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[float, str, bool, dict[str, Any]]] = []
        self.connected = threading.Event()
        self._port = port
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="the-log", protocol=MQTTProtocolVersion.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda c, *_: c.subscribe("edge-oneshot/#", qos=1)
        self._client.on_subscribe = lambda *_: self.connected.set()
        self._client.on_disconnect = lambda *_: self.connected.clear()
        self._client.on_message = self._note

    def _note(self, client: Any, userdata: Any, m: Any) -> None:
        if m.topic.rsplit("/", 1)[1] != "availability":
            self.heard.append((time.time(), m.topic, bool(m.retain), json.loads(m.payload)))

    def start(self) -> None:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 86400
        self._client.connect("127.0.0.1", self._port, clean_start=False, properties=properties)
        self._client.loop_start()
        assert self.connected.wait(10)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Run:
    """One publisher, one broker, one log."""

    def __init__(self, folder: Path, total: int, rate: float, bound: int = 1_000_000) -> None:
        self.folder, self.total, self.rate, self.bound = folder, total, rate, bound
        keep = f"persistence true\npersistence_location {folder}/\nmax_queued_messages 0\nautosave_interval 0"
        self.broker = Mosquitto(folder / "broker", keep)
        self.log = Log(self.broker.port)
        self.journal = folder / "journal"
        self.child: subprocess.Popen[bytes] | None = None
        self.faults: Counter[str] = Counter()
        self.idle: Counter[str] = Counter()

    def spawn(self, port: int) -> None:
        options = [port, self.folder / "outbox.sqlite", self.journal, self.total, self.rate, self.bound]
        self.child = subprocess.Popen([sys.executable, __file__, "--publisher", *map(str, options)], stdout=subprocess.PIPE)

    def committed(self) -> list[str]:
        return self.journal.read_text().split() if self.journal.exists() else []

    def fault(self, kind: str, proxy: FaultProxy, seconds: float) -> None:
        before = proxy.hits
        if kind == "kill_publisher":
            assert self.child is not None and self.child.stdout is not None
            if self.child.poll() is not None:
                return
            self.child.send_signal(signal.SIGKILL)
            self.child.wait()
            self.child.stdout.close()
            self.spawn(proxy.port)
            proxy.hits += 1
        elif kind == "restart_broker":
            proxy.fault = "refuse"
            self.broker.stop()
            self.log.connected.clear()
            time.sleep(seconds)
            self.broker.start()
            assert self.log.connected.wait(30), "the log is not back"
            proxy.hits += 1
        else:
            proxy.fault = kind
            time.sleep(seconds)
            end = time.monotonic() + 5
            while proxy.hits == before and time.monotonic() < end:
                time.sleep(0.01)
        proxy.fault = ""
        (self.faults if proxy.hits > before else self.idle)[kind] += 1

    def finish(self) -> dict[str, int]:
        assert self.child is not None
        out, _ = self.child.communicate(timeout=600)
        assert self.child.returncode == 0, "the publisher failed"
        time.sleep(1.0)  # what the broker has is on its way to the log
        return dict(json.loads(out))


def under_fire(folder: Path, total: int, count: int, rate: float, rng: random.Random) -> Run:
    run = Run(folder, total, rate)
    run.broker.start()
    run.log.start()
    with FaultProxy(run.broker.port) as proxy:
        run.spawn(proxy.port)
        plan = [ALL_KINDS[i % len(ALL_KINDS)] for i in range(count)]
        rng.shuffle(plan)
        for number, kind in enumerate(plan, start=1):
            due = int(total * number / (count + 2))
            wait_until(lambda n=due: len(run.committed()) >= n, f"{due} events to be committed", 600)
            run.fault(kind, proxy, rng.uniform(0.2, 3.0))
            if number % 20 == 0:
                print(f"{number} faults, {len(run.committed())} events", file=sys.stderr, flush=True)
        run.dropped = run.finish()  # type: ignore[attr-defined]
    run.log.stop()
    run.broker.stop()
    return run


def overflow(folder: Path) -> dict[str, int]:
    """300 events at a broker that is away, with room for 100: 200 are dropped by policy, the newest 100 arrive."""
    run = Run(folder, 300, 1000.0, bound=100)
    run.broker.start()
    run.log.start()
    with FaultProxy(run.broker.port) as proxy:
        proxy.fault = "refuse"
        run.spawn(proxy.port)
        wait_until(lambda: len(run.committed()) == 300, "300 events", 60)
        proxy.fault = ""
        dropped = run.finish()
    run.log.stop()
    run.broker.stop()
    ids = run.committed()
    got = {m["event_id"] for _, topic, _, m in run.log.heard if topic.endswith("/event")}
    return {"committed": len(ids), "delivered": len(got), "dropped": dropped["overflow"], "lost": len(set(ids[200:]) - got)}


def judge(run: Run) -> dict[str, int]:
    """What became of each event, by the log."""
    ids = run.committed()
    known = set(ids)
    validator = Draft202012Validator(schema.load("event-v1"))
    copies: dict[str, list[dict[str, Any]]] = {}
    triggers: set[str] = set()
    stale = 0
    for at, topic, _, message in run.log.heard:
        if topic.endswith("/event"):
            copies.setdefault(message["event_id"], []).append(message)
        else:
            triggers.add(message["event_id"])
        stale += not message["late"] and at - datetime.fromisoformat(message["ts"]).timestamp() > STALE_S
    firsts = [i for i in copies if i in known]
    place = {event_id: number for number, event_id in enumerate(ids)}
    wanted = {i for i in known & copies.keys() if copies[i][0]["event_type"] in ("match", "unknown")}
    dropped = sum(run.dropped.values())  # type: ignore[attr-defined]
    return {
        "committed": len(ids),
        "delivered": len(known & copies.keys()),
        "delivered more than once": sum(len(c) > 1 for c in copies.values()),
        "of these, with a last copy that says late": sum(len(c) > 1 and c[-1]["late"] for c in copies.values()),
        "late in the first copy": sum(c[0]["late"] for c in copies.values()),
        "dropped by policy": dropped,
        "lost": len(known - copies.keys()) - dropped,
        "matches and unknowns without their trigger": len(wanted - triggers),
        "delivered, but killed before they were noted as committed": len(copies.keys() - known),
        "out of order (first copies)": sum(place[a] > place[b] for a, b in itertools.pairwise(firsts)),
        "a later copy that says fresher than an earlier one": sum(
            any(a["late"] and not b["late"] for a, b in itertools.pairwise(c)) for c in copies.values()),
        "came retained": sum(retain for _, _, retain, _ in run.log.heard),
        "do not fit the schema": sum(not validator.is_valid(m) for _, _, _, m in run.log.heard),
        f"copies that say fresh and arrived more than {STALE_S:g} s after capture": stale,
    }


def report(run: Run, result: dict[str, int], full: dict[str, int], seconds: float, options: argparse.Namespace) -> str:
    version = subprocess.run([MOSQUITTO, "-h"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
    rows = "\n".join(f"| {name} | {number} |" for name, number in result.items())
    kinds = "\n".join(f"| {kind} | {run.faults[kind]} |" for kind in ALL_KINDS)
    return f"""# Events under broker faults

Written by `scripts/faults --events {options.events} --faults {options.faults} --rate {options.rate:g} --seed {options.seed}`
on {datetime.now(UTC):%Y-%m-%d}: {seconds:.0f} s, {version}, paho-mqtt {paho_version}, Python {platform.python_version()},
{platform.machine()}.

A publisher process commits events through the outbox at a fixed rate. A proxy before a real mosquitto breaks its
connection, mosquitto is restarted, the publisher is killed with SIGKILL, each for 0.2 to 3 s. Counted by the log of a
subscriber that is connected directly. The link's times are shortened: acknowledgement {LIMITS.ack_timeout_s:g} s,
back-off at most {LIMITS.backoff_max_s:g} s.

| events | |
|---|---|
{rows}

| fault | times it did something |
|---|---|
{kinds}
| all | {sum(run.faults.values())} |

Built to overflow: {full["committed"]} events while the broker is away and room for 100: {full["delivered"]} delivered,
{full["dropped"]} dropped by policy, {full["lost"]} lost.

A copy that says fresh and arrived late had been handed over in time and was held up in the network. `expires_at` is
there for that: a consumer that checks it does not act.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--rate", type=float, default=18.0, help="events per second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "mqtt-faults.md")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run = under_fire(Path(folder) / "fire", options.events, options.faults, options.rate, random.Random(options.seed))
        result = judge(run)
        full = overflow(Path(folder) / "overflow")
    text = report(run, result, full, time.monotonic() - started, options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    print(text)
    must_be_zero = ("lost", "dropped by policy", "matches and unknowns without their trigger", "came retained", "do not fit the schema",
                    "a later copy that says fresher than an earlier one", "out of order (first copies)")
    bad = [name for name in must_be_zero if result[name]]
    if full["lost"] or full["dropped"] != 200:
        bad.append("overflow")
    print(f"not zero: {', '.join(bad)}" if bad else "as it must be", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    if sys.argv[1:2] == ["--publisher"]:
        port, outbox_path, journal, total, rate, bound = sys.argv[2:]
        publisher(int(port), Path(outbox_path), Path(journal), int(total), float(rate), int(bound))
    else:
        sys.exit(main())
