"""The recognition under test: the recognizer of the daemon, with its gallery and the threshold in force."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_oneshot.cameras.images import load_image
from edge_oneshot.config import Config, QualityConfig
from edge_oneshot.evaluation import visits as video
from edge_oneshot.evaluation.dataset import EncodedDataset, LabelledImage, encode_images, find_images
from edge_oneshot.evaluation.visit_rates import VideoResult, measure
from edge_oneshot.evaluation.visits import EventRecorder, VideoEvent
from edge_oneshot.matching.compare import References
from edge_oneshot.matching.threshold import Rule, Target, Threshold
from edge_oneshot.model.card import Comparator
from edge_oneshot.recognition.compose import build_pipeline
from edge_oneshot.recognition.enrollment import enroll_from_frame
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.service.offline import require_owner
from edge_oneshot.types import Identity

Progress = Callable[[int], None]


def open_recognizer(config: Config, references: References | None = None) -> Recognizer:
    """A recognizer with a gallery in memory; references: what it compares with. Raises ModelError."""
    recognizer = Recognizer.open(config, gallery=":memory:")
    if references is not None:
        recognizer.people.use(references, {i: i for i in references.identity_ids})
    return recognizer


@dataclass(frozen=True, slots=True)
class UnderTest:
    """comparator, rule: of the configured encoder. threshold: in force for the configured gallery, as `gallery check` prints it."""

    config: Config
    comparator: Comparator
    rule: Rule
    threshold: Threshold

    @classmethod
    def open(cls, config: Config) -> UnderTest:
        """Without a gallery at the configured place, the threshold is the one for an empty gallery.

        Raises ModelError, GalleryError, StorageError.
        """
        gallery = config.gallery_path
        if gallery.exists():
            require_owner(config.state_dir)
        with Recognizer.open(config, gallery=gallery if gallery.exists() else ":memory:") as recognizer:
            comparator = recognizer.pipeline.encoder.card.comparator
            return cls(config, comparator, recognizer.rule, recognizer.threshold)

    def rule_for_fpir(self, fpir: float) -> Rule:
        """The rule of the encoder for another target."""
        return replace(self.rule, target=Target(fpir=fpir))

    def encode(
        self,
        images: Sequence[LabelledImage],
        workers: int,
        on_done: Progress,
        gates: QualityConfig | None = None,
        *,
        templates: bool = False,
    ) -> EncodedDataset:
        """gates: instead of the configured ones. templates: use only images that could be enrolled.

        Each of the `workers` threads runs inference on one thread.
        """
        config = replace(self.config, model=replace(self.config.model, threads=1))
        if gates is not None:
            config = replace(config, quality=gates)
        return encode_images(images, lambda: build_pipeline(config), workers, on_done, templates=templates)


def enroll_first(directory: Path, pipeline: Pipeline) -> tuple[References, dict[str, str]]:
    """Enroll every person of DIR/Name/ from the first image. Returns also identity_id -> name. Raises EnrollmentError."""
    empty = References(pipeline.encoder.card.comparator, pipeline.encoder.encoder_id, ())
    firsts = {image.person: image for image in reversed(find_images(directory))}
    templates, names = [], {}
    for number, name in enumerate(sorted(firsts)):
        identity = Identity(identity_id=f"person-{number}", name=name)
        frame = load_image(firsts[name].path)
        templates.append(enroll_from_frame(pipeline, frame, identity, empty, accept_no_rate=True).template)
        names[identity.identity_id] = name
    return References(pipeline.encoder.card.comparator, pipeline.encoder.encoder_id, templates), names


class VideoTest:
    """Labelled visits, and a gallery of the people who are enrolled. seconds: of video to play, at most."""

    def __init__(self, config: Config, visits_file: Path, references: Path) -> None:
        """Raises EdgeOneshotError for a fault in the visits, and EnrollmentError for an image that cannot be enrolled."""
        self._camera, self._file = config.camera, visits_file
        self._visits = video.read_visits(visits_file)
        self._recognizer = open_recognizer(config)
        self.encoder_id = self._recognizer.encoder_id
        self._recognizer.people.use(*enroll_first(references, self._recognizer.pipeline))
        names = self._recognizer.people.names
        video.check(self._visits, names.values(), visits_file)
        self._recorder = EventRecorder(build_tracker(config, self._recognizer), names)
        self._ends_s = {
            name: math.ceil(max(v.end_s for v in self._visits if v.video == name))
            for name in sorted({v.video for v in self._visits})
        }
        lengths_s = {name: video.length_s(self._camera, visits_file.parent / name) for name in self._ends_s}
        video.check_ends(self._visits, lengths_s, visits_file)
        self.seconds = sum(self._ends_s.values())

    def play(self, on_done: Progress) -> tuple[VideoResult, list[VideoEvent]]:
        """Pass every frame through recognizer and tracker. on_done: called with the seconds of video done since the last call."""
        recorder = self._recorder
        for name, end_s in self._ends_s.items():
            shown_s = 0
            for frame in video.frames(self._camera, self._file.parent / name):
                recorder.add(name, self._recognizer.follow(frame, recorder.tracker), frame.captured_ns)
                if shown_s < (now_s := min(end_s, int(recorder.at_s))):
                    on_done(now_s - shown_s)
                    shown_s = now_s
            recorder.end(name)
            on_done(end_s - shown_s)
        video.check_ends(self._visits, recorder.lengths_s, self._file)
        seconds, people = sum(recorder.lengths_s.values()), len(self._recognizer.people.names)
        result = measure(self._visits, recorder.events, seconds, self._recognizer.threshold, people)
        return result, recorder.events
