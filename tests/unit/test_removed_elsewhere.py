"""What journal and outbox hold of people who are no longer in the gallery, and what they keep while the gallery has a fault."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from samples import person, random_unit, template

from edge_oneshot.config import Config, DecisionConfig, DeviceConfig
from edge_oneshot.errors import StorageError
from edge_oneshot.events.journal import Journal
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.service.daemon import GALLERY_EVERY_NS, Daemon
from edge_oneshot.service.records import Records
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.types import Event

RECORD: Any = {
    "track": 1, "first_at": "2026-01-01T00:00:00+00:00", "last_at": "2026-01-01T00:00:00+00:00", "frames": 1,
    "compared": 1, "matched_frames": {"zoe": 1, "bob": 1}, "refused": {}, "best": {"identity": "zoe", "score": 0.5},
    "second": {"identity": "bob", "score": 0.1}, "threshold": 0.4, "events": [], "why": "",
}  # fmt: skip


class Site:
    """Zoe and Bob in a gallery, in the outbox and in the journal; `start` makes a daemon."""

    def __init__(self, folder: Path, make_recognizer: Callable[..., Recognizer], stack: ExitStack) -> None:
        self.config = Config(device=DeviceConfig(state_dir=str(folder)))
        self._make, self._stack = make_recognizer, stack
        with Gallery(self.config.gallery_path) as gallery:
            gallery.add_all([(person(n), [template(n, random_unit(i))]) for i, n in enumerate(("zoe", "bob"))])
        self.outbox = stack.enter_context(closing(Outbox(self.config.outbox_path)))
        self.journal = stack.enter_context(closing(Journal(self.config.explain_path, DecisionConfig())))
        self.journal._write(RECORD)
        for number, (kind, who) in enumerate(
            [("match", "zoe"), ("match", "bob"), ("forgotten", "bob"), ("unknown", None)]
        ):
            body = {"identity": who} if who else {}
            event = Event(
                event_id=str(number), event_type=kind, ts=datetime.now(UTC), captured_ns=1, boot_id="b", body=body
            )
            assert self.outbox.events.commit(event)

    def start(self) -> Daemon:
        recognizer = self._make(self.config.gallery_path)
        reporter = Reporter(self.outbox.events)
        return Daemon(
            self.config,
            recognizer,
            build_tracker(self.config, recognizer),
            reporter,
            Records(self.config, self.journal),
        )

    @property
    def held(self) -> tuple[list[str], set[str]]:
        """(events that wait, people whom the journal names)."""
        (record,) = self.journal.report()["tracks"]
        return [s.event.event_id for s in self.outbox.events.pending(0, 9)], set(record["matched_frames"])


@pytest.fixture
def site(tmp_path: Path, make_recognizer: Callable[..., Recognizer]) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, make_recognizer, stack)


BOTH, ONE = (["0", "1", "2", "3"], {"zoe", "bob"}), (["0", "2", "3"], {"zoe"})


def test_a_person_whom_another_instance_removed_is_erased_at_the_start(site: Site) -> None:
    with Gallery(site.config.gallery_path) as gallery:
        gallery.remove("bob")
    assert site.held == BOTH
    site.start()
    assert site.held == ONE


def test_a_person_whom_another_instance_removes_is_erased_at_once(site: Site) -> None:
    daemon = site.start()
    with Gallery(site.config.gallery_path) as gallery:
        gallery.remove("bob")
    daemon.step(None, daemon._gallery_ns + GALLERY_EVERY_NS)
    assert site.held == ONE


def damage(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE identities SET created_at = 'x' WHERE identity_id = 'bob'")
        db.execute("UPDATE templates SET created_at = 'x' WHERE identity_id = 'bob'")


def test_nothing_is_erased_of_a_person_whose_rows_cannot_be_read(site: Site) -> None:
    daemon = site.start()
    damage(site.config.gallery_path)
    daemon.step(None, daemon._gallery_ns + GALLERY_EVERY_NS)
    assert set(daemon.recognizer.people.names) == {"zoe"} and site.held == BOTH
    assert set(site.start().recognizer.people.names) == {"zoe"} and site.held == BOTH
    with Gallery(site.config.gallery_path) as gallery:
        gallery.remove("zoe")  # takes what names no enrolled person along
        assert not gallery.set_aside
    site.start()
    assert site.held == (["2", "3"], set())


def test_nothing_is_erased_while_the_gallery_has_a_fault(site: Site) -> None:
    recognizer = site._make(site.config.gallery_path)
    recognizer.people.names.pop("bob")
    recognizer.people.gallery.fault = StorageError("the disk is full", disk=True)
    reporter = Reporter(site.outbox.events)
    Daemon(
        site.config, recognizer, build_tracker(site.config, recognizer), reporter, Records(site.config, site.journal)
    )
    assert site.held == BOTH
