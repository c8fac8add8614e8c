"""The outbox on a real disk: kill -9, a full disk, damage, and rows that cannot be read."""

from __future__ import annotations

import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mqtt_parts import event

from edge_oneshot.events.outbox import Outbox


def ids(box: Outbox) -> list[str]:
    return [s.event.event_id for s in box.events.pending(0, 1_000_000)]


_COMMITTER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from mqtt_parts import event
from edge_oneshot.events.outbox import Outbox
box = Outbox(Path(sys.argv[1]))
while True:
    e = event()
    assert box.events.commit(e)
    print(e.event_id, flush=True)
"""


def test_what_was_committed_survives_kill_9_at_random_points(tmp_path: Path) -> None:
    path, reported = tmp_path / "o.sqlite", []
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", _COMMITTER, str(path), str(Path(__file__).parent)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        reported.append(child.stdout.readline().decode().strip())  # the child works now
        time.sleep(random.uniform(0, 0.15))
        child.send_signal(signal.SIGKILL)
        reported += [w.decode() for w in child.stdout.read().split() if len(w) == 36]
        child.stdout.close()
        child.wait()
    box = Outbox(path)
    kept = ids(box)
    assert [i for i in kept if i in set(reported)] == reported  # each one that was reported, in order
    assert len(kept) - len(reported) <= 5  # and at most one per kill that was stored but not reported
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
assert box.events.commit(made[0])
filler = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT)
try:
    while True:
        os.write(filler, bytes(4096))
except OSError as e:
    print("full:", e.strerror)
results = [box.events.commit(e) for e in made[1:30]]
status = box.events.status()
assert results[-1] is False and status.fault and status.in_memory and status.depth == 30, (results, status)
assert [s.event for s in box.events.pending(0, 99)] == made[:30] == [s.event for s in box.events.fresh(0, 99, 60.0)]
box.events.delete([made[2].event_id])
assert len(box.events.pending(0, 99)) == 29
os.close(filler)
os.unlink(folder / "filler")
assert box.events.commit(made[30])
status = box.events.status()
assert status.fault == "" and status.in_memory == 0 and status.depth == 30 and status.committed == 31, status
box.close()
box = Outbox(folder / "o.sqlite")
assert [s.event for s in box.events.pending(0, 99)] == made[:2] + made[3:31]
box.close()
print("recovered")
"""


def test_a_full_disk_makes_events_wait_until_there_is_space(tmp_path: Path) -> None:
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
    assert done.stderr.count("new events wait in memory") == 1, done.stderr
    assert done.stderr.count("can be written again") == 1


def test_a_damaged_file_is_moved_aside_and_events_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "o.sqlite"
    path.write_bytes(junk := b"not a database, " * 200)
    box = Outbox(path)
    first = box.counter.next()
    assert box.events.commit(e := event()) and ids(box) == [e.event_id]
    box.close()
    (aside,) = tmp_path.glob("o.sqlite.damaged-*")
    assert aside.read_bytes() == junk
    assert any("moved aside" in r.message and r.levelno == logging.ERROR for r in caplog.records)
    aside.rename(path)
    box = Outbox(path)
    assert box.counter.next() > first  # the new file repeats no number of the old one
    box.close()


def test_a_file_that_is_damaged_while_open_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "o.sqlite"
    box = Outbox(path)
    for _ in range(50):
        box.events.commit(event())
    box.close()
    box = Outbox(path)
    other = sqlite3.connect(path)  # a write by another connection empties the cache of the first
    with other:
        other.execute("INSERT INTO clears (topic) VALUES ('x')")
    other.close()
    with path.open("r+b") as f:
        f.seek(4096)
        f.write(os.urandom(path.stat().st_size - 4096))
    last = event()
    assert box.events.commit(last)
    assert last.event_id in ids(box) and box.events.status().fault == ""
    assert any("moved aside" in r.message for r in caplog.records)
    box.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("body", b"{"),
        ("body", b"[1]"),
        ("body", b'{"name": "\xff"}'),
        ("body", b"[" * 100_000),
        ("event_id", b"\xff\xfe"),
        ("event_type", b"\xff"),
        ("ts_us", 2**62),
        ("boot_id", b"\xff"),
    ],
)
def test_an_event_that_cannot_be_read_is_set_aside_and_the_others_are_sent(
    outbox: Outbox, column: str, value: bytes | int, caplog: pytest.LogCaptureFixture
) -> None:
    events = [event() for _ in range(5)]
    for e in events:
        outbox.events.commit(e)
    with sqlite3.connect(outbox._file.path) as other:
        cast = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
        other.execute(f"UPDATE events SET {column} = {cast} WHERE seq <= 3", (value,)) if column != "event_id" else [
            other.execute("UPDATE events SET event_id = CAST(? AS TEXT) WHERE seq = ?", (value + bytes([n]), n))
            for n in (1, 2, 3)
        ]
    other.close()
    # The first batch holds only damaged rows: what is behind them must still come.
    assert [s.event for s in outbox.events.pending(0, 2)] == events[3:]
    status = outbox.events.status()
    assert (status.depth, status.set_aside, status.fault) == (2, 3, "")
    assert caplog.text.count("cannot be read and is set aside") == 3


def test_an_event_that_cannot_be_sent_is_set_aside(outbox: Outbox) -> None:
    events = [event() for _ in range(2)]
    for e in events:
        outbox.events.commit(e)
    outbox.events.set_aside(outbox.events.pending(0, 1)[0], "no topic")
    assert ids(outbox) == [events[1].event_id]
    assert outbox.events.status().set_aside == 1
