"""Feed many damaged inputs to every parser: none may cause a traceback, a hang or a crash, or be accepted as valid.

Mutators (scripts/fuzzing/) derive the inputs from valid ones. The inputs are numbered and depend on --seed alone. Worker
processes read them, so that a crash or a hang is detected and its input is known. --state stores the progress: the same command
continues there. Inputs that fail are written to --failures; --replay reads one again and shows the result.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import selectors
import signal
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(ROOT / "tests" / "mqtt")]

from fault_report import code_version  # noqa: E402
from fuzzing.process import Worker  # noqa: E402
from fuzzing.report import replay, write  # noqa: E402
from fuzzing.worker import TARGETS, VERDICTS, Finding  # noqa: E402

BATCH = 50
VERSION = code_version()


class Run:
    """All inputs of one seed: which are done, and the findings."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        shares = {name: t.share for name, t in TARGETS.items() if not options.only or name in options.only}
        scale = options.inputs / sum(shares.values())
        self.wanted = {name: math.ceil(share * scale) for name, share in shares.items()}
        self.next = dict.fromkeys(self.wanted, 0)
        self.verdicts: dict[str, Counter[str]] = {name: Counter() for name in self.wanted}
        self.commits: dict[str, list[str]] = {name: [] for name in self.wanted}  # the versions that read the inputs
        self.findings: list[Finding] = []
        self.again: list[tuple[str, int, int]] = []  # the rest of batches whose process ended
        self.seconds = 0.0
        if options.state and options.state.exists():
            self._load(json.loads(options.state.read_text()))

    def _load(self, kept: dict[str, Any]) -> None:
        if kept["seed"] != self.options.seed:
            raise SystemExit(f"{self.options.state}: it belongs to seed {kept['seed']}; give --seed or another --state")
        self.next |= {k: v for k, v in kept["next"].items() if k in self.next}
        self.verdicts |= {k: Counter(v) for k, v in kept["verdicts"].items() if k in self.verdicts}
        self.findings = [Finding(**f) for f in kept["findings"]]
        self.again, self.seconds = [tuple(b) for b in kept["again"]], kept["seconds"]
        self.commits |= {k: v for k, v in kept["commits"].items() if k in self.commits}
        if self.options.retry:
            self.again += [(f.target, f.number, 1) for f in self.findings]
            self.verdicts = {n: c - Counter(finding=c["finding"]) for n, c in self.verdicts.items()}
            self.findings = []
        for name in self.options.again or ():
            self.next[name], self.verdicts[name], self.commits[name] = 0, Counter(), []
            self.findings = [f for f in self.findings if f.target != name]
            self.again = [b for b in self.again if b[0] != name]

    def save(self, workers: list[Worker]) -> None:
        if self.options.state:
            pending = [w.batch for w in workers if w.batch is not None]
            state = {
                "seed": self.options.seed,
                "next": self.next,
                "verdicts": self.verdicts,
                "commits": self.commits,
                "findings": [asdict(f) for f in self.findings],
                "again": [*self.again, *pending],
                "seconds": self.seconds,
            }
            new = self.options.state.with_suffix(".new")
            new.write_text(json.dumps(state))
            new.replace(self.options.state)

    def progress(self) -> None:
        counts = f"{self.done} of {sum(self.wanted.values())} inputs, {len(self.findings)} findings"
        print(f"\r{counts}, {self.seconds:.0f} s", end="", file=sys.stderr, flush=True)

    @property
    def done(self) -> int:
        return sum(counts[v] for counts in self.verdicts.values() for v in VERDICTS)

    def take(self) -> tuple[str, int, int] | None:
        """The next batch, for the target that is furthest behind."""
        if self.again:
            return self.again.pop()
        name = min(self.next, key=lambda n: self.next[n] / self.wanted[n])
        count = min(BATCH, self.wanted[name] - self.next[name])
        if count <= 0:
            return None
        self.next[name] += count
        return name, self.next[name] - count, count

    def add(self, result: dict[str, Any]) -> None:
        counts, commits = self.verdicts[result["target"]], self.commits[result["target"]]
        if VERSION not in commits:
            commits.append(VERSION)
        slowest = max(counts["slowest_ms"], result["verdicts"].pop("slowest_ms", 0))
        counts.update(result["verdicts"])
        counts["slowest_ms"] = slowest
        for found in result["findings"]:
            self.found(Finding(**found))

    def found(self, finding: Finding) -> None:
        self.findings.append(finding)
        print(
            f"\n{finding.target} {finding.number}: {finding.kind}: {finding.what} {finding.detail[-300:]}", flush=True
        )

    def lost(self, worker: Worker, hang: bool) -> None:
        """The process of a batch ended or was killed: its current input is the cause; the others are read again."""
        code, errors = worker.end(0.0 if hang else 5.0)
        if worker.batch is None:
            return
        target, first, count = worker.batch
        kind = "hang" if hang else "crash"
        what = "no end" if hang else (signal.Signals(-code).name if code < 0 else f"exit code {code}")
        self.found(Finding(target, worker.number, -1, kind, what, errors))
        self.verdicts[target]["finding"] += 1
        for a, b in ((first, worker.number), (worker.number + 1, first + count)):
            if b > a:
                self.again.append((target, a, b - a))


