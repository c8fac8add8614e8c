"""The bundle: one .tflite file with its card (card.json) appended as a zip entry, like TFLite metadata.

A flatbuffer ignores data after it, and a zip archive ignores data before it, so one file is both. The card states what
the model needs and how it was measured; docs/reference/bundle.md describes every field.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from edge_oneshot.errors import ModelError
from edge_oneshot.model.card import Card, CohortScores, DetectorCard, EncoderCard, LandmarkCard
from edge_oneshot.model.card_reader import parse_card, parse_cohort
from edge_oneshot.text_file import parse_json, read_bytes

CARD_NAME = "card.json"
WHICH = "check the bundles that model.encoder, model.detector, model.refiner and model.landmarks name"
MAX_BUNDLE_BYTES = 256_000_000
MAX_CARD_BYTES = 4_000_000
_MAX_DIRECTORY_BYTES = 65_536  # of the archive: some hundred entries, where one is needed
TFLITE_IDENTIFIER = b"TFL3"  # bytes 4-8 of the flatbuffer, from the TFLite schema
# The fields of the card that decide whether embeddings are comparable. A change of any other field, such as thresholds,
# needs no new enrollment.
IDENTITY_FIELDS = ("input", "regions", "alignment", "output", "comparator")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """path: the file. model: the flatbuffer alone. encoder_id: "sha256:…" of model and preprocessing (compute_encoder_id)."""

    path: Path
    model: bytes
    card: Card
    encoder_id: str

    @property
    def encoder(self) -> EncoderCard:
        """The card of an encoder. Raises ModelError for another kind."""
        if not isinstance(self.card, EncoderCard):
            raise self._other("encoder")
        return self.card

    @property
    def detector(self) -> DetectorCard:
        """The card of a detector. Raises ModelError for another kind."""
        if not isinstance(self.card, DetectorCard):
            raise self._other("detector")
        return self.card

    @property
    def landmarks(self) -> LandmarkCard:
        """The card of a landmark network. Raises ModelError for another kind."""
        if not isinstance(self.card, LandmarkCard):
            raise self._other("landmarks")
        return self.card

    def _other(self, expected: str) -> ModelError:
        article = {"encoder": "an encoder", "detector": "a detector", "landmarks": "a landmark network"}
        return ModelError(f"{self.path} kind: expected {article[expected]}, got {article[self.card.kind]}", WHICH)


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def compute_encoder_id(model_digest: str, card: Mapping[str, Any]) -> str:
    """ "sha256:<hex>" of the digest of the model's bytes and of every preprocessing field of the card.

    These are IDENTITY_FIELDS, and `mirror` if it is true. model_digest: as `digest` gives it.
    """
    fields = {name: card.get(name) for name in IDENTITY_FIELDS}
    if card.get("mirror"):  # only if true: the ids of cards without this field must not change
        fields["mirror"] = True
    return digest((model_digest + json.dumps(fields, sort_keys=True, separators=(",", ":"))).encode())


def split(data: bytes, where: object) -> tuple[bytes, dict[str, Any] | None]:
    """(flatbuffer, card or None) from the bytes of a file. Raises ModelError for a file that is not TFLite, or a damaged card."""
    if len(data) < 16 or data[4:8] != TFLITE_IDENTIFIER:
        raise ModelError(
            f"{where}: expected a TFLite file (TFL3 at byte 4), got {len(data)} bytes starting {data[:8]!r}",
            "name a .tflite bundle",
        )
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return data, None
    try:
        _check_directory(data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            start = min((i.header_offset for i in archive.infolist()), default=len(data))
            if CARD_NAME not in archive.namelist():
                return data[:start], None
            if archive.getinfo(CARD_NAME).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("expected it stored or deflated")
            with archive.open(CARD_NAME) as file:
                text = file.read(MAX_CARD_BYTES + 1)  # a small archive may unfold to any size
            if len(text) > MAX_CARD_BYTES:
                raise ValueError(f"expected at most {MAX_CARD_BYTES // 1_000_000} MB, got more")
            card = parse_json(text)
    # what zipfile and json raise for damaged data
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError) as e:
        why = str(e) or type(e).__name__
        raise ModelError(
            f"{where} card: expected {CARD_NAME} as JSON, got damaged data: {why}", "copy the file again"
        ) from None
    if not isinstance(card, dict):
        raise ModelError(f"{where} card: expected a JSON object, got {type(card).__name__}", "convert the model again")
    return data[:start], card


def _check_directory(data: bytes) -> None:
    """Raises ValueError for an archive with a large directory: zipfile would make an object of each of its entries."""
    at = data.rfind(b"PK\5\6")  # the end record
    (size,) = struct.unpack_from("<I", data, at + 12)
    if size > _MAX_DIRECTORY_BYTES or data[max(0, at - 20) : at].startswith(b"PK\6\7"):  # zip64 states other sizes
        raise ValueError("expected an archive with one entry, got thousands")


def read_bundle(path: Path) -> Bundle:
    """Read and check a bundle file. Raises ModelError that names the wrong field."""
    return parse_bundle(read_file(path), path)


def read_file(path: Path) -> bytes:
    """The bytes of a bundle file. Raises ModelError."""
    try:
        return read_bytes(path, MAX_BUNDLE_BYTES)
    except OSError as e:
        raise ModelError(f"cannot read the model {path}: {e.strerror}", WHICH) from None
    except ValueError as e:
        raise ModelError(f"cannot read the model {path}: {e}", WHICH) from None


def parse_bundle(data: bytes, path: Path) -> Bundle:
    """`read_bundle` for the bytes of the file at `path`."""
    model, raw = split(data, path)
    if raw is None:
        raise ModelError(
            f"{path} card: expected {CARD_NAME} after the model, got none: a .tflite file without a card, or a truncated one",
            "convert it with edge-oneshot-convert, or copy the bundle again",
        )
    card = parse_card(raw, str(path))
    if card.model_digest != (got := digest(model)):
        raise ModelError(
            f"{path} digests.model: expected {card.model_digest[:19]}… (from the card), got {got[:19]}… (of the model): "
            "the file is damaged or was edited",
            "copy or convert it again",
        )
    return Bundle(path=path, model=model, card=card, encoder_id=compute_encoder_id(got, raw))


def write_bundle(path: Path, model: bytes, card: Mapping[str, Any]) -> Bundle:
    """Write `model` and `card` to `path`, atomically. The same input gives the same bytes. Sets digests.model.

    Raises ModelError, and writes nothing, if the card is incomplete or contradicts itself.
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


