"""A folder of pictures: its classes, their split into three parts, and the pictures at the size of the network."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.cameras.images import SUFFIXES, load_image
from edge_oneshot.errors import CameraError, EdgeOneshotError
from edge_oneshot.model.card import EncoderCard
from edge_oneshot.vision.align import whole_frame
from training.progress import Progress

PARTS = ("train", "validate", "report")
SHARE = 0.2  # of the classes with two pictures; the same share for validation and for the report
MIN_CLASSES = 20  # with at least two pictures
MIN_PAIRS = 3_000  # non-mated pairs of the validation classes: 30 errors at a false match rate of 1e-2
MIN_CERTIFIED = 30_000  # non-mated pairs for the certificate, which may use the training classes, too
CAP = 20  # pictures of a class that are compared, so that no class outweighs the others
UNREADABLE = 0.1  # maximum share of unreadable pictures


class FolderError(EdgeOneshotError):
    """The folder of pictures cannot be used for training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """Pictures by class. paths: relative to `root`, sorted. owner (N,): the class of each, an index into `classes`.

    part: "train", "validate" or "report" of each class.
    """

    root: Path
    paths: tuple[str, ...]
    owner: NDArray[np.int64]
    classes: tuple[str, ...]
    part: tuple[str, ...]

    def rows(self, part: str, cap: int | None = None) -> NDArray[np.int64]:
        """The pictures of a part; at most `cap` of a class, chosen by the digest of their names."""
        chosen = np.array([p == part for p in self.part])[self.owner]
        rows = np.flatnonzero(chosen)
        if cap is None:
            return rows
        kept = []
        for c in np.unique(self.owner[rows]):
            own = rows[self.owner[rows] == c]
            kept += sorted(own, key=lambda i: digest(self.paths[i]))[:cap]
        return np.sort(np.array(kept, np.int64))

    @property
    def record(self) -> dict[str, object]:
        """What identifies the pictures and the split, as JSON. Another record is another run."""
        files = [[path, (self.root / path).stat().st_size] for path in self.paths]
        total = hashlib.sha256(json.dumps(files).encode()).hexdigest()
        return {
            "pictures": len(self.paths),
            "digest": f"sha256:{total}",
            **{part: [c for c, p in zip(self.classes, self.part, strict=True) if p == part] for part in PARTS},
        }


def digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()


def find(root: Path) -> Folder:
    """The classes below `root`, and their split. Every folder that contains pictures, at any depth, is a class.

    If `root` has exactly the folders train and report (and perhaps validate), these are the parts. Otherwise the folders
    directly in `root` are ordered by the SHA-256 of their names: the first fifth is for the report, the second fifth for
    validation, the rest for training. A folder of classes (an alphabet of characters, a part with its defects) stays together.
    Folders without a class of two pictures are always used for training.

    Raises FolderError if the pictures are too few to train, validate, certify and report.
    """
    if not root.is_dir():
        raise FolderError(
            f"{root}: expected a folder with one folder of pictures per class, got none", "check the path"
        )
    found: dict[str, list[str]] = {}
    for at, folders, names in os.walk(root, followlinks=True):
        folders.sort()
        pictures = sorted(n for n in names if Path(n).suffix.lower() in SUFFIXES and not n.startswith("."))
        if pictures:
            where = Path(at).relative_to(root)
            found[where.as_posix()] = [(where / name).as_posix() for name in pictures]
    if not found:
        kinds = ", ".join(sorted(SUFFIXES))
        raise FolderError(
            f"{root}: expected pictures ({kinds}) in one folder per class, got no picture", "check the path"
        )
    if "." in found:
        raise FolderError(
            f"{root}: expected one folder per class, got {len(found['.'])} pictures beside the folders",
            "move each picture into the folder of its class",
        )
    classes = tuple(sorted(found))
    given = sorted(p.name for p in root.iterdir() if p.is_dir())
    counts = {name: len(found[name]) for name in classes}
    part = _given(classes, counts) if given in (["report", "train"], sorted(PARTS)) else _drawn(classes, counts)
    paths = [path for name in classes for path in found[name]]
    owner = np.repeat(np.arange(len(classes)), [counts[name] for name in classes])
    folder = Folder(root=root, paths=tuple(paths), owner=owner, classes=classes, part=part)
    _check(folder)
    return folder


def _drawn(classes: Sequence[str], counts: dict[str, int]) -> tuple[str, ...]:
    """The part of each class. A unit is a folder directly in DIR; its classes stay together."""
    ranked = _ranked(classes, counts, above=0)
    each = max(1 if len(ranked) < len(classes) else 2, round(SHARE * len(ranked)))
    where = dict.fromkeys(ranked[:each], "report") | dict.fromkeys(ranked[each : 2 * each], "validate")
    return tuple(where.get(name.split("/")[0], "train") for name in classes)


def _given(classes: Sequence[str], counts: dict[str, int]) -> tuple[str, ...]:
    """The part of each class is its top folder. If there is no `validate`, units are moved there from `train`."""
    part = {name: name.split("/")[0] for name in classes}
    if "validate" not in part.values():
        ranked = _ranked([n for n in classes if part[n] == "train"], counts, above=1)
        chosen = set(ranked[: max(1, round(SHARE * len(ranked)))])
        part |= {n: "validate" for n in classes if part[n] == "train" and n.split("/")[1] in chosen}
    return tuple(part[name] for name in classes)


