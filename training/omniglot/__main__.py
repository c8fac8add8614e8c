"""Train a twin network on Omniglot, export it, and evaluate one-shot trials."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m training.omniglot", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="stage one: train on same/different pairs")
    train.add_argument("--data", type=Path, required=True, help="omniglot .npz or folder of alphabets")
    train.add_argument("--out", type=Path, required=True, help="folder for checkpoints, log and curves")
    train.add_argument("--network", choices=("small", "base", "teacher", "koch"), default="base")
    train.add_argument("--resume", action="store_true", help="continue the run in --out")
    train.add_argument("--device", default="cpu", help="cuda for a GPU")
    train.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    train.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of TrainConfig, its value as JSON"
    )
    export = commands.add_parser("export", help="export a checkpoint as an int8 bundle")
    export.add_argument("--checkpoint", type=Path, required=True)
    export.add_argument("--data", type=Path, required=True, help="omniglot .npz or folder of alphabets")
    export.add_argument("--out", type=Path, required=True, help="the bundle, *.tflite")
    export.add_argument("--comparator", choices=("weighted-l1", "cosine"), default="weighted-l1")
    evaluate = commands.add_parser("evaluate", help="stage two: run one-shot trials with a bundle")
    evaluate.add_argument("--data", type=Path, required=True, help=".npz, folder of alphabets, or all_runs")
    evaluate.add_argument("--bundle", type=Path, required=True)
    evaluate.add_argument("--protocol", choices=("runs", "validation", "report"), required=True)
    evaluate.add_argument("--runs-per-alphabet", type=int, default=20, help="for validation and report")
    evaluate.add_argument("--checkpoint", type=Path, help="measure this float network on the same trials")
    evaluate.add_argument("--no-baselines", action="store_true", help="omit nearest pixel and modified Hausdorff")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    return root


def main(arguments: list[str] | None = None) -> int:
    """0: done. 1: data, checkpoint or bundle cannot be used; the reason is on standard error. 2: usage."""
    options = parser().parse_args(arguments)
    # Late, because --help needs neither torch nor an interpreter, and evaluate does not need torch.
    from edge_oneshot.errors import EdgeOneshotError
    from training.omniglot import commands

    try:
        run: Callable[[argparse.Namespace], None] = getattr(commands, options.command)
        run(options)
    except EdgeOneshotError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
