"""Benchmark of this project and its peers on the same pictures, in alternation within one run.

    python benchmarks/field.py --data DIR [--work DIR] [--rounds N] [--peers NAME ...] [--stage accuracy]

Each peer gets a venv (made below WORK/venvs) and a process of its own, with one thread. In each round every scene is shown to
every peer, block after block, so that all see the same load. CPU time is that of the whole process (time.process_time); a
picture is decoded before it is measured. Every result is appended to WORK/rows-COMMIT.jsonl: a run that was stopped goes on where
it was. Writes benchmarks/results/field.json, and table and plot into docs/explanation/performance.md and docs/images/field.svg.

DIR holds lfw_dev.tar (Labeled Faces in the Wild, sets 1-6) and weights/yunet_n_320_320.onnx and teacher_mobilefacenet.onnx; default:
$EDGE_ONESHOT_DATA. A peer that cannot be installed or has no weights is listed with the reason. --sample: this project only,
in this interpreter, two frames of portraits from installed packages; writes nothing but WORK.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, headline
from peers import report, scenes
from peers.environments import OWN, SOURCES, Process, command, environment, installed_mb, interpreter, versions
from peers.environments import without_hosts as plain

COUNT, BLOCK = 40, 6  # different frames of a scene; frames of a block
WARM_UP, CLIP = 30, 40
CHUNK = 100  # pictures encoded between two lines of progress
COLD = 3  # cold starts


class Rows:
    """What was measured, one JSON object a line. A row has a key; a key that is there is not measured again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows = [json.loads(line) for line in lines]
        self._keys = {tuple(r["key"]) for r in self.rows}

    def __contains__(self, key: tuple[Any, ...]) -> bool:
        return key in self._keys

    def add(self, key: tuple[Any, ...], values: dict[str, Any]) -> None:
        row = {"key": list(key), "load": round(os.getloadavg()[0], 1), **values}
        self.rows.append(row)
        self._keys.add(key)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def of(self, *start: Any) -> list[dict[str, Any]]:
        return [r for r in self.rows if r["key"][: len(start)] == list(start)]


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def frames(rows: Rows, running: dict[str, Process], folder: Path, number: int, block: int) -> None:
    """One round of frames in which every face is undecided, and the memory after them."""
    for faces in scenes.FACES:
        for name, process in running.items():
            if ("frames", name, faces, number) in rows:
                continue
            path = str(folder / f"frames-{faces}.npy")
            found = process.ask(do="frames", path=path, first=number * block, count=block, faces=faces)
            rows.add(("frames", name, faces, number), found)
            say(f"round {number + 1}, {name}, {faces} faces: {np.median(found['cpu_ms']):.1f} ms of CPU a frame")
    for name, process in running.items():
        if ("memory", name, number) not in rows:
            rows.add(("memory", name, number), process.ask(do="memory"))


def clips(rows: Rows, own: Process, folder: Path, number: int, frames: tuple[int, int], names: list[str]) -> None:
    """One round of clips through the daemon: the steady state after the decisions. frames: (warm-up, measured)."""
    for i, name in enumerate(names):
        if ("clip", "edge-oneshot", name, number) in rows:
            continue
        words = {"path": str(folder / f"clip-{i}.npy"), "portraits": str(folder / f"portraits-{i}.npy")}
        found = own.ask(do="clip", warm_up=frames[0], count=frames[1], **words)
        rows.add(("clip", "edge-oneshot", name, number), found)
        say(f"round {number + 1}, clip {name!r}: {np.median(found['cpu_ms']):.1f} ms of CPU a frame, {found['events']}")


def cold_starts(rows: Rows, pythons: dict[str, Path], data: Path | None, folder: Path, count: int) -> None:
    """New processes that compare two pictures and exit, in turn; wall and CPU time of each."""
    files = [str(folder / f"first-{side}.npy") for side in "ab"]
    for number in range(count):
        for name, python in pythons.items():
            if name == "floor" or ("cold", name, number) in rows:
                continue
            start = time.perf_counter()
            words = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment()}
            process = subprocess.Popen([*command(name, python, data), *files], **words)  # type: ignore[call-overload]
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds = {"wall_s": time.perf_counter() - start, "cpu_s": used.ru_utime + used.ru_stime}
            if process.returncode:
                raise SystemExit(f"{name}: the cold start ended with status {process.returncode}")
            rows.add(("cold", name, number), {k: round(v, 3) for k, v in seconds.items()})
    say("cold starts measured")


