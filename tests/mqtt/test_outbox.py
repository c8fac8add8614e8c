"""The queue of events: order, bounds, expiry, fresh events behind a backlog; and the ids of events."""

from __future__ import annotations

import itertools
import random
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mqtt_parts import SetClock, event

from edge_oneshot.events.clock import boot_id, new_event_id
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.events.stored import COLUMNS, StoredEvent, to_row
from edge_oneshot.storage.cipher import new_key, write_key
from edge_oneshot.storage.database import Database
from edge_oneshot.storage.keys import NO_KEYS, Keys


def ids(box: Outbox) -> list[str]:
    return [s.event.event_id for s in box.events.pending(0, 1_000_000)]


def test_events_come_back_in_order_and_whole_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "a" / "outbox.sqlite"
    box = Outbox(path)
    events = [event("match", name=f"Zoë {n}") for n in range(5)]
    assert all(box.events.commit(e) for e in events)
    box.close()
    box = Outbox(path)
    assert [s.event for s in box.events.pending(0, 99)] == events
    assert [s.event for s in box.events.pending(box.events.pending(0, 2)[-1].seq, 2)] == events[2:4]
    box.events.delete([events[0].event_id, events[3].event_id])
    box.close()
    box = Outbox(path)
    assert ids(box) == [events[i].event_id for i in (1, 2, 4)]
    box.events.commit(late := event())
    assert ids(box)[-1] == late.event_id
    box.close()


def test_the_files_belong_to_the_user_alone(tmp_path: Path, outbox: Outbox) -> None:
    outbox.events.commit(event())
    modes = {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir()}
    assert len(modes) == 3 and set(modes.values()) == {0o600}, modes


def test_a_repeated_commit_changes_nothing(outbox: Outbox) -> None:
    e = event()
    outbox.events.commit(e)
    outbox.events.commit(e)
    assert ids(outbox) == [e.event_id] and outbox.events.status().committed == 1


@pytest.mark.parametrize("identity", ["Alice", "a/b", "#", "+", "", "a b", "x" * 65, None, 7])
def test_an_identity_that_is_no_slug_is_refused(outbox: Outbox, identity: object) -> None:
    with pytest.raises(ValueError, match="slug"):
        outbox.events.commit(event("match", identity=identity))


def test_a_body_that_is_not_json_is_refused_at_commit(outbox: Outbox) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        outbox.events.commit(event(score=float("nan")))
    with pytest.raises(TypeError):
        outbox.events.commit(event(score=object()))
    assert outbox.events.status().depth == 0


def test_beyond_the_bound_the_oldest_are_dropped_counted_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box = Outbox(tmp_path / "o.sqlite", max_events=10)
    events = [event() for _ in range(25)]
    for e in events:
        box.events.commit(e)
    assert ids(box) == [e.event_id for e in events[15:]]
    status = box.events.status()
    assert (status.depth, status.committed, status.dropped_overflow) == (10, 25, 15)
    assert [r.message for r in caplog.records] == ["outbox: dropping undelivered events (more than 10 wait)"]
    box.events.delete([events[15].event_id])
    assert "15 events were dropped" in caplog.records[-1].message
    box.close()
    box = Outbox(tmp_path / "o.sqlite", max_events=10)
    assert box.events.status().dropped_overflow == 15
    box.close()


