"""The gallery on disk: a full disk, and the bytes of a removed template."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import person, random_unit, template

from edge_oneshot.errors import StorageError
from edge_oneshot.gallery.store import Gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery(tmp_path / "gallery.sqlite") as opened:
        yield opened


def add(gallery: Gallery, identity_id: str, name: str = "", encoder_id: str = "sha256:aa") -> None:
    gallery.add(person(identity_id, name), [template(identity_id, random_unit(len(identity_id)), encoder_id)])


def test_a_full_disk_is_reported_and_the_gallery_stays_usable(gallery: Gallery) -> None:
    pages = gallery._db.rows("PRAGMA page_count")[0][0]
    gallery._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StorageError, match="is full"):
        for i in range(100):
            add(gallery, "p" + "x" * i, f"Person {i}")
    before = len(gallery.identities())
    gallery._db.execute("PRAGMA max_page_count = 100000")
    add(gallery, "bob")
    assert len(gallery.identities()) == before + 1


def test_a_removed_template_is_overwritten_after_the_last_reader_has_ended(
    gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    add(gallery, "alice")
    needle = gallery.templates()[0].embedding.vector.tobytes()

    def stands() -> bool:
        return any(needle in p.read_bytes() for p in gallery.path.parent.glob("gallery.sqlite*"))

    reader = sqlite3.connect(gallery.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM templates").fetchall()
    gallery.remove("alice")
    assert stands()
    assert "overwritten when it has finished" in caplog.text
    reader.close()
    gallery.version()
    assert not stands()
