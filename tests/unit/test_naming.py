"""Names -> ids: what becomes of other scripts, and what is refused."""

from __future__ import annotations

import pytest

from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery.naming import check_id, clean_name, propose_id


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Alice", "alice"),
        ("Zoë", "zoe"),
        ("Zoe\u0308", "zoe"),
        ("Weiß", "weiss"),
        ("ẞ", "ss"),
        ("Łukasz Đorđević", "lukasz-dordevic"),
        ("Søren Æbelø", "soren-aebelo"),
        ("İpek Ilgaz", "ipek-ilgaz"),
        ("  Ann  Lee  ", "ann-lee"),
        ("O'Brien, J.", "o-brien-j"),
        ("ﬁona", "fiona"),
        ("Ａｌｉｃｅ", "alice"),
        ("R2-D2", "r2-d2"),
        ("a_b", "a-b"),
        ("x" * 100, "x" * 64),
        ("é" * 70, "e" * 64),
    ],
)
def test_proposals(name: str, slug: str) -> None:
    assert propose_id(clean_name(name)) == slug


@pytest.mark.parametrize("name", ["李", "Мария", "🙂", "---", "'"])
def test_a_name_without_a_letter_of_ours_needs_an_id(name: str) -> None:
    with pytest.raises(GalleryError, match="no id can be made from it") as caught:
        propose_id(clean_name(name))
    assert "--id" in caught.value.hint


def test_such_a_name_is_a_good_name() -> None:
    assert clean_name("李小龍") == "李小龍"


@pytest.mark.parametrize(
    "name", ["", "   ", "x" * 101, "a\nb", "a\x00b", "a\u202eb", "a\u200bb", "a\u2028b", "\ud800", "a\tb", "\ue000"]
)
def test_empty_long_or_invisible_names_are_refused(name: str) -> None:
    with pytest.raises(GalleryError, match="expected 1 to 100 printable characters"):
        clean_name(name)


def test_two_spellings_of_one_name_are_one() -> None:
    assert clean_name("Zoe\u0308") == clean_name("Zoë") == "Zoë"
    assert clean_name("  Ann ") == "Ann"


@pytest.mark.parametrize("identity_id", ["a", "a-b_c-9", "x" * 64])
def test_good_ids(identity_id: str) -> None:
    assert check_id(identity_id) == identity_id


@pytest.mark.parametrize("identity_id", ["", "A", "a b", "zoë", "a/b", "+", "#", "x" * 65, "a\n"])
def test_bad_ids_are_refused_and_not_mangled(identity_id: str) -> None:
    with pytest.raises(GalleryError, match="expected 1 to 64 of a-z, 0-9, _ and -"):
        check_id(identity_id)
