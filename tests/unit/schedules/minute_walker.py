"""A slow and obvious oracle for cron: walks every minute and looks at the local clock, with no code of the engine."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

ONE_MINUTE = timedelta(minutes=1)
MARGIN = timedelta(hours=26)
NAMES = {
    **dict(zip(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), range(7), strict=True)),
    **{name.upper(): number for number, name in enumerate(calendar.month_abbr) if name},
}


class Minute(NamedTuple):
    """One real minute and what the local clock shows in it."""

    at: datetime
    wall: datetime


def walk(
    expression: str,
    zone: str,
    a: datetime,
    b: datetime,
    gap: str = "after",
    overlap: str = "first",
    skipped: frozenset[date] = frozenset(),
    added: frozenset[date] = frozenset(),
) -> list[datetime]:
    """The fires of one expression in (a, b], where a and b are whole minutes."""
    minutes = real_minutes(zone, a - MARGIN, b + MARGIN)
    fires: set[datetime] = set()
    star = any(field.startswith("*") for field in expression.split()[:2])
    seen: dict[datetime, list[datetime]] = {}
    previous: Minute | None = None
    for minute in minutes:
        if previous is not None and not star:
            fires |= jumped(expression, previous, minute, gap, skipped, added)
        if matches(expression, minute.wall, skipped, added):
            seen.setdefault(minute.wall, []).append(minute.at)
        previous = minute
    for passes in seen.values():
        if star or overlap == "both":
            fires |= set(passes)
        else:
            fires.add(passes[0] if overlap == "first" else passes[-1])
    return sorted(fire for fire in fires if a < fire <= b)


@lru_cache(maxsize=16)
def real_minutes(zone: str, start: datetime, end: datetime) -> list[Minute]:
    """Every minute in [start, end] with its wall time."""
    tz = ZoneInfo(zone)
    count = int((end - start) / ONE_MINUTE) + 1
    instants = (start + i * ONE_MINUTE for i in range(count))
    return [Minute(at, at.astimezone(tz).replace(tzinfo=None, fold=0)) for at in instants]


def jumped(
    expression: str, before: Minute, after: Minute, gap: str, skipped: frozenset[date], added: frozenset[date]
) -> set[datetime]:
    """The fires that stand in for the wall times between two neighbouring minutes."""
    missing = int((after.wall - before.wall) / ONE_MINUTE) - 1
    if gap == "skip" or not 0 < missing < 24 * 60:
        return set()
    found = set()
    for i in range(missing):
        if matches(expression, before.wall + (i + 1) * ONE_MINUTE, skipped, added):
            found.add(after.at if gap == "after" else after.at + i * ONE_MINUTE)
    return found


def matches(expression: str, wall: datetime, skipped: frozenset[date], added: frozenset[date]) -> bool:
    """Whether an expression names this minute of the local clock."""
    minute, hour, day, month, weekday = expression.upper().split()
    if not (wall.minute in values(minute, 0, 59) and wall.hour in values(hour, 0, 23)):
        return False
    if wall.date() in added:
        return True
    if wall.date() in skipped or wall.month not in values(month, 1, 12):
        return False
    both = day.startswith("*") or weekday.startswith("*")
    by_day, by_weekday = matches_day(day, wall.date()), matches_weekday(weekday, wall.date())
    return by_day and by_weekday if both else by_day or by_weekday


def matches_day(field: str, day: date) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    for term in field.split(","):
        if term == "L":
            hit = day.day == last
        elif term == "LW":
            workdays = [n for n in range(1, last + 1) if date(day.year, day.month, n).isoweekday() < 6]
            hit = day.day == workdays[-1]
        else:
            hit = day.day in values(term, 1, 31)
        if hit:
            return True
    return False


def matches_weekday(field: str, day: date) -> bool:
    number = day.isoweekday() % 7
    for term in field.split(","):
        if term.endswith("L"):
            hit = int(term[:-1]) % 7 == number and (day + timedelta(days=7)).month != day.month
        elif "#" in term:
            name, nth = term.split("#")
            hit = number_of(name) % 7 == number and (day.day - 1) // 7 + 1 == int(nth)
        else:
            hit = number in {value % 7 for value in values(term, 0, 7)}
        if hit:
            return True
    return False


@cache
def values(field: str, low: int, high: int) -> frozenset[int]:
    """The numbers that a field names."""
    found: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first, last = (number_of(end) for end in span.split("-"))
        else:
            first = last = number_of(span)
        found |= set(range(first, last + 1, int(step or 1)))
    return frozenset(found)


def number_of(text: str) -> int:
    return NAMES[text] if text in NAMES else int(text)


def local_dates(zone: str, a: datetime, b: datetime) -> list[date]:
    """The dates that the local clock shows in (a, b], hour by hour, in order."""
    tz = ZoneInfo(zone)
    hours = int((b - a) / timedelta(hours=1))
    shown = {(a + timedelta(hours=i + 1)).astimezone(tz).date() for i in range(hours)}
    return sorted(shown)


def clock_changes_near(zone: str, year: int) -> list[datetime]:
    """The UTC days of a year on which the zone's offset changes."""
    tz = ZoneInfo(zone)
    start = datetime(year, 1, 1, tzinfo=UTC)
    days = [start + timedelta(days=i) for i in range(366)]
    return [
        day for day in days if day.astimezone(tz).utcoffset() != (day + timedelta(days=1)).astimezone(tz).utcoffset()
    ]
