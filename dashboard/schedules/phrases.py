"""Plain words for a rule, and a rule from plain words, for the forms that people use."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, NoReturn

from cronsim.explain import Expression

from dashboard.schedules.crontab import Crontab, parse
from dashboard.schedules.errors import RecurrenceError

LONGEST_PHRASE = 200

WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
ORDINALS = ("first", "second", "third", "fourth", "fifth")
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_UNITS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_MOST_TIMES_SPELLED = 4
_EVERY_DAY = ("*", "*", "*")

_Days = tuple[str, str, str]  # day of the month, month, day of the week
_Builder = Callable[[re.Match[str]], _Days]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """What a phrase means, in the fields of `Recurrence`: `crons` for kind "cron", `every` for kind "interval"."""

    kind: Literal["cron", "interval"]
    crons: tuple[str, ...] = ()
    every: timedelta | None = None


# --- A rule in words -------------------------------------------------------------------------------------------------


def describe(crontab: Crontab) -> str:
    """One expression in words, such as “Every weekday at 09:00”; `parse_phrase` understands the common forms."""
    words = _plain(crontab.fields) or Expression(["0", *crontab.fields]).explain().replace(
        " in every month from ", " from "
    )
    return words[0].upper() + words[1:]


def describe_interval(every: timedelta) -> str:
    """A period in words, such as “Every 90 minutes”. A single day is 24 hours: “every day” would follow the clock."""
    seconds = int(every.total_seconds())
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, rest = divmod(seconds, size)
        if not rest and (unit, count) != ("day", 1):
            return f"Every {unit}" if count == 1 else f"Every {count} {unit}s"
    raise AssertionError("every number of seconds is divisible by one")


def joined(words: list[str]) -> str:
    """“a”, “a and b”, “a, b and c”."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _plain(fields: tuple[str, ...]) -> str | None:
    minute, hour, *rest = fields
    days = _plain_days(*rest)
    if days is None:
        return None
    times = _spelled_times(minute, hour)
    if times:
        return f"{days} at {joined(times)}"
    period = _plain_period(minute, hour)
    if period is None:
        return None
    return period if days == "every day" else f"{period}, {days}"


def _spelled_times(minute: str, hour: str) -> list[str]:
    minutes, hours = minute.split(","), hour.split(",")
    if len(minutes) * len(hours) > _MOST_TIMES_SPELLED or not all(part.isdigit() for part in (*minutes, *hours)):
        return []
    return sorted(f"{int(h):02}:{int(m):02}" for h in set(hours) for m in set(minutes))


def _plain_period(minute: str, hour: str) -> str | None:
    if hour == "*":
        if minute == "*":
            return "every minute"
        if minute == "0":
            return "every hour"
        return _steps(minute, 60, "minutes")
    return _plain_hours(minute, hour) or (_steps(hour, 24, "hours") if minute == "0" else None)


def _plain_hours(minute: str, hour: str) -> str | None:
    """`0 9-17/2` is every 2 hours from 09:00 to 17:00; `0 9-18/2` ends at 17:00 and is told otherwise."""
    match = re.fullmatch(r"(\d+)-(\d+)(?:/(\d+))?", hour)
    if match is None or not minute.isdigit():
        return None
    first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
    if last <= first or (last - first) % step:
        return None
    period = "hour" if step == 1 else f"{step} hours"
    return f"every {period} from {first:02}:{int(minute):02} to {last:02}:{int(minute):02}"


def _steps(text: str, size: int, unit: str) -> str | None:
    """`*/15` is every 15 minutes; `*/7` is not every 7 minutes, because the count starts again each hour."""
    step = int(text[2:]) if text.startswith("*/") and text[2:].isdigit() else 0
    return f"every {step} {unit}" if 1 < step < size and size % step == 0 else None


def _plain_days(day: str, month: str, weekday: str) -> str | None:
    if month != "*":
        return _plain_days_within(day, month, weekday)
    if weekday == "*":
        return _plain_dates(day)
    if day != "*":
        return None
    if weekday in ("1-5", "MON-FRI"):
        return "every weekday"
    last = re.fullmatch(r"([0-7])L", weekday)
    if last:
        return f"on the last {WEEKDAYS[int(last[1]) % 7]} of every month"
    nth = re.fullmatch(r"(\w+)#([1-5])", weekday)
    if nth:
        return f"on the {ORDINALS[int(nth[2]) - 1]} {_weekday_name(nth[1])} of every month"
    named = [_weekday_name(part) for part in weekday.split(",")]
    from_monday = [name for name in (*WEEKDAYS[1:], WEEKDAYS[0]) if name in named]
    return f"every {joined(from_monday)}" if all(named) else None


