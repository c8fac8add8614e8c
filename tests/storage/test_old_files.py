"""Files of earlier releases, made of synthetic templates, still open and keep what they hold.

The lowest versions are of commit 09863d9, gallery-4, outbox-5, explain-3 and door-3 of commit 8834f73, gallery-5 of commit
a16e483; the sealed one has the key bytes(range(32)).
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from edge_oneshot.config import DecisionConfig
from edge_oneshot.events.journal import SCHEMA as JOURNAL
from edge_oneshot.events.journal import Journal, read_journal
from edge_oneshot.events.outbox import SCHEMA as OUTBOX
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.gallery.archive import to_document
from edge_oneshot.gallery.door import SCHEMA as DOOR
from edge_oneshot.gallery.door import DoorRecord
from edge_oneshot.gallery.schema import SCHEMA as GALLERY
from edge_oneshot.gallery.site import SCHEMA as SITE
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.storage.cipher import write_key
from edge_oneshot.storage.database import Count, Database, Schema
from edge_oneshot.storage.keys import NO_KEYS, Keys
from edge_oneshot.storage.rows import DIGEST, row_digest
from edge_oneshot.storage.schema import run_step, tables_of
from edge_oneshot.types import AccessRules

FILES = Path(__file__).parent / "files"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the old files."""
    return Path(shutil.copytree(FILES, tmp_path / "old"))


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        *(("gallery-1.sqlite", GALLERY), ("outbox-3.sqlite", OUTBOX), ("explain-0.sqlite", JOURNAL)),
        *(
            ("gallery-4.sqlite", GALLERY),
            ("gallery-5.sqlite", GALLERY),
            ("outbox-5.sqlite", OUTBOX),
            ("explain-3.sqlite", JOURNAL),
            ("door-3.sqlite", DOOR),
        ),
    ],
)
def test_an_old_file_is_marked_and_brought_to_the_newest_version(old: Path, name: str, schema: Schema) -> None:
    for _ in range(2):
        with closing(Database(old / name, schema)) as db:
            assert db.rows("PRAGMA application_id") == [(schema.application_id,)]
            assert db.rows("PRAGMA user_version") == [(len(schema.steps),)]
            assert not db.count_set_aside(), "an upgrade is no loss"


@pytest.mark.parametrize("schema", [GALLERY, OUTBOX, JOURNAL, DOOR, SITE], ids=lambda s: s.kind)
def test_rows_are_counted_from_the_newest_version_on(tmp_path: Path, schema: Schema) -> None:
    """A file from before the count has no fault, and a row that is deleted afterwards is missed."""
    path = tmp_path / "old.sqlite"
    counted = next(i for i, step in enumerate(schema.steps) if Count(schema.table) in step)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.create_function("row_digest", -1, row_digest)
        for step in schema.steps[:counted]:
            run_step(db, step)
        db.execute(f"PRAGMA application_id = {schema.application_id}")
        db.execute(f"PRAGMA user_version = {counted}")
        about = tables_of(db)[schema.table]
        values = [
            b"1" if kind == "BLOB" else 1.0 if kind == "REAL" else 1 if kind == "INTEGER" else "1"
            for kind in about.types
        ]
        named = dict(zip((*about.columns, "digest"), values, strict=False))
        columns = ", ".join(about.columns)
        db.execute(
            f"INSERT INTO {about.name} ({columns}, {DIGEST}) VALUES ({', '.join('?' * len(about.columns))}, ?)",
            [*(named[c] for c in about.columns), row_digest(about.name, *(named[c] for c in about.columns))],
        )
    with closing(Database(path, schema)) as db:
        assert db.rows("PRAGMA user_version") == [(len(schema.steps),)]
        assert not db.count_set_aside(), "an upgrade is no loss"
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute(f"DELETE FROM {about.name}")
        foreign.commit()
    with closing(Database(path, schema)) as db:
        assert db.count_set_aside()


def test_processes_that_open_a_file_to_be_repaired_at_the_same_time_all_open_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from edge_oneshot.gallery.store import Gallery; "
        "sys.stdin.readline(); Gallery(Path(sys.argv[1])).close()"
    )
    path = tmp_path / "gallery.sqlite"
    Gallery(path).close()
    for _ in range(3):
        with closing(sqlite3.connect(path)) as db:
            db.executescript("DROP INDEX templates_by_identity; CREATE VIEW v AS SELECT 1; CREATE VIEW w AS SELECT 2")
        processes = [
            subprocess.Popen([sys.executable, "-c", program, path], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(3)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
        for process in processes:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors.decode()


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


def test_the_gallery_before_captures_and_seals_keeps_every_person_and_template(old: Path) -> None:
    expected = json.loads((old / "gallery-4.json").read_text(encoding="utf-8"))
    assert [len(person["templates"]) for person in expected["identities"]] == [1, 2]
    with Gallery(old / "gallery-4.sqlite") as gallery:
        assert to_document(gallery) == expected and not gallery.with_captures()
        gallery.remove("zoe")
        assert [i.name for i in gallery.identities()] == ["Li"] and not gallery.set_aside


@pytest.mark.parametrize("name", ["gallery-5.sqlite", "gallery-5-sealed.sqlite"])
def test_the_gallery_before_access_rules_limits_no_one_and_can_be_limited(old: Path, tmp_path: Path, name: str) -> None:
    expected, keys = json.loads((old / "gallery-5.json").read_text(encoding="utf-8")), NO_KEYS
    if "sealed" in name:
        pytest.importorskip("cryptography")
        keys = Keys(tmp_path / "gallery.key")
        write_key(tmp_path / "gallery.key", bytes(range(32)))
    rules = AccessRules(doors=("gate",))
    for _ in range(2):
        with Gallery(old / name, keys) as gallery:
            assert to_document(gallery) == expected and gallery.access() == {} and not gallery.in_fleet
            assert len(gallery.with_captures()) == gallery.sealed and not gallery.set_aside
    with Gallery(old / name, keys) as gallery:
        gallery.set_access("zoe", rules)
        gallery.remove("li")
    with Gallery(old / name, keys) as gallery:
        assert gallery.access() == {"zoe": rules} and gallery.removals() == [] and not gallery.set_aside


def test_outbox_journal_and_door_record_before_the_seal_keep_what_they_hold(old: Path) -> None:
    with closing(Outbox(old / "outbox-5.sqlite")) as box:
        assert [s.event.event_type for s in box.events.pending(0, 9)] == ["match", "unknown"]
        assert box.topics.retained() == ["edge-oneshot/porch/presence"] and box.notes.get("discovery") == "x"
        assert box.events.status().set_aside == 0
    (record,) = read_journal(old / "explain-3.sqlite")
    assert record["best"] == {"identity": "zoe", "score": 0.5}
    with closing(DoorRecord(old / "door-3.sqlite", "made with")) as door:
        assert (door.total().visits, door.raised, door.raise_day, door.set_aside) == (1, 0.01, 20001, 0)


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
