"""Labelled pictures for the certificate: a folder per identity, or a pairs file in the format of LFW."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from converters.chips import ChipReader, find_pictures
from converters.graph import Array
from converters.scores import Pairs, all_pairs
from edge_oneshot.errors import ModelError


def labelled(reader: ChipReader, source: Path, pictures: Path | None) -> tuple[list[Array], Pairs, str]:
    """(chips uint8, the comparisons between them, the protocol in words).

    source: a folder DIR/NAME/*.jpg: all pairs of its pictures; or a pairs file, with `pictures` as that folder.
    Pictures without a face are failures to acquire: left out, counted in the protocol.
    """
    if source.is_dir():
        chips, names, failures = _read(reader, find_pictures(source))
        pairs = all_pairs(names)
        return chips, pairs, f"all pairs of {len(chips)} pictures in {source.name}; {failures} failures to acquire"
    if not source.is_file():
        raise ModelError(
            f"--certify {source}: expected a folder of identities or a pairs file, got neither", "check the path"
        )
    if pictures is None:
        raise ModelError(
            f"--certify {source.name} is a pairs file: expected --certify-pictures DIR beside it",
            "the folder that holds NAME/NAME_0001.jpg",
        )
    return _listed(reader, source, pictures)


def _read(reader: ChipReader, paths: list[Path]) -> tuple[list[Array], list[str], int]:
    chips, names, failures = [], [], 0
    for path in paths:
        chip = reader.read(path)
        if chip is None:
            failures += 1
        else:
            chips.append(chip)
            names.append(path.parent.name)
    return chips, names, failures


def _listed(reader: ChipReader, file: Path, pictures: Path) -> tuple[list[Array], Pairs, str]:
    wanted: list[tuple[Path, Path]] = []
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
                f"{file}:{number}: expected NAME, number, number or NAME, number, NAME, number between tabs, "
                f"got {line!r}",
                "the format of LFW's pairs.txt",
            ) from None
    index: dict[Path, int] = {}
    chips: list[Array] = []
    names: list[str] = []
    failures = 0
    for path in sorted({p for pair in wanted for p in pair}):
        chip = reader.read(path)
        if chip is None:
            failures += 1
            continue
        index[path] = len(chips)
        chips.append(chip)
        names.append(path.parent.name)
    usable = [(index[a], index[b]) for a, b in wanted if a in index and b in index]
    if not usable:
        raise ModelError(f"{file}: expected pairs of pictures with a face, got none", "check --certify-pictures")
    _, identity = np.unique(np.asarray(names), return_inverse=True)
    first, second = (np.asarray(side, np.int32) for side in zip(*usable, strict=True))
    return (
        chips,
        Pairs(first, second, identity.astype(np.int32)),
        f"{len(usable)} pairs of {file.name}; {failures} failures to acquire",
    )


def _picture(folder: Path, name: str, number: str) -> Path:
    return folder / name / f"{name}_{int(number):04d}.jpg"
