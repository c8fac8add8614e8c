"""Files of version 0.1.0 (commit 09863d9), made of synthetic templates, still open and keep what they hold."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from edge_oneshot.config import DecisionConfig
from edge_oneshot.events.journal import SCHEMA as JOURNAL
from edge_oneshot.events.journal import Journal, read_journal
from edge_oneshot.events.outbox import SCHEMA as OUTBOX
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.gallery.archive import to_document
from edge_oneshot.gallery.schema import SCHEMA as GALLERY
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.storage.database import Database, Schema

FILES = Path(__file__).parent / "files"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the old files."""
    return Path(shutil.copytree(FILES, tmp_path / "old"))


@pytest.mark.parametrize(
    ("name", "schema"), [("gallery-1.sqlite", GALLERY), ("outbox-3.sqlite", OUTBOX), ("explain-0.sqlite", JOURNAL)]
)
def test_an_old_file_is_marked_and_brought_to_the_newest_version(old: Path, name: str, schema: Schema) -> None:
    for _ in range(2):
        with closing(Database(old / name, schema)) as db:
            assert db.rows("PRAGMA application_id") == [(schema.application_id,)]
            assert db.rows("PRAGMA user_version") == [(len(schema.steps),)]


def test_the_gallery_keeps_every_person_and_template(old: Path) -> None:
    expected = json.loads((old / "gallery-1.json").read_text(encoding="utf-8"))
    for person in expected["identities"]:
        for template in person["templates"]:
            template["no_rate"] = False  # since version 2
            template["quality"]["pitch_deg"] = 0.0  # not measured by the release that wrote the file
    with Gallery(old / "gallery-1.sqlite") as gallery:
        assert to_document(gallery)["identities"] == expected["identities"]
        gallery.remove("li")
        assert [i.name for i in gallery.identities()] == ["Zoë"]


def test_the_outbox_keeps_events_topics_notes_and_counters(old: Path) -> None:
    box = Outbox(old / "outbox-3.sqlite")
    stored = box.events.pending(0, 99)
    assert [(s.seq, s.event.event_type, s.event.event_id[-1]) for s in stored] == [
        (2, "match", "1"),
        (3, "unknown", "2"),
        (4, "rejected", "3"),
    ]
    assert stored[0].event.body["name"] == "Alice" and stored[0].event.ts.isoformat() == "2026-01-02T03:04:01+00:00"
    status = box.events.status()
    assert (status.committed, status.dropped_overflow, status.set_aside, status.fault) == (4, 1, 0, "")
    assert box.topics.retained() == ["edge-oneshot/porch/person/zoe/state", "edge-oneshot/porch/presence"]
    assert box.topics.to_empty() == ["edge-oneshot/porch/person/bob/state"]
    assert box.notes.get("discovery") == '{"state": "sensor"}' and box.notes.get("absent") is None
    assert box.counter.next() > 1795751790115650  # the last number that the old process gave
    box.close()


def test_the_journal_without_a_version_keeps_its_records(old: Path) -> None:
    path = old / "explain-0.sqlite"
    (before,) = read_journal(path)
    assert (before["track"], before["frames"], before["matched_frames"]) == (1, 3, {"zoe": 1})
    journal = Journal(path, DecisionConfig(explain_tracks=20))
    assert journal.report()["tracks"] == [before]
    journal.forget("zoe")
    journal.close()
    assert b"zoe" not in path.read_bytes()
