"""Train on your own pictures: a folder with one folder per class -> a bundle that the device runs, and a report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SIZES = ("nano", "small", "base")


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="python -m training.pictures",
        description=__doc__,
        epilog="Stop with Ctrl-C and continue with --resume: the result is the same as without the stop.",
    )
    root.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="one folder per class; or the folders train and report, which contain such folders",
    )
    root.add_argument("--out", type=Path, metavar="RUN", help="folder for all output (default: DIR-run)")
    root.add_argument(
        "--size", choices=SIZES, default="small",
        help="size of the network: nano 60 px, small 92 px (default), base 116 px; larger is slower and resolves more detail",
    )  # fmt: skip
    root.add_argument(
        "--turn", type=float, default=15.0, metavar="DEGREES",
        help="maximum rotation of a thing in its picture (default 15; 180 for parts that lie in any direction)",
    )  # fmt: skip
    root.add_argument(
        "--mirror", action="store_true", help="a mirror image shows the same thing, as with pets and faces"
    )
    root.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="number of training steps (default: each training picture 40 times, at least 1500 steps)",
    )
    root.add_argument("--batch", type=int, default=128, metavar="N", help="pictures per step (default 128)")
    root.add_argument("--rate", type=float, default=2e-3, help="highest learning rate (default 0.002)")
    root.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default 0)")
    root.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (default: all)")
    root.add_argument("--resume", action="store_true", help="continue the run in --out")
    return root


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 done; 1 the folder or the run cannot be used (reason on standard error); 2 usage; 130 stopped."""
    options = parser().parse_args(arguments)
    # Imported here, so that --help loads neither torch nor an interpreter.
    from edge_oneshot.errors import EdgeOneshotError
    from training.pictures.commands import run

    out = options.out or options.folder.resolve().with_name(options.folder.resolve().name + "-run")
    try:
        run(options, out)
    except (EdgeOneshotError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"error: {error.filename or out}: {error.strerror} (choose another folder with --out, or free space)",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt as stop:
        print(f"{stop or 'stopped'}; continue with --resume", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