def encode(running: dict[str, Process], folder: Path, keys: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """(peer, its embeddings of all pictures of LFW sets 5-6 in order, NaN for a picture without a face)."""
    files = [str(folder / "lfw" / file) for _, file in json.loads((folder / "lfw.json").read_text())]
    for name, process in running.items():
        if name == "floor":
            continue
        parts = []
        for start in range(0, len(files), CHUNK):
            out = folder / f"encoded-{name}-{keys[name]}-{start}.npy"
            if not out.exists():
                found = process.ask(
                    do="encode", files=files[start : start + CHUNK], out=str(out.with_suffix(".part.npy"))
                )
                out.with_suffix(".part.npy").rename(out)
                say(f"{name}: encoded {start + found['files']} of {len(files)} pictures")
            parts.append(np.load(out))
        yield name, np.concatenate(parts)


def start(names: list[str], o: argparse.Namespace) -> tuple[dict[str, Path], dict[str, Process], dict[str, str]]:
    """(interpreters, running workers, reasons why a peer does not run)."""
    venvs = None if o.sample else o.work / "venvs"
    makers = sorted({"edge-oneshot" if name == "floor" else name for name in names})
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(makers, pool.map(lambda name: interpreter(name, venvs, say), makers), strict=True))
    pythons, running, absent = {}, {}, {}
    for name in names:
        python, reason = found["edge-oneshot" if name == "floor" else name]
        process = None if python is None else Process(name, python, o.data)
        if process is not None and python is not None and not process.error:
            pythons[name], running[name] = python, process
        else:
            absent[name] = plain(reason) if process is None else f"cannot start: {plain(process.error)}"
        say(f"{name}: {absent.get(name, 'ready')}")
    return pythons, running, absent


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("EDGE_ONESHOT_DATA")
    parser.add_argument("--data", type=Path, default=Path(data) if data else None)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "field", help="venvs, pictures and rows")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--peers", nargs="+", choices=list(SOURCES), default=list(SOURCES))
    parser.add_argument(
        "--stage", choices=("all", "accuracy", "time"), default="all",
        help="accuracy: only encode LFW, which several processes can share by --peers; only `all` writes into the project",
    )  # fmt: skip
    parser.add_argument("--sample", action="store_true", help="this project only, two frames")
    parser.add_argument("--again", action="store_true", help="measure everything again, also for this commit")
    o = parser.parse_args()
    if o.sample:
        o.data, o.rounds, o.peers = None, 1, list(OWN)
    elif o.data is None:
        parser.error("--data or EDGE_ONESHOT_DATA: expected the folder with lfw_dev.tar and weights/, got none")
    return o


def main() -> None:
    o = options()
    folder = o.work / ("sample" if o.sample else "pictures")
    real = scenes.compose(folder, o.data, 2 if o.sample else COUNT)
    head = headline("The field, side by side (benchmarks/field.py)")
    say(head.replace("\n", "; "))
    commit = head.split("commit ", 1)[1].split(",")[0].replace(" ", "-")
    path = o.work / f"rows-{'sample-' * o.sample}{commit}.jsonl"
    if o.again or o.sample:
        path.unlink(missing_ok=True)
    rows = Rows(path)
    pythons, running, absent = start(o.peers, o)
    found = {name: versions(python, report.PACKAGES) for name, python in pythons.items()}
    peers: dict[str, Any] = {}
    if o.stage != "accuracy":
        time_all(rows, running, pythons, folder, o)
        for name, python in pythons.items():
            peers[name] = report.figures(rows.of, name) | {"versions": found[name]}
            if name != "floor":
                peers[name]["installed_mb"] = installed_mb(name, python, running[name].files)
    if real and o.stage != "time":
        owners = np.array([name for name, _ in json.loads((folder / "lfw.json").read_text())])
        keys = {n: commit if n in OWN else "-".join(found[n].values()) for n in running}
        for name, vectors in encode(running, folder, keys):
            rates = report.error_rates(vectors, owners, distance=name == "face_recognition")
            peers.setdefault(name, {})["lfw"] = rates
            say(f"{name}: {rates}")
    for process in running.values():
        process.close()
    if o.stage == "accuracy":
        return
    loads = [r["load"] for r in rows.rows]
    titles = {name: SOURCES[name].title for name in o.peers}
    about = {"head": head, "load": [min(loads), max(loads)], "rounds": o.rounds, "titles": titles}
    result = {**about, "peers": peers, "absent": absent}
    (o.work / "field.json").write_text(json.dumps(result, indent=1) + "\n")
    print(report.tables(result))
    if not o.sample and o.stage == "all":
        report.write(result, ROOT)


def time_all(rows: Rows, running: dict[str, Process], pythons: dict[str, Path], folder: Path, o: Any) -> None:
    """Everything that takes turns: frames, clips and cold starts."""
    block, length = (2, (1, 1)) if o.sample else (BLOCK, (WARM_UP, CLIP))
    names = list(scenes.CLIPS)[: 4 if o.sample else None]
    for number in range(o.rounds):
        frames(rows, running, folder, number, block)
        if "edge-oneshot" in running:
            clips(rows, running["edge-oneshot"], folder, number, length, names)
    cold_starts(rows, pythons, o.data, folder, 1 if o.sample else COLD)


if __name__ == "__main__":
    main()
