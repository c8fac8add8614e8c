"""Processor time of a cold `edge-oneshot enroll --image`, relative to the least that any program needs. Goal: at most 3 times.

    python benchmarks/start_cost.py [TURNS] > benchmarks/results/start_cost.txt

The least is a program that imports numpy and the interpreter, loads the encoder and invokes it once. Both run alternately, each in
a new process. Figures are user and system time, of the process that decodes the picture, too; medians, and the ratio of each turn.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import compile_package, headline, portrait

from edge_oneshot.model.bundle import find_bundle

LEAST = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.zeros((1, 112, 112, 3), np.int8))
interpreter.invoke()
"""
OURS = "import sys; from edge_oneshot.cli import main; sys.exit(main())"


def cost(command: list[str], **environment: str) -> tuple[float, float]:
    """Processor time and duration of a command, seconds."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return used, time.perf_counter() - start


def main(turns: int) -> None:
    compile_package()
    encoder = str(find_bundle("", "encoder"))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "config.toml"
        config.write_text(f'[device]\nstate_dir = "{name}/state"\n[model]\nthreads = 1\n[mqtt]\nenabled = false\n')
        for turn in range(turns + 2):
            least = cost([sys.executable, "-c", LEAST, encoder])
            words = ["--config", str(config), "enroll", "--name", "Eileen", "--image", str(portrait())]
            words += ["--replace"] if turn else []
            ours = cost([sys.executable, "-c", OURS, *words])
            if turn >= 2:
                rows.append((*least, *ours))
    table = np.array(rows)
    print(headline(f"Start to end of a process, {turns} runs each, alternately; medians in ms"))
    for k, label in ((0, "numpy, interpreter, one invoke"), (2, "edge-oneshot enroll --image")):
        used, wall = np.median(table[:, k : k + 2], axis=0) * 1e3
        print(f"  {label:32} processor time {used:7.0f}, duration {wall:7.0f}")
    print(f"ratio of processor time, median over runs: {np.median(table[:, 2] / table[:, 0]):.2f} (goal 3)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
