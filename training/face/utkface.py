"""UTKFace for training, thresholds and reports: one split for all of them, fixed by the hash of the file name.

The parts share no picture. UTKFace shows mostly one picture of a person, but several of some public figures; doubles.json
lists the pictures that look like another picture of the set, by hash, as it was made before any training.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Part = Literal["train", "threshold", "report"]
PARTS: tuple[Part, ...] = ("train", "train", "threshold", "report")  # by the first byte of the digest, modulo 4
DOUBLES = Path(__file__).parent / "data" / "doubles.json"
REVIEWED = Path(__file__).parent / "data" / "reviewed.json"
GROUPS = ("white", "black", "asian", "indian", "other")  # as the authors labelled them
BANDS = ((0, 3), (4, 8), (9, 15), (16, 120))  # years


def digest(name: str) -> str:
    """The first 16 hexadecimal digits of SHA-256 of a file name, without folders."""
    return hashlib.sha256(Path(name).name.encode()).hexdigest()[:16]


def part_of(name: str) -> Part:
    """The part that a picture belongs to."""
    return PARTS[int(digest(name)[:2], 16) % 4]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """age: years. sex: "male" or "female". group: one of GROUPS. All as the authors of UTKFace labelled the picture."""

    age: int
    sex: str
    group: str

    @property
    def band(self) -> str:
        """The age band, as "16-120"."""
        return next(f"{low}-{high}" for low, high in BANDS if low <= self.age <= high)


def labels_of(name: str) -> Labels | None:
    """The labels in a file name `age_sex_group_date.jpg.chip.jpg`; None if the name lacks one."""
    words = Path(name).name.split("_")
    if len(words) != 4 or not all(w.isdigit() for w in words[:3]) or int(words[2]) >= len(GROUPS):
        return None
    return Labels(age=int(words[0]), sex=("male", "female")[int(words[1]) % 2], group=GROUPS[int(words[2])])


@cache
def left_out() -> frozenset[str]:
    """`doubles`, and one picture of each pair that was found to show one person when the hits of reports were looked at."""
    return doubles() | frozenset(json.loads(REVIEWED.read_text(encoding="utf-8"))["left_out"])


@cache
def doubles() -> frozenset[str]:
    """The digests of the pictures that reports, thresholds and training leave out."""
    return frozenset(json.loads(DOUBLES.read_text(encoding="utf-8"))["left_out"])


def arrange(source: Path, out: Path, parts: tuple[str, ...], min_age: int = 0) -> int:
    """Make OUT/NAME/0001.jpg (links) and OUT/labels.csv of some parts, doubles left out, as `edge-oneshot evaluate` and the
    converters read them. min_age: years. Returns the number of pictures. The name of a folder is that of the picture file."""
    rows = ["name,sex,age,group,camera"]
    for path in sorted(source.iterdir()):
        labels = labels_of(path.name)
        if labels is None or labels.age < min_age or part_of(path.name) not in parts or digest(path.name) in left_out():
            continue
        folder = out / path.name
        folder.mkdir(parents=True, exist_ok=True)
        link = folder / "0001.jpg"
        if not link.exists():
            link.symlink_to(path.resolve())
        rows.append(f"{path.name},{labels.sex},{labels.age},{labels.group},web")
    (out / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return len(rows) - 1


def main() -> None:
    """python -m training.face.utkface UTKFACE_DIR OUT MIN_AGE PART..."""
    source, out, min_age, *parts = sys.argv[1:]
    out_dir = Path(out)
    out_dir.mkdir(parents=True, exist_ok=True)
    print(f"{out_dir}: {arrange(Path(source), out_dir, tuple(parts), int(min_age))} pictures")


if __name__ == "__main__":
    main()
