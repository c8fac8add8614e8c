"""Writes what the kills found (scripts/kills.py)."""

from __future__ import annotations

import argparse
import platform
import sqlite3
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime


def report(
    counts: Counter[str],
    places: Counter[tuple[str, str, str, str]],
    kinds: Sequence[str],
    faults: Sequence[str],
    seconds: float,
    options: argparse.Namespace,
) -> str:
    only = "".join(f" --only {kind}" for kind in options.only or ())

    def row(*cells: object) -> str:
        return f"| {' | '.join(map(str, cells))} |"

    calls = sorted({(file, name) for _, name, file, _ in places})
    per_call = [
        row(f"{name}, {file}", *(sum(n for (k, *rest), n in places.items() if (k, rest[1], rest[0]) == (kind, file, name))
                                 or "" for kind in kinds)) for file, name in calls
    ]  # fmt: skip
    sums = row("all", *(sum(n for (k, *_), n in places.items() if k == kind) for kind in kinds))
    sides = {side: sum(n for (*_, s), n in places.items() if s == side) for side in ("before", "after")}
    head = (
        "killed inside an operation",
        "acknowledged operations",
        "in flight, found done",
        "in flight, found not done",
    )
    lines = "\n".join(row(name, counts[name]) for name in (*head, *faults))
    table = "\n".join([row("", *kinds), "|---" * (len(kinds) + 1) + "|", *per_call, sums])
    return f"""# Kills inside operations

Written by `scripts/kills --kills {options.kills} --seed {options.seed}{only}` on {datetime.now(UTC):%Y-%m-%d}, commit {options.commit}:
{seconds:.0f} s, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.machine()}.

A child process does up to three operations that are acknowledged, and then one inside which it is killed with SIGKILL, at a
system call that was drawn (ptrace): {sides["before"]} times before the call was made, {sides["after"]} times after it. The operations are
requests as the daemon serves them, `publish` commits an event to the outbox, `delivered` deletes events that the broker
acknowledged, and `start` opens the files that the kill before left behind. After each kill the files are opened again and compared with
what was acknowledged.

| | |
|---|---|
{lines}

Where the kills landed, by system call and file; `fcntl` are locks, `-wal` is the write-ahead log.

{table}

A kill leaves what the kernel has; a power cut can lose what no `fsync` had reached the disk. See
[operate](../docs/how-to/operate.md).
"""