def _plain_dates(day: str) -> str | None:
    if day == "*":
        return "every day"
    if day in ("L", "LW"):
        return f"on the last {'day' if day == 'L' else 'weekday'} of every month"
    days = [_nth(int(part)) for part in day.split(",") if part.isdigit()]
    return f"on the {joined(days)} of every month" if len(days) == day.count(",") + 1 else None


def _plain_days_within(day: str, month: str, weekday: str) -> str | None:
    """“every day from January to March”, “on the 1st of January and July”."""
    days = _plain_days(day, "*", weekday)
    ends = [_month_name(part) for part in month.split("-")]
    if days and len(set(ends)) == 2 and all(ends):
        return f"{days} from {ends[0]} to {ends[1]}"
    names = [_month_name(part) for part in month.split(",")]
    if not days or not all(names):
        return None
    of_months = joined([name for name in names if name])
    whole = days.removesuffix(" of every month")
    return f"{whole} {'in' if whole == days else 'of'} {of_months}"


def _month_name(text: str) -> str | None:
    if text.isdigit():
        return MONTHS[int(text) - 1]
    return next((name for name in MONTHS if name[:3].upper() == text), None)


def _weekday_name(text: str) -> str | None:
    if text.isdigit():
        return WEEKDAYS[int(text) % 7]
    return next((name for name in WEEKDAYS if name[:3].upper() == text), None)


def _nth(number: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number in (11, 12, 13) else endings.get(number % 10, 'th')}"


# --- Words to a rule -------------------------------------------------------------------------------------------------

_WEEKDAY = "(?:" + "|".join(f"{name[:3]}(?:{name[3:]})?s?" for name in map(str.lower, WEEKDAYS)) + "|tues|thurs?)"
_MONTH = "(?:" + "|".join(f"{name[:3]}(?:{name[3:]})?" for name in map(str.lower, MONTHS)) + "|sept)"
_DATE = r"\d{1,2}(?:st|nd|rd|th)?"
_AND = r"(?:\s*,\s*and\s+|\s*,\s*|\s*&\s*|\s+and\s+)"
_TIME = r"(?:noon|midnight|midday|\d{1,2}(?:[:.]\d{2})?\s*(?:am|pm)?(?:\s+o'clock)?)"
_CLEAR_TIME = r"(?:noon|midnight|midday|\d{1,2}[:.]\d{2}\s*(?:am|pm)?|\d{1,2}\s*(?:am|pm))"
_TIMES = re.compile(rf"(?:^|\s|,)(?:at\s+({_TIME}(?:{_AND}{_TIME})*)|({_CLEAR_TIME}(?:{_AND}{_CLEAR_TIME})*))$")
_WEEKDAY_RANGE = rf"(?:(?:on|every|each|from)\s+)?({_WEEKDAY})(?:\s*[-–]\s*|\s+(?:to|through)\s+)({_WEEKDAY})"
_BARE_HOUR = re.compile(
    rf"^({_WEEKDAY_RANGE}|daily|(?:every|each) day|(?:(?:on|every|each) )?(?:weekday|weekend)s?) (\d{{1,2}})$"
)
_TWO_MEANINGS = re.compile(
    r"\b(?:every|each) (?:(?:second|third|fourth|fifth|\d+(?:st|nd|rd|th)) \w*|other \w+)day\b"
    r"(?! of (?:the|every|each|a) month)"
)
_COUNT = rf"(?:(\d{{1,6}}|other|{'|'.join(_NUMBERS)})\s+)?"
_PERIOD = re.compile(rf"(?:every|each)\s+{_COUNT}(second|minute|min|hour|day|week)s?(?:\s*,)?(?:\s+(?:on\s+)?(.+))?")
_SHORT_PERIODS = (
    (re.compile(r"^hourly\b"), "every hour"),
    (re.compile(r"^(every|each) half (?:an )?hour\b"), r"\1 30 minutes"),
    (re.compile(r"^(every|each) quarter (?:of an )?hour\b"), r"\1 15 minutes"),
    (re.compile(r"^(every|each) (\d+) ?(?:h|hrs?)\b"), r"\1 \2 hours"),
    (re.compile(r"^(every|each) (\d+) ?mins?\b"), r"\1 \2 minutes"),
    (re.compile(r"^(every|each) (\d+) ?(?:s|secs?)\b"), r"\1 \2 seconds"),
)
_HOURS_WITHIN = re.compile(
    rf"(?:every|each)\s+(?:(?P<count>\d{{1,2}}|other|{'|'.join(_NUMBERS)})\s+)?hours?(?:\s*,?\s+(?:on\s+)?(?P<before>.+?))?"
    rf"\s*,?\s+(?:from|between)\s+(?P<first>{_TIME})(?:\s*[-–]\s*|\s+(?:to|till|until|through|and)\s+)(?P<last>{_TIME})"
    r"(?:\s*,?\s+(?:on\s+)?(?P<after>.+))?"
)
_MONTHS_WITHIN = re.compile(
    rf"(?P<days>.+?)\s+(?:(?:in|of)\s+(?P<months>{_MONTH}(?:{_AND}{_MONTH})*)"
    rf"|(?:of\s+(?:every|each|the)\s+month\s+)?from\s+(?P<first>{_MONTH})\s+(?:to|through|until)\s+(?P<last>{_MONTH}))"
)
_OF_MONTH = r"(?:\s+(?:of\s+)?(?:the|every|each|a)\s+month|\s+of\s+month|\s+monthly)?"
_EVERY_MONTH = r"(?:(?:every|each)\s+month\s*,?\s*|monthly\s*,?\s*)?(?:(?:on|every|each)\s+)?(?:the\s+)?"

