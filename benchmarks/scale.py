"""Frames per second and watts of Raspberry Pi boards, calculated from published figures, not measured.

    python benchmarks/scale.py > benchmarks/results/scale.txt

The multiply-accumulate operations (MAC) of the shipped networks are counted in the model files. A board's
rate in MAC/s comes from the published time of MobileNet v2 with the same library (XNNPACK), which is the slower of the two
MobileNets that are published. What is not an invoke (warps, decisions) is added as a share of the invokes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_oneshot.config import Config
from edge_oneshot.evaluation.benchmarking import InvokeTimer
from edge_oneshot.model.runtime import Runtime
from edge_oneshot.recognition.compose import build_pipeline

MOBILENET_V2_MMAC = 300  # Sandler et al. 2018, table 4, 224x224
REST = 0.15  # what is not an invoke, as a share of the invokes: the goal of benchmarks/frame_cost.py
LOOKS, ENCODINGS = 3, 2  # of the refiner and the encoder for each face in a frame while it is undecided
CORES, SPEED_UP = 4, 3.6  # cores of a board and of the published times; their speed-up over one core, assumed


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """int8_ms, float_ms: MobileNet v2 with four threads. watts: at rest, and with all cores busy; None: no source.

    slower: than the board whose times these are; 1: the times were published for this board.
    """

    name: str
    int8_ms: float
    float_ms: float
    watts: tuple[float, float] | None
    slower: float = 1.0


# Times: README of google/XNNPACK, "Raspberry Pi", 8 February 2022, multi-threaded. Watts: see docs/explanation/performance.md.
BOARDS = (
    Board(name="Zero 2 W", int8_ms=30, float_ms=79, watts=(0.6, 2.0), slower=1.4),  # the 3 B+'s cores at 1.0 of 1.4 GHz
    Board(name="3 B+", int8_ms=30, float_ms=79, watts=(1.9, 5.1)),
    Board(name="4 B", int8_ms=17, float_ms=46, watts=(2.7, 6.4)),
    Board(name="5", int8_ms=17, float_ms=46, watts=None, slower=1 / 2.5),  # its maker states two to three times the 4 B
)


def macs(runtime: Runtime) -> int:
    """Multiply-accumulate operations of convolutions and fully connected layers of one invoke."""
    interpreter = runtime._interpreter
    shapes = {d["index"]: tuple(d["shape"]) for d in interpreter.get_tensor_details()}
    total = 0
    for op in interpreter._get_ops_details():
        inputs, outputs = [int(i) for i in op["inputs"]], [int(i) for i in op["outputs"]]
        if op["op_name"] == "CONV_2D":
            total += int(np.prod(shapes[outputs[0]])) * int(np.prod(shapes[inputs[1]][1:]))
        elif op["op_name"] == "DEPTHWISE_CONV_2D":
            total += int(np.prod(shapes[outputs[0]])) * int(np.prod(shapes[inputs[1]][1:3]))
        elif op["op_name"] == "FULLY_CONNECTED":
            total += int(np.prod(shapes[inputs[1]]))
    return total


def main() -> None:
    pipeline = build_pipeline(Config())
    networks = InvokeTimer.of_pipeline(pipeline)._runtimes
    counts = {name: macs(runtime) for name, runtime in networks.items()}
    float32 = {name: runtime.inputs[0].dtype == np.float32 for name, runtime in networks.items()}
    print("Networks: million MAC of one invoke")
    for name, count in counts.items():
        print(f"  {name:10} {count / 1e6:7.1f}  {'float32' if float32[name] else 'int8'}")
    print("\nOne core, every face undecided; milliseconds and frames per second")
    heads = ("GMAC/s int8", "float", "nobody", "1 face", "5 faces", "fps, 1 face", "W at 5 fps")
    print(f"{'board':10} " + " ".join(f"{head:>11}" for head in heads))
    for board in BOARDS:
        rates = {
            kind: MOBILENET_V2_MMAC / (ms * board.slower) / SPEED_UP
            for kind, ms in (("int8", board.int8_ms), ("float", board.float_ms))
        }  # GMAC/s of one core
        ms = {n: counts[n] / 1e6 / rates["float" if float32[n] else "int8"] for n in counts}
        each = LOOKS * ms["refiner"] + ms["landmarks"] + ENCODINGS * ms["encoder"]
        frame = {faces: (1 + REST) * (ms["finder"] + faces * each) for faces in (0, 1, 5)}
        watts = "-"
        if board.watts is not None:
            idle, busy = board.watts
            watts = f"{idle + min(1.0, 5 * frame[1] / 1e3) * (busy - idle) / CORES:.1f}"
        cells = (
            f"{rates['int8']:.1f}",
            f"{rates['float']:.1f}",
            *(f"{v:.0f}" for v in frame.values()),
            f"{1e3 / frame[1]:.1f}",
            watts,
        )
        print(f"{board.name:10} " + " ".join(f"{cell:>11}" for cell in cells))


if __name__ == "__main__":
    main()
