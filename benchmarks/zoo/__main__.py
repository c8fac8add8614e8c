"""Convert every network of the zoo and compare it with its source.

    python -m benchmarks.zoo PICTURES --work DIR [NAME ...]
    python -m benchmarks.zoo --work DIR --table

PICTURES: a folder with at least 96 pictures of what the networks would see, such as aligned faces. Every network runs in
a process of its own, and its record is kept in DIR: run the command again after a fault, and in another environment for
the networks whose framework (torch with timm and torchvision, tensorflow) the first did not have. --table writes
docs/reference/zoo.md and benchmarks/results/zoo.json from the records.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.zoo.networks import BY_NAME, NETWORKS
from benchmarks.zoo.table import write

_PROGRAM = """
import sys
from pathlib import Path
from benchmarks.zoo.one import measure
measure(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
"""
_NEEDS = {"torch": ("torch", "timm", "torchvision"), "keras": ("tensorflow",)}


def runnable(framework: str) -> bool:
    return all(importlib.util.find_spec(module) is not None for module in _NEEDS[framework])


def run(name: str, pictures: Path, work: Path, limit_s: int) -> str:
    """What became of one network, in a word or a line."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, name, str(pictures), str(work)],
            capture_output=True, text=True, timeout=limit_s, check=False, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no result within {limit_s} s"
    if done.returncode:
        (work / f"{name}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        return f"failed: {(done.stderr.strip().splitlines() or ['no message'])[-1][:200]}"
    return "done"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path, nargs="?", help="folder of pictures")
    parser.add_argument("names", nargs="*", help="networks; default: all")
    parser.add_argument("--work", type=Path, required=True, help="folder for sources and records")
    parser.add_argument("--limit", type=int, default=1800, help="seconds for one network; default: 1800")
    parser.add_argument("--table", action="store_true", help="write the table from the records")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    names = given.names or [n.name for n in NETWORKS]
    if given.pictures is not None:
        start = time.monotonic()
        for i, name in enumerate(names, 1):
            if not runnable(BY_NAME[name].framework):
                said = f"skipped: needs {', '.join(_NEEDS[BY_NAME[name].framework])}"
            else:
                said = run(name, given.pictures, given.work, given.limit)
            print(f"{i}/{len(names)} {name}: {said} ({time.monotonic() - start:.0f} s)", flush=True)
    if given.table:
        print(write(given.work))


if __name__ == "__main__":
    main()