_CRON_FIELDS = tuple(
    re.compile(f"(?:{form})+")
    for form in (
        r"[\dh,/()-]",
        r"[\dh,/()-]",
        r"[\dhlw,/()-]",
        rf"[\dh,/()-]|{_MONTH}",
        rf"[\dhl,/()#-]|{_WEEKDAY}",
    )
)
"""What a field without a star may consist of, so that “1st and 15th at noon” is not taken for five fields."""


def parse_phrase(text: str) -> Phrase:
    """The rule that a phrase such as “weekdays at 9” or “last Friday 17:00” means; a cron expression is taken as it is.

    Without a time of day it means midnight. Raises RecurrenceError (field "phrase") for words it does not know.
    """
    if len(text) > LONGEST_PHRASE:
        raise RecurrenceError("phrase", f"Write at most {LONGEST_PHRASE} characters.")
    words = " ".join(text.lower().replace("’", "'").strip(" .").split())
    if _is_cron(words):
        parse(words)
        return Phrase(kind="cron", crons=(words.upper() if words[0] != "@" else words,))
    if _TWO_MEANINGS.search(words):
        raise RecurrenceError(
            "phrase", f"“{text.strip()}” can mean two things. Add “of the month”, or choose an interval of some days."
        )
    return (_periodic(words) or _dated(words) if words else None) or _not_understood(text)


def _is_cron(words: str) -> bool:
    """Whether somebody means a cron expression, right or wrong, and no words that begin with a number or an H."""
    parts = words.split()
    if words.startswith("@") or (re.match(r"[\d*?h]|\w*tz=", words) and any(part[0] in "*?" for part in parts)):
        return True
    if len(parts) == len(_CRON_FIELDS) + 1:  # the grammar has a sentence about seconds
        parts = parts[1:]
    is_long = len(parts) >= len(_CRON_FIELDS) - 1
    return is_long and all(form.fullmatch(part) for form, part in zip(_CRON_FIELDS, parts, strict=False))


def _periodic(words: str) -> Phrase | None:
    """“every 15 minutes”, “hourly”, “every hour on weekdays”, “every 36 hours”."""
    for pattern, meaning in _SHORT_PERIODS:
        words = pattern.sub(meaning, words)
    if within := _HOURS_WITHIN.fullmatch(words):
        return _hourly_within(within)
    match = _PERIOD.fullmatch(words)
    if match is None:
        return None
    unit = "minute" if match[2] == "min" else match[2]
    count = _count(match[1])
    fields = _even_steps(count, unit)
    if fields and (days := _days(match[3] or "every day")):
        return Phrase(kind="cron", crons=(f"{fields} {' '.join(days)}",))
    if match[1] is None:
        return None
    if match[3]:
        counted = f"“Every {count} {unit}s” counts time and cannot be combined with days or times."
        raise RecurrenceError("phrase", f"{counted} Leave out “{match[3]}”.")
    return Phrase(kind="interval", every=_UNITS[unit] * count) if count else None


