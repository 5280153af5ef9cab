"""Read the fields of a rule as callers naturally give them: values of Python, or what JSON has for them.

Each function returns the value itself or raises a RecurrenceError that names the field; nothing else is ever raised.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from dashboard.schedules.errors import RecurrenceError

_SECOND = timedelta(seconds=1)
_FIRST_YEAR, _LAST_YEAR = 1900, 9899


def expressions(value: object) -> tuple[str, ...]:
    """Cron expressions: any iterable of them, a single one, or None."""
    if isinstance(value, str):
        return (value,)
    found = _items("crons", value, "Give cron expressions as text.")
    return tuple(_text("crons", each, "Give cron expressions as text.") for each in found)


def lines(value: object) -> tuple[str, ...]:
    """Lines of holiday calendars: any iterable of them, or None."""
    words = "Give the lines of holiday calendars as texts, like DE-BY or 2026-12-24."
    return tuple(_text("days_off", each, words) for each in _items("days_off", value, words))


def zone_name(value: object) -> str:
    """The name of a time zone: the name itself, a ZoneInfo, or datetime.UTC."""
    name = value.key if isinstance(value, ZoneInfo) else str(value) if isinstance(value, tzinfo) else value
    return _text("timezone", name, "Choose a time zone, for example Europe/Berlin or UTC.")


def dates(name: str, value: object) -> tuple[date, ...]:
    """Dates: any iterable of dates or of texts like 2027-01-31, or None."""
    words = "Give dates without a time of day, like 2027-01-31."
    return tuple(_date(name, each, words) for each in _items(name, value, words))


def limit(name: str, value: object) -> datetime | date | None:
    """An aware datetime or a date, each also as ISO 8601 text; None if there is no limit."""
    if isinstance(value, str):
        value = _parsed(name, value, "Give a date like 2027-01-31, or a time with its offset from UTC.")
    if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
        return value
    return _aware(name, value)


def anchor(value: object) -> datetime | None:
    """An aware datetime, also as ISO 8601 text, or None."""
    if value is None:
        return None
    moment = _aware("anchor", datetime_of("anchor", value))
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise RecurrenceError("anchor", f"Give a year from {_FIRST_YEAR} to {_LAST_YEAR}.")
    return moment


def local_time(value: object) -> datetime | None:
    """A naive datetime, also as ISO 8601 text, or None."""
    if value is None:
        return None
    words = "Give the date and time at which it runs."
    local = datetime_of("once_local", value, words)
    if not isinstance(local, datetime):
        raise RecurrenceError("once_local", words)
    if local.tzinfo is not None:
        raise RecurrenceError("once_local", "Give the time as the local clock shows it, without an offset.")
    return local


def period(value: object) -> int:
    """Seconds: a timedelta or a number, whole in any case."""
    if value is None:
        raise RecurrenceError("every", "Give the time between two runs, for example 15 minutes.")
    if isinstance(value, timedelta):
        seconds, rest = divmod(value, _SECOND)
        value = seconds if not rest else None
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise RecurrenceError("every", "Give a period in whole seconds.")
    return value


def instant(value: object) -> datetime:
    """The aware datetime from which somebody looks ahead."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise RecurrenceError("instant", "The instant needs a time zone: give an aware datetime.")
    return value


def datetime_of(name: str, value: object, words: str = "Give a time with its offset from UTC.") -> object:
    """What an ISO 8601 text with a time of day says; any other value as it is."""
    if not isinstance(value, str):
        return value
    found = _parsed(name, value, words)
    if not isinstance(found, datetime):
        raise RecurrenceError(name, words)
    return found


def _aware(name: str, value: object) -> datetime:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise RecurrenceError(name, "Give a time with its offset from UTC.")
    return value


def _parsed(name: str, text: str, words: str) -> datetime | date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise RecurrenceError(name, words) from None


def _date(name: str, value: object, words: str) -> date:
    found = _parsed(name, value, words) if isinstance(value, str) else value
    if isinstance(found, datetime) or not isinstance(found, date):
        raise RecurrenceError(name, words)
    return found


def _items(name: str, value: object, words: str) -> Iterable[object]:
    if value is None:
        return ()
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise RecurrenceError(name, words)
    return value


def _text(name: str, value: object, words: str) -> str:
    if not isinstance(value, str):
        raise RecurrenceError(name, words)
    return value
