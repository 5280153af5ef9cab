"""Know the days off that holiday calendars name: a country's public holidays, worked out year by year, and own days.

A calendar is lines of text: a place (`DE`, or with a region of it `DE-BY`: ISO 3166), or own days in ISO 8601 with a
name if they have one (`2026-12-24 Company day`, `2026-12-24/2027-01-01 Shutdown`). Days are counted from 1970-01-01.
"""

from __future__ import annotations

import re
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, lru_cache
from importlib import import_module
from importlib.metadata import version
from typing import Any

from dashboard.schedules.errors import RecurrenceError

MOST_LINES = 400
LONGEST_SPAN = 366
LONGEST_NAME = 100
FIELD = "days_off"

_PLACE = re.compile(r"([A-Z]{2})(?:-(\S.*))?", re.ASCII)
_OWN = re.compile(r"(\d{4}-\d\d-\d\d)(?:/(\d{4}-\d\d-\d\d))?(?: (.+))?", re.ASCII)
_FIRST_DAY = date(1970, 1, 1).toordinal()
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True, order=True)
class OwnDays:
    """Days from `first` to `last`, both included, and what they are called."""

    first: date
    last: date
    name: str = ""

    def __str__(self) -> str:
        days = f"{self.first}" if self.first == self.last else f"{self.first}/{self.last}"
        return f"{days} {self.name}".rstrip()


@dataclass(frozen=True, slots=True)
class Place:
    """A country, or a region of one, and how people call it."""

    code: str
    name: str

    @property
    def pair(self) -> tuple[str, str]:
        """The same as a choice in a form."""
        return self.code, self.name


class DaysOff:
    """The days that some lines name, a set of day numbers that is worked out as far as it is asked."""

    __slots__ = ("_firsts", "_places", "_spans")

    def __init__(self, places: Sequence[str], own: Iterable[OwnDays]) -> None:
        self._places = tuple(places)
        self._spans = _apart(own)
        self._firsts = [first for first, _, _ in self._spans]

    def __contains__(self, day: int) -> bool:
        return self.name(day) is not None

    def __bool__(self) -> bool:
        return bool(self._places or self._spans)

    def on(self, day: date) -> str | None:
        """What the day is called, such as “Christmas Day”; empty if it has no name, None if it is no day off."""
        return self.name(day.toordinal() - _FIRST_DAY)

    def name(self, day: int) -> str | None:
        """The same by the number of the day."""
        place = bisect_right(self._firsts, day) - 1
        if place >= 0 and day <= self._spans[place][1]:
            return self._spans[place][2]
        if not self._places:
            return None
        year = date.fromordinal(day + _FIRST_DAY).year
        names = (_public(place, year).get(day) for place in self._places)
        return next((name for name in names if name is not None), None)

    def upcoming(self, start: date, days: int = 366) -> list[OwnDays]:
        """The days off from `start` on, one by one, in order."""
        first = start.toordinal() - _FIRST_DAY
        named = ((day, self.name(day)) for day in range(first, first + days))
        return [OwnDays(_date(day), _date(day), name) for day, name in named if name is not None]


@lru_cache(maxsize=1024)
def days_off(lines: tuple[str, ...]) -> DaysOff:
    """The days that these lines name. Raises RecurrenceError (field "days_off") for a line that names none."""
    places = [line for line in lines if _PLACE.fullmatch(line)]
    for place in places:
        check_place(place)
    return DaysOff(places, [own_days(line) for line in lines if line not in places])


def words(lines: Sequence[str]) -> str:
    """Say in short what the lines name, such as “public holidays of Germany (Bayern), 3 own entries”."""
    places = [line for line in lines if _PLACE.fullmatch(line)]
    own = len(lines) - len(places)
    parts = [f"public holidays of {' and '.join(map(name_of, places))}"] if places else []
    return ", ".join([*parts, *([f"{own} own {'entry' if own == 1 else 'entries'}"] if own else [])])


