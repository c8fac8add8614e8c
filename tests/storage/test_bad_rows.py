"""A row that cannot be read is set aside in every file: it is kept and counted, and all others are used."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from samples import person, random_unit, template

from edge_oneshot.config import Config, DecisionConfig, DeviceConfig
from edge_oneshot.doctor import files
from edge_oneshot.errors import UnusableFile
from edge_oneshot.events.journal import Journal, read_journal
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.gallery.archive import to_document
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.types import Event


def change(path: Path, sql: str, *values: object) -> None:
    """As another program does."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(sql, values)


def event(number: int, identity: str = "zoe") -> Event:
    body = {"identity": identity, "name": identity.title()}
    return Event(
        event_id=str(number), event_type="match", ts=datetime.now(UTC), captured_ns=number, boot_id="b", body=body
    )


RECORD = {
    "track": 1, "first_at": "2026-01-01T00:00:00+00:00", "last_at": "2026-01-01T00:00:00+00:00", "frames": 1,
    "compared": 1, "matched_frames": {"zoe": 1}, "refused": {}, "best": {"identity": "zoe", "score": 0.5},
    "second": None, "threshold": 0.4, "events": [], "pad": {"decision": "not_performed", "score": None, "method": None},
    "why": "",
}  # fmt: skip


# ---- the journal


@pytest.mark.parametrize(
    "record",
    [
        "{}",
        "[]",
        "[" * 5000,
        json.dumps(RECORD | {"matched_frames": []}),
        json.dumps(RECORD | {"last_at": "yesterday"}),
        json.dumps(RECORD | {"best": {}}),
        json.dumps(RECORD | {"refused": {"dark": 1}}),
        json.dumps(RECORD | {"events": [{}]}),
    ],
)
def test_a_foreign_record_does_not_stop_the_daemon(tmp_path: Path, record: str) -> None:
    path = tmp_path / "explain.sqlite"
    journal = Journal(path, DecisionConfig())
    journal._write(RECORD)  # type: ignore[arg-type]
    journal.close()
    change(path, "INSERT INTO track (record) VALUES (?)", record)
    assert read_journal(path) == [RECORD]
    journal = Journal(path, DecisionConfig())
    # Its checksum is right, but it is no record.
    journal._file.run(lambda db: db.execute("INSERT INTO track (record) VALUES (?)", (record,)), 0)
    journal.keep_only(["zoe"])
    assert journal.report()["tracks"] == [RECORD] and journal.set_aside == 2 and journal.fault == ""
    journal.close()


def test_a_damaged_record_is_deleted_with_a_removed_person(tmp_path: Path) -> None:
    """The damage may be in the id, so it is not known whom the row names."""
    path = tmp_path / "explain.sqlite"
    journal = Journal(path, DecisionConfig())
    journal._write(RECORD)  # type: ignore[arg-type]
    change(path, "UPDATE track SET record = replace(record, 'zoe', 'z?e')")
    journal.forget("zoe")
    journal.close()
    assert b"z?e" not in path.read_bytes()


# ---- the outbox


@pytest.mark.parametrize(
    "damage",
    [
        "body = replace(body, ':', ';')",
        "event_type = 'mtach'",
        "ts_us = 9223372036854775807",
        "seq = 9223372036854775807",
        "captured_ns = captured_ns + 1",
        "body = replace(body, 'Zoe', 'Eve')",
        "body = CAST(x'ff' AS TEXT)",
    ],
)
@pytest.mark.parametrize("sealed", [False, True], ids=["by another program", "with its checksum"])
def test_one_damaged_event_does_not_stop_the_others(tmp_path: Path, damage: str, sealed: bool) -> None:
    path = tmp_path / "outbox.sqlite"
    box = Outbox(path)
    for number in (1, 2, 3):
        box.events.commit(event(number))
    sql = f"UPDATE events SET {damage} WHERE event_id = '2'"
    if sealed:
        box.events._file.run(lambda db: db.execute(sql), 0)
    box.close()
    if not sealed:
        change(path, sql)
    box = Outbox(path)
    assert box.events.commit(event(4))
    found = [s.event.event_id for s in box.events.pending(0, 9)]
    status = box.events.status()
    changed_only = sealed and ("captured_ns" in damage or "Eve" in damage)  # a valid event
    assert (found, status.set_aside) == ((["1", "2", "3", "4"], 0) if changed_only else (["1", "3", "4"], 1))
    assert status.fault == "" and list(tmp_path.glob("*.damaged-*")) == []
    box.close()


