"""What is killed: the operations of the program in a child process, and what its files must hold (scripts/kills.py)."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pictures import collins_pixels, frame, hopper_pixels

from edge_oneshot.config import Config, ModelConfig
from edge_oneshot.control import requests as rq
from edge_oneshot.control.protocol import PendingRequest, result_of
from edge_oneshot.events.clock import boot_id, new_event_id
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.gallery.archive import digest_of, to_document
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.recognition.compose import build_pipeline, build_rule
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.requests import Requests
from edge_oneshot.types import Event

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
        own = [
            i for i in sorted(PEOPLE) if i not in people or people[i]["name"] == PEOPLE[i]
        ]  # an import renames nobody
        if len(own) < 4:
            return None
        some = rng.sample(own, 4)
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
