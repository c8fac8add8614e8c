"""A worker process as its parent sees it: what it reads now, whether it hangs, how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from fuzzing.worker import TARGETS

ROOT = Path(__file__).resolve().parents[2]
WALL_S = 60.0  # for one input, however busy the machine is
TICKS = os.sysconf("SC_CLK_TCK")


class Worker:
    """One process and the batch that it has."""

    def __init__(self, seed: int) -> None:
        command = [sys.executable, "-m", "fuzzing.worker", "--seed", str(seed)]
        path = os.pathsep.join([str(ROOT), str(ROOT / "scripts")])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=environment
        )
        self.batch: tuple[str, int, int] | None = None
        self.number = -1
        self._since, self._spent, self._rest = time.monotonic(), 0.0, b""

    def give(self, target: str, first: int, count: int) -> None:
        assert self.process.stdin is not None
        self.batch, self.number = (target, first, count), first
        with suppress(BrokenPipeError):  # then its end is noticed
            self.process.stdin.write(json.dumps({"target": target, "first": first, "count": count}).encode() + b"\n")
            self.process.stdin.flush()
        self._mark()

    def read(self) -> list[dict[str, Any]] | None:
        """The results that have arrived; None: the process has ended."""
        assert self.process.stdout is not None
        if not (data := os.read(self.process.stdout.fileno(), 1 << 16)):
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        found = []
        for line in lines:
            if line.startswith(b"{"):
                found.append(json.loads(line))
                self.batch = None
            else:
                self.number = int(line)
        self._mark()
        return found

    def hangs(self) -> bool:
        """Whether the present input takes more processor time than its target may, or no end."""
        if self.batch is None:
            return False
        wall = time.monotonic() - self._since
        limit_s = TARGETS[self.batch[0]].limit_s
        return wall > max(WALL_S, 3 * limit_s) or (wall > limit_s and spent_s(self.process.pid) - self._spent > limit_s)

    def _mark(self) -> None:
        self._since, self._spent = time.monotonic(), spent_s(self.process.pid)

    def end(self, wait_s: float = 0.0) -> tuple[int, str]:
        """The exit code of the process, which is killed if it runs longer than wait_s, and the end of its standard error."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(wait_s)
        for child in children(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.process.kill()
        code = self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        with self._errors:
            self._errors.seek(0)
            return code, self._errors.read()[-2000:].decode(errors="replace")


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def spent_s(pid: int) -> float:
    """Processor time of a process and of its children, those that have ended included."""
    total = 0
    for number in (pid, *children(pid)):
        with suppress(OSError):
            fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / TICKS
