"""Run random histories of a fleet, heal each, and look for what must never be true then (scripts/fleet_world.py, fleet_faults.py).

Each history has a seed; `--seed N --histories 1` runs it again, with every key and nonce the same. The result is written after each
hundred histories, so an interrupted run counts, too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import fleet_world  # noqa: E402
from fault_report import code_version  # noqa: E402
from fleet_faults import faults_of  # noqa: E402


def run_one(seed: int) -> dict[str, Any]:
    """The outcome of one history."""
    try:
        world = fleet_world.history(seed)
        faults = faults_of(world)
    except Exception as e:
        return {"seed": seed, "faults": [f"{type(e).__name__}: {e}"], "actions": {}, "messages": 0, "devices": 0}
    actions = Counter(line.split()[1] for line in world.log if line[0].isdigit())
    return {
        "seed": seed,
        "faults": faults,
        "actions": dict(actions),
        "messages": len(world.sent),
        "devices": len(world.devices),
        "revoked": len(world.devices) - len(world.in_force()),
        "removals": len(world.removals),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first history; each has the next one (default: 1)")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the result there (JSON)")
    args = parser.parse_args()
    started, version = time.monotonic(), code_version()
    totals: Counter[str] = Counter()
    actions: Counter[str] = Counter()
    failed: list[dict[str, Any]] = []
    with multiprocessing.Pool(args.processes) as pool:
        for result in pool.imap_unordered(run_one, range(args.seed, args.seed + args.histories)):
            totals["histories"] += 1
            for name in ("messages", "devices", "revoked", "removals"):
                totals[name] += result.get(name, 0)
            actions.update(result["actions"])
            if result["faults"]:
                failed.append({"seed": result["seed"], "faults": result["faults"][:5]})
                print(f"\nseed {result['seed']}: {result['faults'][0]}", flush=True)
            if totals["histories"] % 100 == 0 or totals["histories"] == args.histories:
                took = time.monotonic() - started
                print(
                    f"\r{totals['histories']} of {args.histories}, {len(failed)} with a fault, {took:.0f} s",
                    end="",
                    flush=True,
                )
                write(args.out, version, args.seed, totals, actions, failed, took)
    print()
    return 1 if failed else 0


def write(
    out: Path | None,
    version: str,
    seed: int,
    totals: Counter[str],
    actions: Counter[str],
    failed: list[dict[str, Any]],
    took: float,
) -> None:
    if out is None:
        return
    about = {
        "version": version,
        "first_seed": seed,
        **totals,
        "histories_with_a_fault": len(failed),
        "seconds": round(took),
        "actions": dict(sorted(actions.items())),
        "failed": failed,
    }
    out.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
