"""How far this processor is from the golden file: pictures, chips, raw encoder outputs, scores, decisions. One row of
benchmarks/results/processors.md on standard output.

    python benchmarks/processors.py "AMD EPYC, native" [--portraits DIR]

--portraits: a folder with scikit-image's astronaut.png and matplotlib's grace_hopper.jpg, where these are not installed.
"""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "golden")]

from golden import BAND, Device, Golden, load, portraits, steps  # noqa: E402

HEAD = """\
| processor, how | Python, numpy, Pillow, runtime | pictures, chips that differ | outputs: furthest apart, share that differs | scores: \
furthest apart, median | decisions that differ: outside the band, within it |
|---|---|---|---|---|---|"""


def row(how: str, here: Golden, device: Device) -> str:
    golden, got = load(), {**here["fixed"], **here["pictures"]}
    expected = {**golden["fixed"], **golden["pictures"]}
    kept = [key for key in expected if key in got]
    pictures, chips = (
        sum(key not in got or got[key][kind] != expected[key][kind] for key in expected) for kind in ("picture", "chip")
    )
    apart = np.stack([steps(got[key], expected[key]) for key in kept])
    mine, theirs = (device.scores({key: entries[key] for key in kept}) for entries in (got, expected))
    moved = np.array([abs(mine[pair] - theirs[pair]) for pair in theirs])
    outside = within = 0
    for threshold in device.thresholds():
        flipped = [
            abs(theirs[p] - threshold) > BAND for p in theirs if (mine[p] >= threshold) != (theirs[p] >= threshold)
        ]
        outside, within = outside + sum(flipped), within + len(flipped) - sum(flipped)
    versions = f"{platform.python_version()}, {np.__version__}, {PIL.__version__}, {device.encoder.name}"
    return (
        f"| {how} | {versions} | {pictures}, {chips} of {len(expected)} | {apart.max()}, {100 * (apart > 0).mean():.1f} % "
        f"| {moved.max():.4f}, {np.median(moved):.4f} | {outside}, {within} of {3 * len(moved)} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("how", help="the processor, and how this run reaches it")
    parser.add_argument("--portraits", type=Path, metavar="DIR")
    parser.add_argument("--head", action="store_true", help="print the head of the table first")
    options = parser.parse_args()
    if options.portraits is None:
        found = portraits()
    else:
        found = {
            name: np.asarray(Image.open(options.portraits / file).convert("RGB"))
            for name, file in (("collins", "astronaut.png"), ("hopper", "grace_hopper.jpg"))
        }
    device = Device()
    if options.head:
        print(HEAD)
    print(row(options.how, device.run(found, list(load()["pictures"])), device))


if __name__ == "__main__":
    main()