def test_events_expire_by_the_clock_that_includes_sleep(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = SetClock()
    box = Outbox(tmp_path / "o.sqlite", max_age_s=60, clock=clock)
    box.events.commit(clock.event())
    clock.forward, clock.asleep, clock.wall = 59.0, 58.0, 1e6  # a step of the wall clock expires nothing
    assert len(ids(box)) == 1
    clock.forward, clock.asleep = 61.0, 60.0  # but sleep does
    assert ids(box) == [] and box.events.status().dropped_age == 1
    assert [r.message for r in caplog.records] == ["outbox: dropping undelivered events (older than 60 s)"]
    box.close()


def test_after_a_reboot_only_a_synchronised_wall_clock_expires_events(tmp_path: Path) -> None:
    clock = SetClock()
    box = Outbox(tmp_path / "o.sqlite", max_age_s=60, clock=clock)
    clock.synced = False
    box.events.commit(unsynced := clock.event())
    clock.synced = True
    box.events.commit(clock.event())
    clock.boot, clock.forward = "another-boot", 100.0
    assert ids(box) == [unsynced.event_id] and box.events.status().dropped_age == 1
    assert box.events.pending(0, 1)[0].age_s(clock()) is None
    box.close()


def test_fresh_events_are_found_behind_a_backlog(tmp_path: Path) -> None:
    clock = SetClock()
    box = Outbox(tmp_path / "o.sqlite", clock=clock)
    for _ in range(50):
        box.events.commit(clock.event())
    clock.forward, clock.asleep = 60.0, 60.0  # old, although the device slept meanwhile
    fresh = [clock.event() for _ in range(5)]
    for e in fresh:
        box.events.commit(e)
    box.events.commit(replace(clock.event(), boot_id="another-boot"))
    found = box.events.fresh(0, 99, 2.0)
    assert [s.event for s in found] == fresh
    assert [s.event for s in box.events.fresh(found[1].seq, 2, 2.0)] == fresh[2:4]
    box.events.delete([fresh[0].event_id])
    assert [s.event for s in box.events.fresh(0, 99, 2.0)] == fresh[1:]
    clock.forward = 62.1
    assert box.events.fresh(0, 99, 2.0) == []
    box.close()


def test_threads_commit_and_delete_at_the_same_time(outbox: Outbox) -> None:
    made: list[str] = []

    def work() -> None:
        for _ in range(25):
            e = event()
            made.append(e.event_id)
            outbox.events.commit(e)
            outbox.events.delete([random.choice(made)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert outbox.events.status().committed == 100 and outbox.events.status().fault == ""
    outbox.events.delete(made)
    assert ids(outbox) == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.just("commit"), st.just("reopen"), st.integers(0, 20)), max_size=30))
def test_it_behaves_like_a_bounded_list(tmp_path_factory: pytest.TempPathFactory, steps: list[str | int]) -> None:
    path = tmp_path_factory.mktemp("box") / "o.sqlite"
    box, model = Outbox(path, max_events=8), []
    for step in steps:
        if step == "commit":
            e = event("unknown")
            box.events.commit(e)
            model = [*model, e.event_id][-8:]
        elif step == "reopen":
            box.close()
            box = Outbox(path, max_events=8)
        elif isinstance(step, int) and step < len(model):
            box.events.delete([model.pop(step)])
        assert ids(box) == model
    box.close()


def test_event_ids_are_uuid7_and_sort_in_the_order_of_creation() -> None:
    made = [new_event_id() for _ in range(5000)]
    assert made == sorted(made) and len(set(made)) == 5000
    assert {i[14] for i in made} == {"7"} and {i[19] for i in made} <= set("89ab")
    assert abs(int(made[0].replace("-", "")[:12], 16) / 1000 - time.time()) < 60


def test_the_boot_id_is_that_of_the_kernel() -> None:
    assert boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@pytest.mark.parametrize("sealed", [False, True])
def test_the_work_of_a_commit_does_not_grow_with_the_backlog(tmp_path: Path, sealed: bool) -> None:
    """In steps of SQLite's virtual machine: expiry once a second may read the whole backlog, a commit may not."""
    keys = NO_KEYS
    if sealed:
        pytest.importorskip("cryptography")
        write_key(tmp_path / "key", new_key())
        keys = Keys(tmp_path / "key")
    box = Outbox(tmp_path / "outbox.sqlite", clock=SetClock(), keys=keys)
    steps = []
    for backlog in (20, 2000):
        have = box.events.status().depth

        def fill(db: Database, number: int = backlog - have) -> None:
            with db.snapshot():
                for n in range(number):
                    seq = box.events._seq + 1 + n
                    stored = StoredEvent(seq=seq, event=event(), captured_boottime_ns=10**15, clock_synced=True)
                    db.execute(f"INSERT INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", to_row(db, stored))

        box.events._file.run(fill, None)
        box.events.commit(event())
        count = itertools.count()
        connection = box.events._file._db
        assert connection is not None
        connection._db.set_progress_handler(lambda count=count: next(count) and None, 10)
        box.events.commit(event())
        connection._db.set_progress_handler(None, 0)
        steps.append(next(count))
    assert box.events.status().depth == 2002 and steps[1] < 2 * steps[0], steps
    box.close()
