"""Names and ids in the gallery: unique across both, independent of Unicode composition, and refused if ambiguous."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import person, random_unit, template

from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery.naming import check_id, propose_id
from edge_oneshot.gallery.store import Gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery(tmp_path / "gallery.sqlite") as opened:
        yield opened


def add(gallery: Gallery, identity_id: str, name: str = "", encoder_id: str = "sha256:aa") -> None:
    gallery.add(person(identity_id, name), [template(identity_id, random_unit(len(identity_id)), encoder_id)])


def test_a_name_and_an_id_cannot_mean_two_people(gallery: Gallery) -> None:
    """`remove bob` accepts an id or a name."""
    add(gallery, "bob", "Bob")
    gallery.rename("bob", "Robert")
    with pytest.raises(GalleryError, match="the name 'Bob' is the id of 'Robert'"):
        add(gallery, "bobby", "Bob")
    with pytest.raises(GalleryError, match="the id 'robert' is the name of 'bob'"):
        add(gallery, "robert", "Somebody")
    add(gallery, "carl", "Carl")
    with pytest.raises(GalleryError, match="the name 'BOB' is the id of 'Robert'"):
        gallery.rename("carl", "BOB")
    gallery.rename("bob", "Bob")  # one's own id as one's name


def test_a_name_is_found_in_every_unicode_composition(gallery: Gallery) -> None:
    add(gallery, "zoe", "Zo\u00eb")
    assert gallery.lookup("Zoe\u0308 ").identity_id == "zoe"


def test_an_id_is_not_made_from_part_of_a_name() -> None:
    with pytest.raises(GalleryError, match="no id"):
        propose_id("\N{CYRILLIC SMALL LETTER A}lice")
    with pytest.raises(GalleryError, match="letter or digit first"):
        check_id("--yes")
