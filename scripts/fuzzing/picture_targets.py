"""Pictures through the decoding process, videos through FFmpeg, bundles and their cards."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
from PIL import Image

from edge_oneshot.cameras.av import FileCamera
from edge_oneshot.cameras.base import EndOfStream
from edge_oneshot.cameras.decoder import close_idle, read_file
from edge_oneshot.config import CameraConfig, Config, DeviceConfig
from edge_oneshot.errors import ModelError
from edge_oneshot.model.bundle import CARD_NAME, digest, find_bundle, read_bundle, read_cohort, split
from edge_oneshot.recognition.checked import check, load_bundle
from fuzzing.mutate import dump_json, mutate_bytes, mutate_document, mutate_json
from fuzzing.target import READ, Silent, Target

ROLES = ("encoder", "detector", "refiner", "landmarks")


def picture(width: int = 96, height: int = 64) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 2, y * 3, (x * y) % 256], axis=-1).astype(np.uint8))


class PictureFile(Target):
    name, share, limit_s = "picture", 3.0, 5.0

    def make_seeds(self) -> Sequence[bytes]:
        rgb = picture()
        exif = Image.Exif()
        exif[274] = 6  # turned by 90 degrees
        kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
            (rgb, "JPEG", {"exif": exif}),
            (rgb, "JPEG", {"progressive": True, "subsampling": 0}),
            (rgb.convert("CMYK"), "JPEG", {}),
            (rgb, "PNG", {}),
            (rgb.convert("P"), "PNG", {"transparency": 3}),
            (Image.fromarray(np.arange(6000, dtype=np.uint16).reshape(60, 100)), "PNG", {}),
            (rgb.convert("1"), "PNG", {}),
            (rgb, "WEBP", {"lossless": True}),
            (rgb, "WEBP", {"quality": 50}),
            (rgb, "BMP", {}),
            (rgb.convert("P"), "BMP", {}),
            (rgb, "TIFF", {"compression": "tiff_lzw"}),
            (rgb, "TIFF", {"compression": "tiff_deflate"}),
            (rgb.convert("1"), "TIFF", {"compression": "group4"}),
            (rgb, "TIFF", {"compression": "jpeg"}),
            (rgb.convert("P"), "GIF", {"save_all": True, "append_images": [rgb.rotate(90).convert("P")]}),
            (rgb, "PPM", {}),
        ]
        found = []
        for image, kind, options in kinds:
            out = io.BytesIO()
            image.save(out, kind, **options)
            found.append(out.getvalue())
        return found

    def read(self, seed: int, data: bytes) -> str:
        pixels = read_file(self.file(data, "picture.jpg"))
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
        return READ

    def close(self) -> None:
        close_idle()


class VideoFile(Target):
    name, share = "video", 0.3

    def make_seeds(self) -> Sequence[bytes]:
        found = []
        for kind, codec in (("mp4", "mpeg4"), ("mpegts", "mpeg2video"), ("avi", "mjpeg"), ("matroska", "mpeg4")):
            out = io.BytesIO()
            with av.open(out, "w", format=kind) as container:
                stream = container.add_stream(codec, rate=25)
                stream.width, stream.height = 96, 64
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
                for n in range(5):
                    pixels = np.asarray(picture().rotate(n * 30))
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
                container.mux(stream.encode())
            found.append(out.getvalue())
        return found

    def read(self, seed: int, data: bytes) -> str:
        with closing(FileCamera(self.file(data, "video"), CameraConfig(uri="file:video", pace="fast"))) as camera:
            try:
                for _ in range(500):
                    camera.read(1.0)
            except EndOfStream:
                pass
        return READ


def bundle(model: bytes, card: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A bundle file with this card, whatever it is."""
    out = io.BytesIO(model)
    with zipfile.ZipFile(out, "a", compression) as archive:
        archive.writestr(zipfile.ZipInfo(CARD_NAME, (1980, 1, 1, 0, 0, 0)), card, compression)
    return out.getvalue()


class Card(Target):
    """Behind a model of a few bytes, with a digest that fits it."""

    name, share = "card", 3.0
    model = b"\x1c\0\0\0TFL3" + bytes(64)

    def make_seeds(self) -> Sequence[bytes]:
        found = []
        for role in ROLES:
            card = split(find_bundle("", role).read_bytes(), role)[1]  # type: ignore[arg-type]
            assert card is not None
            card["digests"]["model"] = digest(self.model)
            found.append(json.dumps(card, ensure_ascii=False).encode())
        return found

    def mutate(self, seed: int, rng: Random) -> bytes:
        return mutate_document(self.seeds[seed], rng, self.seeds)

    def read(self, seed: int, data: bytes) -> str:
        read_bundle(self.file(bundle(self.model, data), "x.tflite"))
        return READ


class BundleFile(Target):
    """Whole files: the model's bytes with a digest made again, the archive's bytes, other compressions."""

    name, share = "bundle", 1.0

    def make_seeds(self) -> Sequence[bytes]:
        return [find_bundle("", role).read_bytes() for role in ("refiner", "landmarks")]

    def mutate(self, seed: int, rng: Random) -> bytes:
        model, card = split(self.seeds[seed], "seed")
        assert card is not None
        if rng.random() < 0.5:  # the archive behind the model
            return model + mutate_bytes(self.seeds[seed][len(model) :], rng, [self.seeds[seed][len(model) :]])
        model = mutate_bytes(model, rng)
        card["digests"]["model"] = digest(model)
        text = dump_json(mutate_json(card, rng) if rng.random() < 0.2 else card, rng)
        kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
        return bundle(model, text, rng.choice(kinds))

    def read(self, seed: int, data: bytes) -> str:
        path = self.file(data, "x.tflite")
        if data not in self.seeds:  # the daemon's own process loads shipped bundles, and those that a user trusts
            with contextlib.suppress(ModelError):
                load_bundle(path, Config(device=DeviceConfig(state_dir=str(self.folder))))
                raise Silent("a model that no user trusts would be loaded")
        read_bundle(path)
        return READ


class Model(BundleFile):
    """Models with a digest that fits them, loaded and run once as `model check` does: in a process of its own."""

    name, share, limit_s = "model", 0.06, 90.0

    def read(self, seed: int, data: bytes) -> str:
        check(self.file(data, "x.tflite"), Config())
        return READ


class CohortFile(Target):
    name, share = "cohort", 1.0

    def make_seeds(self) -> Sequence[bytes]:
        card = split(find_bundle("", "encoder").read_bytes(), "encoder")[1]
        assert card is not None
        return [json.dumps({"encoder_id": "sha256:x", "cohort": card["cohort"]}).encode()]

    def mutate(self, seed: int, rng: Random) -> bytes:
        return mutate_document(self.seeds[seed], rng, self.seeds)

    def read(self, seed: int, data: bytes) -> str:
        read_cohort(Path(self.file(data, "cohort.json")), "sha256:x")
        return READ


TARGETS: tuple[type[Target], ...] = (PictureFile, VideoFile, Card, BundleFile, Model, CohortFile)
