"""The cron grammar: one expression becomes times of day and matching dates, or a sentence that says how to mend it.

Grammar and day rule are Debian's cron(8), as cronsim implements them: five fields, names, @macros, `L`, `LW`, `nL`,
`n#k`; plus Jenkins' `H`, a value picked by a stable hash of the schedule.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from calendar import isleap
from dataclasses import dataclass
from datetime import MAXYEAR, date
from functools import lru_cache

from cronsim import CronSim, CronSimError
from cronsim.cronsim import Field

from dashboard.schedules.civil import DAY, EPOCH, MINUTE
from dashboard.schedules.errors import RecurrenceError
from dashboard.schedules.spread import spread

LONGEST_EXPRESSION = 120
# The rarest expressions (a fifth Monday in February) pause for 40 years around 2100; beyond 50 there is nothing.
HORIZON_YEARS = 50

MACROS = {
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@HOURLY": "0 * * * *",
}

_FIRST_DAY = date(1970, 1, 1).toordinal()
_MONTH_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MONTHS = ("-", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SPREAD = re.compile(r"H(?:\((\d{1,2})-(\d{1,2})\))?(?:/(\d{1,2}))?", re.ASCII)
_ONE_VALUE_RANGE = re.compile(r"(\w+)-\1/0*[1-9]\d*", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Place:
    """One of the five places of an expression: how it is called, its values, and how many of them `H` picks from."""

    title: str
    low: int
    high: int
    spread_high: int
    names: tuple[str, ...] = ()


_PLACES = (
    _Place("minute", 0, 59, 59),
    _Place("hour", 0, 23, 23),
    _Place("day of the month", 1, 31, 28),
    _Place("month", 1, 12, 12, _MONTHS),
    _Place("day of the week", 0, 7, 6, _WEEKDAYS),
)


class Crontab:
    """One parsed expression. Days are counted from 1970-01-01, times of day in seconds. Made by `parse`."""

    __slots__ = ("_masks", "_months", "_sim", "fields", "follows_clock", "times")

    def __init__(self, fields: tuple[str, ...], sim: CronSim) -> None:
        self.fields = fields
        self.times = tuple(sorted(h * 3600 + m * MINUTE for h in sim.hours for m in sim.minutes))
        # Debian's rule: with `*` leading the minute or the hour, the job runs by the clock through a clock change.
        self.follows_clock = fields[0].startswith("*") or fields[1].startswith("*")
        self._sim = sim
        self._months = sim.months
        self._masks: dict[int, int] = {}

    def next_wall(self, wall: int) -> int | None:
        """The first matching wall time after `wall`; None if there is none within the horizon."""
        day, second = divmod(wall, DAY)
        place = bisect_right(self.times, second)
        if place == len(self.times):
            day, place = day + 1, 0
        found = self.next_day(day)
        if found is None:
            return None
        return found * DAY + self.times[place if found == day else 0]

    def next_day(self, day: int) -> int | None:
        """The first matching day that is not before `day`; None if there is none within the horizon."""
        start = date.fromordinal(day + _FIRST_DAY)
        year, month = start.year, start.month
        if month in self._months:
            mask = self._mask(year, month) >> start.day
            if mask:
                return day + (mask & -mask).bit_length() - 1
        for _ in range(12 * HORIZON_YEARS):
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)
            if year > MAXYEAR:
                return None
            if month in self._months:
                mask = self._mask(year, month)
                if mask:
                    return date(year, month, (mask & -mask).bit_length() - 1).toordinal() - _FIRST_DAY
        return None

    def _mask(self, year: int, month: int) -> int:
        """The matching days of a month as bits: bit n is day n. Only 28 shapes of a month exist, so they are kept."""
        length = 29 if month == 2 and isleap(year) else _MONTH_LENGTHS[month - 1]
        shape = date(year, month, 1).weekday() * 32 + length
        mask = self._masks.get(shape)
        if mask is None:
            matches = self._sim.match_day
            days = range(1, length + 1)
            mask = self._masks[shape] = sum(1 << day for day in days if matches(date(year, month, day)))
        return mask


def parse(expression: str, spread_key: str = "") -> Crontab:
    """The parsed expression. Raises RecurrenceError (field "crons") for one that is wrong or can never fire."""
    # Only `H` depends on the schedule; all others share one parsed expression.
    return _parse(expression, spread_key if "H" in expression.upper() else "")


@lru_cache(maxsize=8192)
def _parse(expression: str, spread_key: str) -> Crontab:
    fields = _fields(expression)
    expanded = tuple(_expand(fields, place, spread_key) for place in range(5))
    try:
        sim = CronSim(" ".join(expanded), EPOCH)
    except CronSimError as error:
        raise _diagnosis(expanded) from error
    crontab = Crontab(expanded, sim)
    if crontab.next_day(date(2000, 1, 1).toordinal() - _FIRST_DAY) is None:
        raise _never()
    return crontab


def _fields(expression: str) -> list[str]:
    """The five fields in upper case."""
    if len(expression) > LONGEST_EXPRESSION:
        raise _error(f"A cron expression has at most {LONGEST_EXPRESSION} characters; use up to five expressions.")
    text = expression.strip().upper()
    if text.startswith("@"):
        text = _macro(text)
    fields = text.split()
    if len(fields) != 5:
        raise _wrong_number(fields)
    return fields


def _macro(text: str) -> str:
    if text in MACROS:
        return MACROS[text]
    if text.startswith("@EVERY"):
        raise _error("Cron has no “@every”. Choose an interval instead.")
    if text == "@REBOOT":
        raise _error("“@reboot” has no meaning here: nothing starts when a machine does. Choose times.")
    known = ", ".join(name.lower() for name in MACROS)
    raise _error(f"There is no “{text.lower()}”. The short forms are {known}.")


def _wrong_number(fields: list[str]) -> RecurrenceError:
    count = len(fields)
    if not fields:
        return _error("Write five fields: minute, hour, day of the month, month, day of the week.")
    if "=" in fields[0]:
        return _error(
            f"`{fields[0]}` is no part of an expression. Choose the time zone beside it.", " ".join(fields[1:])
        )
    if count == 6:
        fix = " ".join(fields[1:]).replace("?", "*")
        return _error(f"There are 6 fields, but seconds are not part of cron here. Write `{fix}`.", fix)
    return _error(
        f"There {'is' if count == 1 else 'are'} {count} of the five fields: minute, hour, day of the month, "
        "month, day of the week."
    )


def _expand(fields: list[str], place: int, spread_key: str) -> str:
    """A field with everything that cronsim does not know (H, FRIL) written in terms that it does."""
    terms = fields[place].split(",")
    for i, term in enumerate(terms):
        problem = _too_wide_a_step(term, _PLACES[place])
        if problem:
            raise _error(problem)
        if term.startswith("H"):
            terms[i] = _spread_term(term, place, spread_key)
        elif place == 4 and len(term) == 4 and term.endswith("L") and term[:3] in _PLACES[4].names:
            terms[i] = f"{_PLACES[4].names.index(term[:3])}L"
        elif _ONE_VALUE_RANGE.fullmatch(term):
            # cronsim reads 5-5/10 as 5/10; in Debian's cron it is 5.
            terms[i] = term.split("-")[0]
    return ",".join(terms)


def _too_wide_a_step(term: str, place: _Place) -> str | None:
    """`*/90` would fire at minute 0 only, which nobody means."""
    _, slash, step = term.partition("/")
    if not (slash and step.isascii() and step.isdigit()) or int(step) <= place.high - place.low + 1:
        return None
    return (
        f"The step of `{term}` does not fit into the {place.title}, which runs from {place.low} to {place.high} and "
        "starts again. To repeat after a longer time choose an interval."
    )


def _spread_term(term: str, place: int, spread_key: str) -> str:
    rule = _PLACES[place]
    match = _SPREAD.fullmatch(term)
    if match is None:
        raise _error(f"`{term}` in the {rule.title} is not understood. Write `H`, `H/15`, `H(0-29)` or `H(0-29)/10`.")
    low, high = (int(match[1]), int(match[2])) if match[1] else (rule.low, rule.spread_high)
    if not rule.low <= low <= high <= rule.high:
        raise _error(f"The range of `{term}` must lie within {rule.low} to {rule.high}, smaller number first.")
    size = high - low + 1
    step = int(match[3]) if match[3] else size
    if not 1 <= step <= size:
        raise _error(f"The step of `{term}` must be a number from 1 to {size}.")
    first = low + spread(f"{spread_key}:{place}", step)
    return f"{first}-{high}/{step}" if match[3] and first < high else str(first)


def _diagnosis(fields: tuple[str, ...]) -> RecurrenceError:
    """Why cronsim refused: the first term that is wrong by itself, or dates that no month has."""
    for place, text in enumerate(fields):
        for term in text.split(","):
            if not _is_understood(term, place):
                message, better = _problem(term, _PLACES[place])
                return _error(message, _with(fields, place, term, better) if better else None)
    return _never()


def _is_understood(term: str, place: int) -> bool:
    try:
        Field(place + 1).parse(term)
    except CronSimError:
        return False
    return True


def _problem(term: str, place: _Place) -> tuple[str, str | None]:
    """What is wrong with one term, and a better term where one is known."""
    if not term:
        return f"The {place.title} has an empty entry. Remove the comma too many.", None
    if term == "?":
        return f"The {place.title} has a `?`. Write `*`.", "*"
    base, slash, step = term.partition("/")
    if slash and not (step.isascii() and step.isdigit() and int(step)):
        return f"The step after the slash in `{term}` must be a number from 1 up.", None
    if "#" in base:
        return _nth_problem(term, place), None
    if "-" in base:
        return _range_problem(base, slash + step, place)
    return _value_problem(base, slash + step, place)


def _nth_problem(term: str, place: _Place) -> str:
    if place is _PLACES[4]:
        return f"`{term}` is not understood. Write `FRI#2` for the second Friday; a month has at most five."
    return f"`{term}` belongs in the last field, the day of the week, not in the {place.title}."


def _range_problem(base: str, step: str, place: _Place) -> tuple[str, str | None]:
    ends = base.split("-")
    numbers = [_number(end, place) for end in ends]
    if len(ends) != 2 or not all(ends):
        return f"`{base}` is not understood. Write a range as first-last.", None
    for end, number in zip(ends, numbers, strict=True):
        if number is None:
            return _value_problem(end, "", place)[0], None
    first, last = (number for number in numbers if number is not None)
    values = _around(first, last, place)[:: int(step[1:] or 1)]
    better = _spelled(values, () if base[0].isdigit() else place.names)
    return f"The range `{base}{step}` in the {place.title} runs backwards. Write `{better}`.", better


def _around(first: int, last: int, place: _Place) -> list[int]:
    """The values of a range that runs across the end of the field."""
    top = 6 if place is _PLACES[4] else place.high
    return [*range(first, top + 1), *range(place.low, last + 1)]


def _spelled(values: list[int], names: tuple[str, ...]) -> str:
    """Values in the order given, spelled so that cron accepts them: 22,23,0-2."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ",".join(_run(run, names) for run in runs)


