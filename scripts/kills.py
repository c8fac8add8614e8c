"""Kills the program with SIGKILL inside its operations, and counts what was lost. Needs ptrace(2): Linux, x86_64 or aarch64.

Each time a child process does some operations that are acknowledged, and then one during which it is killed, at a system
call that changes a file or a lock: the number of the call is drawn, so the place is known. The operations are the daemon's own
(service/requests.py, events/queue.py) on real files with pictures of two people. Then the files are opened as at the next start.
Every acknowledged change must be there, and the last one wholly or not at all.
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
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "mqtt")]

import numpy as np  # noqa: E402
from fault_report import code_version  # noqa: E402
from kill_report import report  # noqa: E402
from kill_trace import Place, trace  # noqa: E402
from pictures import collins_pixels, frame, hopper_pixels  # noqa: E402

from edge_oneshot.config import Config, ModelConfig  # noqa: E402
from edge_oneshot.control import requests as rq  # noqa: E402
from edge_oneshot.control.protocol import PendingRequest, result_of  # noqa: E402
from edge_oneshot.events.clock import boot_id, new_event_id  # noqa: E402
from edge_oneshot.events.outbox import Outbox  # noqa: E402
from edge_oneshot.gallery.archive import digest_of, to_document  # noqa: E402
from edge_oneshot.gallery.store import Gallery  # noqa: E402
from edge_oneshot.recognition.compose import build_pipeline, build_rule  # noqa: E402
from edge_oneshot.recognition.recognizer import Recognizer  # noqa: E402
from edge_oneshot.service.requests import Requests  # noqa: E402
from edge_oneshot.types import Event  # noqa: E402

KINDS = ("enroll", "replace", "rename", "remove", "import", "publish", "delivered", "start")
PEOPLE = {f"p{n}": f"Person {n}" for n in range(8)}
Entries = dict[str, Any]  # identity -> entry of an exported document


class Child:
    """The program: gallery, outbox and the handler of requests, as the daemon has them. Made in the child process."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.outbox = Outbox(files.outbox)
        self.recognizer = Recognizer(files.pipeline, files.rule, Gallery(files.gallery))
        self.requests = Requests(self.recognizer, self._emit)
        self.events: list[str] = []  # committed by the present operation

    def _emit(self, event: Event) -> None:
        if not self.outbox.events.commit(event):
            raise RuntimeError("the disk did not take an event")
        self.events.append(event.event_id)

    def do(self, kind: str, who: str, argument: Any) -> dict[str, Any]:
        """One operation; what is acknowledged."""
        self.events.clear()
        if kind == "publish":
            body = {"identity": who, "name": PEOPLE[who], "score": 0.7}
            self._emit(
                Event(
                    event_id=new_event_id(),
                    event_type="match",
                    ts=datetime.now(UTC),
                    captured_ns=time.monotonic_ns(),
                    boot_id=boot_id(),
                    body=body,
                )
            )
            return {"committed": self.events}
        if kind == "delivered":
            self.outbox.events.delete(argument)
            return {"deleted": argument}
        requests: dict[str, Callable[[], rq.AnyRequest]] = {
            "enroll": lambda: rq.Enroll(name=PEOPLE[who], id=who, image=b"x"),
            "replace": lambda: rq.Enroll(name=PEOPLE[who], id=who, image=b"x", replace=True),
            "rename": lambda: rq.Rename(name=f"id:{who}", to=argument),
            "remove": lambda: rq.Forget(name=f"id:{who}"),
            "import": lambda: rq.Import(document=argument, replace=True),
        }
        pending = PendingRequest(requests[kind]())
        pending.picture = self.files.frames[argument] if kind in ("enroll", "replace") else None
        self.requests.start(pending)
        result_of(pending.request, pending.answers.get())
        people = to_document(self.recognizer.people.gallery)["identities"]
        return {"committed": self.events, "people": people}


