"""Export and import: a round trip through a file; nothing of a damaged file is imported."""

from __future__ import annotations

import base64
import copy
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import OTHER, person, random_unit, template

from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery.archive import digest_of, from_document, read_document, to_document, write_document
from edge_oneshot.gallery.store import Gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery(tmp_path / "gallery.sqlite") as opened:
        opened.add(person("zoe", "Zoë"), [template("zoe", random_unit(1)), template("zoe", random_unit(2), OTHER)])
        opened.add(person("li", "李"), [template("li", random_unit(3))])
        yield opened


def test_round_trip_through_a_file(gallery: Gallery, tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    write_document(to_document(gallery), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "Zoë" in path.read_text(encoding="utf-8")
    with Gallery(tmp_path / "second.sqlite") as second:
        people = from_document(read_document(path))
        second.add_all([(p.identity, p.templates) for p in people])
        assert to_document(second) == to_document(gallery)
        for a, b in zip(
            gallery.templates(), sorted(second.templates(), key=lambda t: t.identity_id, reverse=True), strict=True
        ):
            assert (a.embedding.vector == b.embedding.vector).all()


def test_an_existing_file_is_never_overwritten(gallery: Gallery, tmp_path: Path) -> None:
    (path := tmp_path / "people.json").write_text("mine")
    with pytest.raises(GalleryError, match=r"cannot write .*people\.json: File exists"):
        write_document(to_document(gallery), path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 10**5, b"1" * 5000], ids=["empty", "syntax", "not utf-8", "nested", "number"]
)
def test_a_file_that_is_not_json(tmp_path: Path, content: bytes) -> None:
    (path := tmp_path / "people.json").write_bytes(content)
    with pytest.raises(GalleryError, match="cannot read"):
        read_document(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="cannot read"):
        read_document(tmp_path / "absent.json")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"format": "edge-oneshot-gallery", "version": 4, "identities": []},
        {"format": "other", "version": 1, "identities": []},
        {"format": "edge-oneshot-gallery", "version": 1, "identities": None},
    ],
)
def test_another_document_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(GalleryError, match="expected a file of format edge-oneshot-gallery, version 1 to 3"):
        from_document(document)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["identities"].pop(),
        lambda d: d["identities"][0].update(name="Eve"),
        lambda d: d["identities"][0]["templates"][0]["quality"].update(luma=119.0),
        lambda d: d.pop("digest"),
        lambda d: d.update(version=1),
        lambda d: d.update(digest=5),
    ],
)
def test_a_changed_document_is_refused(gallery: Gallery, change: Callable[[Any], object]) -> None:
    document: Any = json.loads(json.dumps(to_document(gallery)))
    assert len(from_document(document)) == 2
    change(document)
    with pytest.raises(GalleryError, match="the checksum of the file is wrong: it was changed after the export"):
        from_document(document)


def test_a_document_of_version_1_has_no_checksum(gallery: Gallery) -> None:
    document: Any = to_document(gallery)
    del document["digest"]
    assert len(from_document({**document, "version": 1})) == 2


def b64(vector: np.ndarray) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


DAMAGE: dict[str, Any] = {
    "no object": lambda e: "zoe",
    "no id": lambda e: {k: v for k, v in e.items() if k != "identity_id"},
    "bad id": lambda e: e | {"identity_id": "Zoë"},
    "id no text": lambda e: e | {"identity_id": 5},
    "bad name": lambda e: e | {"name": "a\nb"},
    "name no text": lambda e: e | {"name": None},
    "no templates": lambda e: e | {"templates": []},
    "templates no list": lambda e: e | {"templates": 5},
    "template no object": lambda e: e | {"templates": [5]},
} | {
    f"{field} {i}": (lambda e, field=field, value=value: e | {"templates": [e["templates"][0] | {field: value}]})
    for field, values in {
        "vector": ["AAA", "!", 5, None, "", b64(np.array([np.inf]))],
        "encoder_id": ["md5:1", 5, None],
        "quality": [
            {},
            5,
            None,
            {"x": 1},
            {"inter_eye_px": "wide", "sharpness": 1, "luma": 1, "contrast": 1, "yaw_deg": 1},
            {"inter_eye_px": 1, "sharpness": 1, "luma": 1, "contrast": 1, "yaw_deg": 1, "faults": "none"},
            {"inter_eye_px": 10**400, "sharpness": 1, "luma": 1, "contrast": 1, "yaw_deg": 1},
        ],
        "created_at": ["yesterday", "2026-01-01T00:00:00", 5],
    }.items()
    for i, value in enumerate(values)
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_named_and_nothing_is_imported(gallery: Gallery, damage: str) -> None:
    document = copy.deepcopy(to_document(gallery))
    document["identities"][1] = DAMAGE[damage](document["identities"][1])
    document["digest"] = digest_of(document["identities"])  # as by another program
    with pytest.raises(GalleryError, match=r"identities\[1\] is damaged: .*; nothing was imported"):
        from_document(json.loads(json.dumps(document)))
