"""Attacks a sealed gallery: mutated files, old rows, and kills while it is sealed, unsealed and given another key.

    python scripts/sealed_check.py --mutations 5000 --kills 200

A mutated gallery is *accepted* if it opens without a report and holds other people or templates than were stored. It is *forged*
if it ever shows a template that was never stored. A kill is *survived* if everything can be read afterwards, and the same
command, run again, completes. The exit code is 1 if one of these fails.
"""

from __future__ import annotations

import argparse
import logging
import random
import sqlite3
import sys
import tempfile
from collections import Counter
from pathlib import Path

from sealed_kills import kills
from sealed_mutations import MUTATIONS
from sealed_parts import State, prepare, state_of

from edge_oneshot.config import Config
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.storage.keys import Keys


def mutations(number: int, seed: int = 1) -> Counter[str]:
    """How often each outcome was seen: refused, reported, unchanged, accepted, forged, failed."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        config, old, stored = prepare(Path(name))
        expected, _ = state_of(config)
        sound, counter = config.gallery_path.read_bytes(), Keys(config.key_path).counter_path.read_bytes()
        for n in range(number):
            rng = random.Random(f"{seed} {n}")
            mutate = MUTATIONS[n % len(MUTATIONS)]
            for side in config.gallery_path.parent.glob("gallery.sqlite-*"):
                side.unlink()
            config.gallery_path.write_bytes(sound)
            Keys(config.key_path).counter_path.write_bytes(counter)
            try:
                mutate(config.gallery_path, old, rng)
            except sqlite3.Error:
                found["not possible"] += 1
                continue
            outcome = judge(config, expected, stored)
            found[outcome] += 1
            if outcome in ("accepted", "forged", "failed"):
                print(f"{outcome}: {mutate.__name__}, number {n}, seed {seed}", file=sys.stderr)
    return found


def judge(config: Config, expected: State, stored: list[bytes]) -> str:
    try:
        people, aside = state_of(config)
    except EdgeOneshotError:
        return "refused"
    except Exception as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr)
        return "failed"
    if any(v not in stored for _, vectors in people.values() for v in vectors):
        return "forged"
    if people == expected:
        return "reported" if aside else "unchanged"
    return "reported" if aside else "accepted"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    logging.disable(logging.CRITICAL)
    mutated, killed = mutations(a.mutations, a.seed), kills(a.kills, a.seed)
    print("mutated galleries:", dict(sorted(mutated.items())))
    print("kills:", dict(sorted(killed.items())))
    bad = sum(mutated[k] for k in ("accepted", "forged", "failed")) + sum(killed.values()) - killed["survived"]
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
