"""What a sealed gallery costs: at the start with 1,000 templates (goal: at most 5 %), at a look for changes, and for a frame.

    python benchmarks/sealing_cost.py [TURNS] > benchmarks/results/sealing_cost.txt

Start: processor time of `edge-oneshot run` on a folder with one picture, without a broker: it loads models and gallery, recognizes
one frame, and ends. A plain and a sealed gallery alternate; the ratio is that of each turn. A frame asks the gallery for its version
only, so that is measured, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from common import headline, portrait

from edge_oneshot.config import Config, DeviceConfig, GalleryConfig
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.model.bundle import find_bundle, read_bundle
from edge_oneshot.service import sealing
from edge_oneshot.storage.keys import Keys
from edge_oneshot.types import Embedding, Identity, Quality, Template

TEMPLATES = 1000
START = "import sys; from edge_oneshot.cli import main; sys.exit(main())"
QUALITY = Quality(inter_eye_px=40.0, sharpness=100.0, luma=120.0, contrast=40.0, yaw_deg=0.0)


def device(folder: Path, sealed: bool) -> tuple[Config, Path]:
    config = Config(
        device=DeviceConfig(state_dir=str(folder / "state")),
        gallery=GalleryConfig(key_file=str(folder / "gallery.key")),
    )
    file = folder / "config.toml"
    (folder / "pictures").mkdir(parents=True)
    shutil.copy(portrait(), folder / "pictures")
    file.write_text(
        f'[device]\nstate_dir = "{folder}/state"\n[gallery]\nkey_file = "{folder}/gallery.key"\n[model]\nthreads = 1\n'
        f'[mqtt]\nenabled = false\n[camera]\nuri = "folder:{folder}/pictures"\npace = "fast"\n'
    )
    bundle = read_bundle(find_bundle("", "encoder"))
    rng = np.random.default_rng(1)
    people = []
    for number in range(TEMPLATES):
        vector = rng.normal(size=bundle.encoder.dimension).astype(np.float32)
        template = Template(
            template_id=f"t{number}",
            identity_id=f"p{number}",
            embedding=Embedding(vector=vector / np.linalg.norm(vector), encoder_id=bundle.encoder_id),
            quality=QUALITY,
            created_at=datetime.now(UTC),
        )
        people.append((Identity(identity_id=f"p{number}", name=f"Person {number}"), [template]))
    with Gallery(config.gallery_path) as gallery:
        gallery.add_all(people)
    if sealed:
        sealing.seal(config)
    return config, file


def start(file: Path) -> float:
    """Processor time of a start, seconds."""
    before = os.times()
    subprocess.run([sys.executable, "-c", START, "--config", str(file), "run"], check=True, stderr=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def version_us(config: Config) -> float:
    with Gallery(config.gallery_path, Keys(config.key_path)) as gallery:
        gallery.version()
        begin = time.perf_counter()
        for _ in range(2000):
            gallery.version()
        return (time.perf_counter() - begin) / 2000 * 1e6


def main(turns: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        plain, plain_file = device(Path(name) / "plain", False)
        sealed, sealed_file = device(Path(name) / "sealed", True)
        rows = [(start(plain_file), start(sealed_file)) for _ in range(turns + 1)][1:]
        table = np.array(rows)
        print(headline(f"Start with {TEMPLATES} templates, {turns} runs each, alternately; processor time, medians"))
        print(f"  plain {np.median(table[:, 0]) * 1e3:7.0f} ms, sealed {np.median(table[:, 1]) * 1e3:7.0f} ms")
        ratios = table[:, 1] / table[:, 0]
        low, high = np.quantile(ratios, (0.25, 0.75))
        print(f"  ratio, median over runs: {np.median(ratios):.3f} (quartiles {low:.3f} to {high:.3f}; goal 1.05)")
        print(
            f"  look for changes, once in 0.5 s: plain {version_us(plain):.1f} us, sealed {version_us(sealed):.1f} us"
        )
        print("  a frame: nothing; it compares with the templates in memory")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
