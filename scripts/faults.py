"""Thousands of events through hundreds of broker faults; counts by the subscriber's log what became of each.

A publisher process commits events at a fixed rate and notes each one after commit() returned. A proxy breaks its
connection to a real mosquitto, mosquitto is restarted, and the publisher is killed (SIGKILL), in random order. The
subscriber is connected directly, with a session that outlives the broker's restarts, and logs what it hears.
Then the broker itself is killed (SIGKILL), which is counted apart: what it acknowledged and forgot is not ours to keep.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from fault_report import code_version, judge, report
from fault_run import ALL_KINDS, ROOT, B, Run, publisher
from mqtt_parts import wait_until

from edge_oneshot.events import signing

SECONDS_PER_KILL = 4


@dataclass(frozen=True)
class BrokerKills:
    """A way to lose the broker. away: whether the subscriber is away when the broker dies."""

    name: str
    saving: str
    away: bool


BROKER_KILLS = (
    BrokerKills("subscriber there, mosquitto saves every 1800 s (its default)", "autosave_interval 1800", False),
    BrokerKills("subscriber away, mosquitto saves every 1800 s (its default)", "autosave_interval 1800", True),
    BrokerKills("subscriber away, mosquitto saves on changes", "autosave_on_changes true\nautosave_interval 1", True),
)


def under_fire(folder: Path, options: argparse.Namespace, rng: random.Random) -> tuple[Run, dict[str, int]]:
    """All faults but a killed broker. The publishers of the second half sign."""
    plan = [ALL_KINDS[i % len(ALL_KINDS)] for i in range(options.faults)]
    rng.shuffle(plan)
    half = len(plan) // 2 + 1
    kill = plan.index("kill_publisher")
    plan[half], plan[kill] = plan[kill], plan[half]  # here the signing begins
    with Run(folder, options.events, options.rate) as run:
        signing.write_key(folder / "key", signing.new_key("hmac"))
        run.spawn()
        wait_until(lambda: (run.log.ask(), time.sleep(0.5), run.log.answers)[-1], "the first answer to a request")
        for number, kind in enumerate(plan, start=1):
            due = int(run.total * number / (options.faults + 2))
            wait_until(lambda n=due: len(run.committed()) >= n, f"{due} events to be committed", 600)
            run.log.ask()
            run.fault(kind, rng.uniform(0.2, 3.0))
            run.log.ask()
            if number % 20 == 0:
                print(f"{number} faults, {len(run.committed())} events", file=sys.stderr, flush=True)
        run.finish()
    return run, judge(run)


def broker_killed(folder: Path, way: BrokerKills, options: argparse.Namespace, rng: random.Random) -> dict[str, int]:
    """Kill the broker (and every third time the publisher too) at random moments, and count what nobody heard."""
    kills = options.kills
    with Run(folder, int(kills * SECONDS_PER_KILL * options.rate), options.rate, saving=way.saving) as run:
        run.spawn()
        for number in range(1, kills + 1):
            due = int(run.total * number / (kills + 2))
            wait_until(lambda n=due: len(run.committed()) >= n, f"{due} events to be committed", 600)
            taken = len(run.proxy.acknowledged)
            wait_until(lambda n=taken: len(run.proxy.acknowledged) > n, "the broker to take some")
            if number % 3 == 0:
                run.fault("kill_publisher", 0.0)
            if way.away:
                run.log.stop()
            time.sleep(rng.uniform(0.0, 1.0))
            run.fault("kill_broker", rng.uniform(0.0, 1.0))
            if way.away:
                run.log.start()
            assert run.log.connected.wait(30), "the log is not back"
        run.finish()
    ids = set(run.committed())
    got = [json.loads(payload)["event_id"] for _, topic, _, payload in run.log.heard if topic == f"{B}/event"]
    missing = ids - set(got)
    return {
        "broker killed": run.faults["kill_broker"],
        "publisher killed": run.faults["kill_publisher"],
        "committed": len(ids),
        "heard": len(ids & set(got)),
        "heard more than once": len({i for i in got if got.count(i) > 1}),
        "acknowledged by the broker, and never heard": len(missing & run.proxy.acknowledged),
        "neither acknowledged nor heard (lost)": len(missing - run.proxy.acknowledged) - run.dropped,
    }


def overflow(folder: Path) -> dict[str, int]:
    """300 events at a broker that is away, with room for 100: 200 are dropped by policy, the newest 100 arrive."""
    with Run(folder, 300, 1000.0, bound=100) as run:
        run.proxy.fault = "refuse"
        run.spawn()
        wait_until(lambda: len(run.committed()) == 300, "300 events", 120)
        run.proxy.fault = ""
        run.finish()
    ids = run.committed()
    got = {json.loads(payload)["event_id"] for _, topic, _, payload in run.log.heard if topic == f"{B}/event"}
    return {"committed": len(ids), "delivered": len(got), "dropped": run.dropped, "lost": len(set(ids[200:]) - got)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--faults", type=int, default=207)
    parser.add_argument("--rate", type=float, default=18.0, help="events per second")
    parser.add_argument("--kills", type=int, default=15, help="of the broker, in each of the ways to lose it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commit", default=code_version(), help="what to write as the version of this code")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "mqtt-faults.md")
    options = parser.parse_args()
    started, rng = time.monotonic(), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        killed = {
            way.name: broker_killed(Path(folder) / f"kills-{n}", way, options, rng)
            for n, way in enumerate(BROKER_KILLS)
        }
        print(json.dumps(killed, indent=1), file=sys.stderr, flush=True)
        run, result = under_fire(Path(folder) / "fire", options, rng)
        full = overflow(Path(folder) / "overflow")
    text = report(run, result, full, killed, time.monotonic() - started, options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    print(text)
    must_be_zero = (
        "lost",
        "dropped by policy",
        "matches and unknowns without their trigger",
        "came retained",
        "do not fit the schema",
        "a later copy that says fresher than an earlier one",
        "signatures that do not hold",
        "counters on two different payloads",
        "out of order among the late, or among the fresh (first copies)",
    )
    bad = [name for name in must_be_zero if result[name]]
    bad += [name for name, rows in killed.items() if rows["neither acknowledged nor heard (lost)"]]
    if not result["signed copies"] or not result["of these, answered"]:
        bad.append("nothing signed, or nothing answered")
    if full["lost"] or full["dropped"] != 200:
        bad.append("overflow")
    print(f"not as it must be: {', '.join(bad)}" if bad else "as it must be", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    if sys.argv[1:2] == ["--publisher"]:
        port, folder, total, rate, bound = sys.argv[2:]
        publisher(int(port), Path(folder), int(total), float(rate), int(bound))
    else:
        sys.exit(main())
