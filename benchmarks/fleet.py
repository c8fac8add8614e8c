"""A fleet of many doors on one real mosquitto: the real fleet, agent and link of each door, without cameras and galleries.

    python -m benchmarks.fleet [--doors 1000] [--people 1000] [--processes 2] [--changes 20] [--out benchmarks/results/fleet.json]

The doors are spread over some processes, each with one thread that polls the sockets of all its doors. Measured, from the call at
the desk (CLOCK_MONOTONIC, the same in all processes) until the person is in force, or not any more, at each door: enrollment,
removal, a revocation of a desk. Then the cold join of one more door, a restart of the broker, and a partition of half of the doors.
The people have one template of 192 values each. What is verified and stored is what a real door verifies and stores.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "mqtt")]

from mosquitto import Mosquitto  # noqa: E402
from samples import ENCODER, QUALITY  # noqa: E402

from benchmarks.fleet_doors import Door, worker  # noqa: E402
from edge_oneshot.fleet.fleet import Fleet, Joining  # noqa: E402
from edge_oneshot.storage.database import IN_MEMORY  # noqa: E402
from edge_oneshot.types import Embedding, Identity, Template  # noqa: E402


class Simulation:
    def __init__(self, folder: Path, doors: int, people: int, processes: int) -> None:
        self.count, self.people_count, self.processes = doors, people, processes
        # One subscription to the member records brings one message for each door.
        lines = (
            f"max_queued_messages {doors + 1000}\npersistence true\nautosave_interval 5\npersistence_location {folder}/"
        )
        self.broker = Mosquitto(folder / "broker", lines).start()
        self.office, self.code = Fleet.found(IN_MEMORY, name="sim", device_name="office")
        self.desk = Door(self.office, self.broker.port, "office")
        self.thief = self._admit("thief", "desk")
        self.pipes: list[Connection] = []
        self.children: list[multiprocessing.Process] = []
        self.rng = np.random.default_rng(1)

    def _admit(self, name: str, role: str) -> Fleet:
        joining, answer = self._answer(name, role)
        return joining.finish(IN_MEMORY, answer, name="sim")

    def _answer(self, name: str, role: str) -> tuple[Joining, bytes]:
        joining = Joining(self.office.invite(role, name))
        return joining, self.office.answer(joining.place, joining.request)

    def start_doors(self) -> None:
        with self.office.batch():
            joins = [(f"door-{n}", *self._answer(f"door-{n}", "door")) for n in range(self.count)]
        context = multiprocessing.get_context("fork")
        for n in range(self.processes):
            mine, theirs = context.Pipe()
            child = context.Process(
                target=worker, args=(joins[n :: self.processes], self.broker.port, theirs), daemon=True
            )
            child.start()
            self.pipes.append(mine)
            self.children.append(child)

    def enroll(self, names: list[str]) -> None:
        with self.office.batch():
            for name in names:
                self.office.enroll(Identity(identity_id=name, name=name.title()), [self.template(name)])

    def template(self, name: str) -> Template:
        vector = self.rng.normal(size=192).astype(np.float32)
        return Template(
            template_id=f"{name}-1",
            identity_id=name,
            embedding=Embedding(vector=vector / np.linalg.norm(vector), encoder_id=ENCODER),
            quality=QUALITY,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        )

    # ---- driving

    def work(self, seconds: float = 0.0) -> None:
        end = time.monotonic() + seconds
        while True:
            self.desk.link.wait(0.005)
            self.desk.agent.work()
            if time.monotonic() >= end:
                return

    def ask(self, *command: Any) -> list[Any]:
        for pipe in self.pipes:
            pipe.send(command)
        answers = []
        for pipe in self.pipes:
            while not pipe.poll():
                self.work()
            answers.append(pipe.recv())
        return answers

    def until(self, condition: Callable[[], bool], what: str, limit_s: float) -> float:
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > limit_s:
                raise SystemExit(
                    f"waited {limit_s:g} s for: {what}; {[{**s, 'digests': len(s['digests'])} for s in self.states()]}"
                )
            self.work(0.5)
        return time.monotonic() - started

    def states(self) -> list[dict[str, Any]]:
        return self.ask("state")

    def equal(self) -> bool:
        digests = {d for state in self.states() for d in state["digests"]}
        return digests == {str(self.office.digests())} and not self.office.store.topics(
            "due > 0 AND topic NOT GLOB 'state/*'"
        )

    def spread(self, subject: str, present: bool, act: Callable[[], None], limit_s: float = 120.0) -> list[float]:
        """Seconds from `act` until the person is in force (or not) at each door."""
        for pipe in self.pipes:
            pipe.send(("watch", subject, present))
        self.work(0.3)
        started = time.monotonic()
        act()
        seen: dict[str, float] = {}
        while len(seen) < self.count and time.monotonic() - started < limit_s:
            self.work(0.05)
            if int((time.monotonic() - started) * 4) % 2 == 0 or time.monotonic() - started > 1:
                seen = {k: v for part in self.ask("seen") for k, v in part.items()}
        return sorted(at - started for at in seen.values())

    def memory_mb(self) -> float:
        process = self.broker._process
        assert process is not None
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1000

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.send(("stop",))
        for child in self.children:
            child.join(10)
            if child.is_alive():
                child.kill()
        self.broker.stop()


def percentiles(values: list[float], expected: int) -> dict[str, float]:
    if not values:
        return {"n": 0, "missing": expected}
    p = np.percentile(values, [50, 99])
    return {
        "n": len(values),
        "missing": expected - len(values),
        "p50_s": round(float(p[0]), 3),
        "p99_s": round(float(p[1]), 3),
        "max_s": round(values[-1], 3),
    }


def measure(s: Simulation, changes: int) -> Iterator[tuple[str, Any]]:
    s.enroll([f"person-{n}" for n in range(s.people_count)])
    filled = s.until(
        lambda: bool(s.desk.link.online) and not s.office.store.topics("due > 0"), "the desk publishes all", 1200
    )
    yield "desk_publishes_all_s", round(filled, 1)
    s.start_doors()
    yield "all_doors_cold_s", round(s.until(s.equal, "all doors have everybody", 3000), 1)
    received = sum(state["received"] for state in s.states())
    yield "bytes_per_door_cold", received // s.count
    yield "broker_mb", s.memory_mb()
    enrollments: list[float] = []
    removals: list[float] = []
    for n in range(changes):
        name = f"new-{n}"
        enrollments += s.spread(s.office.subject(name), True, lambda name=name: s.enroll([name]))  # type: ignore[misc]
        removals += s.spread(s.office.subject(name), False, lambda name=name: s.office.remove(name))  # type: ignore[misc]
    yield "enrollment", percentiles(sorted(enrollments), changes * s.count)
    yield "removal", percentiles(sorted(removals), changes * s.count)
    # A desk that was stolen has enrolled a person whom its revocation does not keep.
    s.thief.enroll(Identity(identity_id="mallory", name="Mallory"), [s.template("mallory")])
    stolen = Door(s.thief, s.broker.port, "thief")
    end = time.monotonic() + 60
    while not s.office.person_row(s.office.subject("mallory")) and time.monotonic() < end:
        stolen.link.wait(0.005)
        stolen.agent.work()
        s.work()
    stolen.link.close()
    s.work(5)
    revoked = s.spread(
        s.office.subject("mallory"),
        False,
        lambda: s.office.revoke(s.thief.device_id, since_ms=s.office.clock.now_ms() - 120_000, rotate=False),
    )
    yield "revocation", percentiles(revoked, s.count)
    before = sum(state["received"] for state in s.states())
    s.broker.kill()
    s.broker.start()
    online = s.until(lambda: sum(st["online"] for st in s.states()) == s.count, "all doors are online", 300)
    yield "restart_all_online_s", round(online, 1)
    yield "restart_equal_s", round(s.until(s.equal, "equal after the restart", 600), 1)
    yield "restart_bytes_per_door", (sum(state["received"] for state in s.states()) - before) // s.count
    for pipe in s.pipes:
        pipe.send(("cut", 0.5, 1))
    s.work(2)
    s.enroll([f"late-{n}" for n in range(50)])
    for n in range(50):
        s.office.remove(f"person-{n}")
    s.work(5)
    for pipe in s.pipes:
        pipe.send(("cut", 0.5, s.broker.port))
    yield "partition_healed_s", round(s.until(s.equal, "equal after the partition", 900), 1)
    yield "broker_mb_end", s.memory_mb()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--doors", type=int, default=1000)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--changes", type=int, default=10)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    found: dict[str, Any] = {
        "commit": commit,
        "doors": arguments.doors,
        "people": arguments.people,
        "cpus": multiprocessing.cpu_count(),
    }
    with tempfile.TemporaryDirectory(prefix="eo-") as folder:
        s = Simulation(Path(folder), arguments.doors, arguments.people, arguments.processes)
        try:
            for name, value in measure(s, arguments.changes):
                found[name] = value
                print(name, value, flush=True)
        finally:
            s.close()
    found["load_average_at_the_end"] = [round(x, 1) for x in os.getloadavg()]
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
