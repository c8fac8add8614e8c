"""The outbox on a real disk: order, bounds, kill -9, a full disk, a damaged file."""

from __future__ import annotations

import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mqtt_parts import SetClock, event

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.events import outbox_file
from edge_oneshot.events.ids import boot_id, new_event_id
from edge_oneshot.events.outbox import Outbox


def ids(box: Outbox) -> list[str]:
    return [s.event.event_id for s in box.pending(0, 1_000_000)]


def test_events_come_back_in_order_and_whole_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "a" / "outbox.sqlite"
    box = Outbox(path)
    events = [event("match", name=f"Zoë {n}") for n in range(5)]
    assert all(box.commit(e) for e in events)
    box.close()
    box = Outbox(path)
    assert [s.event for s in box.pending(0, 99)] == events
    assert [s.event for s in box.pending(box.pending(0, 2)[-1].seq, 2)] == events[2:4]
    box.delete([events[0].event_id, events[3].event_id])
    box.close()
    box = Outbox(path)
    assert ids(box) == [events[i].event_id for i in (1, 2, 4)]
    box.commit(late := event())
    assert ids(box)[-1] == late.event_id
    box.close()


def test_the_files_belong_to_the_user_alone(tmp_path: Path, outbox: Outbox) -> None:
    outbox.commit(event())
    modes = {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir()}
    assert len(modes) == 3 and set(modes.values()) == {0o600}, modes


def test_a_repeated_commit_changes_nothing(outbox: Outbox) -> None:
    e = event()
    outbox.commit(e)
    outbox.commit(e)
    assert ids(outbox) == [e.event_id] and outbox.status().committed == 1


@pytest.mark.parametrize("identity", ["Alice", "a/b", "#", "+", "", "a b", "x" * 65, None, 7])
def test_an_identity_that_is_no_slug_is_refused(outbox: Outbox, identity: object) -> None:
    with pytest.raises(ValueError, match="slug"):
        outbox.commit(event("match", identity=identity))


def test_a_body_that_is_no_json_is_refused_at_commit(outbox: Outbox) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        outbox.commit(event(score=float("nan")))
    with pytest.raises(TypeError):
        outbox.commit(event(score=object()))
    assert outbox.status().depth == 0


def test_past_the_bound_the_oldest_go_counted_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    box = Outbox(tmp_path / "o.sqlite", max_events=10)
    events = [event() for _ in range(25)]
    for e in events:
        box.commit(e)
    assert ids(box) == [e.event_id for e in events[15:]]
    status = box.status()
    assert (status.depth, status.committed, status.dropped_overflow) == (10, 25, 15)
    assert [r.message for r in caplog.records] == ["outbox: dropping undelivered events (more than 10 wait)"]
    box.delete([events[15].event_id])
    assert "15 events were dropped" in caplog.records[-1].message
    box.close()
    box = Outbox(tmp_path / "o.sqlite", max_events=10)
    assert box.status().dropped_overflow == 15
    box.close()


