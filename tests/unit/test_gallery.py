"""The gallery: names and ids, replacing, removing, and damaged rows. tests/storage tests its file."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import OTHER, embedding, person, random_unit, template

from edge_oneshot.errors import EdgeOneshotError, GalleryError, StorageError
from edge_oneshot.gallery.people import People
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.compare import References
from edge_oneshot.model.bundle import Bundle
from edge_oneshot.storage.cipher import new_key, write_key
from edge_oneshot.storage.keys import NO_KEYS, Keys
from edge_oneshot.types import Template


@pytest.fixture(params=["plain", "sealed"])
def gallery(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gallery]:
    """An empty gallery, plain and sealed."""
    keys = NO_KEYS
    if request.param == "sealed":
        pytest.importorskip("cryptography")
        keys = Keys(tmp_path_factory.mktemp("keys") / "gallery.key")
        write_key(keys.path or tmp_path, new_key())
    with Gallery(tmp_path / "gallery.sqlite", keys) as opened:
        assert opened.sealed == (request.param == "sealed")
        yield opened


# What these do to the file by hand needs an id or a name in the clear.
by_hand = pytest.mark.parametrize("gallery", ["plain"], indirect=True)


def add(gallery: Gallery, identity_id: str, name: str = "", seed: int = 0, replace: bool = False) -> Template:
    stored = template(identity_id, random_unit(seed))
    gallery.add(person(identity_id, name), [stored], replace=replace)
    return stored


def same(a: Template, b: Template) -> bool:
    return (a.template_id, a.identity_id, a.encoder_id, a.quality, a.created_at) == (
        b.template_id,
        b.identity_id,
        b.encoder_id,
        b.quality,
        b.created_at,
    ) and bool((a.embedding.vector == b.embedding.vector).all())


def test_what_is_stored_comes_back(gallery: Gallery) -> None:
    stored = add(gallery, "zoe", "Zoë")
    with Gallery(gallery.path, gallery._keys) as again:
        found = again.find("zoe")
    assert found.identity == person("zoe", "Zoë")
    assert found.created_at == stored.created_at
    (own,) = found.templates
    assert same(own, stored)
    assert own.embedding.vector.dtype == np.float32


def test_the_file_is_durable_and_strict(gallery: Gallery) -> None:
    expected = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "user_version": 6}
    assert {p: gallery._db.rows(f"PRAGMA {p}")[0][0] for p in expected} == expected
    with pytest.raises(StorageError, match="cannot store TEXT value in BLOB"):
        gallery._db.execute("INSERT INTO templates VALUES ('t', 'zoe', 'e', 'text', '{}', 'now', 0, NULL)")


def test_changes_of_other_connections_change_the_version_and_own_ones_do_not(gallery: Gallery) -> None:
    before = gallery.version()
    add(gallery, "own")
    assert gallery.version() == before
    with Gallery(gallery.path, gallery._keys) as other:
        add(other, "zoe", seed=1)
        seen = gallery.version()
        assert seen != before
        other.rename("zoe", "Zoë")
        assert (renamed := gallery.version()) != seen
        other.remove("zoe")
    assert gallery.version() != renamed
    assert gallery.version() == gallery.version()


def test_names_and_ids_are_taken_only_once(gallery: Gallery) -> None:
    add(gallery, "zoe", "Zoë")
    cases = {
        ("zoe", "Zoë", False): "already enrolled as 'zoe'",
        ("zoe", "ZOË", False): "already enrolled as 'zoe'",
        ("zoe", "Zoe", True): "the id 'zoe' belongs to 'Zoë'",
        ("zoe-2", "Zoë", True): "the name 'Zoë' is already enrolled as 'zoe'",
    }
    for (identity_id, name, renew), says in cases.items():
        with pytest.raises(GalleryError, match=says):
            add(gallery, identity_id, name, replace=renew)
    assert len(gallery.templates()) == 1
    fresh = add(gallery, "zoe", "Zoë", seed=9, replace=True)
    assert [t.template_id for t in gallery.templates()] == [fresh.template_id]


def test_several_people_are_stored_together_or_not_at_all(gallery: Gallery) -> None:
    add(gallery, "bob")
    people = [(person(i), [template(i, random_unit(n))]) for n, i in enumerate(("ann", "bob", "eve"))]
    with pytest.raises(GalleryError, match="'Bob' is already enrolled"):
        gallery.add_all(people)
    assert [i.identity_id for i in gallery.identities()] == ["bob"]
    gallery.add_all(people, replace=True)
    assert [i.identity_id for i in gallery.identities()] == ["ann", "bob", "eve"]


def test_a_template_id_cannot_be_stored_twice(gallery: Gallery) -> None:
    stored = add(gallery, "zoe")
    with pytest.raises(GalleryError):
        gallery.add(person("eve"), [replace(stored, identity_id="eve")])
    assert [i.identity_id for i in gallery.identities()] == ["zoe"]


def test_rename_keeps_the_id(gallery: Gallery) -> None:
    add(gallery, "zoe", "Zoë")
    add(gallery, "bob", "Bob", seed=1)
    gallery.rename("zoe", "Zoë Müller")
    assert gallery.lookup("zoë müller") == person("zoe", "Zoë Müller")
    gallery.rename("zoe", "ZOË MÜLLER")  # a person's own name in another case is free
    with pytest.raises(GalleryError, match="the name 'BOB' is already enrolled as 'bob'"):
        gallery.rename("zoe", "BOB")
    with pytest.raises(GalleryError, match="no person with the id 'eve'"):
        gallery.rename("eve", "Eve")


def test_lookup_by_id_first_then_by_name(gallery: Gallery) -> None:
    add(gallery, "bob", "Robert")
    add(gallery, "rob", "Rob the Builder", seed=1)
    assert gallery.lookup("bob").name == "Robert"
    assert gallery.lookup("ROBERT").identity_id == "bob"
    assert gallery.lookup("rob the builder").identity_id == "rob"
    with pytest.raises(GalleryError, match="no person with the name or id 'eve' is enrolled"):
        gallery.lookup("eve")


def every_byte(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in sorted(folder.iterdir()))


def needle(t: Template) -> bytes:
    return t.embedding.vector.astype("<f4").tobytes()[:64]


@pytest.mark.parametrize("way", ["remove", "replace"])
def test_the_bytes_of_a_removed_template_are_gone_from_the_files(gallery: Gallery, way: str) -> None:
    secret = add(gallery, "zoe", seed=42)
    for i in range(30):
        add(gallery, f"p{i}", seed=i + 100)
    folder = gallery.path.parent
    assert (needle(secret) in every_byte(folder)) != gallery.sealed
    if way == "remove":
        gallery.remove("zoe")
    else:
        add(gallery, "zoe", seed=43, replace=True)
    assert needle(secret) not in every_byte(folder)
    assert len(gallery.templates()) == 30 + (way == "replace")


def test_removing_an_unknown_person_is_an_error(gallery: Gallery) -> None:
    with pytest.raises(GalleryError, match="no person with the id 'eve'"):
        gallery.remove("eve")


@by_hand
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("vector", b"abc"),
        ("vector", b""),
        ("vector", np.full(192, np.nan, "<f4").tobytes()),
        ("quality", "{"),
        ("quality", '{"size": 1}'),
        ("quality", "[]"),
        ("created_at", "yesterday"),
        ("created_at", "2026-01-01T00:00:00"),
        ("encoder_id", "md5:1"),
    ],
)
def test_a_damaged_row_is_set_aside_and_named(
    gallery: Gallery, column: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    damaged, sound = add(gallery, "zoe"), add(gallery, "bob", seed=1)
    gallery._db.execute(f"UPDATE templates SET {column} = ? WHERE identity_id = 'zoe'", (value,))
    assert [t.template_id for t in gallery.templates()] == [sound.template_id] and gallery.set_aside == 1
    assert f"template {damaged.template_id} of 'zoe' is damaged" in caplog.text
    assert [(p.identity.identity_id, len(p.templates)) for p in gallery.people()] == [("bob", 1), ("zoe", 0)]


@by_hand
@pytest.mark.parametrize("column", ["identity_id", "encoder_id", "quality", "created_at"])
def test_a_text_that_is_not_utf_8_damages_its_row_only(gallery: Gallery, column: str) -> None:
    damaged = add(gallery, "zoe")
    sound = add(gallery, "bob", seed=1)
    gallery._db.execute("PRAGMA foreign_keys = OFF")
    gallery._db.execute(
        f"UPDATE templates SET {column} = CAST(x'ff41' AS TEXT) WHERE template_id = ?", (damaged.template_id,)
    )
    assert [t.template_id for t in gallery.templates()] == [sound.template_id] and gallery.set_aside == 1


@by_hand
def test_a_person_with_a_damaged_name_keeps_the_id_and_the_templates(gallery: Gallery) -> None:
    stored = add(gallery, "zoe", "Zoë")
    gallery._db.execute("UPDATE identities SET name = CAST(x'ff41' AS TEXT)")
    assert gallery.lookup("zoe") == person("zoe", "zoe") and gallery.set_aside == 1
    assert gallery.find("zoe").templates[0].template_id == stored.template_id
    gallery.rename("zoe", "Zoë")
    assert gallery.identities() == [person("zoe", "Zoë")]
    gallery.remove("zoe")
    assert gallery.identities() == [] and gallery.set_aside == 0 and gallery.templates() == []


def test_many_threads_that_open_a_new_file_at_once_agree(tmp_path: Path) -> None:
    path, errors = tmp_path / "gallery.sqlite", []

    def work(i: int) -> None:
        try:
            with Gallery(path) as gallery:
                add(gallery, f"p{i}", seed=i)
        except EdgeOneshotError as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    with Gallery(path) as gallery:
        assert len(gallery.identities()) == 8


# ---- in memory


def test_people_are_read_again_only_after_a_change(gallery: Gallery, encoder_bundle: Bundle) -> None:
    card = encoder_bundle.encoder
    people = People(gallery, card, encoder_bundle.encoder_id)
    assert (len(people.references), people.names) == (0, {})
    assert not people.refresh()
    with Gallery(gallery.path, gallery._keys) as other:
        other.add(person("zoe", "Zoë"), [template("zoe", random_unit(1), encoder_bundle.encoder_id)])
        other.add(person("old"), [template("old", random_unit(2), OTHER)])
    assert people.refresh()
    assert not people.refresh()
    assert people.names == {"old": "Old", "zoe": "Zoë"}
    assert (len(people.references), people.references.foreign) == (1, 1)


def test_a_change_of_one_person_gives_what_reading_everything_gives(gallery: Gallery, encoder_bundle: Bundle) -> None:
    """People reads only that person again after its own write; whatever is changed, the result is that of a new reading."""
    own, rng = encoder_bundle.encoder_id, np.random.default_rng(5)
    people = People(gallery, encoder_bundle.encoder, own)
    probe = embedding(random_unit(7), own)
    everything, read_again = 0, people.refresh

    def refresh(*, force: bool = False) -> bool:
        nonlocal everything
        everything += 1
        return read_again(force=force)

    people.refresh = refresh  # type: ignore[method-assign]
    for step in range(60):
        someone, seed = f"p{rng.integers(12)}", 100 + step
        stored = [template(someone, random_unit(seed + 1000 * k), own) for k in range(rng.integers(1, 4))]
        if someone not in people.names:
            people.add(person(someone, f"Name {rng.integers(10**6)}"), stored)
        elif rng.integers(3) == 0:
            people.remove(someone)
        elif rng.integers(2):
            people.rename(someone, f"Zoë {step}")
        else:
            people.add(person(someone, people.names[someone]), stored, replace=True)
        fresh = People(gallery, encoder_bundle.encoder, own)
        assert list(people.names.items()) == list(fresh.names.items())
        assert (people.no_rate, people.skipped) == (fresh.no_rate, fresh.skipped)
        assert people.references.identity_ids == fresh.references.identity_ids
        assert people.references.template_counts == fresh.references.template_counts
        assert len(people.references) == len(fresh.references)
        if len(fresh.references):
            assert people.references.best(probe) == pytest.approx(fresh.references.best(probe), abs=1e-6)
    assert everything == 0


def test_after_a_write_of_another_connection_everything_is_read(gallery: Gallery, encoder_bundle: Bundle) -> None:
    own = encoder_bundle.encoder_id
    people = People(gallery, encoder_bundle.encoder, own)
    with Gallery(gallery.path, gallery._keys) as other:
        other.add(person("zoe"), [template("zoe", random_unit(1), own)])
    people.add(person("bob"), [template("bob", random_unit(2), own)])
    assert people.names == {"bob": "Bob", "zoe": "Zoe"} and len(people.references) == 2


def test_references_that_stand_in_for_the_gallery_end_with_a_write(gallery: Gallery, encoder_bundle: Bundle) -> None:
    own = encoder_bundle.encoder_id
    people = People(gallery, encoder_bundle.encoder, own)
    stand_in = References(encoder_bundle.encoder.comparator, own, [template("random", random_unit(1), own)])
    people.use(stand_in, {"random": "Random"})
    assert not people.refresh()
    people.add(person("bob"), [template("bob", random_unit(2), own)])
    assert people.names == {"bob": "Bob"} and people.references.identity_ids == ["bob"]


@by_hand
def test_the_name_of_a_damaged_row_does_not_prevent_an_enrollment(gallery: Gallery) -> None:
    add(gallery, "zoe", "Zoë")
    with sqlite3.connect(gallery.path) as db:
        db.execute("UPDATE identities SET name = CAST(x'ff41' AS TEXT)")
    add(gallery, "bob", "Bob", 2)
    with pytest.raises(GalleryError, match="already enrolled as 'bob'"):
        add(gallery, "bobby", "BOB", 3)
    assert {i.identity_id for i in gallery.identities()} == {"bob", "zoe"}


@pytest.mark.parametrize("vector", [random_unit(1, 191), random_unit(1) * 3], ids=["short", "long"])
def test_a_template_that_this_encoder_cannot_have_made_is_named(
    gallery: Gallery, encoder_bundle: Bundle, vector: np.ndarray
) -> None:
    """A vector of three times the length would match every person."""
    gallery.add(person("zoe"), [stored := template("zoe", vector.astype(np.float32), encoder_bundle.encoder_id)])
    people = People(gallery, encoder_bundle.encoder, encoder_bundle.encoder_id)
    assert len(people.references) == 0
    with pytest.raises(GalleryError, match=f"template {stored.template_id} of 'zoe' is damaged: expected "):
        people.check(stored)
