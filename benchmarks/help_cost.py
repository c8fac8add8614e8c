"""Duration of `edge-oneshot --help`, relative to a click program that does nothing. Goal: at most 1.3 times as long.

    python benchmarks/help_cost.py > benchmarks/results/help_cost.txt

Both start as installed console scripts do, alternately; figures are medians.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
from common import compile_package, headline

TURNS = 60
TRIVIAL = "import sys; import click\n@click.command()\ndef main():\n    'Nothing.'\nsys.argv = ['trivial', '--help']\nsys.exit(main())"
OURS = "import sys; from edge_oneshot.cli import main\nsys.argv = ['edge-oneshot', '--help']\nsys.exit(main())"


def main() -> None:
    compile_package()
    programs = {"python -c pass": "pass", "trivial click program": TRIVIAL, "edge-oneshot --help": OURS}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(TURNS + 3):
        for name, code in programs.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
            if turn >= 3:
                times[name].append(time.perf_counter() - start)
    print(headline(f"Start to end of a process, {TURNS} runs each, alternately; medians in ms"))
    for name, values in times.items():
        print(f"  {name:24} {np.median(values) * 1e3:7.1f}")
    ratios = np.array(times["edge-oneshot --help"]) / np.array(times["trivial click program"])
    print(f"ratio, median over runs: {np.median(ratios):.2f} (goal 1.3)")


if __name__ == "__main__":
    main()