class Files:
    """What survives the kills, and what must be in it."""

    def __init__(self, folder: Path) -> None:
        self.gallery, self.outbox = folder / "gallery.sqlite", folder / "outbox-default.sqlite"
        config = Config(model=ModelConfig(threads=1))
        self.pipeline = build_pipeline(config)
        self.rule = build_rule(config, self.pipeline.encoder)
        self.frames = [frame(collins_pixels()), frame(hopper_pixels())]
        self.people: Entries = {}  # acknowledged
        self.events: set[str] = set()  # committed and not deleted
        self.deleted: set[str] = set()

    def look(self) -> tuple[Entries, set[str], int]:
        """(people, events, rows set aside) as the next start finds them."""
        with Gallery(self.gallery) as gallery, closing(Outbox(self.outbox)) as outbox:
            entries = {entry["identity_id"]: dict(entry) for entry in to_document(gallery)["identities"]}
            events = {s.event.event_id for s in outbox.events.pending(0, 100_000)}
            return entries, events, gallery.set_aside + outbox.events.status().set_aside

    def acknowledge(self, ack: dict[str, Any]) -> None:
        self.events |= set(ack.get("committed", ()))
        self.events -= set(ack.get("deleted", ()))
        self.deleted |= set(ack.get("deleted", ()))
        if "people" in ack:
            self.people = {entry["identity_id"]: entry for entry in ack["people"]}


def draw(kind: str, files: Files, people: Entries, rng: random.Random) -> tuple[str, str, Any] | None:
    """(kind, person, argument) of an operation that these people allow; None if they do not."""
    present, absent = sorted(people), sorted(set(PEOPLE) - set(people))
    if kind == "enroll":
        return (kind, rng.choice(absent), rng.randrange(2)) if absent else None
    if kind == "import":
        some = rng.sample(sorted(PEOPLE), 4)
        entries = [document_entry(i, rng) for i in some]
        version = {"format": "edge-oneshot-gallery", "version": 2}
        taken = {entry["name"] for i, entry in people.items() if i not in some}
        return None if taken & {e["name"] for e in entries} else (
            kind, "", version | {"digest": digest_of(entries), "identities": entries}
        )  # fmt: skip
    if kind == "delivered":
        waiting = sorted(files.events)
        return (kind, "", rng.sample(waiting, min(len(waiting), 3))) if waiting else None
    if kind in ("publish", "start"):
        return kind, rng.choice(sorted(PEOPLE)), None
    if not present:
        return None
    who = rng.choice(present)
    if kind == "replace" and people[who]["name"] != PEOPLE[who]:
        return None  # the name is another one now
    return kind, who, rng.randrange(2) if kind == "replace" else f"{PEOPLE[who]} {rng.randrange(10**6)}"


def document_entry(who: str, rng: random.Random) -> dict[str, Any]:
    """A person of an exported document, with two templates."""
    made = np.random.default_rng(rng.randrange(2**32)).normal(size=(2, 192)).astype("<f4")
    made /= np.linalg.norm(made, axis=1, keepdims=True) * 1.0001
    measures = {"inter_eye_px": 40.0, "sharpness": 100.0, "luma": 120.0, "contrast": 40.0, "yaw_deg": 0.0}
    templates = [
        {
            "template_id": f"{rng.randrange(2**64):x}",
            "encoder_id": "sha256:" + "3f" * 32,
            "vector": base64.b64encode(v.tobytes()).decode(),
            "quality": {**measures, "pitch_deg": 0.0, "cropped": 0.0, "hidden": 0.0},
            "created_at": "2026-01-02T03:04:05+00:00",
            "no_rate": False,
        }
        for v in made
    ]
    return {"identity_id": who, "name": PEOPLE[who], "templates": templates}


class Kill:
    """One child: operations that are acknowledged, and the one inside which it is killed."""

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
    parser.add_argument("--commit", default=code_version(), help="what to write as the version of this code")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "kills.md")
    options = parser.parse_args()
    rng, started = random.Random(options.seed), time.monotonic()
    counts: Counter[str] = Counter()
    places: Counter[tuple[str, str, str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        files = Files(Path(name))
        known: dict[str, list[Place]] = {}
        while counts["killed inside an operation"] < options.kills:
            kind = KINDS[(counts["killed inside an operation"] + counts["not reached"]) % len(KINDS)]
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
    else:
        counts["not reached" if calls else "measured"] += 1
        known[kind] = seen or calls
    judge(files, doing if killed else None, counts)


def judge(files: Files, doing: list[Any] | None, counts: Counter[str]) -> None:
    """Compare what the next start finds with what was acknowledged; then that is the state."""
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