def fuzz(options: argparse.Namespace) -> Run:
    run = Run(options)
    workers = [Worker(options.seed) for _ in range(options.jobs)]
    try:
        with selectors.DefaultSelector() as selector:
            for worker in workers:
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]
            _feed(run, workers, selector)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command with --state continues", file=sys.stderr)
    finally:
        run.save(workers)
        for worker in workers:
            worker.end()
    return run


def _feed(run: Run, workers: list[Worker], selector: selectors.BaseSelector) -> None:
    """Give batches to idle workers and take their results, until all are done or the time is over."""
    start, before, shown = time.monotonic(), run.seconds, 0.0
    while True:
        run.seconds = before + time.monotonic() - start
        late = run.options.seconds and time.monotonic() - start > run.options.seconds
        for worker in workers:
            if worker.batch is None and not late and (batch := run.take()) is not None:
                worker.give(*batch)
        if all(w.batch is None for w in workers):
            return
        for key, _ in selector.select(1.0):
            results = key.data.read()
            if results is None:
                _renew(run, workers, key.data, selector, hang=False)
            for result in results or ():
                run.add(result)
        for worker in [w for w in workers if w.hangs()]:
            _renew(run, workers, worker, selector, hang=True)
        if time.monotonic() - shown > 5:
            shown = time.monotonic()
            run.save(workers)
            run.progress()


def _renew(run: Run, workers: list[Worker], worker: Worker, selector: selectors.BaseSelector, *, hang: bool) -> None:
    selector.unregister(worker.process.stdout)  # type: ignore[arg-type]
    run.lost(worker, hang)
    workers[workers.index(worker)] = fresh = Worker(run.options.seed)
    selector.register(fresh.process.stdout, selectors.EVENT_READ, fresh)  # type: ignore[arg-type]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, help="stop after this time, with fewer inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", action="append", choices=sorted(TARGETS), help="this parser; may be repeated")
    parser.add_argument(
        "--again",
        action="append",
        choices=sorted(TARGETS),
        help="start this parser again from the first input, after a fix",
    )
    parser.add_argument("--retry", action="store_true", help="read the inputs of earlier findings again, after a fix")
    parser.add_argument("--state", type=Path, help="file that stores the progress")
    parser.add_argument("--out", type=Path, help="JSON file for the counts")
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="folder for inputs that fail")
    parser.add_argument("--replay", type=Path, metavar="FILE")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return replay(options.replay) if options.replay else write(fuzz(options))


if __name__ == "__main__":
    sys.exit(main())