def test_outlived_events_go_by_the_clock_that_counts_sleep(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = SetClock()
    box = Outbox(tmp_path / "o.sqlite", max_age_s=60, clock=clock)
    box.commit(clock.event())
    clock.forward, clock.asleep, clock.wall = 59.0, 58.0, 1e6  # a stepped wall clock ages nothing
    assert len(ids(box)) == 1
    clock.forward, clock.asleep = 61.0, 60.0  # but sleep does
    assert ids(box) == [] and box.status().dropped_age == 1
    assert [r.message for r in caplog.records] == ["outbox: dropping undelivered events (older than 60 s)"]
    box.close()


def test_after_a_reboot_only_a_wall_clock_that_was_synced_ages_events(tmp_path: Path) -> None:
    clock = SetClock()
    box = Outbox(tmp_path / "o.sqlite", max_age_s=60, clock=clock)
    clock.synced = False
    box.commit(unsynced := clock.event())
    clock.synced = True
    box.commit(clock.event())
    clock.boot, clock.forward = "another-boot", 100.0
    assert ids(box) == [unsynced.event_id] and box.status().dropped_age == 1
    assert box.pending(0, 1)[0].age_s(clock()) is None
    box.close()


def test_fresh_events_are_found_behind_a_backlog(tmp_path: Path) -> None:
    clock = SetClock()
    box = Outbox(tmp_path / "o.sqlite", clock=clock)
    for _ in range(50):
        box.commit(clock.event())
    clock.forward, clock.asleep = 60.0, 60.0  # old also if the device slept meanwhile
    fresh = [clock.event() for _ in range(5)]
    for e in fresh:
        box.commit(e)
    box.commit(replace(clock.event(), boot_id="another-boot"))
    found = box.fresh(0, 99, 2.0)
    assert [s.event for s in found] == fresh
    assert [s.event for s in box.fresh(found[1].seq, 2, 2.0)] == fresh[2:4]
    box.delete([fresh[0].event_id])
    assert [s.event for s in box.fresh(0, 99, 2.0)] == fresh[1:]
    clock.forward = 62.1
    assert box.fresh(0, 99, 2.0) == []
    box.close()


def test_threads_commit_and_delete_at_the_same_time(outbox: Outbox) -> None:
    made: list[str] = []

    def work() -> None:
        for _ in range(25):
            e = event()
            made.append(e.event_id)
            outbox.commit(e)
            outbox.delete([random.choice(made)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert outbox.status().committed == 100 and outbox.status().fault == ""
    outbox.delete(made)
    assert ids(outbox) == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.just("commit"), st.just("reopen"), st.integers(0, 20)), max_size=30))
def test_it_behaves_like_a_bounded_list(tmp_path_factory: pytest.TempPathFactory, steps: list[str | int]) -> None:
    path = tmp_path_factory.mktemp("box") / "o.sqlite"
    box, model = Outbox(path, max_events=8), []
    for step in steps:
        if step == "commit":
            e = event("unknown")
            box.commit(e)
            model = [*model, e.event_id][-8:]
        elif step == "reopen":
            box.close()
            box = Outbox(path, max_events=8)
        elif isinstance(step, int) and step < len(model):
            box.delete([model.pop(step)])
        assert ids(box) == model
    box.close()


_COMMITTER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from mqtt_parts import event
from edge_oneshot.events.outbox import Outbox
box = Outbox(Path(sys.argv[1]))
while True:
    e = event()
    assert box.commit(e)
    print(e.event_id, flush=True)
"""


def test_what_was_committed_survives_kill_9_at_random_points(tmp_path: Path) -> None:
    path, told = tmp_path / "o.sqlite", []
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", _COMMITTER, str(path), str(Path(__file__).parent)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        told.append(child.stdout.readline().decode().strip())  # it works now
        time.sleep(random.uniform(0, 0.15))
        child.send_signal(signal.SIGKILL)
        told += [w.decode() for w in child.stdout.read().split() if len(w) == 36]
        child.stdout.close()
        child.wait()
    box = Outbox(path)
    kept = ids(box)
    assert [i for i in kept if i in set(told)] == told  # each one that was told of, in order
    assert len(kept) - len(told) <= 5  # and at most one per kill that was stored and not told any more
    box.close()


_FULL = """
import logging, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from mqtt_parts import event
from edge_oneshot.events.outbox import Outbox
logging.basicConfig(format="%(levelname)s %(message)s")
folder = Path(sys.argv[1])
box = Outbox(folder / "o.sqlite")
made = [event() for _ in range(40)]
assert box.commit(made[0])
filler = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT)
try:
    while True:
        os.write(filler, bytes(4096))
except OSError as e:
    print("full:", e.strerror)
