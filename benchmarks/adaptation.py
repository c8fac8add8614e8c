"""Site adaptation: what it gains on simulated doors, what the whole mean would gain, and what one visitor can do to it.

    python -m benchmarks.adaptation --work DIR --utkface DIR --lfw DIR --camera london=DIR orl=DIR ... [--encoder BUNDLE]

--work keeps the embeddings by encoder, so that an interrupted run continues. --utkface: its part `report`, adults, doubles left
out (training/face/utkface.py); each group is a door. --camera: folders of one camera, folder/person/picture. --lfw: sets 5-6.
Every picture is located and aligned as the device does it for a still picture. No gate is applied. --part threshold and --first:
the part and the half of the cameras' people on which NEEDED, WEIGHT and ALIKE were chosen; the attackers of the report are the others.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.adaptation_doors import Door, attacks, gains
from benchmarks.common import ROOT, headline, lfw_images
from converters.chips import ChipReader
from edge_oneshot.cli.common import progress
from edge_oneshot.model.bundle import find_bundle, read_bundle
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.types import Chip, Float32Array
from training.face import utkface

RESULTS = ROOT / "benchmarks" / "results"
GROUPS = {name: (name,) for name in utkface.GROUPS[:4]} | {"all groups": utkface.GROUPS[:4]}


def embed(files: list[Path], label: str, work: Path, encoder: TwinEncoder) -> Float32Array:
    """Embeddings (N, D); a row of zeros where no face was found. They are kept in `work` under the last two parts of the path."""
    path = work / f"{label}-{encoder.encoder_id[7:19]}.npz"
    names = ["/".join(f.parts[-2:]) for f in files]
    known: dict[str, Float32Array] = {}
    if path.exists():
        stored = np.load(path)
        known = dict(zip(stored["names"].tolist(), stored["vectors"], strict=True))
    missing = [i for i, name in enumerate(names) if name not in known]
    reader = ChipReader(encoder.card) if missing else None
    with progress(len(missing), f"encoding {label}") as done:
        for i in missing:
            assert reader is not None
            pixels = reader.read(files[i])
            known[names[i]] = np.zeros(encoder.card.dimension, np.float32)
            if pixels is not None:
                known[names[i]] = encoder.encode(Chip(pixels=pixels, transform=np.eye(2, 3))).vector
            done(1)
    if missing:
        np.savez(path, names=list(known), vectors=np.stack(list(known.values())))
    return np.stack([known[name] for name in names])


def door(name: str, files: list[Path], people: list[str], o: argparse.Namespace, encoder: TwinEncoder) -> Door:
    vectors = embed(files, name, o.work, encoder)
    found = np.abs(vectors).sum(axis=1) > 0
    return Door(name=name, vectors=vectors[found], people=np.array(people)[found])


def utkface_doors(o: argparse.Namespace, encoder: TwinEncoder) -> list[Door]:
    wanted = []
    for file in sorted(o.utkface.glob("*.jpg")):
        labels = utkface.labels_of(file.name)
        usable = labels is not None and labels.age >= 16 and utkface.part_of(file.name) == o.part
        if usable and utkface.digest(file.name) not in utkface.left_out():
            wanted.append((file, labels.group))
    everyone = door("utkface", [f for f, _ in wanted], [f"{f.name}|{g}" for f, g in wanted], o, encoder)
    group = np.array([p.split("|")[1] for p in everyone.people])
    doors = []
    for name, which in GROUPS.items():
        chosen = np.isin(group, which)
        doors.append(Door(name=f"UTKFace {name}", vectors=everyone.vectors[chosen], people=everyone.people[chosen]))
    return doors


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--utkface", type=Path, required=True)
    options.add_argument("--lfw", type=Path, required=True, help="folder with images/ and people_sets.json")
    options.add_argument("--camera", nargs="*", default=[], metavar="NAME=DIR")
    options.add_argument("--encoder", default="face")
    options.add_argument("--part", default="report", choices=("report", "threshold"))
    options.add_argument("--first", action="store_true")
    options.add_argument("--seeds", type=int, default=40)
    options.add_argument("--name", default="adaptation")
    o = options.parse_args()
    o.work.mkdir(parents=True, exist_ok=True)
    encoder = TwinEncoder(read_bundle(find_bundle(o.encoder, "encoder")))
    cameras = []
    for name, folder in (c.split("=", 1) for c in o.camera):
        files = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".pgm"))
        cameras.append(door(name, files, [f.parent.name for f in files], o, encoder))
    images = lfw_images(o.lfw, "56")
    lfw = door("lfw56", [i.path for i in images], [i.person for i in images], o, encoder)
    groups = utkface_doors(o, encoder)
    title = headline("Site adaptation (benchmarks/adaptation.py)")
    text, values = gains([*cameras, *groups], lfw, encoder.card, o.seeds)
    attacked, changes = attacks(groups, cameras, first=o.first)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{o.name}.md").write_text(f"{title}\n\n{text}\n{attacked}", encoding="utf-8")
    (RESULTS / f"{o.name}.json").write_text(json.dumps({"gain": values, "attack": changes}) + "\n", encoding="utf-8")
    print(text + "\n" + attacked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
