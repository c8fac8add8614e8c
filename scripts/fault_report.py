"""Judges a fault run by the subscriber's log, and writes the report (scripts/faults.py)."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

from fault_run import ALL_KINDS, LIMITS, ROOT, B, Run
from jsonschema import Draft202012Validator
from mosquitto import MOSQUITTO
from paho.mqtt import __version__ as paho_version

from edge_oneshot.events import schema, signing

STALE_S = 3.0


def _overtaking(arrived: list[tuple[int, bool]]) -> int:
    """How many fresh events arrived before a late one that was committed earlier. arrived: (number, late), in order."""
    count, least = 0, sys.maxsize
    for number, late in reversed(arrived):
        if late:
            least = min(least, number)
        else:
            count += number > least
    return count


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
    wanted = {i for i in known & copies.keys() if copies[i][0]["event_type"] in ("match", "unknown")}
    return {
        "committed": len(ids),
        "delivered": len(known & copies.keys()),
        "delivered more than once": sum(len(c) > 1 for c in copies.values()),
        "of these, with a last copy that says late": sum(len(c) > 1 and c[-1]["late"] for c in copies.values()),
        "late in the first copy": sum(c[0]["late"] for c in copies.values()),
        "fresh, and went past late ones": _overtaking([(place[i], copies[i][0]["late"]) for i in firsts]),
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

    changed = git("status", "--porcelain", "--", "edge_oneshot", "scripts", "tests/mqtt")
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
device is away is not answered, and the requester must send it again.

## The broker killed with SIGKILL

Once mosquitto has acknowledged an event it is mosquitto's to keep, and it keeps in memory what it has not saved. So an
event that was acknowledged and not yet delivered to a subscriber can die with the broker; the outbox has let go of it by
then. Counted here by the subscriber's log and by the proxy, which saw the acknowledgements. The subscription itself was
saved before; the kill comes at a random moment, within a second after the subscriber went away where it is away.

{kills}

What helps: `autosave_on_changes true` with a small `autosave_interval` in mosquitto.conf, subscribers that stay
connected, and a consumer that reads `presence` (retained, published again after each reconnect) when it returns.
"""
