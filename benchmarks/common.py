"""Shared by the benchmarks: the head of a result, LFW's images, worker processes, intervals, the memory of a process."""

from __future__ import annotations

import compileall
import json
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np

from edge_oneshot.cli.common import progress
from edge_oneshot.config import Config, ModelConfig, QualityConfig
from edge_oneshot.evaluation.dataset import LabelledImage
from edge_oneshot.evaluation.metrics import Interval
from edge_oneshot.matching.threshold import Rule
from edge_oneshot.recognition.compose import build_pipeline, build_rule
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Float64Array

ROOT = Path(__file__).resolve().parent.parent
Task, Result = TypeVar("Task"), TypeVar("Result")


def compile_package() -> None:
    """Write the byte code of the package, as an installation does: a start does not compile then."""
    compileall.compile_dir(str(ROOT / "edge_oneshot"), quiet=2)


def headline(title: str) -> str:
    """The head of a result: title, commit (and whether files differ from it), machine, load and date."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False
        ).stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no", "--", "edge_oneshot") else ""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "?")
    return (
        f"{title}\ncommit {git('rev-parse', '--short', 'HEAD')}{changed}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {model}, "
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def portrait() -> Path:
    """A portrait of Eileen Collins, from the files of scikit-image."""
    import skimage

    return Path(skimage.__file__).parent / "data" / "astronaut.png"


def lfw_images(lfw: Path, sets: str) -> list[LabelledImage]:
    """All images of all people in these sets of View 2, person by person. lfw: folder with images/ and people_sets.json."""
    people = json.loads((lfw / "people_sets.json").read_text())
    return [
        LabelledImage(path=lfw / "images" / name / f"{name}_{i:04d}.jpg", person=name, number=i)
        for number in sets
        for name, count in people[number]
        for i in range(1, count + 1)
    ]


@cache
def shipped(**gates: float) -> Pipeline:
    """The shipped pipeline with one inference thread, one for each process. gates: differences from the shipped QualityConfig."""
    return build_pipeline(Config(model=ModelConfig(threads=1), quality=QualityConfig(**gates)))


def shipped_rule() -> Rule:
    """The threshold rule of the shipped encoder and the default configuration; `rule(())` is for an empty gallery."""
    return build_rule(Config(), shipped().encoder)


def in_processes(do: Callable[[Task], Result], tasks: Sequence[Task], workers: int, label: str) -> list[Result]:
    """The results in order. do: a function of a module. New processes are spawned: an interpreter does not survive a fork."""
    with progress(len(tasks), label) as done, ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        found = []
        for result in pool.map(do, tasks):
            found.append(result)
            done(1)
    return found


def percent(rate: float, interval: Interval, sign: str = "") -> str:
    """`1.4 (0.7 to 2.9)`, in per cent. sign: "+" for a difference."""
    return f"{100 * rate:{sign}.1f} ({100 * interval.low:{sign}.1f} to {100 * interval.high:{sign}.1f})"


def over_people(values: Float64Array, sign: str = "") -> str:
    """The mean of one rate for each person (N,), with its 95 % interval by bootstrap over people (the same draws for the same N)."""
    n = len(values)
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=1000)
    low, high = np.percentile(draws @ values / n, [2.5, 97.5])
    return percent(float(values.mean()), Interval(low=float(low), high=float(high)), sign)


def resident_mb(pid: int) -> float:
    """VmRSS of another process in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"process {pid} has no VmRSS")
