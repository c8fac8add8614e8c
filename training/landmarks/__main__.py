"""Label pictures, train the landmark network on them, export its bundle, and measure the shipped one near and far.

python -m training.landmarks label  --lfw DIR --yunet YUNET.onnx --out labels.npz
python -m training.landmarks train  --lfw DIR --labels labels.npz --out runs/landmarks
python -m training.landmarks hidden --lfw DIR --labels labels.npz --out runs/landmarks
python -m training.landmarks export --lfw DIR --labels labels.npz --out runs/landmarks BUNDLE
python -m training.landmarks measure --lfw DIR --labels labels.npz
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.graph import Array
from edge_oneshot.errors import EdgeOneshotError
from training.landmarks.labels import label, to_alignment

PICTURES = 400  # of set 4, for `measure`
HELP = {
    "label": "measure landmarks with YuNet",
    "train": "train the landmark network",
    "hidden": "train the branch that estimates which landmarks are hidden",
    "export": "write the int8 bundle",
    "measure": "measure the shipped network at several distances",
}


@dataclass(frozen=True)
class Labels:
    """What `label` wrote: names and sets (N,), landmarks of alignment (N, 4, 2) px."""

    names: Array
    sets: Array
    landmarks: Array

    @property
    def learn(self) -> Array:
        return np.flatnonzero(self.sets != "4")

    @property
    def validate(self) -> Array:
        return np.flatnonzero(self.sets == "4")

    def cut_out(self, lfw: Path, rows: Array) -> tuple[Array, Array]:
        """Cut-outs uint8 (N, 208, 208, 3) of the rows, fitted by their labels, and each label's offset from its place."""
        from edge_oneshot.cameras.images import load_image
        from edge_oneshot.vision.align import estimate_similarity, warp
        from training.landmarks.train import CUT_PX, cut_places

        places = cut_places()
        cuts = np.empty((len(rows), CUT_PX, CUT_PX, 3), np.uint8)
        offsets = np.empty((len(rows), len(places), 2), np.float32)
        for k, (name, marks) in enumerate(zip(self.names[rows], self.landmarks[rows], strict=True)):
            transform = estimate_similarity(marks, places)
            cuts[k] = warp(load_image(lfw / "images" / f"{name}.jpg").pixels, transform, (CUT_PX, CUT_PX))
            offsets[k] = marks @ transform[:, :2].T + transform[:, 2] - places
        return cuts, offsets


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="python -m training.landmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = root.add_subparsers(dest="verb", required=True)
    for verb, text in HELP.items():
        p = verbs.add_parser(verb, help=text)
        p.add_argument(
            "--lfw",
            type=Path,
            required=True,
            help="folder with images/; for `label` also people_sets.json and yunet_landmarks.npz",
        )
        if verb != "measure":
            p.add_argument("--out", type=Path, required=True, help="the folder of the run, or the file of labels")
        if verb == "label":
            p.add_argument("--yunet", type=Path, required=True, help="YuNet's .onnx file")
            continue
        p.add_argument("--labels", type=Path, required=True, help="the file that `label` wrote")
        if verb in ("train", "hidden"):
            p.add_argument("--steps", type=int, help="default: those of the shipped network")
            p.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
            p.add_argument("--resume", action="store_true", help="continue the run in --out")
        elif verb == "export":
            p.add_argument("bundle", type=Path, help="the bundle to write, .tflite")
    return root


def measure(o: argparse.Namespace, labels: Labels) -> None:
    from training.landmarks.distance import table

    rows = labels.validate[:PICTURES]
    print(table(o.lfw, list(labels.names[rows]), labels.landmarks[rows]))


def export(o: argparse.Namespace, labels: Labels) -> None:
    from training.landmarks.export import export as write

    rows = labels.learn[:: max(1, len(labels.learn) // 128)]
    bundle = write(o.out / "last.pt", o.out / "hidden.pt", *labels.cut_out(o.lfw, rows), o.bundle)
    print(f"{bundle.path}: {len(bundle.model)} bytes, {bundle.card.model_digest}")


def train(o: argparse.Namespace, labels: Labels) -> None:
    import torch

    from training import runs
    from training.landmarks.hidden import HiddenConfig, train_hidden
    from training.landmarks.train import LandmarkConfig, averaged
    from training.landmarks.train import train as train_landmarks

    if o.threads:
        torch.set_num_threads(o.threads)
    network = o.out / "last.pt"
    runs.begin(network if o.verb == "train" else o.out / "hidden.pt", o.resume)  # before the long cutting
    if o.verb == "hidden" and not network.exists():
        raise EdgeOneshotError(f"{network}: expected the landmark network, got no such file", "run `train` first")
    data = (*labels.cut_out(o.lfw, np.arange(len(labels.names))), labels.learn, labels.validate)
    steps = {} if o.steps is None else {"steps": o.steps}
    if o.verb == "train":
        print(train_landmarks(*data, LandmarkConfig(**steps), o.out, resume=o.resume))
    else:
        print(train_hidden(averaged(network), *data, HiddenConfig(**steps), o.out, resume=o.resume))


VERBS = {"measure": measure, "export": export, "train": train, "hidden": train}


def main(arguments: list[str] | None = None) -> int:
    """0: done. 1: a file cannot be used; the reason is on standard error. 2: usage."""
    o = parser().parse_args(arguments)
    try:
        if o.verb == "label":
            label(o.lfw, o.yunet, o.out)
        else:
            kept = np.load(o.labels)
            VERBS[o.verb](o, Labels(kept["names"], kept["sets"], to_alignment(kept["landmarks"])))
    except EdgeOneshotError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