def _run(values: list[int], names: tuple[str, ...]) -> str:
    words = [names[value] if names else str(value) for value in values]
    return f"{words[0]}-{words[-1]}" if len(words) > 2 else ",".join(words)


def _value_problem(value: str, step: str, place: _Place) -> tuple[str, str | None]:
    bounds = f"from {place.low} to {place.high}"
    if value.isascii() and value.isdigit():
        if place.high > 12 and place.low == 0 and int(value) == place.high + 1:
            return f"`{value}` is too high for the {place.title}: it runs {bounds}. Write `0`.", f"0{step}"
        return f"`{value}` is no {place.title}: it runs {bounds}.", None
    for name in place.names:
        if len(value) > 3 and value.startswith(name) and name != "-":
            return f"`{value}` is not understood. Write `{name}`.", f"{name}{step}"
    if "L" in value or "W" in value:
        where = "`L` and `LW` (last day, last weekday) are days of the month, `5L` (last Friday) is a day of the week."
        return f"`{value}` is not understood in the {place.title}. {where}", None
    names = f" or a name from {place.names[place.low]} to {place.names[-1]}" if place.names else ""
    return f"`{value}` is not understood in the {place.title}. Write a number {bounds}{names}.", None


def _number(text: str, place: _Place) -> int | None:
    if text != "-" and text in place.names:
        return place.names.index(text)
    if text.isascii() and text.isdigit() and place.low <= int(text) <= place.high:
        return int(text)
    return None


def _with(fields: tuple[str, ...], place: int, term: str, better: str) -> str:
    terms = [better if known == term else known for known in fields[place].split(",")]
    return " ".join((*fields[:place], ",".join(terms), *fields[place + 1 :]))


def _never() -> RecurrenceError:
    return _error("This never runs: no date fits the day of the month, the month and the day of the week together.")


def _error(message: str, fix: str | None = None) -> RecurrenceError:
    return RecurrenceError("crons", message, fix)
