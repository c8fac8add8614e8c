"""Folders of labelled images (DIR/Name/Name_0001.jpg) -> embeddings, through the daemon's recognition path."""

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
from edge_oneshot.evaluation.metrics import Ints
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Float32Array, Frame, Quality, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImage:
    """person: the name of the folder. number: the number in the file name, as in Name_0001.jpg."""

    path: Path
    person: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedDataset:
    """vectors: float32 (N, D), one row for each image; zeros for an image that was not acquired.

    faults: image number -> the reason why the image was not acquired. qualities: of the face in each image; None where
    no face was found.
    """

    images: Sequence[LabelledImage]
    vectors: Float32Array
    faults: dict[int, str]
    encoder_id: str
    qualities: Sequence[Quality | None] = ()

    @property
    def acquired(self) -> list[int]:
        """The numbers of the images that were acquired."""
        return [i for i in range(len(self.images)) if i not in self.faults]

    @property
    def people(self) -> Ints:
        """The identity number of each image (N,)."""
        return identity_numbers(self.images)

    @property
    def lost(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which images were not acquired: bool (N,)."""
        lost = np.zeros(len(self.images), dtype=bool)
        lost[list(self.faults)] = True
        return lost


def find_images(directory: Path) -> list[LabelledImage]:
    """All images DIR/Name/Name_0001.jpg, sorted by name. Raises EdgeOneshotError if there are none."""
    found: list[LabelledImage] = []
    for folder in sorted(p for p in directory.iterdir() if p.is_dir()):
        for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES):
            digits = re.search(r"(\d+)$", path.stem)
            number = int(digits[1]) if digits else len(found) + 1
            found.append(LabelledImage(path=path, person=folder.name, number=number))
    if not found:
        raise EdgeOneshotError(
            f"no images in {directory}: expected files such as {directory}/Name/Name_0001.jpg, got none",
            "give the folder that contains one folder for each person",
        )
    return found


def identity_numbers(images: Sequence[LabelledImage]) -> Ints:
    """The identity number of each image (N,): people are numbered in the order of their names."""
    numbers: Ints = np.unique([p.person for p in images], return_inverse=True)[1].astype(np.intp)
    return numbers


def encode_images(
    images: Sequence[LabelledImage],
    make_pipeline: Callable[[], Pipeline],
    workers: int,
    on_done: Callable[[int], None],
    *,
    templates: bool = False,
) -> EncodedDataset:
    """Decode, locate, align, check and encode every image in `workers` threads. Each thread has its own pipeline.

    If an image shows several faces, the face nearest the centre is used: labelled images are centred on their subject.
    on_done: called with 1 after each image, from the calling thread. templates: the gates for enrollment decide, not those
    of recognition.
    """
    local = threading.local()

    def one(image: LabelledImage) -> tuple[Float32Array | None, str, Quality | None]:
        if not hasattr(local, "pipeline"):
            local.pipeline = make_pipeline()
        pipeline: Pipeline = local.pipeline
        try:
            frame = load_image(image.path)
        except CameraError as e:
            return None, str(e), None
        samples = pipeline.picture_samples(frame)
        if not samples:
            return None, "no face found", None
        subject = min(samples, key=lambda s: off_centre(s, frame))
        if faults := subject.reference_faults if templates else subject.faults:
            return None, "; ".join(f.message for f in faults), subject.quality
        return pipeline.encode(subject).vector, "", subject.quality

    encoder = make_pipeline().encoder
    vectors = np.zeros((len(images), encoder.card.dimension), dtype=np.float32)
    faults: dict[int, str] = {}
    qualities: list[Quality | None] = []
    with ThreadPoolExecutor(workers) as pool:
        for i, (vector, fault, quality) in enumerate(pool.map(one, images)):
            qualities.append(quality)
            if vector is None:
                faults[i] = fault
            else:
                vectors[i] = vector
            on_done(1)
    return EncodedDataset(
        images=images, vectors=vectors, faults=faults, encoder_id=encoder.encoder_id, qualities=qualities
    )


def off_centre(sample: Sample, frame: Frame) -> float:
    """The squared distance of a face from the centre of the frame, in a measure that orders faces."""
    if sample.face is None:
        return 0.0
    b, (width, height) = sample.face.box, frame.size
    return float(((b.x0 + b.x1 - width) / 2) ** 2 + ((b.y0 + b.y1 - height) / 2) ** 2)
