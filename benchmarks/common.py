"""What the benchmarks share: the head line of a result, pictures, worker processes, intervals, and a process's memory."""

from __future__ import annotations

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
from edge_oneshot.evaluation.dataset import Picture
from edge_oneshot.evaluation.metrics import Interval
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.service.compose import build_pipeline
from edge_oneshot.types import Float64Array

ROOT = Path(__file__).resolve().parent.parent
Task, Result = TypeVar("Task"), TypeVar("Result")


def headline(title: str) -> str:
    """Title, commit (and whether files differ from it), machine, load, date: a result without them says nothing."""

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
    """Eileen Collins, from scikit-image's own files."""
    import skimage

    return Path(skimage.__file__).parent / "data" / "astronaut.png"


def lfw_pictures(lfw: Path, sets: str) -> list[Picture]:
    """All pictures of everybody in these sets of View 2, person by person. lfw: folder with images/ and people_sets.json."""
    people = json.loads((lfw / "people_sets.json").read_text())
    return [
        Picture(path=lfw / "images" / name / f"{name}_{i:04d}.jpg", person=name, number=i)
        for number in sets
        for name, count in people[number]
        for i in range(1, count + 1)
    ]


@cache
def shipped(**gates: float) -> Pipeline:
    """The shipped pipeline on one thread, one for each process. gates: what differs from the shipped QualityConfig."""
    return build_pipeline(Config(model=ModelConfig(threads=1), quality=QualityConfig(**gates)))


def in_processes(do: Callable[[Task], Result], tasks: Sequence[Task], workers: int, label: str) -> list[Result]:
    """The answers in order; `do` is a function of a module. Processes are started afresh: an interpreter survives no fork."""
    with progress(len(tasks), label) as done, ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        found = []
        for result in pool.map(do, tasks):
            found.append(result)
            done(1)
    return found


def percent(rate: float, interval: Interval, sign: str = "") -> str:
    """As a table shows it; sign: "+" for a difference."""
    return f"{100 * rate:{sign}.1f} ({100 * interval.low:{sign}.1f} to {100 * interval.high:{sign}.1f})"


def over_people(values: Float64Array, sign: str = "") -> str:
    """The mean of one rate a person (N,), with its 95 % interval: people drawn again, for the same N the same ones."""
    n = len(values)
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=1000)
    low, high = np.percentile(draws @ values / n, [2.5, 97.5])
    return percent(float(values.mean()), Interval(low=float(low), high=float(high)), sign)


def resident_mb(pid: int) -> float:
    """VmRSS of another process, MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"process {pid} has no VmRSS")
