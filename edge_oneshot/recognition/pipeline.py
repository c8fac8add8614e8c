"""The path of a frame up to the embedding: locate > align > quality > pad > encode. No gallery, no threshold, no threads, no I/O."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from edge_oneshot.types import Chip, Embedding, Face, Frame, PadDecision, Sample
from edge_oneshot.vision import align, quality
from edge_oneshot.vision.gates import probe_faults, reference_faults
from edge_oneshot.vision.light import for_encoder
from edge_oneshot.vision.locate import BORDER
from edge_oneshot.vision.lookout import Lookout
from edge_oneshot.vision.steady import Steady
from edge_oneshot.vision.still import Still
from edge_oneshot.vision.tiles import tiling

if TYPE_CHECKING:
    from edge_oneshot.model.card import EncoderCard
    from edge_oneshot.model.encoder import TwinEncoder
    from edge_oneshot.vision.gates import Gates
    from edge_oneshot.vision.locate import FaceLocator
    from edge_oneshot.vision.pad import PadMethod

STAGES = ("locate", "align", "quality", "encode", "decide")


class Pipeline:
    """Turns a frame into samples, and a sample into an embedding.

    locator: None exactly when the encoder's card says regions = "frame". gates: limits of the quality measures. pad: the
    method of presentation attack detection; None: it is not performed. far: search for small faces, too (camera.range).
    older: the encoders of old templates, which the recognizer sets as its gallery needs them. Belongs to one thread, one
    recognizer and one camera.
    """

    def __init__(
        self,
        encoder: TwinEncoder,
        locator: FaceLocator | None,
        gates: Gates,
        pad: PadMethod | None = None,
        *,
        far: bool = False,
    ) -> None:
        if (locator is None) != (encoder.card.regions == "frame"):
            raise ValueError(f"locator: expected {'none' if locator else 'one'} for regions {encoder.card.regions!r}")
        self.encoder, self.locator, self.gates, self.pad = encoder, locator, gates, pad
        self._lookout = Lookout(locator) if far and locator is not None else None
        self._steady, self._still = Steady(), Still()
        self._before: list[Sample] = []  # of the last live frame
        self._made_for: object = None  # the gates and encoders that these were made for
        self.older: tuple[TwinEncoder, ...] = ()
        self.stage_seconds: dict[str, float] = {}

    @property
    def pad_method(self) -> str:
        """The name of the method of presentation attack detection, or "not_performed"."""
        return PadDecision.NOT_PERFORMED.value if self.pad is None else self.pad.name

    def samples(self, frame: Frame, *, looks: Collection[Sample] | None = None) -> list[Sample]:
        """Every face (or the whole frame) of a live frame, largest first, aligned and measured, not yet encoded.

        The chip of a dark face is the mean over the frames before (vision/steady.py). looks: samples of the frame before;
        any other face that has not changed may be the sample of that frame again, the same object (vision/still.py). None: every
        face is searched for and measured.
        A sample with `faults` must be neither compared nor enrolled. Starts `stage_seconds` afresh.
        """
        self.stage_seconds.clear()
        if self.locator is None:
            return [self._sample(frame, None)]
        made_for = self.gates, self.older
        with self.stage("locate"):
            before = {id(s.face): s for s in self._before}
            resting = self.pad is None and made_for == self._made_for
            faces = self._follow(frame, looks) if resting and looks is not None else None
            if faces is None:
                faces = self.locator.locate(frame) if self._lookout is None else self._lookout.locate(frame)
                self._still.searched(frame)
        same = [before.get(id(face)) for face in faces]
        new = [self._sample(frame, face) for face, old in zip(faces, same, strict=True) if old is None]
        made = iter(self._steady(new, frame) if new or not faces else new)
        self._made_for = made_for
        self._before = [next(made) if old is None else old for old in same]
        return list(self._before)

    def _follow(self, frame: Frame, looks: Collection[Sample]) -> list[Face] | None:
        """The faces of the frame before, without a search; None: a search is needed."""
        assert self.locator is not None
        anew = [s.face for s in looks if s.face is not None]
        before = [s.face for s in self._before if s.face is not None]
        faces = self._still.follow(frame, before, self.locator, anew)
        if faces is not None and self._lookout is not None:
            self._lookout.rest(frame.captured_ns, before, faces)
        return faces

    def all_samples(self, frame: Frame) -> list[Sample]:
        """`samples` of a single frame: with `far` every tile is searched at once, and nothing is remembered."""
        if self.locator is None:
            return self.samples(frame)
        self.stage_seconds.clear()
        with self.stage("locate"):
            windows = () if self._lookout is None else tiling(frame.size)
            faces = self.locator.locate(frame, windows=windows)
        return [self._sample(frame, face) for face in faces]

    def picture_samples(self, frame: Frame) -> list[Sample]:
        """`all_samples` of a still picture, which may show nothing but a face.

        Only if every face that is found is cropped, the picture is searched again with a border of half its width, which
        does not count as cropped. The second result is taken if it has as many faces as the first.
        """
        found = self.all_samples(frame)
        if self.locator is None or any("cropped" not in {f.code for f in s.faults + s.reference_faults} for s in found):
            return found
        with self.stage("locate"):
            faces = self.locator.locate(frame, BORDER)
        if len(faces) < len(found):
            return found
        return [self._sample(frame, face, fills_picture=True) for face in faces]

    def encode(self, sample: Sample, encoder: TwinEncoder | None = None) -> Embedding:
        """encoder: one of `older`; None: the current one."""
        *_, whole = self.encode_in_steps(sample, encoder or self.encoder)
        return whole

    def encode_in_steps(self, sample: Sample, encoder: TwinEncoder) -> Iterator[Embedding]:
        """The same as TwinEncoder.steps. The last one is the embedding."""
        with self.stage("encode"):
            chip = sample.older_chips[encoder.encoder_id] if self._own_chip(encoder) else sample.chip
            if sample.face is not None:  # a dark drawing or part on a belt is not a face at night
                chip = replace(chip, pixels=for_encoder(chip.pixels, sample.quality.luma))
            steps = encoder.steps(chip)
            step = next(steps, None)
        while step is not None:
            yield step
            with self.stage("encode"):
                step = next(steps, None)

    def encode_older(self, sample: Sample) -> tuple[Embedding, ...]:
        """The embeddings by `older`, without an encoder that takes another chip and came after the sample."""
        ready = (e for e in self.older if e.encoder_id in sample.older_chips or not self._own_chip(e))
        return tuple(self.encode(sample, encoder) for encoder in ready)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to `stage_seconds[name]`, the seconds per stage of the last frame."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stage_seconds[name] = self.stage_seconds.get(name, 0.0) + time.perf_counter() - start

    def _sample(self, frame: Frame, face: Face | None, *, fills_picture: bool = False) -> Sample:
        with self.stage("align"):
            chip = _chip(frame, face, self.encoder.card)
            older = {e.encoder_id: _chip(frame, face, e.card) for e in self.older if self._own_chip(e)}
        with self.stage("quality"):
            measured = quality.measure(frame, face, chip, fills_picture=fills_picture)
            sample = Sample(face=face, chip=chip, quality=measured, older_chips=older)
            if face is not None:  # the gates are for faces; a drawing or a part on a belt has no eyes
                sample = self._judge(sample, face, frame, fills_picture)
        if self.pad is None or not sample.quality.good:
            return sample
        with self.stage("pad"):
            result = self.pad.judge(frame, face, chip)
        if result.decision is PadDecision.NOT_PERFORMED:
            raise ValueError(f"{self.pad.name}: expected bona_fide or attack, got not_performed")
        return replace(sample, pad=result)

    def _judge(self, sample: Sample, face: Face, frame: Frame, fills: bool) -> Sample:
        """The sample with the faults of its quality."""
        q = sample.quality
        return replace(
            sample,
            quality=replace(q, faults=probe_faults(q, face, frame, self.gates.probe, fills=fills)),
            reference_faults=reference_faults(q, face, frame, self.gates.reference, fills=fills),
        )

    def _own_chip(self, encoder: TwinEncoder) -> bool:
        """Whether it takes another chip of a face than the current encoder. The normalisation is a part of each model."""
        a, b = encoder.card, self.encoder.card
        return (a.input.shape, a.input.colour, a.alignment) != (b.input.shape, b.input.colour, b.alignment)


def _chip(frame: Frame, face: Face | None, card: EncoderCard) -> Chip:
    return align.whole_frame(frame, card) if face is None else align.align(frame, face, card)