def _hourly_within(match: re.Match[str]) -> Phrase | None:
    """“every hour from 9 to 17”, both ends included, on all days or those named before or after."""
    step = _count(match["count"])
    (first, minute), (last, last_minute) = _time(match["first"]), _time(match["last"])
    days = _days(match["before"] or match["after"] or "every day")
    if days is None or minute != last_minute or not 0 < step <= last - first or (match["before"] and match["after"]):
        return None
    hours = f"{first}-{last}" if step == 1 else f"{first}-{last}/{step}"
    return Phrase(kind="cron", crons=(f"{minute} {hours} {' '.join(days)}",))


def _count(text: str | None) -> int:
    if text is None:
        return 1
    if text == "other":
        return 2
    return int(text) if text.isdigit() else _NUMBERS.index(text) + 1


def _even_steps(count: int, unit: str) -> str | None:
    """Minute and hour fields for a period that divides the hour or the day evenly."""
    if unit == "minute" and 0 < count < 60 and 60 % count == 0:
        return "* *" if count == 1 else f"*/{count} *"
    if unit == "hour" and 0 < count < 24 and 24 % count == 0:
        return "0 *" if count == 1 else f"0 */{count}"
    return None


def _dated(words: str) -> Phrase | None:
    """Days and times of day: “weekdays at 9”, “the 1st and 15th at noon”, “17:30 on fridays”."""
    leading = re.fullmatch(rf"(?:at\s+({_TIME})|({_CLEAR_TIME}))\s*,?\s+(?!and\b|&)([a-z].*)", words)
    if leading:
        words = f"{leading[3]} at {leading[1] or leading[2]}"
    words = _BARE_HOUR.sub(r"\1 at \4", words)
    found = _TIMES.search(words)
    times = re.split(_AND, found[1] or found[2]) if found else ["midnight"]
    days = _days((words[: found.start()] if found else words).strip(" ,") or "every day")
    if days is None:
        return None
    return Phrase(kind="cron", crons=tuple(f"{clock} {' '.join(days)}" for clock in _clock_fields(times)))


def _clock_fields(times: list[str]) -> list[str]:
    """Minute and hour fields for times of day; those with the same minute share an expression."""
    hours: dict[int, set[int]] = {}
    for time in times:
        hour, minute = _time(time)
        hours.setdefault(minute, set()).add(hour)
    return [f"{minute} {','.join(map(str, sorted(hours[minute])))}" for minute in sorted(hours)]


def _time(text: str) -> tuple[int, int]:
    if text == "midnight":
        return 0, 0
    if text in ("noon", "midday"):
        return 12, 0
    match = re.match(r"(\d{1,2})(?:[:.](\d{2}))?\s*(am|pm)?", text)
    if match is None:
        raise AssertionError("only times that match the pattern come here")
    hour, minute, half = int(match[1]), int(match[2] or 0), match[3]
    if minute > 59 or hour > 23 or (half and not 1 <= hour <= 12):
        raise RecurrenceError("phrase", f"“{text}” is not a time of day. Write it like 17:30 or 5:30pm.")
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    return hour, minute


def _days(words: str) -> _Days | None:
    """The date fields for words that name days."""
    for pattern, make in _DAY_FORMS:
        match = pattern.fullmatch(words)
        if match:
            return make(match)
    within = _MONTHS_WITHIN.fullmatch(words)
    return _days_within(within) if within else None


def _days_within(match: re.Match[str]) -> _Days | None:
    """“weekdays in january and july”, “the 1st of every month from january to march”."""
    found = _days(match["days"])
    if found is None or found[1] != "*":
        return None
    if match["months"]:
        return (
            found[0],
            ",".join(map(str, sorted({_month(name) for name in re.split(_AND, match["months"])}))),
            found[2],
        )
    first, last = _month(match["first"]), _month(match["last"])
    return (found[0], f"{first}-{last}", found[2]) if first < last else None


def _weekdays(match: re.Match[str]) -> _Days:
    """A list such as “monday and thursday”."""
    numbers = sorted({_weekday(name) for name in re.split(_AND, match[1])})
    return "*", "*", ",".join(map(str, numbers))


def _weekday_range(match: re.Match[str]) -> _Days:
    first, last = _weekday(match[1]), _weekday(match[2])
    if first <= last or last == 0:
        return "*", "*", f"{first}-{last or 7}"
    return "*", "*", ",".join(str(day) for day in range(7) if day >= first or day <= last)


