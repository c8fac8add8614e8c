"""Resident memory of `edge-oneshot run` with 1,000 templates, a camera and the interpreter. Goal: at most 120 MB.

    python benchmarks/memory.py [SECONDS] > benchmarks/results/memory.txt

The real daemon runs as a process. Its camera is a folder of 640x480 images of one face, ten frames per second. MQTT is on
without a broker, so that the memory of the MQTT thread and of the outbox is included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import headline, portrait, resident_mb
from PIL import Image

from edge_oneshot.cameras.images import load_image
from edge_oneshot.config import Config
from edge_oneshot.evaluation.benchmarking import make_frame
from edge_oneshot.events.clock import read_clock
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.recognition.compose import build_encoder
from edge_oneshot.types import Embedding, Identity, Quality, Template


def fill(path: Path, count: int) -> None:
    encoder = build_encoder(Config())
    vectors = np.random.default_rng(0).standard_normal((count, encoder.card.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    quality = Quality(inter_eye_px=40.0, sharpness=100.0, luma=120.0, contrast=50.0, yaw_deg=0.0)
    with Gallery(path) as gallery:
        gallery.add_all(
            [
                (
                    Identity(identity_id=f"p{i}", name=f"Person {i}"),
                    [
                        Template(
                            template_id=f"t{i}",
                            identity_id=f"p{i}",
                            embedding=Embedding(vector=v, encoder_id=encoder.encoder_id),
                            quality=quality,
                            created_at=read_clock().wall,
                        )
                    ],
                )
                for i, v in enumerate(vectors)
            ]
        )


def main(seconds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        frame = make_frame(load_image(portrait()).pixels, "astronaut", (640, 480))
        for i in range(40):
            Image.fromarray(np.roll(frame.pixels, i - 20, axis=1)).save(folder / f"{i}.jpg", quality=90)
        for i in range(10 * (seconds + 120)):  # more than it will read: the daemon ends after the last image
            (folder / "pictures" / f"{i:05}.jpg").symlink_to(folder / f"{i % 40}.jpg")
        (folder / "state").mkdir(mode=0o700)
        fill(folder / "state" / "gallery.sqlite", 1000)
        config = folder / "default.toml"
        config.write_text(
            f'[device]\nstate_dir = "{folder}/state"\n[camera]\nuri = "folder:{folder}/pictures"\n'
            "[decision]\nthreshold = 0.5\n[mqtt]\nport = 1\n"
        )
        command = [
            sys.executable,
            "-c",
            "import sys; from edge_oneshot.cli import main; sys.exit(main())",
            "--config",
            str(config),
        ]
        print(
            headline(f"edge-oneshot run: resident memory over {seconds} s, 1,000 templates, MQTT on without a broker")
        )
        daemon = subprocess.Popen([*command, "run"], stderr=subprocess.DEVNULL)
        try:
            memory, end = [], time.monotonic() + seconds
            while time.monotonic() < end and daemon.poll() is None:
                time.sleep(1.0)
                memory.append(resident_mb(daemon.pid))
            status = json.loads(subprocess.run([*command, "status", "--json"], capture_output=True, check=True).stdout)
        finally:
            daemon.terminate()
            daemon.wait(20)
        print(
            f"frames {status['frames']}, templates {status['gallery']['templates']}, frame p50 {status['stages_ms']['frame']['p50']} ms"
        )
        print(
            f"MB (10^6 bytes): median of the last half {np.median(memory[len(memory) // 2 :]):.1f}, most {max(memory):.1f} (goal 120)"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
