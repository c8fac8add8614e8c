"""The labels of people: what a CSV file may say, and how a fault in it is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.labels import BANDS, Label, read_labels


def labels_file(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_are_read_in_any_order_of_columns_and_an_empty_field_is_unknown(tmp_path: Path) -> None:
    found = read_labels(labels_file(tmp_path, "\ufeffage,name,group\n16,a,x\n,b,\n15,c,x\n\n"), {"a", "b", "c"})
    assert found.columns == {"age", "group"}
    assert found.people == {"a": Label(age=16, group="x"), "b": Label(), "c": Label(age=15, group="x")}
    assert set(found.adults()) == {"a"} and found.groups() == ["x"]
    assert found.matched("sex", "age") == {"a": ("16 years and over",), "c": ("9-15 years",)}, (
        "no column sex: it separates nobody"
    )


def test_the_age_bands() -> None:
    ages = dict(zip((0, 3, 4, 8, 9, 15, 16, 120), [b for _, b in BANDS for _ in "ab"], strict=True))
    assert {age: Label(age=age).band for age in ages} == ages


HEADER = "name,sex,age\n"
FAULTS = [
    ("", 1, "the header name,sex,age,group,camera", "correct the first line"),
    ("a,female\n", 1, "the header name,sex,age,group,camera", "got 'a,female'"),
    ("name,sexx\na,male\n", 1, "the header", "did you mean sex?"),
    ("name\na\n", 1, "at least one of the others", "got 'name'"),
    ("sex,age\nmale,3\n", 1, "name, and at least one", "got 'sex,age'"),
    ("name,sex,sex\na,male,male\n", 1, "the header", "got 'name,sex,sex'"),
    (HEADER + "a,male\n", 2, "3 fields (name,sex,age)", "got 'a,male'"),
    (HEADER + "a,male,30\na,male,30\n", 3, "each person once", "got 'a' again"),
    (HEADER + "a,man,30\n", 2, "sex female or male", "got 'man'"),
    (HEADER + "a,male,3O\n", 2, "age in whole years, 0 to 120", "got '3O'"),
    (HEADER + "a,male,-1\n", 2, "age in whole years", "got '-1'"),
    (HEADER + "a,male,121\n", 2, "age in whole years", "got '121'"),
    (HEADER + f"a,male,{'9' * 5000}\n", 2, "age in whole years", "got '999"),
    (HEADER + "a,male,٣\n", 2, "age in whole years", "got '٣'"),
    (HEADER + "a,male,30\naa,male,30\n", 3, "the name of a folder of images", "got 'aa'"),
    (HEADER + "a,male,30\n", None, "a line for each of 2 people", "none for 'b'"),
    ("name,group\na,all groups\n", 2, "another group than the reserved one", "got 'all groups'"),
]


@pytest.mark.parametrize(("text", "line", "expected", "got"), FAULTS, ids=[str(i) for i in range(len(FAULTS))])
def test_a_fault_in_the_labels_is_named(tmp_path: Path, text: str, line: int | None, expected: str, got: str) -> None:
    path = labels_file(tmp_path, text)
    with pytest.raises(EdgeOneshotError) as caught:
        read_labels(path, {"a", "b"})
    whole = f"{caught.value.message}. Fix: {caught.value.hint}"
    assert whole.startswith(f"{path} line {line}: expected " if line else f"{path}: expected ")
    assert expected in whole and got in whole and caught.value.hint


def test_labels_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(b"name,sex\n\xff\xfe,male\n")
    with pytest.raises(EdgeOneshotError, match=r"cannot read the labels .*labels\.csv"):
        read_labels(path, {"a"})
