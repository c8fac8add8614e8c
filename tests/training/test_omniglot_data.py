"""Reading Omniglot: the archive, the folders of the original distribution, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.omniglot.data import DataError, Drawings, load_drawings, load_runs, pack, pictures, resized, unpack
from training.omniglot.split import ALPHABETS, SIZES, alphabets, draw


def save_png(ink: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pictures(ink)).convert("1").save(path)


def test_the_committed_alphabets_are_the_draw_with_seed_0() -> None:
    committed = json.loads(ALPHABETS.read_text())
    names = [name for part in SIZES for name in committed[part]]
    assert len(set(names)) == 30
    assert draw(names, committed["seed"]) == {part: committed[part] for part in SIZES}
    assert not set(alphabets("train")) & set(alphabets("report"))


def test_packing_keeps_every_pixel(drawings: Drawings) -> None:
    assert pack(drawings.ink).shape[1] == 1379
    np.testing.assert_array_equal(unpack(pack(drawings.ink)), drawings.ink)


def test_archive_and_folder_hold_the_same_drawings(drawings: Drawings, npz: Path, tmp_path: Path) -> None:
    for i, ink in enumerate(drawings.ink):
        name = drawings.alphabet_names[drawings.alphabet[i]]
        number = drawings.character[i]
        save_png(
            ink, tmp_path / "images" / name / f"character{number:02d}" / f"{number:04d}_{drawings.drawer[i]:02d}.png"
        )
    for found in (load_drawings(npz), load_drawings(tmp_path / "images")):
        for field in ("ink", "alphabet", "character", "drawer"):
            np.testing.assert_array_equal(getattr(found, field), getattr(drawings, field))
        assert found.alphabet_names == drawings.alphabet_names


def test_archive_and_all_runs_hold_the_same_runs(npz: Path, tmp_path: Path) -> None:
    expected = load_runs(npz)
    for r in range(len(expected.train)):
        folder = tmp_path / "all_runs" / f"run{r + 1:02d}"
        lines = []
        for i in range(expected.ways):
            save_png(expected.train[r, i], folder / "training" / f"class{i + 1:02d}.png")
            save_png(expected.test[r, i], folder / "test" / f"item{i + 1:02d}.png")
            run = folder.name
            lines.append(f"{run}/test/item{i + 1:02d}.png {run}/training/class{expected.answer[r, i] + 1:02d}.png")
        (folder / "class_labels.txt").write_text("\n".join(lines) + "\n")
    for place in (tmp_path, tmp_path / "all_runs"):
        found = load_runs(place)
        np.testing.assert_array_equal(found.train, expected.train)
        np.testing.assert_array_equal(found.test, expected.test)
        np.testing.assert_array_equal(found.answer, expected.answer)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("runs_answer", None, "needs the keys runs_answer"),
        ("runs_answer", np.full((4, 20), 20), "classes 0..19"),
        ("runs_answer", np.zeros((4, 19), int), "one answer per test item"),
        ("runs_answer", np.zeros((4, 20)), "integers"),
        ("runs_train_bits", np.zeros((4, 20, 1378), np.uint8), "uint8 (runs, ways, 1379)"),
        ("runs_test_bits", np.zeros((4, 20, 1379), np.int16), "uint8 (runs, ways, 1379)"),
        ("runs_test_bits", np.zeros((3, 20, 1379), np.uint8), "4 runs"),
    ],
)
def test_wrong_runs_are_named(
    arrays: dict[str, np.ndarray], tmp_path: Path, key: str, value: np.ndarray | None, message: str
) -> None:
    changed = {k: v for k, v in arrays.items() if k != key}
    if value is not None:
        changed[key] = value
    path = tmp_path / "wrong.npz"
    np.savez(path, **changed)
    with pytest.raises(DataError) as caught:
        load_runs(path)
    assert message in str(caught.value)
    assert "wrong.npz" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("background_bits", np.zeros((160, 11025), np.uint8), "uint8 (N, 1379)"),
        ("background_drawer", np.zeros(159, np.uint8), "one per drawing"),
        ("background_alphabet", np.full(160, 2, np.uint8), "0..1"),
    ],
)
def test_wrong_drawings_are_named(
    arrays: dict[str, np.ndarray], tmp_path: Path, key: str, value: np.ndarray, message: str
) -> None:
    path = tmp_path / "wrong.npz"
    np.savez(path, **{**arrays, key: value})
    with pytest.raises(DataError) as caught:
        load_drawings(path)
    assert message in str(caught.value)


def test_damaged_missing_and_empty_sources_are_refused(drawings: Drawings, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(b"PK\x03\x04 not an archive")
    single = tmp_path / "single.npy"
    np.save(single, np.zeros(3))
    for source in (damaged, single, tmp_path / "absent.npz", tmp_path):
        with pytest.raises(DataError):
            load_drawings(source)
        with pytest.raises(DataError):
            load_runs(source)
    with pytest.raises(DataError, match="Third"):
        drawings.only(["First", "Third"])


def test_pictures_are_dark_on_light_and_shrink_as_on_the_device(drawings: Drawings) -> None:
    grey = resized(drawings.ink[:2], 60)
    assert grey.shape == (2, 60, 60)
    assert grey[:, 0, 0].tolist() == [255, 255]
    assert grey.min() < 60
    np.testing.assert_array_equal(resized(drawings.ink[:2], 105), (1 - drawings.ink[:2]) * 255)
