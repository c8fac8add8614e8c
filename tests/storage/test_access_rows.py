"""Access rules and removals in the gallery, plain and sealed: what they survive, and that damage never widens access."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from samples import person, random_unit, template

from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery.store import Gallery, Put
from edge_oneshot.storage.cipher import new_key, write_key
from edge_oneshot.storage.keys import NO_KEYS, Keys
from edge_oneshot.types import AccessRules, Template
from edge_oneshot.types.access import ALWAYS, UNREADABLE, rules_from_json

GATE = rules_from_json(
    {"until": "2027-01-31", "doors": ["gate"], "times": [{"days": ["mon"], "from": "22:00", "to": "06:00"}]}
)


@pytest.fixture(params=["plain", "sealed"])
def gallery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gallery]:
    """Zoe and Bob, who have no rules."""
    keys = NO_KEYS
    if request.param == "sealed":
        pytest.importorskip("cryptography")
        keys = Keys(tmp_path / "keys" / "gallery.key")
        (tmp_path / "keys").mkdir()
        write_key(tmp_path / "keys" / "gallery.key", new_key())
    with Gallery(tmp_path / "gallery.sqlite", keys, keep_captures=True) as opened:
        opened.add_all([(person("zoe"), [of("zoe", 1)]), (person("bob"), [of("bob", 2)])])
        yield opened


by_hand = pytest.mark.parametrize("gallery", ["plain"], indirect=True)  # needs an id in the clear


def of(identity_id: str, seed: int) -> Template:
    return template(identity_id, random_unit(seed))


def again(gallery: Gallery) -> Gallery:
    return Gallery(gallery.path, gallery._keys)


def test_rules_are_kept_replaced_and_ended(gallery: Gallery) -> None:
    assert gallery.access() == {} and gallery.access_of("zoe") == ALWAYS and not gallery.access_of("zoe")
    gallery.set_access("zoe", GATE)
    with again(gallery) as other:
        assert other.access() == {"zoe": GATE} and other.access_of("zoe") == GATE == other.find("zoe").access
        assert [p.access for p in other.people()] == [ALWAYS, GATE]
        before = gallery.version()
        other.set_access("zoe", AccessRules(doors=("desk",)))
        assert gallery.version() != before, "a daemon reads the change"
    assert gallery.access_of("zoe").doors == ("desk",)
    gallery.set_access("zoe", ALWAYS)
    assert gallery.access() == {}
    with pytest.raises(GalleryError, match="no person with the id 'li'"):
        gallery.set_access("li", GATE)


def test_rules_stay_through_a_new_enrollment_and_a_new_name_and_end_with_the_person(gallery: Gallery) -> None:
    gallery.set_access("zoe", GATE)
    gallery.add(person("zoe"), [of("zoe", 3)], replace=True)
    gallery.rename("zoe", "Zoë")
    assert gallery.access() == {"zoe": GATE}
    gallery.remove("zoe")
    gallery.add(person("zoe"), [of("zoe", 4)])
    assert gallery.access() == {} and gallery.access_of("zoe") == ALWAYS, "another person of this id"
    assert not gallery._db.rows("SELECT * FROM access") and not gallery.set_aside


@by_hand
@pytest.mark.parametrize("damage", ["rules = replace(rules, '2027', '2099')", "rules = CAST(x'ff41' AS TEXT)"])
def test_a_person_whose_rules_are_damaged_is_allowed_nowhere_until_they_are_set(gallery: Gallery, damage: str) -> None:
    gallery.set_access("zoe", GATE)
    with closing(sqlite3.connect(gallery.path)) as db:
        db.execute(f"UPDATE access SET {damage}")
        db.commit()
    for _ in range(2):
        with again(gallery) as opened:
            assert opened.access() == {"zoe": UNREADABLE} and opened.access_of("bob") == ALWAYS
            assert opened.set_aside == 1
            opened.add(person("zoe"), [of("zoe", 5)], replace=True)
            opened.add(person("bob"), [of("bob", 6)], replace=True)
    with again(gallery) as opened:
        assert opened.access_of("zoe") == UNREADABLE, "a new enrollment does not end the rules"
        opened.set_access("zoe", GATE)
        assert opened.access() == {"zoe": GATE} and not opened.set_aside


@pytest.mark.parametrize("gallery", ["sealed"], indirect=True)
def test_rules_of_one_person_cannot_be_given_to_another_in_a_sealed_gallery(gallery: Gallery) -> None:
    gallery.set_access("zoe", GATE)
    gallery.set_access("bob", AccessRules(doors=("everywhere",)))
    with closing(sqlite3.connect(gallery.path)) as db:
        rows = db.execute("SELECT identity_id, rules FROM access").fetchall()
        for (key, _), (_, rules) in zip(rows, reversed(rows), strict=True):
            db.execute("UPDATE access SET rules = ? WHERE identity_id = ?", (rules, key))
        db.commit()
    with again(gallery) as opened:
        assert opened.access() == {"zoe": UNREADABLE, "bob": UNREADABLE}


def test_what_the_fleet_has_is_applied_in_one_step(gallery: Gallery) -> None:
    gallery.join_fleet()
    bob, before = of("bob", 7), gallery.find("zoe").templates[0]
    gallery.add(person("zoe"), [before], replace=True, captures={before.template_id: b"captures"})
    later = {"until": "2030-01-01", "only_on_leap_days": True}
    put = [
        Put(identity=person("zoe", "Bob"), templates=[before, of("zoe", 8)], rules=GATE.to_json()),
        Put(identity=person("bob", "Bob"), templates=[bob], rules=later),
        Put(identity=person("li"), templates=[template("li", random_unit(9))], rules={}),
        Put(identity=person("thief"), templates=[bob], rules={}),
        Put(identity=person("none"), templates=[], rules={}),
    ]
    with again(gallery) as other:
        version = other.version()
        assert gallery.apply(put, remove=["bob", "nobody"]) == ["thief", "none"]
        assert other.version() != version
        found = {p.identity.identity_id: (p.identity.name, len(p.templates), p.access) for p in other.people()}
    assert found == {"zoe": ("Bob", 2, GATE), "bob": ("Bob", 1, found["bob"][2]), "li": ("Li", 1, ALWAYS)}
    assert found["bob"][2].unknown and found["bob"][2].to_json() == later, "they are kept, and allow nothing"
    assert gallery.removals() == [], "what the fleet has removed is no news to it"
    assert gallery.captures_of("zoe") == ({before.template_id: b"captures"} if gallery.sealed else {})


def test_only_a_removal_that_was_asked_for_is_noted_and_only_in_a_fleet(gallery: Gallery) -> None:
    gallery.remove("bob")
    assert gallery.removals() == [] and not gallery.in_fleet
    gallery.join_fleet()
    gallery.join_fleet()
    gallery.add(person("li"), [of("li", 3)])
    for identity_id in ("zoe", "li"):
        gallery.remove(identity_id)
    with again(gallery) as other:
        assert other.in_fleet and other.removals() == ["zoe", "li"]
        other.clear_removals(["zoe", "nobody", ""])
    assert gallery.removals() == ["li"] and gallery.in_fleet
    gallery.leave_fleet()
    assert gallery.removals() == [] and not gallery.in_fleet and not gallery.set_aside
