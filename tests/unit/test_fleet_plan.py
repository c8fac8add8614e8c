"""Which side has changed, and what follows from it: every case of three digests on a device that publishes and on a door."""

from __future__ import annotations

import itertools

import pytest

from edge_oneshot.fleet.plan import Plan, plan


def one(
    here: str,
    there: str,
    both: str,
    *,
    writes: bool,
    removed: bool = False,
    missing: bool = False,
    gone: str = "",
    replaced: bool = False,
    old: bool = False,
) -> str:
    """The sets that name the person, in alphabetical order. "" stands for: not there."""

    def held(digest: str) -> dict[str, str]:
        return {"p": digest} if digest else {}

    known = {"p"}
    found = plan(
        held(here),
        held(there),
        held(both),
        removals=known if removed else set(),
        missing=known if missing else set(),
        writes=writes,
        gone=held(gone),
        replaced=known if replaced else set(),
        old=old,
    )
    return " ".join(sorted(name for name in Plan.__slots__ if "p" in getattr(found, name)))


@pytest.mark.parametrize(
    ("here", "there", "both", "desk", "door"),
    [
        ("a", "a", "a", "note", "note"),
        ("a", "a", "", "note", "note"),
        ("a", "", "", "publish", "alone"),
        ("", "a", "", "put", "put"),
        ("a", "b", "a", "put", "put"),  # changed elsewhere
        ("b", "a", "a", "publish", "put undone"),  # changed here
        ("b", "c", "a", "overruled put", "put undone"),  # changed on both sides: the fleet's change stays
        ("b", "c", "", "overruled put", "put undone"),  # enrolled on both sides under one id
        ("a", "", "a", "drop", "drop"),  # removed elsewhere
        ("b", "", "a", "drop overruled", "drop overruled"),  # a removal wins over a change
        ("", "a", "a", "put", "put"),  # a lost gallery removes no one elsewhere
        ("", "", "a", "note", "note"),
    ],
)
def test_each_case(here: str, there: str, both: str, desk: str, door: str) -> None:
    assert one(here, there, both, writes=True) == desk
    assert one(here, there, both, writes=False) == door


def test_only_a_removal_that_was_asked_for_removes_a_person_elsewhere() -> None:
    assert one("", "a", "a", writes=True, removed=True) == "remove"
    assert one("", "a", "a", writes=False, removed=True) == "put undone"
    assert one("", "b", "a", writes=True, removed=True) == "remove"
    assert one("", "a", "", writes=True, removed=True) == "remove", "a power cut came before it was noted"
    assert one("b", "a", "a", writes=True, removed=True) == "publish remove", "another person under the id"
    assert one("b", "", "a", writes=True, removed=True) == "publish"
    assert one("", "", "", writes=True, removed=True) == "note"
    for here, there, both, writes in itertools.product(("", "a", "b"), ("", "a", "b"), ("", "a", "b"), (True, False)):
        assert "remove" not in one(here, there, both, writes=writes).split()


def test_a_person_without_a_template_of_this_encoder_stays_as_they_are() -> None:
    assert one("", "", "a", writes=True, missing=True) == ""
    assert one("", "", "", writes=False, missing=True) == ""
    assert one("a", "", "", writes=True, missing=True) == "publish", "the first template of this encoder"
    assert one("", "", "", writes=True, missing=True, removed=True) == "remove"
    assert one("a", "", "", writes=False, missing=True) == "alone"


def test_templates_that_the_fleet_has_no_longer_are_dropped() -> None:
    for writes in (True, False):
        assert one("a", "", "a", writes=writes, missing=True) == "drop"
        assert one("b", "", "a", writes=writes, missing=True, replaced=True) == "drop", "those of an earlier enrollment"
        assert one("a", "", "", writes=writes, missing=True, gone="a") == "drop"
    assert one("b", "", "a", writes=True, missing=True) == "publish"
    assert one("b", "", "a", writes=False, missing=True) == "drop undone"


def test_someone_who_was_removed_returns_by_a_new_enrollment_only() -> None:
    assert one("a", "", "", writes=True, gone="a") == one("a", "", "", writes=False, gone="a") == "drop"
    assert one("b", "", "", writes=True, gone="a") == "publish"
    assert one("b", "", "", writes=False, gone="a") == "alone"


def test_an_older_gallery_publishes_and_removes_nobody_whom_the_fleet_knew() -> None:
    digests = ("", "a", "b")
    for here, there, both, gone in itertools.product(digests, digests, digests, digests):
        for writes, removed, missing in itertools.product((True, False), repeat=3):
            if (there and missing) or (both and gone):
                continue
            about = {"writes": writes, "removed": removed, "missing": missing}
            found = one(here, there, both, gone=gone, old=True, **about).split()
            assert "remove" not in found
            assert "publish" not in found or not (there or both or gone)
            assert "alone" not in found or not (there or both or gone)
