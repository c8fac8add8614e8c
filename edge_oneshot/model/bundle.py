"""The bundle: one .tflite file with its card (card.json) appended as a zip entry, as TFLite metadata does.

A flatbuffer ignores what follows it and a zip archive ignores what stands before it, so one file is both.
The card says what the model needs and what it was measured to do; docs/reference/bundle.md describes every field.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from edge_oneshot.errors import ModelError
from edge_oneshot.model.card import Card, Cohort, DetectorCard, EncoderCard, LandmarkCard
from edge_oneshot.model.card_reader import parse_card, parse_cohort

CARD_NAME = "card.json"
WHICH = "look which bundles model.encoder, model.detector, model.refiner and model.landmarks name"
TFLITE_IDENTIFIER = b"TFL3"  # bytes 4-8 of the flatbuffer, from the TFLite schema
# What makes two encoders' embeddings comparable. Thresholds and licence texts may change without re-enrollment.
IDENTITY_FIELDS = ("input", "regions", "alignment", "output", "comparator")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """path: where it was read from. model: the flatbuffer alone. encoder_id: "sha256:…" of model and preprocessing."""

    path: Path
    model: bytes
    card: Card
    encoder_id: str

    @property
    def encoder(self) -> EncoderCard:
        """The card of an encoder. Raises ModelError if this is something else."""
        if not isinstance(self.card, EncoderCard):
            raise self._other("encoder")
        return self.card

    @property
    def detector(self) -> DetectorCard:
        """The card of a detector. Raises ModelError if this is something else."""
        if not isinstance(self.card, DetectorCard):
            raise self._other("detector")
        return self.card

    @property
    def landmarks(self) -> LandmarkCard:
        """The card of a landmark network. Raises ModelError if this is something else."""
        if not isinstance(self.card, LandmarkCard):
            raise self._other("landmarks")
        return self.card

    def _other(self, expected: str) -> ModelError:
        article = {"encoder": "an encoder", "detector": "a detector", "landmarks": "landmarks"}
        return ModelError(f"{self.path} kind: expected {article[expected]}, got {article[self.card.kind]}", WHICH)


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def compute_encoder_id(model_digest: str, card: Mapping[str, Any]) -> str:
    """Digest of the model's bytes and of every preprocessing field (IDENTITY_FIELDS of the card, `mirror` where it is set).

    "sha256:<hex>".
    """
    fields = {name: card.get(name) for name in IDENTITY_FIELDS}
    if card.get("mirror"):  # left out otherwise: cards are older than this field, and their ids must not change
        fields["mirror"] = True
    return digest((model_digest + json.dumps(fields, sort_keys=True, separators=(",", ":"))).encode())


def split(data: bytes, where: object) -> tuple[bytes, dict[str, Any] | None]:
    """(flatbuffer, card or None) of a file's bytes. Raises ModelError if it is no TFLite file or the card is no JSON."""
    if len(data) < 16 or data[4:8] != TFLITE_IDENTIFIER:
        raise ModelError(
            f"{where}: expected a TFLite file (TFL3 at byte 4), got {len(data)} bytes starting {data[:8]!r}",
            "name a .tflite bundle",
        )
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return data, None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            start = min((i.header_offset for i in archive.infolist()), default=len(data))
            if CARD_NAME not in archive.namelist():
                return data[:start], None
            card = json.loads(archive.read(CARD_NAME))
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        RuntimeError,
    ) as e:  # what zipfile and json stumble over
        why = str(e) or type(e).__name__
        raise ModelError(
            f"{where} card: expected {CARD_NAME} as JSON, got a damaged one: {why}", "copy the file again"
        ) from None
    if not isinstance(card, dict):
        raise ModelError(f"{where} card: expected a JSON object, got {type(card).__name__}", "convert the model again")
    return data[:start], card


def read_bundle(path: Path) -> Bundle:
    """Read and check a bundle file. Raises ModelError that names the field that is wrong."""
    try:
        data = path.read_bytes()
    except OSError as e:
        raise ModelError(f"cannot read the model {path}: {e.strerror}", WHICH) from None
    model, raw = split(data, path)
    if raw is None:
        raise ModelError(
            f"{path} card: expected {CARD_NAME} behind the model, got none: a bare or truncated .tflite file",
            "convert it with edge-oneshot-convert, or copy the bundle again",
        )
    card = parse_card(raw, str(path))
    if card.model_digest != (got := digest(model)):
        raise ModelError(
            f"{path} digests.model: the card says {card.model_digest[:19]}…, the model's bytes are {got[:19]}…",
            "the file is damaged or was edited; copy or convert it again",
        )
    return Bundle(path=path, model=model, card=card, encoder_id=compute_encoder_id(got, raw))


def write_bundle(path: Path, model: bytes, card: Mapping[str, Any]) -> Bundle:
    """Write `model` and `card` (its digests.model is set here) to `path`, atomically and with the same bytes each time.

    Raises ModelError if the card is incomplete or contradicts itself; nothing is written then.
    """
    model, _ = split(model, "the model")
    raw = {**card, "digests": {**card.get("digests", {}), "model": digest(model)}}
    parse_card(raw, str(path))
    buffer = io.BytesIO(model)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        text = json.dumps(raw, indent=1, ensure_ascii=False, sort_keys=True)
        archive.writestr(zipfile.ZipInfo(CARD_NAME, date_time=(1980, 1, 1, 0, 0, 0)), text)
    part = path.with_name(path.name + ".part")
    part.write_bytes(buffer.getvalue())
    part.replace(path)
    return read_bundle(path)


def read_cohort(path: Path, encoder_id: str) -> Cohort:
    """A cohort that `edge-oneshot calibrate` measured with this very encoder. Raises ModelError."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise ModelError(
            f"cannot read the cohort {path}: {e}", "make it with `edge-oneshot calibrate`, and check model.cohort"
        ) from None
    made_by = raw.get("encoder_id") if isinstance(raw, dict) else None
    if made_by != encoder_id:
        raise ModelError(
            f"{path} encoder_id: expected {encoder_id[:19]}…, got {str(made_by)[:19]}: it was measured with another encoder",
            "run `edge-oneshot calibrate` again, or empty model.cohort",
        )
    return parse_cohort(raw.get("cohort"), str(path))


Role = Literal["encoder", "detector", "refiner", "landmarks"]
SHIPPED: dict[Role, str] = {
    "encoder": "mobilefacenet",
    "detector": "blazeface_full_range",
    "refiner": "blazeface_short_range",
    "landmarks": "face_landmarks",
}


def find_bundle(name: str, role: Role) -> Path:
    """The file that a configuration value means: "" = the shipped default, a bare word = a shipped bundle, else a path.

    Raises ModelError if there is none.
    """
    models = Path(str(resources.files("edge_oneshot"))) / "models"
    if not name or ("/" not in name and not name.endswith(".tflite")):
        path = models / f"{name or SHIPPED[role]}.tflite"
        if not path.is_file():
            shipped = ", ".join(sorted(p.stem for p in models.glob("*.tflite")))
            raise ModelError(
                f"model.{role}: no shipped bundle {path.stem!r}; shipped: {shipped}", "name one of them, or a path"
            )
        return path
    return Path(name).expanduser()
