"""One peer in a process of its own. Reads commands as lines of JSON, answers each with one line of JSON on file descriptor 3.

    python worker.py PEER DATA           serves until its input ends
    python worker.py PEER DATA A.npy B.npy   compares two pictures and exits: a cold start to the first decision

Pictures are .npy files of uint8 (N, H, W, 3) RGB. One picture at a time is read, before its time is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
WARM_UP = 1  # frames before a block: another peer ran meanwhile


def make(name: str, data: Path) -> Any:
    if name in ("edge-oneshot", "floor"):
        from peers.own import Floor, Own

        return {"edge-oneshot": Own, "floor": Floor}[name](data)
    from peers.adapters import ADAPTERS

    return ADAPTERS[name](data)


def pictures(path: str, first: int, count: int, bgr: bool) -> Any:
    """The pictures from `first` on, `count` of them, around the end; each is read when it is asked for."""
    with Path(path).open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, _ = np.lib.format.read_array_header_1_0(file)
        start, each = file.tell(), int(np.prod(shape[1:]))
        for number in range(first, first + count):
            file.seek(start + number % shape[0] * each)
            picture = np.frombuffer(file.read(each), np.uint8).reshape(shape[1:])
            yield np.ascontiguousarray(picture[..., ::-1]) if bgr else picture.copy()


def timed(do: Any, frames: Any) -> dict[str, list[float]]:
    rows: dict[str, list[float]] = {"cpu_ms": [], "wall_ms": [], "faces": []}
    for frame in frames:
        cpu, wall = time.process_time(), time.perf_counter()
        faces = do(frame)
        rows["wall_ms"].append(round(1e3 * (time.perf_counter() - wall), 3))
        rows["cpu_ms"].append(round(1e3 * (time.process_time() - cpu), 3))
        rows["faces"].append(faces)
    return rows


class Worker:
    def __init__(self, name: str, data: Path) -> None:
        self.name, self.peer = name, make(name, data)
        vectors = np.random.default_rng(0).standard_normal((1000, self.peer.dimension)).astype(np.float32)
        self.references = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        if name == "edge-oneshot":
            self.peer.use_gallery()

    def frames(self, path: str, first: int, count: int, faces: int) -> dict[str, Any]:
        """Unrelated frames: every face is undecided."""
        if self.name == "floor":
            self.peer.expected = faces
        if self.name == "edge-oneshot":
            self.peer.use_gallery()
        invokes = []

        def do(frame: Any) -> int:
            found: int = self.peer.decide(frame, self.references)
            invokes.append(round(getattr(self.peer, "invoke_ms", 0.0), 3))
            return found

        for frame in pictures(path, first, WARM_UP, self.peer.bgr):
            self.peer.decide(frame, self.references)
        rows: dict[str, Any] = timed(do, pictures(path, first, count, self.peer.bgr))
        return {**rows, "invoke_ms": invokes} if any(invokes) else rows

    def clip(self, path: str, portraits: str, warm_up: int, count: int) -> dict[str, Any]:
        """A clip through the daemon: `count` frames after `warm_up`, in which the decisions are made."""
        enrolled = self.peer.start(np.load(portraits))
        before = timed(self.peer.follow, pictures(path, 0, warm_up, self.peer.bgr))
        rows: dict[str, Any] = timed(self.peer.follow, pictures(path, warm_up, count, self.peer.bgr))
        return {**rows, "first_cpu_ms": before["cpu_ms"], "enrolled": enrolled, "events": self.peer.events}

    def encode(self, files: list[str], out: str) -> dict[str, Any]:
        """The face nearest the centre of each picture (.npy); a picture without one gets a row of NaN."""
        rows = np.full((len(files), self.peer.dimension), np.nan, np.float32)
        for i, path in enumerate(files):
            picture = np.load(path)
            middle = np.array([picture.shape[1] / 2, picture.shape[0] / 2])
            picture = np.ascontiguousarray(picture[..., ::-1]) if self.peer.bgr else picture
            found = self.peer.faces(picture)
            if found:
                rows[i] = min(found, key=lambda f: float(((np.array(f[0]) - middle) ** 2).sum()))[1]
        np.save(out, rows)
        return {"encoded": int(np.isfinite(rows[:, 0]).sum()), "files": len(files)}

    def memory(self) -> dict[str, float]:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        size = {key: int(lines[key].split()[0]) * 1024 / 1e6 for key in ("VmRSS", "VmHWM")}
        return {"rss_mb": size["VmRSS"], "peak_mb": size["VmHWM"]}


def first_decision(name: str, data: Path, files: list[str]) -> None:
    peer = make(name, data)
    if name == "edge-oneshot":
        peer.recognizer.enroll("A", np.load(files[0]), accept_no_rate=True)
        print(peer.recognizer.identify(np.load(files[1])))
        return
    (a, b) = (peer.faces(np.ascontiguousarray(np.load(f)[..., :: -1 if peer.bgr else 1]))[0][1] for f in files)
    print(peer.score(a[None], b))


def serve(name: str, data: Path) -> None:
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what a peer prints is no answer
        try:
            worker = Worker(name, data)
            answer: dict[str, Any] = {"ready": name, "files": [str(f) for f in worker.peer.files]}
        except BaseException as e:
            answers.write(json.dumps({"error": f"{type(e).__name__}: {e}"[:400]}) + "\n")
            return
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        for line in sys.stdin:
            command = json.loads(line)
            answer = getattr(worker, command.pop("do"))(**command)
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    peer_name, folder, given = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    if given:
        first_decision(peer_name, folder, given)
    else:
        with contextlib.suppress(KeyboardInterrupt):
            serve(peer_name, folder)
