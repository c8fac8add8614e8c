"""Folders of labelled pictures (DIR/Name/Name_0001.jpg) -> embeddings, through the daemon's path."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_oneshot.cameras.images import SUFFIXES, load_image
from edge_oneshot.errors import CameraError, EdgeOneshotError
from edge_oneshot.matching.compare import References
from edge_oneshot.recognition.enrollment import enroll_from_frame
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Float32Array, Frame, Identity, Quality, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """person: the folder's name. number: the picture's, as in Name_0001.jpg."""

    path: Path
    person: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """vectors: float32 (N, D), a row per picture, zeros where `faults` holds a reason why nothing was acquired.

    qualities: of each picture's face, None where none was found.
    """

    pictures: Sequence[Picture]
    vectors: Float32Array
    faults: dict[int, str]
    encoder_id: str
    qualities: Sequence[Quality | None] = ()

    @property
    def acquired(self) -> list[int]:
        return [i for i in range(len(self.pictures)) if i not in self.faults]


def find_pictures(directory: Path) -> list[Picture]:
    """All pictures of DIR/Name/Name_0001.jpg, in order of name. Raises EdgeOneshotError if there are none."""
    found: list[Picture] = []
    for folder in sorted(p for p in directory.iterdir() if p.is_dir()):
        for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES):
            digits = re.search(r"(\d+)$", path.stem)
            found.append(Picture(path=path, person=folder.name, number=int(digits[1]) if digits else len(found) + 1))
    if not found:
        raise EdgeOneshotError(
            f"no pictures in {directory}: expected DIR/Name/Name_0001.jpg",
            "name the folder that holds one folder a person",
        )
    return found


def embed(
    pictures: Sequence[Picture], make_pipeline: Callable[[], Pipeline], workers: int, on_done: Callable[[int], None]
) -> Embedded:
    """Decode, locate, align, gate and encode every picture; `workers` threads, each with a pipeline of its own.

    Of several faces the one nearest the picture's centre is the subject: labelled pictures are centred on theirs.
    on_done: called with 1 after each picture, from this thread.
    """
    local = threading.local()

    def one(picture: Picture) -> tuple[Float32Array | None, str, Quality | None]:
        if not hasattr(local, "pipeline"):
            local.pipeline = make_pipeline()
        pipeline: Pipeline = local.pipeline
        try:
            frame = load_image(picture.path)
        except CameraError as e:
            return None, str(e), None
        samples = pipeline.samples(frame)
        if not samples:
            return None, "no face found", None
        subject = min(samples, key=lambda s: _off_centre(s, frame))
        if subject.faults:
            return None, "; ".join(f.message for f in subject.faults), subject.quality
        return pipeline.encode(subject).vector, "", subject.quality

    encoder = make_pipeline().encoder
    vectors = np.zeros((len(pictures), encoder.card.dimension), dtype=np.float32)
    faults: dict[int, str] = {}
    qualities: list[Quality | None] = []
    with ThreadPoolExecutor(workers) as pool:
        for i, (vector, fault, quality) in enumerate(pool.map(one, pictures)):
            qualities.append(quality)
            if vector is None:
                faults[i] = fault
            else:
                vectors[i] = vector
            on_done(1)
    return Embedded(
        pictures=pictures, vectors=vectors, faults=faults, encoder_id=encoder.encoder_id, qualities=qualities
    )


def _off_centre(sample: Sample, frame: Frame) -> float:
    if sample.face is None:
        return 0.0
    b, (width, height) = sample.face.box, frame.size
    return float(((b.x0 + b.x1 - width) / 2) ** 2 + ((b.y0 + b.y1 - height) / 2) ** 2)


def enroll_first(directory: Path, pipeline: Pipeline) -> tuple[References, dict[str, str]]:
    """Everybody of DIR/Name/, from the first picture; and identity_id -> name. Raises EnrollmentError."""
    nobody = References(pipeline.encoder.card.comparator, pipeline.encoder.encoder_id, ())
    firsts = {p.person: p for p in reversed(find_pictures(directory))}
    templates, names = [], {}
    for number, name in enumerate(sorted(firsts)):
        identity = Identity(identity_id=f"person-{number}", name=name)
        templates.append(enroll_from_frame(pipeline, load_image(firsts[name].path), identity, nobody).template)
        names[identity.identity_id] = name
    return References(pipeline.encoder.card.comparator, pipeline.encoder.encoder_id, templates), names
