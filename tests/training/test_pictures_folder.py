"""A folder of pictures: the classes, the split, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.pictures.folder import CAP, PARTS, Folder, FolderError, find


def fill(root: Path, classes: dict[str, int]) -> Path:
    """Folders with so many pictures each; `find` does not decode them."""
    for name, count in classes.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            (root / name / f"{i:02d}.png").write_bytes(b"x" * (i + 1))
    return root


def names(folder: Folder, part: str) -> set[str]:
    return {c for c, p in zip(folder.classes, folder.part, strict=True) if p == part}


def test_classes_are_split_by_the_digest_of_their_names(tmp_path: Path) -> None:
    classes = {f"bird {i:02d}": 18 for i in range(30)} | {"single": 1}
    one, two = find(fill(tmp_path / "a", classes)), find(fill(tmp_path / "b", classes))
    assert one.part == two.part
    sizes = [len(names(one, part)) for part in PARTS]
    assert sizes == [19, 6, 6]
    assert "single" in names(one, "train")
    for part in PARTS:
        assert {one.classes[c] for c in one.owner[one.rows(part)]} == names(one, part)
    # sorted by SHA-256: the first of all is in the report
    import hashlib

    first = min((c for c in classes if c != "single"), key=lambda c: hashlib.sha256(c.encode()).digest())
    assert first in names(one, "report")


def test_classes_of_one_folder_stay_together(tmp_path: Path) -> None:
    folder = find(fill(tmp_path, {f"part-{i:02d}/{s}": 8 for i in range(20) for s in ("good", "bad", "none")}))
    units = [{name.split("/")[0] for name in names(folder, part)} for part in PARTS]
    assert [len(u) for u in units] == [12, 4, 4]
    assert not (units[0] & units[1] or units[0] & units[2] or units[1] & units[2])


def test_folders_train_and_report_are_the_parts(tmp_path: Path) -> None:
    given = {f"train/a{i}": 18 for i in range(25)} | {f"report/b{i}": 18 for i in range(5)}
    folder = find(fill(tmp_path, given))
    assert names(folder, "report") == {f"report/b{i}" for i in range(5)}
    assert len(names(folder, "validate")) == 5
    assert all(name.startswith("train/") for name in names(folder, "validate") | names(folder, "train"))


def test_at_most_so_many_pictures_of_a_class_are_compared(tmp_path: Path) -> None:
    folder = find(fill(tmp_path, {f"c{i:02d}": 18 + 10 * (i % 2) for i in range(30)}))
    rows = folder.rows("report", CAP)
    assert max(np.bincount(folder.owner[rows])) == CAP
    assert set(rows) < set(folder.rows("report"))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, "got no picture"),
        ({".": 3, "a": 3}, "3 pictures beside the folders"),
        ({f"c{i}": 30 for i in range(12)}, "at least 20 classes with two or more pictures, got 12"),
        ({f"c{i}": 1 for i in range(300)}, "got 0 .300 classes have one picture"),
        ({f"c{i}": 2 for i in range(25)}, "pairs of pictures of different classes among the validation classes"),
        ({f"train/c{i}": 20 for i in range(25)} | {"report/a": 20, "report/b": 1}, "two pictures for report"),
    ],
)
def test_too_little_is_refused_with_what_is_missing(tmp_path: Path, classes: dict[str, int], message: str) -> None:
    (tmp_path / "d").mkdir()
    for name, count in classes.items():
        (tmp_path / "d" / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (tmp_path / "d" / name / f"{i}.jpg").write_bytes(b"x")
    with pytest.raises(FolderError, match=message) as caught:
        find(tmp_path / "d")
    assert caught.value.hint
    with pytest.raises(FolderError, match="expected a folder with one folder"):
        find(tmp_path / "missing")


def test_unreadable_pictures_are_listed_and_skipped(
    tmp_path: Path, pattern_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="the card of a size is made with the network")
    import shutil

    from training.pictures.export import card_of
    from training.pictures.folder import read

    root = tmp_path / "pictures"
    shutil.copytree(pattern_folder, root)
    broken = sorted(root.glob("*/*.png"))[5]
    broken.write_bytes(b"not a picture")
    folder = find(root)
    found, pixels = read(folder, card_of("nano"), tmp_path / "pixels.npy")
    assert len(found.paths) == len(folder.paths) - 1 == len(pixels)
    assert broken.name in capsys.readouterr().err
    again, _ = read(find(root), card_of("nano"), tmp_path / "pixels.npy")
    assert again.record == found.record
    last = found.paths[-1]
    picture = Image.open(root / last).convert("RGB").resize((60, 60), Image.Resampling.BOX)
    assert np.abs(np.asarray(picture, np.int16) - pixels[-1]).max() <= 1
    for path in sorted(root.glob("*/*.png"))[::4]:
        path.write_bytes(b"not a picture")
    with pytest.raises(FolderError, match="unreadable of"):
        read(find(root), card_of("nano"), tmp_path / "other.npy")