def read_cohort(path: Path, encoder_id: str) -> CohortScores:
    """Read a file of `edge-oneshot calibrate`. Raises ModelError if it is invalid or was measured with another encoder."""
    try:
        raw = parse_json(read_bytes(path, MAX_CARD_BYTES))
    except (OSError, ValueError) as e:
        raise ModelError(
            f"cannot read the cohort {path}: {e}", "create it with `edge-oneshot calibrate`, and check model.cohort"
        ) from None
    made_by = raw.get("encoder_id") if isinstance(raw, dict) else None
    if not isinstance(raw, dict) or made_by != encoder_id:
        raise ModelError(
            f"{path} encoder_id: expected {encoder_id[:19]}…, got {str(made_by)[:19]}…: it was measured with another encoder",
            'run `edge-oneshot calibrate` again, or set model.cohort to ""',
        )
    return parse_cohort(raw.get("cohort"), str(path))


Role = Literal["encoder", "detector", "refiner", "landmarks"]
SHIPPED: dict[Role, str] = {
    "encoder": "face",
    "detector": "blazeface_full_range",
    "refiner": "blazeface_short_range",
    "landmarks": "face_landmarks",
}
# The shipped face encoders, newest first: name in the configuration -> file. Templates of each are compared by it until
# the person is enrolled again, so an encoder that was released stays in this list.
FACE_ENCODERS = {"face": "mobilefacenet_apart", "face-web": "mobilefacenet"}
# Each release up to this date contains the encoder, so that nobody has to be enrolled again before.
FACE_ENCODER_UNTIL = {"face-web": "2028-12-31"}


def find_bundle(name: str, role: Role) -> Path:
    """The file that a configuration value names: "" = the shipped default, a name = a shipped bundle, else a path.

    Raises ModelError for an unknown name.
    """
    models = Path(str(resources.files("edge_oneshot"))) / "models"
    if not name or ("/" not in name and not name.endswith(".tflite")):
        known = name or SHIPPED[role]
        path = models / f"{FACE_ENCODERS.get(known, known)}.tflite"
        if not path.is_file():
            shipped = ", ".join(sorted({*FACE_ENCODERS, *(p.stem for p in models.glob("*.tflite"))}))
            raise ModelError(
                f"model.{role}: expected a path or one of the shipped bundles {shipped}, got {path.stem!r}",
                "name one of them, or a path with / or .tflite",
            )
        return path
    return Path(name).expanduser()
