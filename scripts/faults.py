"""Thousands of events through hundreds of broker faults; counts by the subscriber's log what became of each.

A publisher process commits events at a fixed rate and notes each one after commit() returned. A proxy breaks its
connection to a real mosquitto, mosquitto is restarted, and the publisher is killed (SIGKILL), in random order. The
subscriber is connected directly, with a session that outlives the broker's restarts, and logs what it hears.
Then the broker itself is killed (SIGKILL), which is counted apart: what it acknowledged and forgot is not ours to keep.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fault_run import ALL_KINDS, LIMITS, ROOT, B, Run, publisher
from jsonschema import Draft202012Validator
from mosquitto import MOSQUITTO
from mqtt_parts import wait_until
from paho.mqtt import __version__ as paho_version

from edge_oneshot.events import schema, signing

STALE_S = 3.0
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


def judge(run: Run) -> dict[str, int]:
    """What became of each event, by the log."""
    ids = run.committed()
    known, place = set(ids), {event_id: number for number, event_id in enumerate(ids)}
    validator, key = Draft202012Validator(schema.load("event-v1")), signing.read_key(run.folder / "key")
    copies: dict[str, list[dict[str, Any]]] = {}
    triggers: set[str] = set()
    counters: dict[int, str] = {}
    stale = misfits = signed = forged = repeated = 0
    for at, topic, _, payload in run.log.heard:
        message = json.loads(payload)
        misfits += not validator.is_valid(message)
        if topic == f"{B}/event":
            copies.setdefault(message["event_id"], []).append(message)
        else:
            triggers.add(message["event_id"])
        stale += not message["late"] and at - datetime.fromisoformat(message["ts"]).timestamp() > STALE_S
        if message["signature"] is not None:
            signed += 1
            try:
                counter = signing.verify(payload, key)["signature"]["counter"]
            except signing.SignatureRefused:
                forged += 1
            else:
                digest = hashlib.sha256(payload).hexdigest()
                repeated += counters.setdefault(counter, digest) != digest
    firsts = [i for i in copies if i in known]
    groups = [[place[i] for i in firsts if copies[i][0]["late"] is late] for late in (True, False)]
    overtaking, least = 0, len(ids)
    for i in reversed(firsts):
        if copies[i][0]["late"]:
            least = min(least, place[i])
        else:
            overtaking += place[i] > least
    wanted = {i for i in known & copies.keys() if copies[i][0]["event_type"] in ("match", "unknown")}
    return {
        "committed": len(ids),
        "delivered": len(known & copies.keys()),
        "delivered more than once": sum(len(c) > 1 for c in copies.values()),
        "of these, with a last copy that says late": sum(len(c) > 1 and c[-1]["late"] for c in copies.values()),
        "late in the first copy": sum(c[0]["late"] for c in copies.values()),
        "fresh, and went past late ones": overtaking,
        "dropped by policy": run.dropped,
        "lost": len(known - copies.keys()) - run.dropped,
        "matches and unknowns without their trigger": len(wanted - triggers),
        "delivered, but killed before they were noted as committed": len(copies.keys() - known),
        "out of order among the late, or among the fresh (first copies)": sum(
            a > b for group in groups for a, b in itertools.pairwise(group)
        ),
        "a later copy that says fresher than an earlier one": sum(
            any(a["late"] and not b["late"] for a, b in itertools.pairwise(c)) for c in copies.values()
        ),
        "came retained": sum(retain for _, _, retain, _ in run.log.heard),
        "do not fit the schema": misfits,
        "signed copies": signed,
        "signatures that do not hold": forged,
        "counters on two different payloads": repeated,
        f"copies that say fresh and arrived more than {STALE_S:g} s after capture": stale,
        "requests sent meanwhile": run.log.asked,
        "of these, answered": len(set(run.log.answers)),
        "answered more than once": len(run.log.answers) - len(set(run.log.answers)),
    }


def code_version() -> str:
    """The commit of this tree, and whether anything that runs here differs from it."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False
        ).stdout.strip()

    changed = git(
        "status", "--porcelain", "--", "edge_oneshot", "scripts/faults.py", "scripts/fault_run.py", "tests/mqtt"
    )
    return (git("rev-parse", "HEAD")[:12] or "unknown") + (" with changes" if changed else "")


def table(rows: dict[str, int]) -> str:
    return "\n".join(f"| {name} | {number} |" for name, number in rows.items())


def report(
    run: Run,
    result: dict[str, int],
    full: dict[str, int],
    killed: dict[str, dict[str, int]],
    seconds: float,
    options: argparse.Namespace,
) -> str:
    version = subprocess.run([MOSQUITTO, "-h"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
    kinds = table({kind: run.faults[kind] for kind in ALL_KINDS} | {"all": sum(run.faults.values())})
    names = list(next(iter(killed.values())))
    kills = "\n".join(
        [
            "| | " + " | ".join(names) + " |",
            "|---" * (len(names) + 1) + "|",
            *(f"| {way} | " + " | ".join(str(rows[n]) for n in names) + " |" for way, rows in killed.items()),
        ]
    )
    return f"""# Events under broker faults

Written by `scripts/faults --events {options.events} --faults {options.faults} --rate {options.rate:g} --seed {options.seed} \
--kills {options.kills}`
on {datetime.now(UTC):%Y-%m-%d}, commit {options.commit}: {seconds:.0f} s, {version}, paho-mqtt {paho_version},
Python {platform.python_version()}, {platform.machine()}.

A publisher process commits events through the outbox at a fixed rate, and listens for requests. A proxy before a real
mosquitto breaks its connection, mosquitto is restarted, the publisher is killed with SIGKILL, each for 0.2 to 3 s. The
publishers of the second half sign (HMAC-SHA256). Counted by the log of a subscriber that is connected directly. The
link's times are shortened: acknowledgement {LIMITS.ack_timeout_s:g} s, back-off at most {LIMITS.backoff_max_s:g} s.

| events | |
|---|---|
{table(result)}

| fault | times it did something |
|---|---|
{kinds}

Built to overflow: {full["committed"]} events while the broker is away and room for 100: {full["delivered"]} delivered,
{full["dropped"]} dropped by policy, {full["lost"]} lost.

A copy that says fresh and arrived late had been handed over in time and was held up in the network. `expires_at` is
there for that: a consumer that checks it does not act. Requests are neither kept nor repeated: one that comes while the
device is away is not answered, and whoever asked asks again.

## The broker killed with SIGKILL

Once mosquitto has acknowledged an event it is mosquitto's to keep, and it keeps in memory what it has not saved. So an
event that was acknowledged and not yet delivered to a subscriber can die with the broker; the outbox has let go of it by
then. Counted here by the subscriber's log and by the proxy, which saw the acknowledgements. The subscription itself was
saved before; the kill comes at a random moment, within a second after the subscriber went away where it is away.

{kills}

What helps: `autosave_on_changes true` with a small `autosave_interval` in mosquitto.conf, subscribers that stay
connected, and a consumer that reads `presence` (retained, told anew after each reconnect) when it comes back.
"""


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
