"""Access rules against another way to compute them: windows as stretches of the local wall clock."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_oneshot.types import AccessRules, Denied
from edge_oneshot.types.access import ALWAYS, DAYS, UNREADABLE, Window, denial, rules_from_json

ZONES = st.sampled_from([ZoneInfo(z) for z in ("UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati")])
UTC_NOW = st.datetimes(datetime(2026, 1, 1), datetime(2028, 12, 31), timezones=st.just(UTC))
NOW = st.builds(lambda at, zone: at.astimezone(zone), UTC_NOW, ZONES)
MINUTE = st.integers(0, 1439)
MADE = st.tuples(st.sets(st.sampled_from(DAYS), min_size=1), MINUTE, st.integers(1, 1440))
WINDOW = MADE.filter(lambda w: w[1] != w[2]).map(
    lambda w: Window(days=tuple(d for d in DAYS if d in w[0]), start=w[1], end=w[2])
)
EDGE = st.none() | st.dates(date(2026, 1, 1), date(2028, 12, 31)) | NOW
NAMES = st.lists(st.sampled_from(["gate", "desk", "north", "staff"]), max_size=3, unique=True).map(tuple)
RULES = st.builds(AccessRules, since=EDGE, until=EDGE, doors=NAMES, times=st.lists(WINDOW, max_size=3).map(tuple))


def stretches(window: Window, around: date) -> list[tuple[datetime, datetime]]:
    """The stretches of wall time that begin on the days around a date."""
    found = []
    for day in (around - timedelta(days=1), around, around + timedelta(days=1)):
        if DAYS[day.weekday()] in window.days:
            midnight = datetime.combine(day, datetime.min.time())
            end = window.end if window.end > window.start else window.end + 1440
            found.append((midnight + timedelta(minutes=window.start), midnight + timedelta(minutes=end)))
    return found


def expected(rules: AccessRules, here: tuple[str, ...], now: datetime) -> bool:
    wall = now.replace(tzinfo=None)
    if rules.doors and not [door for door in rules.doors if door in here]:
        return False
    begins, ends = rules.since, rules.until
    if isinstance(begins, datetime):
        begun = begins.timestamp() <= now.timestamp()
    else:
        begun = begins is None or datetime.combine(begins, datetime.min.time()) <= wall
    if isinstance(ends, datetime):
        ended = ends.timestamp() <= now.timestamp()
    else:
        ended = ends is not None and datetime.combine(ends, datetime.min.time()) + timedelta(days=1) <= wall
    inside = [a <= wall < b for window in rules.times for a, b in stretches(window, wall.date())]
    return begun and not ended and (not rules.times or any(inside))


@given(RULES, NAMES, NOW)
def test_the_rules_say_what_the_wall_clock_says(rules: AccessRules, here: tuple[str, ...], now: datetime) -> None:
    assert (denial(rules, here, now, known=True) is None) == expected(rules, here, now)


@given(RULES, RULES, NAMES, NOW)
def test_a_further_limit_never_widens_access(
    a: AccessRules, b: AccessRules, here: tuple[str, ...], now: datetime
) -> None:
    """Each part of b that a lacks, added to a."""
    narrower = replace(
        a, since=a.since or b.since, until=a.until or b.until, doors=a.doors or b.doors, times=a.times or b.times
    )
    if denial(a, here, now, known=True) is not None:
        assert denial(narrower, here, now, known=True) is not None


@given(RULES, NAMES, NOW)
def test_without_a_known_clock_nothing_that_needs_one_is_allowed(
    rules: AccessRules, here: tuple[str, ...], now: datetime
) -> None:
    found = denial(rules, here, now, known=False)
    assert found is (denial(rules, here, now, known=True) if not rules.needs_time else found)
    assert not rules.needs_time or found in (Denied.CLOCK, Denied.DOOR)
    assert denial(ALWAYS, here, now, known=False) is None and denial(UNREADABLE, here, now, known=True) is Denied.RULES


@given(RULES)
def test_rules_are_the_same_after_json(rules: AccessRules) -> None:
    assert rules_from_json(json.loads(json.dumps(rules.to_json()))) == rules and bool(rules) == bool(rules.to_json())


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["mon", "08:00", "2027-01-31", "gate", "", "Ä", "24:00"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["from", "until", "doors", "times", "days", "to", "x"]), inner, max_size=4)
    ),
)


@given(JUNK)
def test_anything_else_is_refused_and_never_read_as_no_rules(value: object) -> None:
    try:
        rules = rules_from_json(value)
    except ValueError as e:
        assert "access" in str(e)
    else:
        assert isinstance(value, dict)
        given = {key for key, part in value.items() if part not in (None, [])}
        assert given == set(rules.to_json())


BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = AccessRules(times=(Window(days=("fri",), start=22 * 60, end=6 * 60),))
GAP = AccessRules(times=(Window(start=135, end=165),))  # 02:15 to 02:45


@pytest.mark.parametrize(
    ("rules", "at", "zone", "allowed"),
    [
        (NIGHT, "2027-01-29T21:59", BERLIN, False),  # a Friday
        (NIGHT, "2027-01-29T22:00", BERLIN, True),
        (NIGHT, "2027-01-30T05:59", BERLIN, True),
        (NIGHT, "2027-01-30T06:00", BERLIN, False),
        (NIGHT, "2027-01-29T05:00", BERLIN, False),  # the night from Thursday
        (AccessRules(until=date(2027, 3, 28)), "2027-03-28T23:59", BERLIN, True),  # a day of 23 hours
        (AccessRules(until=date(2027, 3, 28)), "2027-03-29T00:00", BERLIN, False),
        (AccessRules(since=date(2027, 3, 28)), "2027-03-27T23:59", BERLIN, False),
        (AccessRules(until=datetime(2027, 1, 31, 12, tzinfo=UTC)), "2027-01-31T12:59", BERLIN, True),
        (AccessRules(until=datetime(2027, 1, 31, 12, tzinfo=UTC)), "2027-01-31T13:00", BERLIN, False),
    ],
)
def test_days_nights_and_instants(rules: AccessRules, at: str, zone: ZoneInfo, allowed: bool) -> None:
    now = datetime.fromisoformat(at).replace(tzinfo=zone)
    assert (denial(rules, (), now, known=True) is None) == allowed


def test_a_time_that_the_clock_skips_or_repeats_counts_as_the_wall_clock_shows_it() -> None:
    def minutes(day: date) -> int:
        start = datetime.combine(day, datetime.min.time(), BERLIN).astimezone(UTC)
        moments = [(start + timedelta(minutes=m)).astimezone(BERLIN) for m in range(25 * 60)]
        return sum(denial(GAP, (), m, known=True) is None for m in moments if m.date() == day)

    assert [minutes(date(2027, *day)) for day in ((3, 27), (3, 28), (10, 31))] == [30, 0, 60]
