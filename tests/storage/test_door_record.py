"""The counts of a door on disk: they survive a power cut, and whatever cannot be read is begun again, with a warning."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from storage_parts import FILL, child, run_on_small_disk

from edge_oneshot.gallery.door import DAY_MORE, DAYS, SCHEMA, DoorRecord
from edge_oneshot.storage.database import Database
from edge_oneshot.storage.optional import moved_aside

SCORES = np.array([0.1, 0.3, 0.42])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "door-default.sqlite"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[..., DoorRecord]]:
    records: list[DoorRecord] = []

    def open_(made_with: str = "sha256:a") -> DoorRecord:
        records.append(DoorRecord(path, made_with))
        return records[-1]

    yield open_
    for record in records:
        record.close()


def test_counts_and_raise_are_kept(opened: Callable[..., DoorRecord], path: Path) -> None:
    record = opened()
    assert not path.exists() and record.total().visits == 0
    for day in (5, 5, 6):
        assert record.add(SCORES, 0.5, day)
    record.set_raise(0.02, 6)
    again = opened()
    total = again.total()
    assert (total.visits, total.comparisons, total.cut, again.days) == (3, 9, 0.5, 2)
    assert (total.counts == record.total().counts).all() and (total.squares == record.total().squares).all()
    assert (again.raised, again.raise_day) == (0.02, 6)
    assert path.stat().st_mode & 0o777 == 0o600


def test_counts_of_another_encoder_are_erased(
    opened: Callable[..., DoorRecord], caplog: pytest.LogCaptureFixture
) -> None:
    record = opened()
    record.add(SCORES, 0.5, 5)
    record.set_raise(0.02, 5)
    other = opened("sha256:b")
    assert (other.total().visits, other.raised) == (0, 0.0)
    assert "begins again: the counts were made with another encoder" in caplog.text
    assert opened().total().visits == 0, "they are erased on disk, too"


def test_old_days_are_dropped(opened: Callable[..., DoorRecord]) -> None:
    record = opened()
    for day in range(DAYS + 7):
        record.add(SCORES, 0.5, day)
    assert (record.days, record.total().visits) == (DAYS, DAYS)
    assert opened().days == DAYS


def test_one_day_cannot_swamp_the_others(opened: Callable[..., DoorRecord]) -> None:
    record = opened()
    for day in range(4):
        for _ in range(10):
            assert record.add(SCORES, 0.5, day)
    low = np.array([-0.1, -0.1, -0.1])
    assert [record.add(low, 0.5, 4) for _ in range(200)].count(True) == 15 + DAY_MORE


def test_a_clock_that_is_set_back_loses_nothing(opened: Callable[..., DoorRecord]) -> None:
    record = opened()
    for day in (700000, 3, 700001, 4):
        assert record.add(SCORES, 0.5, day)
    assert (opened().days, opened().total().visits) == (4, 4)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE days SET counts = x'00'",
        "UPDATE days SET visits = 2",
        "UPDATE days SET best = zeroblob(960)",
        "UPDATE days SET cut = 9e999",
        "UPDATE door SET raised = 7.0",
        "DELETE FROM door",
    ],
)
def test_a_row_that_cannot_be_read_is_set_aside_and_no_other_counts_are_lost(
    opened: Callable[..., DoorRecord], path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    record = opened()
    record.add(SCORES, 0.5, 5)
    record.set_raise(0.03, 5)
    record.close()
    with closing(Database(path, SCHEMA)) as db:
        db.execute(damage)
    again = opened()
    kept = 0.03 if "days" in damage else 0.0  # of a day that cannot be read only its counts are lost
    assert (again.total().visits, again.raised) == (0, kept)
    expected = ["WARNING"] if damage == "DELETE FROM door" else ["ERROR"] if "days" in damage else ["ERROR", "WARNING"]
    assert [r.levelname for r in caplog.records] == expected
    assert again.set_aside == (damage != "DELETE FROM door")
    assert again.add(SCORES, 0.5, 6) and opened().total().visits == 1


def test_a_damaged_file_is_moved_aside(
    opened: Callable[..., DoorRecord], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(b"no database " * 300)
    record = opened()
    assert record.total().visits == 0 and len(moved_aside(path)) == 1
    assert record.add(SCORES, 0.5, 5) and opened().total().visits == 1


def test_a_power_cut_loses_at_most_the_visit_that_is_being_written(
    opened: Callable[..., DoorRecord], path: Path
) -> None:
    code = """
import numpy as np
from pathlib import Path
from edge_oneshot.gallery.door import DoorRecord
record = DoorRecord(Path(sys.argv[1]), "sha256:a")
for visit in range(100000):
    record.add(np.array([0.1, 0.3, 0.42]), 0.5, visit // 15)
    print(visit + 1, flush=True)
"""
    with subprocess.Popen(child(code, path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 40:
                process.send_signal(signal.SIGKILL)
                break
        rest = process.stdout.read().split()
    written = int(rest[-1]) if rest else 40
    total = opened().total()
    assert written <= total.visits <= written + 1 and total.counts.sum() == 3 * total.visits


def test_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    code = (
        FILL
        + """
import numpy as np
from edge_oneshot.gallery.door import DoorRecord
folder = Path(sys.argv[1])
record = DoorRecord(folder / "door.sqlite", "sha256:a")
record.add(np.array([0.1]), 0.5, 1)
fill(folder)
for day in range(60):
    record.add(np.array([0.1]), 0.5, day)
print(record.total().visits)
"""
    )
    assert run_on_small_disk(tmp_path, code).split()[-1] == "61"


def test_reset_erases_everything(opened: Callable[..., DoorRecord]) -> None:
    record = opened()
    record.add(SCORES, 0.5, 5)
    record.set_raise(0.02, 5)
    assert record.reset() == 1
    assert (record.total().visits, record.raised) == (0, 0.0)
    assert (opened().total().visits, opened().raised) == (0, 0.0)
