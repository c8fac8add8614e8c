"""Labels of the people in a folder of images (DIR/Name/), from a CSV file: sex, age, group and camera.

Matched strangers are people whose labels agree. A column that the file does not have separates nobody.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from edge_oneshot.errors import EdgeOneshotError, did_you_mean

COLUMNS = ("name", "sex", "age", "group", "camera")
SEXES = ("female", "male")
ADULTS = "16 years and over"
BANDS = ((3, "0-3 years"), (8, "4-8 years"), (15, "9-15 years"), (120, ADULTS))  # last year of age, name
EVERY_GROUP = "all groups"  # no label may have this name


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What is known of one person. sex, group, camera: "" where it is unknown. age: years, or None."""

    sex: str = ""
    age: int | None = None
    group: str = ""
    camera: str = ""

    @property
    def band(self) -> str:
        """The age band; "" where the age is unknown."""
        age = self.age
        return "" if age is None else next(name for last, name in BANDS if age <= last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """columns: of the file, without `name`. people: name -> label."""

    columns: frozenset[str]
    people: Mapping[str, Label]

    def adults(self) -> dict[str, Label]:
        """The people of 16 years and over; everybody if the file has no column `age`."""
        return {name: p for name, p in self.people.items() if "age" not in self.columns or p.band == ADULTS}

    def matched(self, *by: str) -> dict[str, tuple[str, ...]]:
        """Person -> key: people with the same key are matched by the columns `by`. A person with an unknown one is left out."""
        found = {}
        for name, label in self.people.items():
            used = [column for column in by if column in self.columns]
            key = tuple(label.band if column == "age" else str(getattr(label, column)) for column in used)
            if all(key):
                found[name] = key
        return found

    def groups(self, column: str = "group") -> list[str]:
        """The values of a column among adults, sorted."""
        return sorted({getattr(p, column) for p in self.adults().values()} - {""})

    def matched_groups(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Group -> its adults, matched by sex: the groups of a cohort that can decide a threshold."""
        adults = self.adults()
        matched = {name: key for name, key in self.matched("sex", "age").items() if name in adults}
        return {
            group: {name: key for name, key in matched.items() if group in (EVERY_GROUP, adults[name].group)}
            for group in [EVERY_GROUP, *self.groups()]
        }


def read_labels(path: Path, people: Collection[str]) -> Labels:
    """Read a CSV file with the header `name` and any of sex, age, group, camera. people: the names of the folders.

    Every person has one line, and every line a person. An empty field means unknown. Raises EdgeOneshotError that names
    the file, the line, what was expected and what was given.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise EdgeOneshotError(f"cannot read the labels {path}: {e}", "give a CSV file in UTF-8") from None
    header = [column.strip() for column in rows[0]] if rows else []
    _check_header(path, header)
    found: dict[str, Label] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        where = f"{path} line {number}"
        if len(row) != len(header):
            _refuse(where, f"{len(header)} fields ({','.join(header)})", repr(",".join(row)), "correct the line")
        fields = {column: value.strip() for column, value in zip(header, row, strict=True)}
        name = fields["name"]
        if name in found:
            _refuse(where, "each person once", f"{name!r} again", "remove one of the two lines")
        if name not in people:
            hint = "remove the line, or add the folder of the person"
            _refuse(where, "the name of a folder of images", f"{name!r}{did_you_mean(name, people)}", hint)
        found[name] = _label(where, fields)
    if missing := sorted(set(people) - set(found)):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        _refuse(
            str(path), f"a line for each of {len(people)} people", f"none for {missing[0]!r}{more}", "add the lines"
        )
    return Labels(columns=frozenset(header) - {"name"}, people=found)


def _check_header(path: Path, header: list[str]) -> None:
    expected = "the header name,sex,age,group,camera (name, and at least one of the others)"
    unknown = [column for column in header if column not in COLUMNS]
    right = not unknown and "name" in header and len(header) > 1 and len(set(header)) == len(header)
    if not right:
        guess = did_you_mean(unknown[0], COLUMNS) if unknown else ""
        _refuse(f"{path} line 1", expected, f"{','.join(header)!r}{guess}", "correct the first line")


def _label(where: str, fields: dict[str, str]) -> Label:
    sex, age, group = fields.get("sex", ""), fields.get("age", ""), fields.get("group", "")
    if sex not in ("", *SEXES):
        _refuse(where, "sex female or male, or nothing", f"{sex!r}{did_you_mean(sex, SEXES)}", "correct the line")
    if age and not (len(age) <= 3 and age.isascii() and age.isdigit() and int(age) <= BANDS[-1][0]):
        _refuse(where, f"age in whole years, 0 to {BANDS[-1][0]}, or nothing", repr(age), "correct the line")
    if group == EVERY_GROUP:
        _refuse(where, "another group than the reserved one", repr(group), "give the group another name")
    return Label(sex=sex, age=int(age) if age else None, group=group, camera=fields.get("camera", ""))


def _refuse(where: str, expected: str, got: str, fix: str) -> NoReturn:
    raise EdgeOneshotError(f"{where}: expected {expected}, got {got}", fix)