def _nth_weekday(match: re.Match[str]) -> _Days:
    """“first monday”, “last friday”, “last day”, “last weekday”."""
    nth, what = match[1], match[2]
    number = ORDINALS.index(nth) + 1 if nth in ORDINALS else int(nth[0]) if nth != "last" else 0
    if what == "day":
        return str(number) if number else "L", "*", "*"
    if what in ("weekday", "working day", "workday", "business day"):
        if number:
            raise RecurrenceError("phrase", "Only the last weekday of a month can be named. Choose a date or a day.")
        return "LW", "*", "*"
    return "*", "*", f"{_weekday(what)}#{number}" if number else f"{_weekday(what)}L"


def _dates(match: re.Match[str]) -> _Days:
    """“the 1st and 15th”."""
    return _numbers(match[1]), "*", "*"


def _dates_of_month(match: re.Match[str]) -> _Days:
    """“1st of january”, “1 january”, “january 1st”."""
    named = match.groupdict()
    month = _month(named["month"] or named["month_first"])
    return _numbers(named["days"] or named["days_last"]), str(month), "*"


def _numbers(text: str) -> str:
    numbers = sorted({int(number) for number in re.findall(r"\d+", text)})
    for number in numbers:
        if not 1 <= number <= 31:
            raise RecurrenceError("phrase", f"There is no day {number} in a month. Write a day from 1 to 31.")
    return ",".join(map(str, numbers))


def _month(text: str) -> int:
    return [name[:3].lower() for name in MONTHS].index(text[:3]) + 1


def _weekday(text: str) -> int:
    return [name[:3].lower() for name in WEEKDAYS].index(text[:3])


def _always(day: str, month: str, weekday: str) -> _Builder:
    return lambda _: (day, month, weekday)


def _form(pattern: str, make: _Builder) -> tuple[re.Pattern[str], _Builder]:
    return re.compile(pattern), make


_DAY_FORMS = (
    _form(r"(?:(?:every|each)\s+)?day|daily", _always(*_EVERY_DAY)),
    _form(r"(?:(?:on|every|each|all)\s+)?(?:weekday|workday|working day|business day)s?", _always("*", "*", "1-5")),
    _form(r"(?:(?:on|every|each|all)\s+)?weekends?", _always("*", "*", "0,6")),
    _form(r"weekly|(?:every|each)\s+week", _always("*", "*", "0")),
    _form(r"monthly|(?:every|each)\s+month", _always("1", "*", "*")),
    _form(r"quarterly|(?:every|each)\s+quarter", _always("1", "1,4,7,10", "*")),
    _form(r"yearly|annually|(?:every|each)\s+year", _always("1", "1", "*")),
    _form(
        rf"(?:(?:weekly|(?:every|each)\s+week)\s*,?\s+)?(?:(?:on|every|each)\s+)*({_WEEKDAY}(?:{_AND}{_WEEKDAY})*)",
        _weekdays,
    ),
    _form(_WEEKDAY_RANGE, _weekday_range),
    _form(
        rf"{_EVERY_MONTH}({'|'.join(ORDINALS)}|1st|2nd|3rd|4th|5th|last)\s+"
        rf"({_WEEKDAY}|day|weekday|workday|working day|business day){_OF_MONTH}",
        _nth_weekday,
    ),
    _form(rf"{_EVERY_MONTH}({_DATE}(?:{_AND}(?:the\s+)?{_DATE})*)(?:\s+days?)?{_OF_MONTH}", _dates),
    _form(
        r"(?:(?:yearly|annually|every year)\s*,?\s*)?(?:(?:on|every|each)\s+)?(?:the\s+)?"
        rf"(?:(?P<days>{_DATE}(?:{_AND}(?:the\s+)?{_DATE})*)\s+(?:of\s+)?(?P<month>{_MONTH})"
        rf"|(?P<month_first>{_MONTH})\s+(?P<days_last>{_DATE}))",
        _dates_of_month,
    ),
)


def _not_understood(text: str) -> NoReturn:
    raise RecurrenceError(
        "phrase",
        f"“{text.strip()[:60]}” is not understood. Write for example “every 15 minutes”, “weekdays at 9”, "
        "“every Monday and Thursday at 17:30”, “last Friday 17:00” or “the 1st and 15th at noon”.",
    )
