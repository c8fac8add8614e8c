"""What was removed is in no file: not after a kill, not in the outbox, and not in files that were moved aside."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from samples import person, random_unit, template
from storage_parts import child

from edge_oneshot.events.outbox import Outbox
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.service.compose import forget_in_outboxes
from edge_oneshot.storage.optional import KEPT_ASIDE, move_aside, moved_aside
from edge_oneshot.types import Event

KILLED = """
import os, sys
from pathlib import Path
from edge_oneshot.gallery.store import Gallery
gallery = Gallery(Path(sys.argv[1]))
Gallery._erase_removed = lambda *_: os.kill(os.getpid(), 9)  # between commit and checkpoint
gallery.remove("zoe")
"""


def inside(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in folder.iterdir())


def test_a_template_removed_by_a_process_that_was_killed_is_gone_at_the_next_open(tmp_path: Path) -> None:
    path, stored = tmp_path / "gallery.sqlite", template("zoe", random_unit(1), "sha256:aa")
    secret = stored.embedding.vector.astype("<f4").tobytes()
    with Gallery(path) as gallery:
        gallery.add(person("bob"), [template("bob", random_unit(2), "sha256:aa")])
        gallery.add(person("zoe"), [stored])
    done = subprocess.run(child(KILLED, path), check=False, timeout=60)
    assert done.returncode == -9 and secret in inside(tmp_path)
    gallery = Gallery(path)
    assert [i.identity_id for i in gallery.identities()] == ["bob"] and secret not in inside(tmp_path)
    gallery.close()


def event(number: int, identity: str, event_type: str = "match") -> Event:
    body = {"identity": identity, "name": f"Name of {identity}"}
    return Event(
        event_id=f"{identity}{number}",
        event_type=event_type,
        ts=datetime.now(UTC),
        captured_ns=number,
        boot_id="b",
        body=body,
    )


def test_a_person_who_is_forgotten_leaves_the_outbox(tmp_path: Path) -> None:
    path = tmp_path / "outbox-default.sqlite"
    box = Outbox(path)
    for number in range(20):
        box.events.commit(event(number, "zoe"))
        box.events.commit(event(number, "bob"))
    box.events.set_aside(box.events.pending(0, 1)[0], "no topic")
    path.with_name(f"{path.name}.damaged-20260101T000000000000").write_bytes(b"Name of zoe")
    box.events.forget("zoe")
    assert {s.event.body["identity"] for s in box.events.pending(0, 99)} == {"bob"}
    assert b"zoe" not in inside(tmp_path) and box.events.status().set_aside == 0
    box.events.commit(event(99, "zoe", "forgotten"))
    box.events.forget("zoe")
    assert box.events.pending(0, 99)[-1].event.event_type == "forgotten"  # subscribers still learn of it
    box.close()
    other = Outbox(tmp_path / "outbox-back.sqlite")
    other.events.commit(event(1, "bob"))
    other.close()
    forget_in_outboxes(tmp_path, "bob")
    assert b"bob" not in inside(tmp_path)


def test_files_that_were_moved_aside_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    for number in range(KEPT_ASIDE + 3):
        path.write_bytes(b"%d" % number)
        path.with_name("outbox.sqlite-wal").write_bytes(b"log")
        move_aside(path, "damaged")
    assert [p.read_bytes() for p in moved_aside(path)] == [b"%d" % (n + 3) for n in range(KEPT_ASIDE)]
    assert len(list(tmp_path.iterdir())) == 2 * KEPT_ASIDE
