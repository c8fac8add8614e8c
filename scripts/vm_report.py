"""Writes what the power cuts found (scripts/vm)."""

from __future__ import annotations

import argparse
import json
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path


@dataclass
class Done:
    """What was found so far; a run that is interrupted goes on from here. found: kind of cut -> how many. spent_s: of all runs."""

    about: str = ""
    number: int = 0  # of the last person
    freezes: int = 0
    kills: int = 0
    found: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    spent_s: float = 0.0

    @classmethod
    def read(cls, path: Path) -> Done:
        stored = json.loads(path.read_text())
        return cls(**{**stored, "found": Counter(stored["found"])})


def report(options: argparse.Namespace, kinds: Sequence[str], done: Done) -> str:
    found, faults, rows = done.found, done.faults, []
    for kind in kinds:
        cells = [
            found[f"{way}, {kind}, {when}"] for way in ("freeze", "kill") for when in ("in flight", "acknowledged")
        ]
        rows.append(f"| {kind} | {' | '.join(map(str, cells))} |")
    listed = "".join(f"\n- {fault}" for fault in faults)
    return f"""# Power cuts

Written by `scripts/vm {options.suite} DIR --kills {options.kills} --freezes {options.freezes} --seed {options.seed}` on \
{datetime.now(UTC):%Y-%m-%d} with the package of commit {options.version}: {done.spent_s:.0f} s on {platform.machine()}.

The device is a virtual machine (qemu without acceleration): {done.about}. The service recognizes a face of a folder camera, and the
state and the configuration are on a disk of their own. An operation was started, and the power was cut at a random moment.

The watchdog is set to five minutes, since one frame takes seconds without acceleration.

- **Freeze**: the disk was copied while the machine stood still. `e2fsck` replayed the journal of the file system as a boot
  does, and the files were opened.
- **Kill**: qemu was killed with SIGKILL, and the machine booted again. The service had to start and to list the people.

Each time the gallery, the outbox, the key and the configuration must be whole, no acknowledged change may be lost, and no
change may be done by half. This tears no sector, and reorders no write beyond what qemu does: what a disk loses that acknowledges a
flush too early is not covered.

| cut inside | freeze, in flight | freeze, just acknowledged | kill, in flight | kill, just acknowledged |
|---|---|---|---|---|
{chr(10).join(rows)}

{sum(found.values())} cuts, {len(faults)} faults.{listed}
"""
