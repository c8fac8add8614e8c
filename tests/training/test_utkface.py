"""The split of UTKFace is fixed by hash, and the list of doubles was made with it."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from converters import no_rate
from training.face import utkface


def test_labels_come_from_the_file_name() -> None:
    labels = utkface.labels_of("utkface/26_1_2_20170116174525125.jpg.chip.jpg")
    assert labels == utkface.Labels(age=26, sex="female", group="asian") and labels.band == "16-120"
    assert utkface.labels_of("61_1_20170109150557335.jpg.chip.jpg") is None, "a name without a group has no labels"


def test_the_split_never_changes() -> None:
    """A picture that moved from `train` to `report` would make every reported rate wrong."""
    names = [f"{age}_0_0_2017011617452512{age}.jpg.chip.jpg" for age in range(1, 9)]
    assert [utkface.part_of(n) for n in names] == [utkface.part_of(f"some/folder/{n}") for n in names]
    assert [utkface.part_of(n)[:2] for n in names] == [
        "tr", "tr", "re", "th", "re", "tr", "th", "re",
    ]  # fmt: skip


def test_parts_and_doubles_of_the_real_set() -> None:
    data = os.environ.get("EDGE_ONESHOT_DATA")
    if not data:
        pytest.skip("EDGE_ONESHOT_DATA is not set: utkface_dev.tar is needed")
    archive = Path(data) / "utkface_dev.tar"
    with tarfile.open(archive) as tar:
        names = [m.name for m in tar.getmembers() if m.isfile()]
    sizes = {part: sum(utkface.part_of(n) == part for n in names) for part in ("train", "threshold", "report")}
    assert sizes == {"train": 8180, "threshold": 3974, "report": 4164}
    digests = {utkface.digest(n) for n in names}
    assert len(digests) == len(names) and utkface.doubles() <= digests and len(utkface.doubles()) == 1262


def test_the_rule_for_children_uses_the_same_parts() -> None:
    names = [f"{age}_0_0_2017011617452512{age}.jpg.chip.jpg" for age in range(1, 60)]
    parts = {"fit": "train", "threshold": "threshold", "report": "report"}
    assert [parts[no_rate.part_of(n)] for n in names] == [utkface.part_of(n) for n in names]
