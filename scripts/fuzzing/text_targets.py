"""Files that people write: configuration, camera URI, key file, labels and pairs of `evaluate`, a cohort."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

from edge_oneshot.cameras.schemes import camera_opener
from edge_oneshot.config import SECTIONS, CameraConfig, example_toml, load_config, section_keys
from edge_oneshot.evaluation.comparisons import read_pairs_file
from edge_oneshot.evaluation.dataset import LabelledImage
from edge_oneshot.evaluation.labels import read_labels
from edge_oneshot.events.signing import Key, read_key
from fuzzing.mutate import WORDS, mutate_bytes, mutate_text
from fuzzing.target import READ, Target

KEYS = [(section, key.name) for section in SECTIONS for key in section_keys(section)]
LITERALS = ("0", "-1", "1e400", "nan", "inf", "true", "[]", "{}", "1979-05-27", "07:32:00", '""', "'x'", '"""a\nb"""')


class ConfigFile(Target):
    name = "config"
    share = 2.5

    def make_seeds(self) -> Sequence[bytes]:
        small = '[device]\nslug = "porch"\n[camera]\nuri = "file:x.mp4"\n[mqtt]\nhost = "broker.lan"\nport = 8883\n'
        decision = "[decision]\ntarget_fpir = 0.01\nconfirm_frames = 2\n[quality]\nmin_luma = 20.0\n"
        return [example_toml().encode(), small.encode(), (small + decision).encode()]

    def mutate(self, seed: int, rng: Random) -> bytes:
        if rng.random() < 0.5:
            return super().mutate(seed, rng)
        lines = self.seeds[seed].decode().splitlines()
        for _ in range(rng.randint(1, 4)):
            section, key = rng.choice(KEYS)
            value = rng.choice((*LITERALS, json.dumps(rng.choice(WORDS)), "9" * 5000, "[" * 3000))
            at = rng.randrange(len(lines))
            lines.insert(at, rng.choice((f"{key} = {value}", f"[{section}]", f"{section}.{key} = {value}")))
            lines[at] = mutate_text(lines[at], rng) if rng.random() < 0.2 else lines[at]
        return "\n".join(lines).encode("utf-8", "surrogatepass")

    def read(self, seed: int, data: bytes) -> str:
        load_config(self.file(data, "default.toml"))
        return READ


class CameraUri(Target):
    name, share = "camera URI", 2.0

    def make_seeds(self) -> Sequence[bytes]:
        uris = ("picamera2:", "picamera2:1", "v4l2:/dev/video0", "v4l2:/dev/v4l/by-id/usb-x", "rtsp://u:p@h:554/s?a=b")
        return [u.encode() for u in (*uris, "rtsps://[::1]/x", "file:a.mp4", "folder:pictures", "/tmp", "a.mp4", "0")]

    def mutate(self, seed: int, rng: Random) -> bytes:
        text = self.seeds[seed].decode()
        for _ in range(rng.randint(1, 3)):
            text = mutate_text(text, rng)
        return text.encode("utf-8", "surrogatepass")

    def read(self, seed: int, data: bytes) -> str:
        camera_opener(CameraConfig(uri=data.decode("utf-8", "surrogatepass")))
        return READ


class KeyFile(Target):
    name = "key file"
    share = 0.3

    def make_seeds(self) -> Sequence[bytes]:
        kinds = ("hmac-sha256", "ed25519-private", "ed25519-public")
        return [Key(kind, bytes(range(32))).text().encode() for kind in kinds]

    def read(self, seed: int, data: bytes) -> str:
        key = read_key(self.file(data, "key"))
        assert len(key.key_id) == 16
        return READ


PEOPLE = ("Ann_Ng", "Bob_Ruiz", "Zoë", "Li")


class LabelsFile(Target):
    name, share = "labels.csv", 2.0

    def make_seeds(self) -> Sequence[bytes]:
        rows = [f"{p},{s},{a},{g},{c}" for p, s, a, g, c in zip(
            PEOPLE, ("female", "male", "", "male"), ("33", "4", "", "120"), "abab", ("x", "", "y", "y"), strict=True
        )]  # fmt: skip
        return ["\n".join(["name,sex,age,group,camera", *rows]).encode(), b"name,sex\n" + "\n".join(
            f'"{p}",female' for p in PEOPLE
        ).encode()]  # fmt: skip

    def mutate(self, seed: int, rng: Random) -> bytes:
        if rng.random() < 0.4:
            return mutate_bytes(self.seeds[seed], rng, self.seeds)
        rows = list(csv.reader(io.StringIO(self.seeds[seed].decode())))
        for _ in range(rng.randint(1, 3)):
            row = rng.choice(rows)
            at = rng.randrange(len(row))
            row[at] = mutate_text(row[at], rng)
        out = io.StringIO()
        csv.writer(out).writerows(rows)
        return out.getvalue().encode("utf-8", "surrogatepass")

    def read(self, seed: int, data: bytes) -> str:
        labels = read_labels(self.file(data, "labels.csv"), PEOPLE)
        labels.adults(), labels.matched("sex", "age"), labels.groups(), labels.matched_groups()
        return READ


class PairsFile(Target):
    name, share = "pairs file", 2.0

    def make_seeds(self) -> Sequence[bytes]:
        rows = "Ann_Ng\t1\t2\nBob_Ruiz\t1\t2\nAnn_Ng\t1\tBob_Ruiz\t1\nLi\t2\tZoë\t1\n"
        return [("2\t1\n" + rows).encode(), ("1\n" + rows).encode(), rows.replace("\t", " ").encode()]

    def mutate(self, seed: int, rng: Random) -> bytes:
        if rng.random() < 0.5:
            return mutate_bytes(self.seeds[seed], rng, self.seeds)
        words = self.seeds[seed].decode().split("\t")
        at = rng.randrange(len(words))
        words[at] = mutate_text(words[at], rng)
        return "\t".join(words).encode("utf-8", "surrogatepass")

    def read(self, seed: int, data: bytes) -> str:
        images = [LabelledImage(path=Path(p), person=p, number=n) for p in PEOPLE for n in (1, 2)]
        comparisons = read_pairs_file(self.file(data, "pairs.txt"), images)
        assert len(comparisons.first) == len(comparisons.folds)
        return READ


TARGETS: tuple[type[Target], ...] = (ConfigFile, CameraUri, KeyFile, LabelsFile, PairsFile)
