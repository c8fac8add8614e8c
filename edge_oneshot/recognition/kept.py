"""Captures that are kept to make a template anew: the aligned cut-outs of an enrollment (gallery.keep_capture)."""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from edge_oneshot.matching import no_rate
from edge_oneshot.model.card import EncoderCard
from edge_oneshot.recognition.enrollment import Enrollment, pooled
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Box, Chip, Face, Frame, Sample, Template, UInt8Array
from edge_oneshot.vision import align

VERSION = 1
MAX_BYTES = 16_000_000  # of all captures of one template, unpacked


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptCapture:
    """pixels: uint8 (H, W, C), as the encoder of `alignment` (its points) got them. luma: brightness of the face, 0-255.

    landmarks: name -> (x, y), px of the cut-out; empty for a whole frame.
    """

    pixels: UInt8Array
    colour: str
    alignment: dict[str, tuple[float, float]]
    landmarks: dict[str, tuple[float, float]]
    luma: float


def to_keep(enrollment: Enrollment, card: EncoderCard) -> dict[str, bytes]:
    """template_id -> what the gallery keeps of the captures. card: of the encoder that made the template."""
    return {enrollment.template.template_id: to_bytes(captures_of(enrollment.samples, card))}


def captures_of(samples: Sequence[Sample], card: EncoderCard) -> tuple[KeptCapture, ...]:
    """What is to be kept of samples that were aligned for the encoder of this card."""
    return tuple(
        KeptCapture(
            pixels=s.chip.pixels,
            colour=card.input.colour,
            alignment=dict(card.alignment),
            landmarks={} if s.face is None else _in_chip(s.face, s.chip),
            luma=s.quality.luma,
        )
        for s in samples
    )


def _in_chip(face: Face, chip: Chip) -> dict[str, tuple[float, float]]:
    (a, b, c), (d, e, f) = chip.transform.tolist()
    points = zip(face.landmark_names, face.landmarks.tolist(), strict=True)
    return {name: (a * x + b * y + c, d * x + e * y + f) for name, (x, y) in points}


def to_bytes(captures: Sequence[KeptCapture]) -> bytes:
    """One line of JSON, then the pixels; compressed without loss."""
    about = [
        {
            "shape": c.pixels.shape,
            "colour": c.colour,
            "alignment": c.alignment,
            "landmarks": c.landmarks,
            "luma": c.luma,
        }
        for c in captures
    ]
    head = json.dumps({"version": VERSION, "captures": about}).encode()
    return zlib.compress(b"\n".join([head, b"".join(np.ascontiguousarray(c.pixels).tobytes() for c in captures)]), 6)


def from_bytes(data: bytes) -> tuple[KeptCapture, ...]:
    """What `to_bytes` was given. Raises ValueError for anything else, such as that of a later release."""
    try:
        unpacked = zlib.decompressobj().decompress(data, MAX_BYTES)
        head, _, pixels = unpacked.partition(b"\n")
        about = json.loads(head)
        if about["version"] != VERSION:
            raise ValueError(f"expected version {VERSION}, got {about['version']}")
        found, start = [], 0
        for entry in about["captures"]:
            height, width, channels = entry.pop("shape")
            end = start + height * width * channels
            shaped = np.frombuffer(pixels[start:end], np.uint8).reshape(height, width, channels)
            points = {
                key: {n: (float(x), float(y)) for n, (x, y) in entry[key].items()} for key in ("alignment", "landmarks")
            }
            found.append(KeptCapture(pixels=shaped, colour=entry["colour"], luma=float(entry["luma"]), **points))
            start = end
    except (zlib.error, KeyError, TypeError, AttributeError, ValueError) as e:
        raise ValueError(f"kept captures cannot be read: {e}") from None
    return tuple(found)


def remake(pipeline: Pipeline, old: Template, captures: Sequence[KeptCapture]) -> Template | None:
    """The template by the present encoder, of the same captures; None if they do not fit it.

    It keeps quality and date of the enrollment. It is marked no_rate if the old one was, or by the rule of the present encoder.
    """
    samples = [_sample(pipeline, old, c) for c in captures]
    if not samples or any(s is None for s in samples):
        return None
    embeddings = [pipeline.encode(s) for s in samples if s is not None]
    card, best = pipeline.encoder.card, embeddings[0]
    if card.comparator.kind == "cosine" and len(embeddings) > 1:
        best = pooled(np.stack([e.vector for e in embeddings]), best.encoder_id)
    rule = card.no_rate
    marked = old.no_rate or (rule is not None and no_rate.applies(rule, best))
    return replace(old, template_id=str(uuid.uuid4()), embedding=best, no_rate=marked)


def _sample(pipeline: Pipeline, old: Template, capture: KeptCapture) -> Sample | None:
    card = pipeline.encoder.card
    size = (card.input.height_px, card.input.width_px, card.input.channels)
    face = _face(capture)
    same = (
        dict(card.alignment) == capture.alignment
        and capture.pixels.shape == size
        and card.input.colour == capture.colour
    )
    if same:
        chip = Chip(pixels=capture.pixels, transform=np.eye(2, 3))
    elif (
        face is None
        or card.regions != "face"
        or capture.colour != "RGB"
        or set(card.alignment) - set(capture.landmarks)
    ):
        return None
    else:  # the new encoder wants the face elsewhere: aligned again, within what the cut-out shows
        now = datetime.now(UTC)
        frame = Frame(pixels=capture.pixels, seq=0, captured_ns=0, captured_at=now, source="kept capture")
        chip = align.align(frame, face, card)
    return Sample(face=face, chip=chip, quality=replace(old.quality, luma=capture.luma))


def _face(capture: KeptCapture) -> Face | None:
    if not capture.landmarks:
        return None
    height, width, _ = capture.pixels.shape
    return Face(
        box=Box(x0=0.0, y0=0.0, x1=float(width), y1=float(height)),
        landmarks=np.array(list(capture.landmarks.values()), np.float32),
        landmark_names=tuple(capture.landmarks),
        detection_score=1.0,
    )
