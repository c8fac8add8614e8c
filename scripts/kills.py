"""Kill the program with SIGKILL during its operations, and count what was lost. Needs ptrace(2): Linux, x86_64 or aarch64.

Each time a child process completes some acknowledged operations, and is killed during the next one, at a system call that
changes a file or a lock. The number of the call is drawn at random, so the place is known. The operations are the daemon's own
(service/requests.py, events/queue.py) on real files with pictures of two people. Then the files are opened as at the next
start. Every acknowledged change must be present, and the last operation must be done completely or not at all.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "mqtt")]

from fault_report import code_version  # noqa: E402
from kill_child import KINDS, Child, Entries, Files, draw  # noqa: E402
from kill_report import report  # noqa: E402
from kill_trace import Place, trace  # noqa: E402


class Kill:
    """One child: operations that are acknowledged, and the operation during which it is killed."""

    def __init__(self, files: Files, kind: str, rng: random.Random) -> None:
        self.files, self.rng, self.kind = files, rng, kind
        self.acks, self._acks = os.pipe()
        self.marks, self._marks = os.pipe()
        self.seed = rng.randrange(2**32)

    def work(self) -> None:
        """In the child process."""
        rng, last = random.Random(self.seed), None
        if self.kind == "start":
            os.write(self._marks, b"x")
            Child(self.files)
            os.write(self._marks, b"x")
            return
        child = Child(self.files)
        for _ in range(rng.randrange(4)):
            if (last := draw(rng.choice(KINDS[:-1]), self.files, self.files.people, rng)) is not None:
                self._acknowledge(child.do(*last))
        last = draw(self.kind, self.files, self.files.people, rng)
        if last is None:
            return
        shown = json.dumps({"doing": last}).encode()
        os.write(self._acks, shown + b"\n")
        os.write(self._marks, b"x")
        ack = child.do(*last)
        os.write(self._marks, b"x")
        self._acknowledge(ack)

    def _acknowledge(self, ack: dict[str, Any]) -> None:
        self.files.acknowledge(ack)
        os.write(self._acks, json.dumps(ack).encode() + b"\n")

    def run(self, target: int | None, side: str) -> tuple[list[Place], bool, list[Any] | None, int]:
        """(system calls of the operation, whether it was killed inside, the operation if it was not acknowledged, acknowledgements)."""
        data = bytearray()

        def read() -> None:
            while part := os.read(self.acks, 1 << 16):
                data.extend(part)

        reader = threading.Thread(target=read)

        def started() -> None:  # after the fork, which would copy neither thread nor end of file
            os.close(self._acks)
            reader.start()

        seen, killed = trace(self.work, self._marks, target, side, started)
        reader.join()
        for descriptor in (self.acks, self.marks, self._marks):
            os.close(descriptor)
        doing, number = None, 0
        for line in data.splitlines():
            ack = json.loads(line)
            doing = ack.get("doing")
            if doing is None:
                self.files.acknowledge(ack)
                number += 1
        return seen, killed, doing, number


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=KINDS, help="only this operation; may be repeated")
    parser.add_argument("--commit", default=code_version(), help="version of the code for the report")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "kills.md")
    options = parser.parse_args()
    rng, started = random.Random(options.seed), time.monotonic()
    counts: Counter[str] = Counter()
    places: Counter[tuple[str, str, str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        files = Files(Path(name))
        known: dict[str, list[Place]] = {}
        while counts["killed inside an operation"] < options.kills:
            kinds = options.only or KINDS
            kind = kinds[(counts["killed inside an operation"] + counts["not reached"]) % len(kinds)]
            one(files, kind, known, rng, counts, places)
            done = counts["killed inside an operation"]
            print(f"\r{done} kills, {dict(counts)}"[:200], end="", file=sys.stderr, flush=True)
    text = report(counts, places, KINDS, FAULTS, time.monotonic() - started, options)
    options.out.write_text(text)
    print(text)
    return int(any(counts[fault] for fault in FAULTS))


FAULTS = (
    "acknowledged changes of people lost",
    "acknowledged events lost",
    "delivered events that came back",
    "operations done by half",
    "rows set aside",
    "removed templates whose bytes are still in the file",
)


def one(
    files: Files,
    kind: str,
    known: dict[str, list[Place]],
    rng: random.Random,
    counts: Counter[str],
    places: Counter[tuple[str, str, str, str]],
) -> None:
    """One child, killed or not, and what the next start finds."""
    calls = known.get(kind, [])
    target, side = None, rng.choice(("before", "after"))
    if calls:  # each kind of call is as likely as the others
        name = rng.choice(sorted({(p.name, p.file) for p in calls}))
        target = rng.choice([p.number for p in calls if (p.name, p.file) == name])
    seen, killed, doing, acknowledged = Kill(files, kind, rng).run(target, side)
    counts["acknowledged operations"] += acknowledged
    if killed:
        counts["killed inside an operation"] += 1
        places[kind, seen[-1].name, seen[-1].file, seen[-1].side] += 1
    elif doing is not None:
        counts["refused"] += 1
    else:
        counts["not reached" if calls else "measured"] += 1
        known[kind] = seen or calls
    judge(files, doing if killed else None, counts)


def judge(files: Files, doing: list[Any] | None, counts: Counter[str]) -> None:
    """Compare the state at the next start with the acknowledged changes, and continue from that state."""
    people, events, aside = files.look()
    counts["rows set aside"] += aside
    sent = set(doing[2]) if doing and doing[0] == "delivered" else set()
    counts["acknowledged events lost"] += len(files.events - events - sent)
    counts["delivered events that came back"] += len(files.deleted & events)
    changed = any(people.get(i) != files.people.get(i) for i in people.keys() | files.people.keys())
    if doing is None:
        counts["acknowledged changes of people lost"] += changed
    else:
        done = applied(doing, files.people, people)
        if doing[0] in ("publish", "delivered"):
            done = bool(events - files.events) if doing[0] == "publish" else not sent & events
        counts["in flight, found done" if done else "in flight, found not done"] += 1
        counts["operations done by half"] += (changed and not done) or 0 < len(sent & events) < len(sent)
    now = {vector for entry in people.values() for vector in vectors(entry)}
    content = b"".join(p.read_bytes() for p in files.gallery.parent.glob("gallery.sqlite*"))
    gone = {vector for entry in files.people.values() for vector in vectors(entry)} - now
    counts["removed templates whose bytes are still in the file"] += sum(vector[:64] in content for vector in gone)
    files.people, files.events = people, events


def vectors(entry: Any) -> list[bytes]:
    return [base64.b64decode(t["vector"]) for t in entry["templates"]]


def applied(doing: list[Any], before: Entries, after: Entries) -> bool:
    """Whether `after` is `before` with the whole operation."""
    kind, who, argument = doing
    same = {i for i in before.keys() & after.keys() if before[i] == after[i]}
    others = same >= before.keys() - {who}
    if kind in ("publish", "delivered", "start"):
        return False
    if kind == "remove":
        return others and who not in after
    if kind == "rename":
        return others and after == {**before, who: {**before[who], "name": argument}}
    if kind == "import":
        return after == {**before, **{entry["identity_id"]: entry for entry in argument["identities"]}}
    new = after.get(who, {}).get("templates", [])
    old = before.get(who, {}).get("templates", [])
    return others and len(after) == len(before.keys() | {who}) and len(new) == 1 and new != old


if __name__ == "__main__":
    sys.exit(main())
