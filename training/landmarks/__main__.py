"""Label pictures, train the landmark network on them, make its bundle, and measure the shipped one near and far.

python -m training.landmarks label  --lfw DIR --yunet YUNET.onnx --out labels.npz
python -m training.landmarks train  --lfw DIR --labels labels.npz --out runs/landmarks
python -m training.landmarks hidden --lfw DIR --labels labels.npz --out runs/landmarks
python -m training.landmarks export --lfw DIR --labels labels.npz --out runs/landmarks BUNDLE
python -m training.landmarks measure --lfw DIR --labels labels.npz
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from converters.graph import Array
from training.landmarks.labels import label, to_alignment

PICTURES = 400  # of set 4, that `measure` looks at


def cut_out(lfw: Path, names: Array, landmarks: Array) -> tuple[Array, Array]:
    """Cut-outs uint8 (N, 208, 208, 3) fitted by their labels (N, 4, 2) px, and how far each label then lies from its place."""
    from edge_oneshot.cameras.images import load_image
    from edge_oneshot.vision.align import estimate_similarity, warp
    from training.landmarks.train import CUT_PX, cut_places

    places = cut_places()
    cuts = np.empty((len(names), CUT_PX, CUT_PX, 3), np.uint8)
    offsets = np.empty((len(names), len(places), 2), np.float32)
    for k, (name, marks) in enumerate(zip(names, landmarks, strict=True)):
        transform = estimate_similarity(marks, places)
        cuts[k] = warp(load_image(lfw / "images" / f"{name}.jpg").pixels, transform, (CUT_PX, CUT_PX))
        offsets[k] = marks @ transform[:, :2].T + transform[:, 2] - places
    return cuts, offsets


def main(arguments: list[str] | None = None) -> int:
    root = argparse.ArgumentParser(
        prog="python -m training.landmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = root.add_subparsers(dest="verb", required=True)
    for verb in ("label", "train", "hidden", "export", "measure"):
        p = verbs.add_parser(verb)
        p.add_argument(
            "--lfw",
            type=Path,
            required=True,
            help="folder with images/; for `label` also people_sets.json and yunet_landmarks.npz",
        )
        if verb != "measure":
            p.add_argument("--out", type=Path, required=True)
        if verb == "label":
            p.add_argument("--yunet", type=Path, required=True, help="YuNet's .onnx file")
            continue
        p.add_argument("--labels", type=Path, required=True, help="what `label` wrote")
        if verb in ("train", "hidden"):
            p.add_argument("--steps", type=int, help="default: as the shipped one was trained")
            p.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
            p.add_argument("--resume", action="store_true", help="go on with the run in --out")
        elif verb == "export":
            p.add_argument("bundle", type=Path)
    o = root.parse_args(arguments)
    if o.verb == "label":
        label(o.lfw, o.yunet, o.out)
        return 0
    kept = np.load(o.labels)
    names, sets, landmarks = kept["names"], kept["sets"], to_alignment(kept["landmarks"])
    if o.verb == "measure":
        from training.landmarks.distance import table

        unseen = np.flatnonzero(sets == "4")[:PICTURES]
        print(table(o.lfw, list(names[unseen]), landmarks[unseen]))
        return 0
    if o.verb == "export":
        from training.landmarks.export import export

        learnt = np.flatnonzero(sets != "4")
        some = learnt[:: max(1, len(learnt) // 128)]
        bundle = export(o.out / "last.pt", o.out / "hidden.pt", *cut_out(o.lfw, names[some], landmarks[some]), o.bundle)
        print(f"{bundle.path}: {len(bundle.model)} bytes, {bundle.card.model_digest}")
        return 0
    import torch

    from training.landmarks.hidden import HiddenConfig, train_hidden
    from training.landmarks.train import LandmarkConfig, averaged, train

    if o.threads:
        torch.set_num_threads(o.threads)
    checkpoint = o.out / ("last.pt" if o.verb == "train" else "hidden.pt")
    if o.resume != checkpoint.exists():
        print(
            f"error: {checkpoint}: {'no run to resume' if o.resume else 'expected no earlier run (or --resume)'}",
            file=sys.stderr,
        )
        return 1
    if o.verb == "hidden" and not (o.out / "last.pt").exists():
        print(f"error: {o.out / 'last.pt'}: expected the landmark network; run `train` first", file=sys.stderr)
        return 1
    cuts, offsets = cut_out(o.lfw, names, landmarks)
    learn, validate = np.flatnonzero(sets != "4"), np.flatnonzero(sets == "4")
    steps = {} if o.steps is None else {"steps": o.steps}
    if o.verb == "train":
        print(train(cuts, offsets, learn, validate, LandmarkConfig(**steps), o.out, resume=o.resume))
    else:
        print(
            train_hidden(
                averaged(o.out / "last.pt"),
                cuts,
                offsets,
                learn,
                validate,
                HiddenConfig(**steps),
                o.out,
                resume=o.resume,
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
