"""When and where a person is allowed: AccessRules, and the pure function `denial`.

Dates, days and times of day are those of the device's local time, and `now` carries its zone. Nothing here reads a clock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any

from edge_oneshot.types.checks import require

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST = 100  # doors, and windows, of one person
_SLUG = re.compile(r"[a-z0-9_-]{1,64}")
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|(24):(00)")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
DAY_MIN = 24 * 60


class Denied(Enum):
    """Why a recognized person is not allowed."""

    EXPIRED = "expired"  # after `until`
    NOT_YET = "not_yet"  # before `from`
    DOOR = "door"  # this device is none of the person's doors
    TIME = "time"  # outside of the person's days and times
    CLOCK = "clock"  # the rules need the time, and the clock of the device is not synchronised
    RULES = "rules"  # the rules cannot be read

    @property
    def words(self) -> str:
        """For people, to follow "denied: "."""
        return _WORDS[self]


_WORDS = {
    Denied.EXPIRED: "the person's access has ended",
    Denied.NOT_YET: "the person's access has not begun",
    Denied.DOOR: "this is none of the person's doors",
    Denied.TIME: "not at this time",
    Denied.CLOCK: "the person's access depends on the time, and the clock is not synchronised",
    Denied.RULES: "the person's access rules cannot be read",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A person who was recognized, and is not allowed. identity_id, name: of the person."""

    identity_id: str
    name: str
    reason: Denied


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time of day on some days of the week. days: of DAYS, in their order, at least one.

    start, end: minutes after midnight, 0 to 1440; start itself belongs to the window, end does not. With end < start it ends on
    the next day; `days` are those on which it begins.
    """

    days: tuple[str, ...] = DAYS
    start: int = 0
    end: int = DAY_MIN

    def __post_init__(self) -> None:
        ordered = tuple(day for day in DAYS if day in self.days)
        require(bool(ordered) and ordered == self.days, "Window.days", f"days of {', '.join(DAYS)}", self.days)
        require(
            0 <= self.start < DAY_MIN and 0 < self.end <= DAY_MIN, "Window", "times of a day", (self.start, self.end)
        )
        require(self.start != self.end, "Window", "two different times", clock_text(self.start))

    def holds(self, now: datetime) -> bool:
        """Whether `now` is in the window, by its day and its time of day."""
        minute, today = now.hour * 60 + now.minute, now.weekday()
        if self.start < self.end:
            return DAYS[today] in self.days and self.start <= minute < self.end
        evening = DAYS[today] in self.days and minute >= self.start
        return evening or (DAYS[today - 1] in self.days and minute < self.end)

    def to_json(self) -> dict[str, Any]:
        return {"days": list(self.days), "from": clock_text(self.start), "to": clock_text(self.end)}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRules:
    """Where and when a person is allowed; without any value: everywhere and always.

    since, until: a date, which holds from its first to its last minute; or an aware datetime, when the person becomes or stops
    being allowed. doors: slugs of devices or groups of them; empty: all. times: one of these windows must hold; empty: at any
    time. unknown: rules that this release cannot read, as JSON; the person is allowed nowhere.
    """

    since: date | datetime | None = None
    until: date | datetime | None = None
    doors: tuple[str, ...] = ()
    times: tuple[Window, ...] = ()
    unknown: str = ""

    def __post_init__(self) -> None:
        for name, edge in (("from", self.since), ("until", self.until)):
            aware = not isinstance(edge, datetime) or edge.tzinfo is not None
            require(aware, f"access.{name}", "a date, or a time with its offset from UTC", edge)
        good = len(self.doors) <= MOST and all(map(_SLUG.fullmatch, self.doors))
        require(good, "access.doors", f"at most {MOST} of 1 to 64 characters a-z, 0-9, _ and -", self.doors)
        require(len(self.times) <= MOST, "access.times", f"at most {MOST} windows", len(self.times))

    def __bool__(self) -> bool:
        """Whether they limit anything."""
        return self != ALWAYS

    @property
    def needs_time(self) -> bool:
        """Whether they depend on the date or the time of day."""
        return bool(self.since or self.until or self.times)

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `rules_from_json` reads them."""
        if self.unknown:
            return dict(json.loads(self.unknown))
        rules: dict[str, Any] = {}
        if self.since is not None:
            rules["from"] = self.since.isoformat()
        if self.until is not None:
            rules["until"] = self.until.isoformat()
        if self.doors:
            rules["doors"] = list(self.doors)
        if self.times:
            rules["times"] = [window.to_json() for window in self.times]
        return rules