def own_days(line: str) -> OwnDays:
    """Read a line of own days. Raises RecurrenceError."""
    read = _OWN.fullmatch(line)
    try:
        first = date.fromisoformat(read[1] if read else "")
        last = date.fromisoformat(read[2]) if read and read[2] else first
    except ValueError:
        raise RecurrenceError(FIELD, f"“{line[:40]}” is no day: write it like 2026-12-24 Company day.") from None
    if not timedelta() <= last - first < timedelta(days=LONGEST_SPAN):
        raise RecurrenceError(FIELD, f"“{line[:40]}” ends before it begins, or is longer than a year.")
    return OwnDays(first, last, (read[3] or "").strip()[:LONGEST_NAME] if read else "")


def check_place(place: str) -> None:
    """Refuse a place whose holidays nobody knows. Raises RecurrenceError."""
    country, _, region = place.partition("-")
    if country not in _countries():
        raise RecurrenceError(FIELD, f"No public holidays are known of “{country}”. Choose a country of the list.")
    if region and region not in _entity(country).subdivisions:
        raise RecurrenceError(FIELD, f"{name_of(country)} has no region “{region}”. Choose one of its list, or none.")


@cache
def holidays_version() -> str:
    """Return the version of what is known of public holidays, like `0.109`; it does not load it."""
    return version("holidays")


def countries() -> list[Place]:
    """The countries whose public holidays are known, by name."""
    return sorted((Place(code, name) for code, name in _countries().items()), key=lambda place: place.name)


def regions(country: str) -> list[Place]:
    """The regions of a country that have holidays of their own, by name; none for an unknown country."""
    if country not in _countries():
        return []
    aliases = _entity(country).get_subdivision_aliases()
    named = (Place(code, aliases[code][0] if aliases.get(code) else code) for code in aliases)
    return sorted(named, key=lambda place: place.name)


def name_of(place: str) -> str:
    """How people call a place: “Germany (Bayern)”; its code if it is unknown."""
    country, _, region = place.partition("-")
    name = _countries().get(country, country)
    called = {each.code: each.name for each in regions(country)} if region else {}
    return f"{name} ({called.get(region, region)})" if region else name


def _apart(own: Iterable[OwnDays]) -> list[tuple[int, int, str]]:
    """Spans as day numbers, in order and free of overlaps: where two meet, the one that began first counts."""
    spans: list[tuple[int, int, str]] = []
    for each in sorted(own):
        first, last = (day.toordinal() - _FIRST_DAY for day in (each.first, each.last))
        if spans:
            first = max(first, spans[-1][1] + 1)
        if first <= last:
            spans.append((first, last, each.name))
    return spans


@lru_cache(maxsize=1024)
def _public(place: str, year: int) -> Mapping[int, str]:
    """The public holidays of a place in a year, with their names; in English where somebody translated them."""
    country, _, region = place.partition("-")
    entity = _entity(country)
    language = "en_US" if "en_US" in entity.supported_languages else None
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # years beyond what is known of some countries
        found = entity(subdiv=region or None, years=year, expand=False, language=language)
    return {day.toordinal() - _FIRST_DAY: name.replace("; ", ", ") for day, name in found.items() if day.year == year}


def _entity(country: str) -> Any:
    return getattr(_library(), country)


@lru_cache(maxsize=1)
def _countries() -> Mapping[str, str]:
    """Country codes and names, which the library spells as its classes: BosniaAndHerzegovina."""
    names = import_module("holidays.registry").COUNTRIES.values()
    return {code: _CAPITAL.sub(" ", name).replace(" And ", " and ").replace(" Of ", " of ") for name, code, *_ in names}


@lru_cache(maxsize=1)
def _library() -> Any:
    # 17 MB and a tenth of a second, which only those processes pay that meet a country's calendar.
    return import_module("holidays.countries")


def _date(day: int) -> date:
    return date.fromordinal(day + _FIRST_DAY)
