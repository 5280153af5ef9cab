"""Read lists of days as people write and paste them: a day or a range a line, with a name if it has one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime

from dashboard.core.errors import InvalidInput
from dashboard.schedules.errors import RecurrenceError
from dashboard.schedules.holidays import MOST_LINES, OwnDays, own_days

FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%d.%m.%Y", "%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y")
EITHER_WAY = ("%d/%m/%Y", "%m/%d/%Y")
"""Day first in most of the world and month first in the United States: read only where it makes no difference."""

_DATE = (
    r"\d{4}-\d{1,2}-\d{1,2}|\d{4}/\d{1,2}/\d{1,2}|\d{8}|\d{1,2}\.\d{1,2}\.\d{4}|\d{1,2}/\d{1,2}/\d{4}"
    r"|\d{1,2} [A-Za-z]{3,9} \d{4}|[A-Za-z]{3,9} \d{1,2},? \d{4}"
)
_BETWEEN = r"\s*(?:/|-|–|—|\.\.+|…|\bto\b|\buntil\b)\s*"
_LINE = re.compile(rf"({_DATE})(?:{_BETWEEN}({_DATE}))?(?![\d/.-])[\s,;:|]*(.*)", re.IGNORECASE)


def read_days(text: str, field: str = "days") -> list[OwnDays]:
    """Return the days of a list, in order. Raises InvalidInput that names the line to mend."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(lines) > MOST_LINES:
        raise InvalidInput({field: f"Give at most {MOST_LINES} lines. A range like 2026-12-24 to 2027-01-01 is one."})
    try:
        return sorted({_read(number, line) for number, line in lines})
    except RecurrenceError as error:
        raise InvalidInput({field: str(error)}) from error


def as_text(days: Sequence[str]) -> str:
    """Return stored lines as they are written again in the form: 2026-12-24 to 2027-01-01 Shutdown."""
    return "\n".join(re.sub(r"^(\S+)/(\S+)", r"\1 to \2", line) for line in days)


def _read(number: int, line: str) -> OwnDays:
    found = _LINE.fullmatch(line)
    if not found:
        raise RecurrenceError(
            "days", f"Line {number}, “{line[:40]}”: write a day like 2026-12-24, or 2026-12-24 to 2027-01-01 Shutdown."
        )
    first = _day(number, found[1])
    last = _day(number, found[2]) if found[2] else first
    try:
        return own_days(str(OwnDays(first, last, found[3].strip(" ,;:|\t"))))
    except RecurrenceError as error:
        raise RecurrenceError("days", f"Line {number}: {error}") from error


def _day(number: int, text: str) -> date:
    plain = text.replace(",", "")
    exact = _readings(plain, FORMATS)
    either = exact or _readings(plain, EITHER_WAY)
    if len(either) == 1:
        return either.pop()
    if either:
        raise RecurrenceError("days", f"Line {number}: “{text}” may be two days. Write it like {max(either)}.")
    raise RecurrenceError("days", f"Line {number}: the day “{text}” does not exist.")


def _readings(text: str, formats: Sequence[str]) -> set[date]:
    days = set()
    for each in formats:
        try:
            days.add(datetime.strptime(text, each).date())  # noqa: DTZ007
        except ValueError:
            continue
    return days