def _ranked(classes: Sequence[str], counts: dict[str, int], above: int) -> list[str]:
    """The units that have a class with two pictures, by the SHA-256 of their names. above: folders above a unit."""
    return sorted({name.split("/")[above] for name in classes if counts[name] > 1}, key=digest)


def non_mated(sizes: Sequence[int]) -> int:
    """The number of pairs of pictures of two classes."""
    total = sum(sizes)
    return (total * total - sum(n * n for n in sizes)) // 2


def _check(folder: Folder) -> None:
    """Raises FolderError if a part has too few classes or pictures."""
    counts = Counter(folder.owner.tolist())
    several = [c for c, n in counts.items() if n > 1]
    if len(several) < MIN_CLASSES:
        raise FolderError(
            f"{folder.root}: expected at least {MIN_CLASSES} classes with two or more pictures, got {len(several)} "
            f"({len(counts) - len(several)} classes have one picture)",
            "add classes, and pictures to the classes with one; several hundred classes are better",
        )
    for part in PARTS:
        if sum(folder.part[c] == part for c in several) < 2:
            raise FolderError(
                f"{folder.root}: expected at least two classes with two pictures for {part}, got fewer",
                f"add classes; in folders of classes, or in {part} if the folder has parts",
            )
    sizes = {part: [min(n, CAP) for c, n in counts.items() if folder.part[c] == part] for part in PARTS}
    for what, number, needed in (
        ("the validation classes", non_mated(sizes["validate"]), MIN_PAIRS),
        ("the report classes", non_mated(sizes["report"]), MIN_PAIRS),
        ("training and validation classes", non_mated(sizes["train"] + sizes["validate"]), MIN_CERTIFIED),
    ):
        if number < needed:
            raise FolderError(
                f"{folder.root}: expected at least {needed} pairs of pictures of different classes among {what} (up to "
                f"{CAP} pictures of a class), got {number}",
                "add pictures and classes: 50 classes with 10 pictures each are enough, 500 are better",
            )


def read(folder: Folder, card: EncoderCard, cache: Path) -> tuple[Folder, NDArray[np.uint8]]:
    """Decode the pictures with the device's own code, scaled to the network's size: uint8 (N, H, W, 3) RGB.

    The pixels are stored in `cache`, so a resumed run does not decode again. Unreadable pictures are listed on standard
    error and skipped; the returned folder does not contain them. Raises FolderError if too many are unreadable.
    """
    wanted = {**folder.record, "input": list(card.input.shape)}
    listing = cache.with_suffix(".json")
    if cache.exists() and listing.exists():
        kept = json.loads(listing.read_text(encoding="utf-8"))
        if kept["of"] == wanted:
            return _without(folder, kept["unreadable"]), np.load(cache, mmap_mode="r")
    pixels, unreadable = _decode(folder, card)
    _refuse(folder, unreadable)
    found = _without(folder, list(unreadable))
    kept_rows = [i for i, path in enumerate(folder.paths) if path not in unreadable]
    with cache.open("wb") as file:
        np.save(file, pixels[kept_rows] if unreadable else pixels)
    listing.write_text(json.dumps({"of": wanted, "unreadable": list(unreadable)}), encoding="utf-8")
    return found, np.load(cache, mmap_mode="r")


def _decode(folder: Folder, card: EncoderCard) -> tuple[NDArray[np.uint8], dict[str, str]]:
    """The pixels of all pictures, and the reasons for those that are unreadable."""
    pixels = np.zeros((len(folder.paths), *card.input.shape), np.uint8)
    unreadable: dict[str, str] = {}
    progress = Progress(len(folder.paths), 0, "read picture")
    for i, path in enumerate(folder.paths):
        try:
            pixels[i] = whole_frame(load_image(folder.root / path), card).pixels
        except CameraError as error:
            unreadable[path] = str(error)
        progress.show(i + 1)
    progress.clear()
    return pixels, unreadable


def _refuse(folder: Folder, unreadable: dict[str, str]) -> None:
    """List the unreadable pictures. Raises FolderError if there are too many."""
    for reason in list(unreadable.values())[:10]:
        print(f"skipped: {reason}", file=sys.stderr)
    if len(unreadable) > 10:
        print(f"skipped: {len(unreadable) - 10} more", file=sys.stderr)
    if len(unreadable) > UNREADABLE * len(folder.paths):
        raise FolderError(
            f"{folder.root}: expected readable pictures, got {len(unreadable)} unreadable of {len(folder.paths)}",
            "convert them to JPEG or PNG, or remove them",
        )


def _without(folder: Folder, unreadable: Sequence[str]) -> Folder:
    """The folder without some pictures, checked again. Classes without a picture are removed."""
    if not unreadable:
        return folder
    gone = set(unreadable)
    keep = np.array([path not in gone for path in folder.paths])
    left, owner = np.unique(folder.owner[keep], return_inverse=True)
    found = Folder(
        root=folder.root,
        paths=tuple(p for p, k in zip(folder.paths, keep, strict=True) if k),
        owner=owner.astype(np.int64),
        classes=tuple(folder.classes[c] for c in left),
        part=tuple(folder.part[c] for c in left),
    )
    _check(found)
    return found
