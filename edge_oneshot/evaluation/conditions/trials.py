"""Labelled pictures -> looks: what the daemon's recognition path finds in the rendered frames of each person.

Each person has one clean reference, a picture that passes the gates for enrollment, and another picture as the probe. A
person without a second picture is a stranger: a reference that is compared with the probes of other people.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from edge_oneshot.cameras.images import load_image
from edge_oneshot.errors import CameraError, EdgeOneshotError
from edge_oneshot.evaluation.conditions.catalogue import Condition
from edge_oneshot.evaluation.conditions.scene import Portrait, Scene
from edge_oneshot.evaluation.dataset import LabelledImage, off_centre
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Box, Face, Float32Array, Frame, Sample, UInt8Array

REFERENCE = "reference"  # in the place of a condition
MAX_SHIFT = 0.6  # of a found face from the rendered one, in inter-eye distances; further away it is another face
MEASURES = ("inter_eye_px", "sharpness", "luma", "contrast", "yaw_deg", "pitch_deg", "cropped", "hidden")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """One frame, or a reference. vector: float32 (D,) of the subject, also if gates refuse it; None: it was not found.

    faults: the codes of the gates that refuse it. measures: as MEASURES, and box: (x0, y0, x1, y1) px; zeros if not found.
    """

    person: str
    condition: str
    number: int = 0
    faults: tuple[str, ...] = ()
    measures: tuple[float, ...] = (0.0,) * len(MEASURES)
    box: tuple[float, ...] = (0.0,) * 4
    vector: Float32Array | None = None

    @property
    def compared(self) -> bool:
        return self.vector is not None and not self.faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The pictures of one person, in the order in which they are tried. probe: whether frames are rendered, too."""

    person: str
    images: Sequence[LabelledImage]
    probe: bool


def draw(images: Sequence[LabelledImage], people: int | None, seed: int) -> list[Task]:
    """A task for each person. people: how many of those with two pictures or more are probes; None: all of them.

    The seed decides who they are and which pictures are taken. Raises EdgeOneshotError if nobody has two pictures.
    """
    own: dict[str, list[LabelledImage]] = {}
    for image in images:
        own.setdefault(image.person, []).append(image)
    several = [person for person in sorted(own) if len(own[person]) > 1]
    if not several:
        raise EdgeOneshotError(
            f"expected people with two pictures or more, got {len(own)} people with one picture each",
            "add a second picture of some of them",
        )
    chosen = {several[i] for i in np.random.default_rng(seed).permutation(len(several))[:people]}
    return [
        Task(
            person=person,
            images=[own[person][i] for i in np.random.default_rng([seed, _seed(person)]).permutation(len(own[person]))],
            probe=person in chosen,
        )
        for person in sorted(own)
    ]


def run(
    tasks: Sequence[Task],
    conditions: Sequence[Condition],
    make_pipeline: Callable[[], Pipeline],
    workers: int,
    on_done: Callable[[int], None],
) -> Iterator[list[Look]]:
    """The looks of each task: first the reference, if a picture passes the gates; then the frames. In the order of `tasks`.

    Each of the `workers` threads has its own pipeline. on_done: called with 1 after each task, from the calling thread.
    """
    local = threading.local()

    def one(task: Task) -> list[Look]:
        if not hasattr(local, "pipeline"):
            local.pipeline = make_pipeline()
        return list(looks(task, conditions, local.pipeline))

    with ThreadPoolExecutor(workers) as pool:
        for found in pool.map(one, tasks):
            yield found
            on_done(1)


def looks(task: Task, conditions: Sequence[Condition], pipeline: Pipeline) -> Iterator[Look]:
    """The looks of one person."""
    seen = [s for image in task.images if (s := _subject(image, pipeline)) is not None]
    reference = next((i for i, (_, s) in enumerate(seen) if not s.reference_faults), None)
    if reference is None:
        return
    yield _look(task.person, REFERENCE, 0, seen[reference][1], pipeline)
    other = next((i for i in range(len(seen)) if i != reference), None)
    if not task.probe or other is None:
        return
    frame, sample = seen[other]
    assert sample.face is not None
    portrait = Portrait.of(frame.pixels, sample.face, _seed(frame.source))
    for condition in conditions:
        scene, pictures = condition.render(portrait)
        source = f"{task.person}/{condition.name}"
        for number, pixels in enumerate(pictures):
            look = pipeline.samples if condition.frames > 1 else pipeline.all_samples
            found = subject_of(look(_frame(pixels, source, number)), scene)
            yield _look(task.person, condition.name, number, found, pipeline)


def subject_of(samples: Sequence[Sample], scene: Scene) -> Sample | None:
    """The sample whose eyes lie where the scene has them; None if there is none."""
    near = [(shift, s) for s in samples if (shift := _shift(s.face, scene)) <= MAX_SHIFT * scene.inter_eye_px]
    return min(near, key=lambda n: n[0])[1] if near else None


def _shift(face: Face | None, scene: Scene) -> float:
    if face is None:
        return float("inf")
    left, right = (np.array(face.landmark(n)) for n in ("image_left_eye", "image_right_eye"))
    return float(np.linalg.norm((left + right) / 2 - np.array(scene.eyes)))


def _subject(image: LabelledImage, pipeline: Pipeline) -> tuple[Frame, Sample] | None:
    """The picture and its subject, the face nearest to the centre; None if it cannot be read or shows no face."""
    try:
        frame = load_image(image.path)
    except CameraError:
        return None
    found = [s for s in pipeline.picture_samples(frame) if s.face is not None]
    return (frame, min(found, key=lambda s: off_centre(s, frame))) if found else None


def _look(person: str, condition: str, number: int, sample: Sample | None, pipeline: Pipeline) -> Look:
    if sample is None or sample.face is None:
        return Look(person=person, condition=condition, number=number)
    box: Box = sample.face.box
    return Look(
        person=person,
        condition=condition,
        number=number,
        faults=tuple(f.code for f in sample.faults),
        measures=tuple(float(getattr(sample.quality, name)) for name in MEASURES),
        box=(box.x0, box.y0, box.x1, box.y1),
        vector=pipeline.encode(sample).vector,
    )


def _frame(pixels: UInt8Array, source: str, number: int) -> Frame:
    """Frame `number` of a track at ten frames per second. source: another one for each track, as of a camera of its own."""
    return Frame(
        pixels=np.array(pixels, order="C"),
        seq=number,
        captured_ns=1 + number * 100_000_000,
        captured_at=datetime.now(UTC),
        source=source,
    )


def _seed(text: str) -> int:
    """The same number for the same file name, wherever its folder is."""
    return zlib.crc32(text.rsplit("/", 1)[-1].encode())
