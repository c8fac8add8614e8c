"""Faults of the broker against a fleet: no person who was removed comes back, and all devices end with the same people.

    python -m benchmarks.fleet_faults [--faults 200] [--seed 1] [--out benchmarks/results/fleet_faults.json]

Two mosquittos, bridged in both directions, an office and a desk and a door on each side, real galleries. Between the faults people are
enrolled, changed and removed. After each fault all devices must settle; a device that has known of a removal and has the person in its
gallery again, at any step, is a resurrection. Faults: restart and kill -9 of either broker, an old store restored, an empty store, an
hour-old recording of all messages published again in random order, as by a bridge loop, a device cut off while both sides go on.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "mqtt")]

from fleet_site import Device, Site  # noqa: E402
from mosquitto import Mosquitto, Subscriber  # noqa: E402

SETTLE_S = 180.0


class Trial:
    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        stores = [folder / "a", folder / "b"]
        for store in stores:
            store.mkdir()
        kept = "persistence true\nautosave_interval 1\nmax_queued_messages 5000\npersistence_location {}/\n"
        main = Mosquitto(folder / "main", kept.format(stores[0])).start()
        bridge = (
            f"connection fleet\naddress 127.0.0.1:{main.port}\ntopic fleet/# both 1 edge-oneshot/ edge-oneshot/\n"
            "bridge_protocol_version mqttv50\nbridge_outgoing_retain true\ntry_private true\ncleansession false\n"
            "notifications false\nrestart_timeout 1 1\n"
        )
        self.brokers = [main, Mosquitto(folder / "site", kept.format(stores[1]) + bridge).start()]
        self.stores = [store / "mosquitto.db" for store in stores]
        self.backups: list[tuple[int, bytes]] = []
        self.site = Site(folder, main)
        self.desk = self.site.join("desk", "desk")
        self.gates = [self.site.join("gate-a"), self.site.join("gate-b")]
        for device in (self.desk, self.gates[1]):  # on the broker of the site
            device.link.close()
            device.port = self.brokers[1].port
            device.plug_in()
        self.operator = Subscriber(main.port, "edge-oneshot/fleet/#")
        self.operator.__enter__()
        self.next = 0
        self.gone: dict[str, set[str]] = {
            d.name: set() for d in self.site.devices
        }  # device -> people whose removal it knows
        self.removed: set[str] = set()
        self.resurrections: list[tuple[str, str]] = []
        self.counts: Counter[str] = Counter()

    def step(self) -> None:
        self.site.work()
        for device in self.site.devices:
            people, gone = device.people & self.removed, self.gone[device.name]
            self.resurrections += [(device.name, who) for who in people & gone]
            gone |= self.removed - people

    def steps(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step()

    def change(self) -> None:
        """Enroll two people, and remove one, at a desk of either side."""
        for _ in range(2):
            self.next += 1
            self.random.choice([self.site.office, self.desk]).enroll(f"p{self.next}")
        writer = self.random.choice([self.site.office, self.desk])
        people = sorted(writer.people - self.removed)
        if people:
            who = self.random.choice(people)
            self.removed.add(who)
            writer.remove(who)

    def settle(self) -> None:
        end = time.monotonic() + SETTLE_S
        devices = self.site.devices
        while True:
            self.step()
            same = (
                len({str(d.fleet.digests()) for d in devices}) == 1 and len({frozenset(d.people) for d in devices}) == 1
            )
            if same and not any(d.fleet.store.topics("due = 2 AND topic NOT GLOB 'state/*'") for d in devices):
                return
            if time.monotonic() > end:
                raise SystemExit(
                    f"no agreement: {[(d.name, len(d.people), d.link.fault) for d in devices]} {self.counts}"
                )

    # ---- faults

    def restart(self) -> None:
        self.random.choice(self.brokers).restart()

    def kill(self) -> None:
        broker = self.random.choice(self.brokers)
        broker.kill()
        broker.start()

    def restore(self) -> None:
        """A backup of the store of either broker, from some changes ago."""
        n = self.random.randrange(2)
        old = [data for which, data in self.backups if which == n]
        self.brokers[n].stop()
        self.backups = [*self.backups, (n, self.stores[n].read_bytes())][-12:]
        if old:
            self.stores[n].write_bytes(self.random.choice(old))
        self.brokers[n].start()

    def empty(self) -> None:
        n = self.random.randrange(2)
        self.brokers[n].kill()
        self.stores[n].unlink(missing_ok=True)
        self.brokers[n].start()

    def replay(self) -> None:
        """Old messages again, as a loop between bridges would send them."""
        recorded = [(h.topic, h.payload) for h in list(self.operator.heard) if "/state/" not in h.topic]
        for topic, payload in self.random.sample(recorded, min(150, len(recorded))):
            self.operator._client.publish(topic, payload, qos=1, retain=True)
        self.steps(0.5)

    def cut(self) -> None:
        device: Device = self.random.choice([self.desk, *self.gates])
        device.pull_out()
        self.change()
        self.steps(1.0)
        device.link.close()
        device.plug_in()

    def close(self) -> None:
        self.operator.__exit__(None)
        self.site.close()
        for broker in self.brokers:
            broker.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    with tempfile.TemporaryDirectory(prefix="eo-") as folder:
        trial = Trial(Path(folder), arguments.seed)
        faults: list[Callable[[], None]] = [
            trial.restart,
            trial.kill,
            trial.restore,
            trial.empty,
            trial.replay,
            trial.cut,
        ]
        slowest = 0.0
        for number in range(arguments.faults):
            fault = trial.random.choice(faults)
            trial.counts[fault.__name__] += 1
            trial.change()
            trial.steps(trial.random.uniform(0.0, 0.3))
            fault()
            trial.change()
            started = time.monotonic()
            trial.settle()
            slowest = max(slowest, time.monotonic() - started)
            print(number + 1, fault.__name__, f"{time.monotonic() - started:.1f} s", len(trial.removed), flush=True)
            if trial.resurrections:
                raise SystemExit(f"resurrections: {trial.resurrections}")
        result: dict[str, Any] = {
            "commit": commit.stdout.strip(),
            "faults": dict(trial.counts),
            "people_enrolled": trial.next,
            "people_removed": len(trial.removed),
            "resurrections": len(trial.resurrections),
            "slowest_agreement_s": round(slowest, 1),
        }
        trial.close()
    print(json.dumps(result))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
