"""Files that the daemon keeps: gallery, outbox, journal, door record, adaptation, exported galleries."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np

from edge_oneshot.config import DecisionConfig
from edge_oneshot.events.journal import Journal, forget_in_journals, read_journal
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.gallery.archive import from_document, read_document, to_document
from edge_oneshot.gallery.door import DoorRecord
from edge_oneshot.gallery.site import Site
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.adaptation import NEEDED, Adaptation
from edge_oneshot.storage.optional import moved_aside
from edge_oneshot.types import Identity
from fuzzing.database import mutate_database
from fuzzing.mutate import mutate_document
from fuzzing.sound import ENCODER, event, moment, people, template_of
from fuzzing.target import READ, REPORTED, Silent, Target

OLD_FILES = Path(__file__).resolve().parents[2] / "tests" / "storage" / "files"


class Warnings(logging.Handler):
    """The warnings that were logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen: list[str] = []
        logging.getLogger("edge_oneshot").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())


warnings = Warnings()


class StoredFile(Target):
    """A SQLite file. Opened from a fresh folder, since a damaged file may be moved aside."""

    kind: ClassVar[str]
    old: ClassVar[str] = ""  # a file of an earlier release, without checksums

    def make_seeds(self) -> Sequence[bytes]:
        with self.fresh() as path:
            self.fill(path)
            new = path.read_bytes()
        return [new, new, new, (OLD_FILES / self.old).read_bytes()] if self.old else [new]

    @contextmanager
    def fresh(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield folder / self.kind
        finally:
            shutil.rmtree(folder)

    @abstractmethod
    def fill(self, path: Path) -> None: ...

    @abstractmethod
    def use(self, path: Path) -> tuple[Any, bool]:
        """(what the file holds, whether a fault was reported). Also changes the file, as the daemon does."""

    def mutate(self, seed: int, rng: Random) -> bytes:
        return mutate_database(self.seeds[seed], rng, self.folder, list(self.seeds))

    def read(self, seed: int, data: bytes) -> str:
        with self.fresh() as path:
            path.write_bytes(data)
            os.utime(path, (0, 0))  # no other process is just creating it
            warnings.seen.clear()
            found, reported = self.use(path)
            reported = reported or bool(moved_aside(path) or warnings.seen)
        if reported:
            return REPORTED
        if self.old and seed == len(self.seeds) - 1:
            return READ  # without checksums a change of a value cannot be seen
        if found != self.sound(found):
            raise Silent(difference(self.sound(found), found))
        return READ

    def sound(self, found: Any) -> Any:
        """What a sound file holds."""
        if not hasattr(self, "_sound"):
            with self.fresh() as path:
                path.write_bytes(self.seeds[0])
                self._sound, reported = self.use(path)
                assert not reported
        return self._sound


class GalleryFile(StoredFile):
    name, kind, old, share = "gallery", "gallery.sqlite", "gallery-1.sqlite", 2.0

    def fill(self, path: Path) -> None:
        with Gallery(path) as gallery:
            gallery.add_all(people())

    def use(self, path: Path) -> tuple[Any, bool]:
        with Gallery(path) as gallery:
            document = json.loads(json.dumps(to_document(gallery)))
            reported = gallery.set_aside > 0
            first = gallery.identities()
            gallery.add(Identity(identity_id="new", name="New"), [template_of("new")])
            gallery.rename("new", "Newer")
            gallery.find("new")
            for identity in first:
                gallery.remove(identity.identity_id)
            left = [i.identity_id for i in gallery.identities()]
            assert left == ["new"], left
        with Gallery(path) as gallery:
            assert [i.name for i in gallery.identities()] == ["Newer"]
            assert not first or not gallery.set_aside  # the last person who is removed takes those rows along
        return document["identities"], reported


class OutboxFile(StoredFile):
    name, kind, old, share = "outbox", "outbox-default.sqlite", "outbox-3.sqlite", 2.0

    def fill(self, path: Path) -> None:
        box = Outbox(path, clock=moment)
        for number in range(6):
            box.events.commit(event(number))
        box.topics.add("edge-oneshot/porch/person/p0/state")
        box.topics.empty(["edge-oneshot/old/info"])
        box.notes.put("discovery", "device")
        signature = "INSERT INTO counters (name, value) VALUES ('signature', 1000)"  # not by the clock: the same in each process
        box._file.run(lambda db: db.execute(signature), 0)
        box.close()

    def use(self, path: Path) -> tuple[Any, bool]:
        box = Outbox(path, clock=moment)
        events = box.events.pending(0, 100)
        status = box.events.status()
        topics = (box.topics.retained(), box.topics.to_empty(), box.notes.get("discovery"))
        status_after = box.events.status()
        assert box.events.commit(event(77)), box.events.status().fault
        assert [s.event.event_id for s in box.events.fresh(0, 100, 1e6)][-1] == "0190-77"
        assert box.counter.next() < box.counter.next()
        box.topics.add("x")
        box.topics.emptied("x")
        box.notes.put("discovery", "off")
        box.events.forget("p1")
        assert all(s.event.body.get("identity") != "p1" for s in box.events.pending(0, 100))
        box.events.delete([s.event.event_id for s in box.events.pending(0, 100)])
        after = box.events.status()
        assert not after.depth and not after.fault, after
        box.close()
        found = [(s.seq, s.event, s.captured_boottime_ns, s.clock_synced) for s in events]
        reported = bool(status.set_aside or status.fault or status_after.set_aside or status_after.fault)
        return (found, topics, status.committed), reported


class JournalFile(StoredFile):
    name, kind, old, share = "journal", "explain-default.sqlite", "explain-0.sqlite", 1.0

    def fill(self, path: Path) -> None:
        shutil.copy(OLD_FILES / self.old, path)  # its records, in a file of this release
        Journal(path, DecisionConfig()).close()

    def use(self, path: Path) -> tuple[Any, bool]:
        with_daemon = Journal(path, DecisionConfig())
        report = with_daemon.report()
        reported = bool(with_daemon.set_aside or report["fault"])
        with_daemon.keep_only(["alice", "bob"])
        with_daemon.forget("alice")
        with_daemon.close()
        read_journal(path)
        forget_in_journals(path.parent, "bob")
        return report["tracks"], reported


class DoorFile(StoredFile):
    name, kind, share = "door record", "door-cam0.sqlite", 0.6

    def fill(self, path: Path) -> None:
        door = DoorRecord(path, "encoder")
        for day in range(3):
            for visit in range(4):
                door.add(np.random.default_rng(day * 10 + visit).uniform(-0.2, 0.5, 5), 0.5, 20000 + day)
        door.set_raise(0.02, 20002)
        door.close()

    def use(self, path: Path) -> tuple[Any, bool]:
        door = DoorRecord(path, "encoder")
        total = door.total()
        found = (door.days, door.raised, door.raise_day, total.visits, total.counts.tolist(), total.best.tolist())
        reported = bool(door.set_aside or door._file.fault)
        door.add(np.array([0.1, 0.2]), 0.5, 20003)
        door.reset()
        door.close()
        return found, reported


class SiteFile(StoredFile):
    name, kind, share = "adaptation", "adaptation-cam0.sqlite", 0.5

    def fill(self, path: Path) -> None:
        site = Site(path, 192, ENCODER)
        total = np.random.default_rng(0).normal(size=192)
        site.adaptation = Adaptation(visits=200, counted=NEEDED, total=total, before=0.1, after=0.0)
        site._file.run(site._write, None)
        site.close()

    def use(self, path: Path) -> tuple[Any, bool]:
        site = Site(path, 192, ENCODER)
        a = site.adaptation
        found = None if a is None else (a.visits, a.counted, a.total.tolist())
        reported = a is None or bool(site._file.fault)
        site.reset()
        site.close()
        return found, reported


class ArchiveFile(Target):
    name, share = "archive", 3.0

    def make_seeds(self) -> Sequence[bytes]:
        with Gallery(self.folder / "seed.sqlite") as gallery:
            if not gallery.identities():
                gallery.add_all(people())
            new = json.dumps(to_document(gallery), ensure_ascii=False, indent=1).encode()
        return [new, new, new, (OLD_FILES / "gallery-1.json").read_bytes()]

    def mutate(self, seed: int, rng: Random) -> bytes:
        return mutate_document(self.seeds[seed], rng, self.seeds)

    def read(self, seed: int, data: bytes) -> str:
        found = _plain(from_document(read_document(self.file(data, "export.json"))))
        sound = _plain(from_document(json.loads(self.seeds[seed])))
        if found != sound and seed < 3:
            raise Silent(difference(sound, found))
        return READ


def _plain(entries: Any) -> list[Any]:
    return [
        (e.identity, e.created_at, [(t.template_id, t.embedding.vector.tolist(), t.quality, t.created_at, t.no_rate)
                                    for t in e.templates]) for e in entries
    ]  # fmt: skip


def difference(expected: Any, got: Any) -> str:
    """Where two values differ, in one line."""
    a, b = repr(expected), repr(got)
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return f"expected …{a[max(0, at - 60) : at + 60]}…, got …{b[max(0, at - 60) : at + 60]}…"


TARGETS: tuple[type[Target], ...] = (GalleryFile, OutboxFile, JournalFile, DoorFile, SiteFile, ArchiveFile)
