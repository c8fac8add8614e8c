"""A sealed device for scripts/sealed_check.py: people, an older copy of the gallery, and how all of it is read."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from edge_oneshot.config import Config, DeviceConfig, GalleryConfig
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.service import sealing
from edge_oneshot.storage.keys import Keys
from edge_oneshot.types import Embedding, Identity, Quality, Template

QUALITY = Quality(inter_eye_px=40.0, sharpness=100.0, luma=120.0, contrast=40.0, yaw_deg=0.0)
State = dict[str, tuple[str, tuple[bytes, ...]]]  # identity -> name, vectors


def device(folder: Path) -> Config:
    return Config(
        device=DeviceConfig(state_dir=str(folder / "state")),
        gallery=GalleryConfig(key_file=str(folder / "keys/gallery.key")),
    )


def template(identity_id: str, seed: int) -> Template:
    vector = np.random.default_rng(seed).normal(size=192).astype(np.float32)
    return Template(
        template_id=f"{identity_id}-{seed}",
        identity_id=identity_id,
        embedding=Embedding(vector=vector / np.linalg.norm(vector), encoder_id="sha256:" + "aa" * 32),
        quality=QUALITY,
        created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )


def enroll(gallery: Gallery, identity_id: str, *seeds: int) -> None:
    identity = Identity(identity_id=identity_id, name=identity_id.title())
    gallery.add(identity, [template(identity_id, s) for s in seeds], replace=True)


def state_of(config: Config) -> tuple[State, int]:
    """The people, and how many rows are set aside."""
    with Gallery(config.gallery_path, Keys(config.key_path)) as gallery:
        people = {
            p.identity.identity_id: (p.identity.name, tuple(t.embedding.vector.tobytes() for t in p.templates))
            for p in gallery.people()
        }
        return people, gallery.set_aside


def prepare(folder: Path) -> tuple[Config, Path, list[bytes]]:
    """A sealed device, an older copy of its gallery, and the vectors that were ever stored."""
    config = device(folder)
    sealing.seal(config)
    seeds = iter(range(10**6))
    with Gallery(config.gallery_path, Keys(config.key_path)) as gallery:
        for n in range(8):
            enroll(gallery, f"p{n}", next(seeds), next(seeds))
        enroll(gallery, "removed", next(seeds))
    old = folder / "old.sqlite"
    shutil.copy(config.gallery_path, old)
    with Gallery(config.gallery_path, Keys(config.key_path)) as gallery:
        gallery.remove("removed")
        enroll(gallery, "p0", next(seeds))
    vectors = [template("x", s).embedding.vector.tobytes() for s in range(next(seeds))]
    return config, old, vectors
