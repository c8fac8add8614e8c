"""Names and ids in the gallery: unique across both, independent of Unicode composition, and refused if ambiguous."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import person, random_unit, template

from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery.archive import from_document, to_document
from edge_oneshot.gallery.naming import check_id, propose_id
from edge_oneshot.gallery.store import Gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery(tmp_path / "gallery.sqlite") as opened:
        yield opened


def add(gallery: Gallery, identity_id: str, name: str = "", encoder_id: str = "sha256:aa") -> None:
    gallery.add(person(identity_id, name), [template(identity_id, random_unit(len(identity_id)), encoder_id)])


def test_a_name_that_is_the_id_of_another_person_asks_which_one(gallery: Gallery) -> None:
    """`remove bob` accepts an id or a name."""
    add(gallery, "bob", "Bob")
    gallery.rename("bob", "Robert")
    add(gallery, "bobby", "Bob")
    with pytest.raises(GalleryError, match=r"2 people: id:bobby \(Bob\), id:bob \(Robert\)"):
        gallery.lookup("Bob".lower())
    assert [gallery.lookup(f"id:{i}").name for i in ("bob", "bobby")] == ["Robert", "Bob"]
    assert gallery.lookup("bobby").name == "Bob"


def test_swapped_names_are_repaired_and_survive_an_export(gallery: Gallery, tmp_path: Path) -> None:
    add(gallery, "ref", "Bob")
    add(gallery, "bob", "Ref")
    with Gallery(tmp_path / "other.sqlite") as other:
        people = from_document(dict(to_document(gallery)))
        other.add_all([(p.identity, p.templates) for p in people])
        assert other.identities() == gallery.identities()
    gallery.rename("ref", "tmp")
    gallery.rename("bob", "Bob")
    gallery.rename("ref", "Ref")
    assert gallery.identities() == [person("bob", "Bob"), person("ref", "Ref")]


def test_a_name_is_found_in_every_unicode_composition(gallery: Gallery) -> None:
    add(gallery, "zoe", "Zo\u00eb")
    assert gallery.lookup("Zoe\u0308 ").identity_id == "zoe"


def test_an_id_is_not_made_from_part_of_a_name() -> None:
    with pytest.raises(GalleryError, match="no id"):
        propose_id("\N{CYRILLIC SMALL LETTER A}lice")
    with pytest.raises(GalleryError, match="letter or digit first"):
        check_id("--yes")
