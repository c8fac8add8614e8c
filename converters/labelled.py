"""Labelled pictures for the certificate: a folder per identity, or a pairs file in LFW's format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.chips import ChipReader, find_pictures
from converters.graph import Array
from converters.scores import Pairs, all_pairs
from edge_oneshot.errors import ModelError

PAIRS_FORMAT = "NAME, number, number or NAME, number, NAME, number, separated by tabs"


@dataclass(frozen=True)
class Labelled:
    """chips: uint8, one for each picture that `pairs` numbers. protocol: what they are, in words.

    pictures: all that were looked at, DIR/NAME/FILE, with those without a face.
    """

    chips: Sequence[Array]
    pairs: Pairs
    protocol: str
    pictures: Sequence[Path] = ()


def labelled(reader: ChipReader, source: Path, pictures: Path | None) -> Labelled:
    """source: a folder DIR/NAME/*.jpg (all pairs are compared), or a pairs file with `pictures` as that folder.

    Pictures without a face are failures to acquire: they are skipped, and the protocol states their number.
    """
    if source.is_dir():
        found = find_pictures(source, "--certify")
        chips, paths = acquired(reader, found)
        failures = len(found) - len(chips)
        protocol = f"all pairs of {len(chips)} pictures in {source.name}; {failures} failures to acquire"
        return Labelled(chips, all_pairs([path.parent.name for path in paths]), protocol, found)
    if not source.is_file():
        raise ModelError(
            f"--certify {source}: expected a folder of identities or a pairs file, got neither", "check the path"
        )
    if pictures is None:
        raise ModelError(
            f"--certify {source.name} is a pairs file: expected --certify-pictures DIR, got no such option",
            "name the folder that contains NAME/NAME_0001.jpg",
        )
    return _listed(reader, source, pictures)


def acquired(reader: ChipReader, paths: Sequence[Path]) -> tuple[list[Array], list[Path]]:
    """The chips of the pictures that have one, and those pictures."""
    chips, missed = reader.read_all(paths)
    without = set(missed)
    return chips, [path for path in paths if path not in without]


def _listed(reader: ChipReader, file: Path, pictures: Path) -> Labelled:
    wanted = _read_pairs(file, pictures)
    distinct = sorted({p for pair in wanted for p in pair})
    chips, paths = acquired(reader, distinct)
    index = {path: i for i, path in enumerate(paths)}
    usable = [(index[a], index[b]) for a, b in wanted if a in index and b in index]
    if not usable:
        raise ModelError(f"{file}: expected pairs of pictures with a face, got none", "check --certify-pictures")
    _, identity = np.unique([path.parent.name for path in paths], return_inverse=True)
    first, second = (np.asarray(side, np.int32) for side in zip(*usable, strict=True))
    failures = len(distinct) - len(chips)
    return Labelled(
        chips,
        Pairs(first, second, identity.astype(np.int32)),
        f"{len(usable)} pairs of {file.name}; {failures} failures to acquire",
        distinct,
    )


def _read_pairs(file: Path, pictures: Path) -> list[tuple[Path, Path]]:
    wanted = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        parts = line.split("\t")
        try:
            if len(parts) == 3:
                wanted.append((_picture(pictures, parts[0], parts[1]), _picture(pictures, parts[0], parts[2])))
            elif len(parts) == 4:
                wanted.append((_picture(pictures, parts[0], parts[1]), _picture(pictures, parts[2], parts[3])))
            elif number > 1 and line.strip():
                raise ValueError
        except ValueError:
            raise ModelError(
                f"{file}:{number}: expected {PAIRS_FORMAT}, got {line!r}", "use the format of LFW's pairs.txt"
            ) from None
    return wanted


def _picture(folder: Path, name: str, number: str) -> Path:
    return folder / name / f"{name}_{int(number):04d}.jpg"