@pytest.mark.parametrize("table", ["counters", "retained", "clears", "notes"])
def test_a_damaged_row_beside_the_events_is_set_aside(tmp_path: Path, table: str) -> None:
    path = tmp_path / "outbox.sqlite"
    box = Outbox(path)
    box.events.commit(event(1))
    box.topics.add("a/b")
    box.topics.empty(["a/c"])
    box.notes.put("n", "v")
    first = box.counter.next()
    box.close()
    column, value = {"counters": ("value", 2**63 - 1), "notes": ("value", b"\xff".decode("latin-1"))}.get(
        table, ("topic", "#")
    )
    change(path, f"UPDATE {table} SET {column} = ?", value)
    box = Outbox(path)
    assert box.counter.next() > first and box.events.commit(event(2))
    assert (box.topics.retained(), box.topics.to_empty(), box.notes.get("n")) == (
        [] if table == "retained" else ["a/b"],
        [] if table == "clears" else ["a/c"],
        None if table == "notes" else "v",
    )
    assert box.events.status().set_aside >= 1 and box.events.status().fault == ""
    box.close()


# ---- the gallery


@pytest.mark.parametrize(
    "damage",
    [
        "created_at = 'yesterday'",
        "vector = substr(vector, 1, 9)",
        "vector = CAST('x' || substr(vector, 2) AS BLOB)",
        "quality = '{\"inter_eye_px\": ' || hex(zeroblob(9000))",
        "identity_id = 'bob'",
        "no_rate = 1",
    ],
)
def test_a_changed_template_is_noticed_and_affects_its_person_only(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "gallery.sqlite"
    with Gallery(path) as gallery:
        for name, seed in (("zoe", 1), ("bob", 2)):
            gallery.add(person(name), [template(name, random_unit(seed), "sha256:aa")])
    change(path, f"UPDATE templates SET {damage} WHERE identity_id = 'zoe'")
    with Gallery(path) as gallery:
        assert [(p.identity.identity_id, len(p.templates)) for p in gallery.people()] == [("bob", 1), ("zoe", 0)]
        assert len(to_document(gallery)["identities"]) == 2 and gallery.set_aside == 1
        gallery.add(person("zoe"), [template("zoe", random_unit(3), "sha256:aa")], replace=True)
        assert gallery.set_aside == ("'bob'" in damage)
        gallery.remove("bob")
        assert gallery.set_aside == 0


@pytest.mark.parametrize("damage", ["name = 'Eve'", "identity_id = 'eve'", "created_at = 'x'"])
def test_a_changed_person_keeps_the_templates_under_the_id(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "gallery.sqlite"
    with Gallery(path) as gallery:
        gallery.add(person("zoe", "Zoë"), [template("zoe", random_unit(1), "sha256:aa")])
    change(path, f"UPDATE identities SET {damage}")
    with Gallery(path) as gallery:
        assert [(p.identity, len(p.templates)) for p in gallery.people()] == [(person("zoe", "zoe"), 1)]
        assert gallery.set_aside == 1


def test_doctor_reports_what_is_set_aside(tmp_path: Path) -> None:
    config = Config(device=DeviceConfig(state_dir=str(tmp_path)))
    with Gallery(config.gallery_path) as gallery:
        gallery.add(person("zoe"), [template("zoe", random_unit(1), "sha256:aa")])
    Outbox(config.outbox_path).close()
    assert [f.status for f in files.check(config)] == ["ok"]
    change(config.gallery_path, "UPDATE templates SET vector = ?", np.ones(192, "<f4").tobytes())
    found = list(files.check(config))
    assert [f.status for f in found] == ["warning", "ok"] and "1 row could not be read" in found[0].message


# ---- the whole file


def grown(path: Path) -> None:
    with Gallery(path) as gallery:
        for seed in range(20):
            gallery.add(person(f"p{seed}"), [template(f"p{seed}", random_unit(seed), "sha256:aa")])


def test_an_index_that_does_not_fit_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "gallery.sqlite"
    grown(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA writable_schema = 1")
        db.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, '(identity_id)', '(encoder_id)') WHERE type = 'index' AND sql > ''"
        )
    with closing(sqlite3.connect(path)) as db:
        assert "missing from index" in db.execute("PRAGMA integrity_check").fetchone()[0]
    with Gallery(path) as gallery:
        assert len(gallery.identities()) == 20


@pytest.mark.parametrize("spoil", ["PRAGMA user_version = 0", "PRAGMA user_version = 1"])
@pytest.mark.parametrize("make", [grown, lambda path: Outbox(path).close()], ids=["gallery", "outbox"])
def test_a_version_that_is_too_old_for_the_tables_is_corrected(
    tmp_path: Path, spoil: str, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "file.sqlite"
    make(path)
    change(path, spoil)
    make(path) if make is not grown else Gallery(path).close()
    assert list(tmp_path.glob("*.damaged-*")) == []


def test_a_schema_that_is_not_utf_8_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "gallery.sqlite"
    grown(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"CREATE TABLE identities (", b"CREATE TABLE identities \xd8", 1))
    with pytest.raises(UnusableFile, match="the file is damaged"):
        Gallery(path)
