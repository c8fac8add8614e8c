"""Omniglot drawings and one-shot runs, from an `.npz` or from the folders of the original distribution.

Ink is 1, paper is 0, everywhere in this package; `pictures` turns ink into what a camera records (dark on light).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_oneshot.errors import EdgeOneshotError

SIDE_PX = 105
PIXELS = SIDE_PX * SIDE_PX  # 11,025
PACKED = (PIXELS + 7) // 8  # 1,379 bytes a drawing
RUN_LINE = re.compile(r"^(\S*item\d+\.png)\s+(\S*class\d+\.png)$")


class DataError(EdgeOneshotError):
    """Data, a setting or a checkpoint that the protocol cannot use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawings:
    """Characters drawn by hand. `ink` uint8 (N, 105, 105) of 0 and 1; the rest (N,), one entry a drawing."""

    ink: NDArray[np.uint8]
    alphabet: NDArray[np.int64]  # index into alphabet_names
    character: NDArray[np.int64]  # unique over all alphabets
    drawer: NDArray[np.int64]  # the same number within an alphabet is the same person
    alphabet_names: tuple[str, ...]

    def only(self, names: Iterable[str]) -> Drawings:
        """The drawings of these alphabets, characters renumbered from 0. Raises DataError for an unknown name."""
        wanted = tuple(names)
        missing = [name for name in wanted if name not in self.alphabet_names]
        if missing:
            raise DataError(f"alphabets not in the data: {', '.join(missing)}; found {', '.join(self.alphabet_names)}")
        index = [self.alphabet_names.index(name) for name in wanted]
        keep = np.isin(self.alphabet, index)
        _, character = np.unique(self.character[keep], return_inverse=True)
        alphabet = np.array([index.index(a) for a in self.alphabet[keep]], np.int64)
        return Drawings(
            ink=self.ink[keep],
            alphabet=alphabet,
            character=character.astype(np.int64),
            drawer=self.drawer[keep],
            alphabet_names=wanted,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """One-shot runs: `train` and `test` uint8 (R, ways, 105, 105) ink; test item i of run r is class `answer[r, i]`."""

    train: NDArray[np.uint8]
    test: NDArray[np.uint8]
    answer: NDArray[np.int64]

    @property
    def ways(self) -> int:
        return int(self.train.shape[1])

    @property
    def trials(self) -> int:
        return int(self.answer.size)


def unpack(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (..., 1379), eight pixels a byte, first pixel in the highest bit -> ink uint8 (..., 105, 105)."""
    ink = np.unpackbits(bits, axis=-1)[..., :PIXELS]
    return ink.reshape(*bits.shape[:-1], SIDE_PX, SIDE_PX)


def pack(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The inverse of `unpack`: ink uint8 (..., 105, 105) of 0 and 1 -> uint8 (..., 1379)."""
    return np.packbits(ink.reshape(*ink.shape[:-2], PIXELS), axis=-1)


def pictures(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Ink (0 or 1) -> grey picture uint8 of the same shape: 0 = ink, 255 = paper."""
    return ((1 - ink) * 255).astype(np.uint8)


def resized(ink: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Ink uint8 (N, 105, 105) -> grey pictures uint8 (N, side, side), dark on light, resized as on the device."""
    grey = pictures(ink)
    if side_px == SIDE_PX:
        return grey
    out = np.empty((len(grey), side_px, side_px), np.uint8)
    for i, picture in enumerate(grey):
        out[i] = np.asarray(Image.fromarray(picture).resize((side_px, side_px), Image.Resampling.BOX))
    return out


def load_drawings(path: Path) -> Drawings:
    """Drawings from an `.npz` (keys `background_*`) or from a folder `alphabet/character/NNNN_DD.png`.

    Raises DataError where keys are missing, shapes disagree, or the folder has no drawing.
    """
    return _drawings_from_folder(path) if path.is_dir() else _drawings_from_npz(path)


def load_runs(path: Path) -> Runs:
    """One-shot runs from an `.npz` (keys `runs_*`) or from the folder `all_runs` (or one that contains it).

    Raises DataError where keys are missing, shapes disagree, or a label file does not name one class per test item.
    """
    return _runs_from_folder(path) if path.is_dir() else _runs_from_npz(path)


def _open_npz(path: Path, keys: Iterable[str], purpose: str) -> Mapping[str, NDArray[Any]]:
    if not path.is_file():
        raise DataError(f"{path}: expected a file or a folder, got neither")
    try:
        with path.open("rb") as file:  # opened here, since numpy does not close a damaged archive
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: expected an .npz archive, got a single array")
            missing = [key for key in keys if key not in archive.files]
            if missing:
                raise DataError(
                    f"{path}: {purpose} needs the keys {', '.join(missing)}; found {', '.join(archive.files)}"
                )
            return {key: archive[key] for key in keys}
    except DataError:
        raise
    except Exception as error:  # numpy raises BadZipFile, OSError, EOFError or ValueError for a damaged archive
        raise DataError(f"{path}: not a readable .npz archive ({type(error).__name__}: {error})") from error


def _drawings_from_npz(path: Path) -> Drawings:
    keys = [f"background_{key}" for key in ("bits", "alphabet", "character", "drawer", "alphabet_names")]
    arrays = _open_npz(path, keys, "a protocol over alphabets")
    bits = arrays["background_bits"]
    if bits.ndim != 2 or bits.shape[1] != PACKED or bits.dtype != np.uint8:
        raise DataError(f"{path}: background_bits: expected uint8 (N, {PACKED}), got {bits.dtype} {bits.shape}")
    for key in keys[1:4]:
        if arrays[key].shape != (len(bits),) or arrays[key].dtype.kind not in "iu":
            raise DataError(
                f"{path}: {key}: expected integers ({len(bits)},), one per drawing, got {arrays[key].dtype} {arrays[key].shape}"
            )
    names = tuple(str(name) for name in arrays["background_alphabet_names"])
    alphabet = arrays["background_alphabet"].astype(np.int64)
    if len(alphabet) and not 0 <= alphabet.min() <= alphabet.max() < len(names):
        raise DataError(
            f"{path}: background_alphabet: expected 0..{len(names) - 1}, got {alphabet.min()}..{alphabet.max()}"
        )
    return Drawings(
        ink=unpack(bits),
        alphabet=alphabet,
        character=arrays["background_character"].astype(np.int64),
        drawer=arrays["background_drawer"].astype(np.int64),
        alphabet_names=names,
    )


def _runs_from_npz(path: Path) -> Runs:
    keys = ["runs_train_bits", "runs_test_bits", "runs_answer"]
    arrays = _open_npz(path, keys, "the protocol 'runs'")
    for key in keys[:2]:
        bits = arrays[key]
        if bits.ndim != 3 or bits.shape[2] != PACKED or bits.dtype != np.uint8:
            raise DataError(f"{path}: {key}: expected uint8 (runs, ways, {PACKED}), got {bits.dtype} {bits.shape}")
    train, test, answer = (arrays[key] for key in keys)
    return _checked(unpack(train), unpack(test), answer, str(path))


def _checked(train: NDArray[np.uint8], test: NDArray[np.uint8], answer: NDArray[Any], where: str) -> Runs:
    if len(train) == 0 or train.shape[1] < 2:
        raise DataError(f"{where}: expected at least one run of at least two classes, got {train.shape[:2]}")
    if len(test) != len(train) or answer.shape != test.shape[:2]:
        raise DataError(
            f"{where}: expected one answer per test item of {len(train)} runs, got answers {answer.shape}, items {test.shape[:2]}"
        )
    if answer.dtype.kind not in "iu":
        raise DataError(f"{where}: answers: expected integers, got {answer.dtype}")
    if not 0 <= answer.min() <= answer.max() < train.shape[1]:
        raise DataError(
            f"{where}: answers: expected classes 0..{train.shape[1] - 1}, got {answer.min()}..{answer.max()}"
        )
    return Runs(train=train, test=test, answer=answer.astype(np.int64))


def _ink_from_png(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("L"))
    except OSError as error:
        raise DataError(f"{path}: not a readable picture ({error})") from error
    if grey.shape != (SIDE_PX, SIDE_PX):
        raise DataError(f"{path}: expected {SIDE_PX} x {SIDE_PX} px, got {grey.shape[1]} x {grey.shape[0]}")
    return (grey < 128).astype(np.uint8)


def _drawings_from_folder(path: Path) -> Drawings:
    files = sorted(path.glob("*/*/*.png"))
    if not files:
        raise DataError(f"{path}: expected alphabet/character/NNNN_DD.png, got no such picture")
    names = tuple(sorted({file.parts[-3] for file in files}))
    characters = {key: i for i, key in enumerate(sorted({file.parts[-3:-1] for file in files}))}
    drawers: list[int] = []
    for file in files:
        digits = re.search(r"_(\d+)$", file.stem)
        if digits is None:
            raise DataError(f"{file}: expected a name that ends in _<drawer>.png")
        drawers.append(int(digits.group(1)))
    return Drawings(
        ink=np.stack([_ink_from_png(file) for file in files]),
        alphabet=np.array([names.index(file.parts[-3]) for file in files], np.int64),
        character=np.array([characters[file.parts[-3], file.parts[-2]] for file in files], np.int64),
        drawer=np.array(drawers, np.int64),
        alphabet_names=names,
    )


def _runs_from_folder(path: Path) -> Runs:
    root = path / "all_runs" if (path / "all_runs").is_dir() else path
    folders = sorted(folder for folder in root.glob("run*") if folder.is_dir())
    if not folders:
        raise DataError(f"{path}: expected run01, run02, ... with training, test and class_labels.txt, got none")
    train, test, answer = [], [], []
    for folder in folders:
        labels = folder / "class_labels.txt"
        if not labels.is_file():
            raise DataError(f"{labels}: expected the list of test items and their classes, got no such file")
        classes = sorted((folder / "training").glob("class*.png"))
        order = {file.name: i for i, file in enumerate(classes)}
        items: list[NDArray[np.uint8]] = []
        truth: list[int] = []
        for line in filter(None, (line.strip() for line in labels.read_text(encoding="utf-8").splitlines())):
            pair = RUN_LINE.match(line)
            item, class_name = (Path(part).name for part in pair.groups()) if pair else ("", "")
            if class_name not in order:
                raise DataError(f"{labels}: expected 'run/test/itemNN.png run/training/classNN.png', got {line!r}")
            items.append(_ink_from_png(folder / "test" / item))
            truth.append(order[class_name])
        train.append([_ink_from_png(file) for file in classes])
        test.append(items)
        answer.append(truth)
    if len({len(run) for run in train}) > 1 or len({len(run) for run in test}) > 1:
        raise DataError(f"{root}: expected the same number of classes and of items in every run")
    return _checked(np.array(train, np.uint8), np.array(test, np.uint8), np.array(answer, np.int64), str(root))
