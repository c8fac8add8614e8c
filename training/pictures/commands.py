"""The whole run: read, split, train, export, measure, report."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import torch

from edge_oneshot.errors import EdgeOneshotError
from training import runs
from training.pictures.export import card_of, export
from training.pictures.folder import PARTS, Folder, FolderError, find, read
from training.pictures.measure import DECIDES, as_text, measure
from training.pictures.model import PicturesConfig
from training.pictures.page import page
from training.pictures.train import default_steps, train

FEW_CLASSES = 100


def run(options: argparse.Namespace, out: Path) -> None:
    """Write to `out`: split.json, pixels.npy, last.pt, log.jsonl, BUNDLE.tflite, report.html, report.json, device.toml.

    Raises EdgeOneshotError.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    folder = find(options.folder)
    runs.begin(out / "last.pt", options.resume and (out / "last.pt").exists())
    folder, images = read(folder, card_of(options.size), out / "pixels.npy")
    split = out / "split.json"
    _same_pictures(folder, split, options.resume)
    print(describe(folder))
    steps = options.steps or default_steps(len(folder.rows("train")), options.batch)
    config = PicturesConfig(
        size=options.size, turn_deg=options.turn, mirror=options.mirror, steps=steps, batch=options.batch,
        rate=options.rate, warm_up=max(1, min(200, steps // 10)), every=max(1, steps // 20), seed=options.seed,
    )  # fmt: skip
    last = train(folder, images, config, out, options.resume and (out / "last.pt").exists())
    bundle = out / f"{folder.root.resolve().name}-{options.size}.tflite"
    export(folder, images, last, bundle)
    found = measure(folder, images, bundle)
    print(as_text(found.record))
    (out / "report.json").write_text(json.dumps(found.record, indent=2) + "\n", encoding="utf-8")
    (out / "report.html").write_text(page(folder, found, out / "log.jsonl", bundle), encoding="utf-8")
    device = out / "device.toml"
    device.write_text(device_file(bundle, out), encoding="utf-8")
    print(f"\nbundle: {bundle}, {bundle.stat().st_size / 1e3:.0f} kB, certified\nreport: {out / 'report.html'}")
    print(f"enroll: edge-oneshot --config {device} enroll --name NAME --image PICTURE")


def describe(folder: Folder) -> str:
    """Describe the folder and its split."""
    counts = Counter(folder.owner.tolist())
    parts = [
        f"{part}: {sum(p == part for p in folder.part)} classes, {len(folder.rows(part))} pictures" for part in PARTS
    ]
    lines = [f"{folder.root}: {len(folder.paths)} pictures of {len(folder.classes)} classes", "; ".join(parts)]
    if single := sum(n == 1 for n in counts.values()):
        lines.append(
            f"{single} classes have one picture: training distorts it twice; elsewhere it counts as a stranger"
        )
    if len(folder.classes) < FEW_CLASSES:
        lines.append(
            f"{len(folder.classes)} classes are few: a network trained on fewer than {FEW_CLASSES} generalizes poorly to "
            "new classes. More classes help more than more pictures per class"
        )
    return "\n".join(lines)


def device_file(bundle: Path, out: Path) -> str:
    """A configuration for the device: the bundle, and a false match rate that the validation classes can resolve."""
    return (
        "[device]\n"
        f"state_dir = {json.dumps(str((out / 'state').resolve()))}\n\n"
        "[model]\n"
        f"encoder = {json.dumps(str(bundle.resolve()))}\n\n"
        "[decision]\n"
        f"target_fmr = {DECIDES:g}  # false matches per comparison\n"
        'strangers = "everybody"  # the validation classes have no sex and age to match\n'
    )


def _same_pictures(folder: Folder, split: Path, resume: bool) -> None:
    """Store the record of the pictures and the split. Raises FolderError if a resumed run has different ones."""
    if resume and split.exists() and json.loads(split.read_text(encoding="utf-8")) != folder.record:
        raise FolderError(
            f"--resume {split.parent}: expected the pictures that the run began with, got a changed folder {folder.root}",
            "start a new run with another --out",
        )
    try:
        split.write_text(json.dumps(folder.record, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise EdgeOneshotError(f"cannot write {split}: {error.strerror}", "give --out a writable folder") from None
