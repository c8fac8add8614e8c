"""The process that reads the inputs. A crash or a hang ends this process, and the parent knows at which input."""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from edge_oneshot.errors import EdgeOneshotError
from fuzzing import message_targets, picture_targets, storage_targets, text_targets
from fuzzing.target import READ, REFUSED, REPORTED, LoggedErrors, Silent, Target, Unclean, check_message

TARGETS: dict[str, type[Target]] = {
    t.name: t for module in (picture_targets, text_targets, storage_targets, message_targets) for t in module.TARGETS
}
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a disk would only be slow
VERDICTS = (READ, REPORTED, REFUSED, "finding")
ADDRESS_SPACE = 6_000_000_000  # so that an input cannot take the machine's memory
MUCH_MEMORY = 400_000_000  # that one input may add to the most that the process has had


@dataclass(slots=True)
class Finding:
    """kind: traceback, silent, unclean, memory, hang, crash. what: type and place, the same for the same defect."""

    target: str
    number: int
    seed: int
    kind: str
    what: str
    detail: str = ""


@dataclass(slots=True)
class Batch:
    """Inputs first … first + count - 1 of one target."""

    target: str
    first: int
    count: int
    verdicts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)


def input_of(target: Target, seed: int, number: int) -> tuple[int, bytes]:
    """Input `number` of a run with this seed: (seed of the target, bytes)."""
    return target.make(Random(f"{seed}/{target.name}/{number}"))


def judge(target: Target, number: int, chosen: int, data: bytes, logged: LoggedErrors) -> tuple[str, Finding | None]:
    """(verdict, what is wrong)."""
    logged.tracebacks.clear()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    kind, what, detail, verdict = "", "", "", "finding"
    try:
        verdict = target.read(chosen, data)
    except EdgeOneshotError as e:
        verdict = REFUSED
        try:
            check_message(e)
        except Unclean as unclean:
            kind, what = "unclean", f"{type(e).__name__}: {unclean}"[:200]
    except Silent as e:
        kind, what, detail = "silent", "a change was not reported", str(e)
    except Unclean as e:
        kind, what = "unclean", str(e)[:200]
    except (Exception, RecursionError, MemoryError) as e:
        kind, what, detail = "traceback", place(e), "".join(traceback.format_exception(e))[-3000:]
    if not kind and logged.tracebacks:
        first = logged.tracebacks[0]
        kind, what = "traceback", f"logged: {place(first)}"
        detail = "".join(traceback.format_exception(first))[-3000:]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    if not kind and grown > MUCH_MEMORY:
        kind, what = "memory", f"{grown / 1e6:.0f} MB"
    if not kind:
        return verdict, None
    return "finding", Finding(target.name, number, chosen, kind, what, detail)


def place(e: BaseException) -> str:
    """Type of the error and the last line of this project that raised it."""
    frames = traceback.extract_tb(e.__traceback__)
    own = [f for f in frames if "edge_oneshot/" in f.filename] or [*frames]
    return f"{type(e).__name__} at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else type(e).__name__


class Reader:
    """The targets of one process, each made when it is first used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[str, Target] = {}
        self.logged = LoggedErrors()
        root = logging.getLogger()
        root.handlers[:] = [self.logged]
        root.setLevel(logging.WARNING)
        warnings.simplefilter("ignore")

    def target(self, name: str) -> Target:
        if name not in self._made:
            folder = self.folder / TARGETS[name].__name__
            folder.mkdir()
            self._made[name] = TARGETS[name](folder)
        return self._made[name]

    def close(self) -> None:
        for target in self._made.values():
            target.close()


def main() -> None:
    """Batches as JSON lines on standard input; the number of each input, and the results of each batch, on standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seed = int(sys.argv[2])
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=IN_MEMORY) as name:
        reader = Reader(Path(name))
        for line in sys.stdin:
            batch = Batch(**json.loads(line))
            target = reader.target(batch.target)
            for number in range(batch.first, batch.first + batch.count):
                chosen, data = input_of(target, seed, number)
                out.write(f"{number}\n")
                start = time.monotonic()
                verdict, finding = judge(target, number, chosen, data, reader.logged)
                batch.verdicts[verdict] += 1
                if finding is not None:
                    batch.findings.append(finding)
                spent_ms = round(1e3 * (time.monotonic() - start))
                batch.verdicts["slowest_ms"] = max(batch.verdicts["slowest_ms"], spent_ms)
                batch.verdicts["sum_ms"] += spent_ms
            out.write(json.dumps(result(batch)) + "\n")
        reader.close()


def result(batch: Batch) -> dict[str, Any]:
    findings = [asdict(f) for f in batch.findings]
    return {"target": batch.target, "verdicts": dict(batch.verdicts), "findings": findings}


if __name__ == "__main__":
    main()