ALWAYS = AccessRules()
UNREADABLE = AccessRules(unknown='{"unreadable":true}')  # they are damaged


def denial(rules: AccessRules, here: Collection[str], now: datetime, *, known: bool) -> Denied | None:
    """Why a person with these rules is not allowed; None: the person is allowed.

    here: the names of this device: its door and groups. now: aware, in the local time of the device. known: whether `now` is
    the time of a clock that is synchronised; if not, a person whose rules need the time is not allowed.
    """
    if rules.unknown:
        return Denied.RULES
    if rules.doors and not set(rules.doors) & set(here):
        return Denied.DOOR
    if not rules.needs_time:
        return None
    if not known:
        return Denied.CLOCK
    if rules.since is not None and _before(now, rules.since):
        return Denied.NOT_YET
    if rules.until is not None and _after(now, rules.until):
        return Denied.EXPIRED
    if rules.times and not any(window.holds(now) for window in rules.times):
        return Denied.TIME
    return None


def _before(now: datetime, since: date | datetime) -> bool:
    return now < since if isinstance(since, datetime) else now.date() < since


def _after(now: datetime, until: date | datetime) -> bool:
    return now >= until if isinstance(until, datetime) else now.date() > until


# ---- as JSON


def rules_from_json(value: object) -> AccessRules:
    """What `AccessRules.to_json` gave. Raises ValueError for anything else: a rule that is not known must not be ignored."""
    known = _object("access", value, ("from", "until", "doors", "times", "unreadable"))
    if known.get("unreadable", False) is not False:
        return UNREADABLE
    doors, times = known.get("doors", []), known.get("times", [])
    require(
        isinstance(doors, list) and all(isinstance(d, str) for d in doors), "access.doors", "a list of names", doors
    )
    require(isinstance(times, list), "access.times", "a list of windows", times)
    assert isinstance(doors, list)
    assert isinstance(times, list)
    return AccessRules(
        since=edge_from_text("from", known.get("from")),
        until=edge_from_text("until", known.get("until")),
        doors=tuple(doors),
        times=tuple(_window(window) for window in times),
    )


def edge_from_text(name: str, value: object) -> date | datetime | None:
    """A date (2027-01-31), or a time with its offset from UTC (RFC 3339); None for None. Raises ValueError."""
    if value is None:
        return None
    expected = "a date such as 2027-01-31, or a time such as 2027-01-31T18:00:00+01:00"
    require(isinstance(value, str), f"access.{name}", expected, value)
    text = str(value)
    try:
        return date.fromisoformat(text) if _DATE.fullmatch(text) else datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"access.{name}: expected {expected}, got {text[:40]!r}") from None


def minutes_from_text(name: str, value: object) -> int:
    """Minutes after midnight of a time such as 08:30; 24:00 is the end of the day. Raises ValueError."""
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"access.times.{name}: expected a time from 00:00 to 24:00, got {value!r}"[:200])
    hours, minutes = (part for part in found.groups() if part is not None)
    return int(hours) * 60 + int(minutes)


def clock_text(minute: int) -> str:
    """510 -> "08:30"."""
    return f"{minute // 60:02}:{minute % 60:02}"


def _window(value: object) -> Window:
    known = _object("access.times", value, ("days", "from", "to"))
    days = known.get("days", list(DAYS))
    require(isinstance(days, list) and bool(days), "access.times.days", f"days of {', '.join(DAYS)}", days)
    assert isinstance(days, list)
    wrong = [day for day in days if day not in DAYS]
    require(not wrong, "access.times.days", f"days of {', '.join(DAYS)}", wrong)
    return Window(
        days=tuple(day for day in DAYS if day in days),
        start=minutes_from_text("from", known.get("from", "00:00")),
        end=minutes_from_text("to", known.get("to", "24:00")),
    )


def _object(what: str, value: object, known: Collection[str]) -> Mapping[str, object]:
    require(isinstance(value, dict), what, "an object", value)
    assert isinstance(value, dict)
    require(value.keys() <= set(known), what, f"only {', '.join(known)}", sorted(map(str, value.keys() - set(known))))
    return value