results = [box.commit(e) for e in made[1:30]]
status = box.status()
assert results[-1] is False and status.fault and status.in_memory and status.depth == 30, (results, status)
assert [s.event for s in box.pending(0, 99)] == made[:30] == [s.event for s in box.fresh(0, 99, 60.0)]
box.delete([made[2].event_id])
assert len(box.pending(0, 99)) == 29
os.close(filler)
os.unlink(folder / "filler")
assert box.commit(made[30])
status = box.status()
assert status.fault == "" and status.in_memory == 0 and status.depth == 30 and status.committed == 31, status
box.close()
box = Outbox(folder / "o.sqlite")
assert [s.event for s in box.pending(0, 99)] == made[:2] + made[3:31]
box.close()
print("recovered")
"""


def test_a_full_disk_degrades_and_heals(tmp_path: Path) -> None:
    """A real file system of 256 KiB, mounted in a namespace of its own."""
    script = 'mount -t tmpfs -o size=256k none "$1" && exec "$2" -c "$3" "$1" "$4"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", str(tmp_path), sys.executable, _FULL, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["full: No space left on device", "recovered"]
    assert done.stderr.count("new events wait in memory only") == 1, done.stderr
    assert done.stderr.count("the disk takes events again") == 1


@pytest.mark.parametrize("junk", [b"this is no database at all, " * 200, b"SQLite format 3\0" + os.urandom(8000)])
def test_a_damaged_file_is_moved_aside(tmp_path: Path, junk: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "o.sqlite"
    path.write_bytes(junk)
    box = Outbox(path)
    assert box.commit(e := event()) and ids(box) == [e.event_id]
    box.close()
    aside = [p for p in tmp_path.iterdir() if "damaged" in p.name and p.suffix not in ("-wal", "-shm")]
    assert [p.read_bytes() for p in aside if p.stat().st_size == len(junk)] == [junk]
    assert any("moved aside" in r.message and r.levelno == logging.ERROR for r in caplog.records)


def test_a_file_that_is_damaged_while_open_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "o.sqlite"
    box = Outbox(path)
    for _ in range(50):
        box.commit(event())
    box.close()
    box = Outbox(path)
    other = sqlite3.connect(path)  # a write by another connection empties the cache of the first
    with other:
        other.execute("INSERT INTO clears VALUES ('x')")
    other.close()
    with path.open("r+b") as f:
        f.seek(4096)
        f.write(os.urandom(path.stat().st_size - 4096))
    last = event()
    assert box.commit(last)
    assert last.event_id in ids(box) and box.status().fault == ""
    assert any("moved aside" in r.message for r in caplog.records)
    box.close()


def test_a_file_of_a_newer_version_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "o.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    box = Outbox(path)
    assert box.commit(event())
    box.close()
    assert [p.name for p in tmp_path.glob("*newer*")] and "its version is 99" in caplog.text


def test_migrations_run_in_order_once_and_keep_the_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "o.sqlite"
    box = Outbox(path)
    box.commit(e := event())
    box.close()
    more = (
        ("CREATE TABLE later (n INTEGER) STRICT", "INSERT INTO later VALUES (1)"),
        ("INSERT INTO later SELECT n + 1 FROM later",),
    )
    monkeypatch.setattr(outbox_file, "MIGRATIONS", outbox_file.MIGRATIONS + more)
    for _ in range(2):
        box = Outbox(path)
        assert ids(box) == [e.event_id]
        box.close()
    db = sqlite3.connect(path)
    assert db.execute("SELECT n FROM later ORDER BY n").fetchall() == [(1,), (2,)]
    assert db.execute("PRAGMA user_version").fetchone() == (len(outbox_file.MIGRATIONS),)
    db.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_an_error_with_its_fix(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(EdgeOneshotError, match="can be written"):
        Outbox(tmp_path / "o.sqlite")
    tmp_path.chmod(0o700)


def test_event_ids_are_uuid7_and_sort_as_they_were_made() -> None:
    made = [new_event_id() for _ in range(5000)]
    assert made == sorted(made) and len(set(made)) == 5000
    assert {i[14] for i in made} == {"7"} and {i[19] for i in made} <= set("89ab")
    assert abs(int(made[0].replace("-", "")[:12], 16) / 1000 - time.time()) < 60


def test_the_boot_id_is_the_kernels() -> None:
    assert boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
