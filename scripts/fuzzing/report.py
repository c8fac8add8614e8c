"""What a run found: the table, the JSON file, the inputs that failed; and how to read one of them again."""

from __future__ import annotations

import json
import platform
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fuzzing.worker import IN_MEMORY, VERDICTS, Reader, input_of, judge

if TYPE_CHECKING:
    from fuzz import Run


def write(run: Run) -> int:
    """Print the table, write JSON and failing inputs. 0: nothing was found."""
    print(
        "\n| parser | inputs | read | damage reported | refused | findings | mean, ms | slowest, ms |\n|---|---|---|---|---|---|---|---|"
    )
    for name, counts in run.verdicts.items():
        numbers = [counts[v] for v in VERDICTS]
        mean_ms = counts["sum_ms"] / max(1, sum(numbers))
        cells = [sum(numbers), *numbers, f"{mean_ms:.0f}", counts["slowest_ms"]]
        print(f"| {name} | " + " | ".join(map(str, cells)) + " |")
    kinds = Counter(f.kind for f in run.findings)
    print(f"{run.done} inputs, seed {run.options.seed}, {run.seconds:.0f} s: {dict(kinds) or 'no finding'}")
    for (target, kind, what), count in Counter((f.target, f.kind, f.what) for f in run.findings).most_common():
        print(f"  {count} x {target}: {kind}: {what}")
    if run.options.out:
        summary = {
            "written_by": f"scripts/fuzz --inputs {run.options.inputs} --seed {run.options.seed}",
            "commits": sorted({c for commits in run.commits.values() for c in commits}),
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "seed": run.options.seed,
            "inputs": run.done,
            "seconds": round(run.seconds),
            "findings": {k: kinds[k] for k in ("traceback", "hang", "crash", "silent", "unclean", "memory")},
            "parsers": {
                n: {k: c[k] for k in (*VERDICTS, "slowest_ms")} | {"commits": run.commits[n]}
                for n, c in run.verdicts.items()
            },
        }
        run.options.out.write_text(json.dumps(summary, indent=1) + "\n")
    keep_failures(run)
    return int(bool(run.findings))


def keep_failures(run: Run) -> None:
    """Write the first inputs of each finding, for --replay."""
    if not run.findings:
        return
    folder: Path = run.options.failures
    folder.mkdir(parents=True, exist_ok=True)
    kept: Counter[tuple[str, str, str]] = Counter()
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        reader = Reader(Path(name))
        for f in run.findings:
            kept[f.target, f.kind, f.what] += 1
            if kept[f.target, f.kind, f.what] <= 3:
                seed, data = input_of(reader.target(f.target), run.options.seed, f.number)
                (folder / f"{f.target.replace(' ', '_')}.{seed}.{f.number}.{f.kind}").write_bytes(data)
        reader.close()
    print(f"inputs that failed: {folder}")


def replay(path: Path) -> int:
    """Read one kept input in this process, and show what happens."""
    target, seed, number, _ = path.name.rsplit(".", 3)
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        reader = Reader(Path(name))
        made = reader.target(target.replace("_", " "))
        verdict, finding = judge(made, int(number), int(seed), path.read_bytes(), reader.logged)
        reader.close()
    print(verdict if finding is None else f"{finding.kind}: {finding.what}\n{finding.detail}")
    return int(finding is not None)
