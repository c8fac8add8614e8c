"""``python -m training.omniglot train|export|evaluate``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m training.omniglot", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="stage one: train the twin network on same/different pairs")
    train.add_argument("--data", type=Path, required=True, help="omniglot .npz or folder of alphabets")
    train.add_argument("--out", type=Path, required=True, help="folder for checkpoints, log and curves")
    train.add_argument("--network", choices=("small", "koch"), default="small")
    train.add_argument("--resume", action="store_true", help="go on with the run in --out")
    train.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any knob of TrainConfig, JSON value")
    return root


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    from training.omniglot import commands

    return commands.run(options)


if __name__ == "__main__":
    sys.exit(main())
