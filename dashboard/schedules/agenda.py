"""Compute what all schedules of a tenant will fire in a span of time, for the calendar and the load forecast."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from dashboard.core.clock import utc_now
from dashboard.core.orm import db
from dashboard.schedules.actions import recurrence
from dashboard.schedules.models import Schedule
from dashboard.schedules.recurrence import RecurrenceError

OFTEN = 12
"""A schedule that fires more often than this in a day is one line of that day, with its count."""

MOST_FIRES = 1500
"""Of one schedule in a span; one that fires every minute of a month is shown as frequent, not minute by minute."""

MOST_SCHEDULES = 5000
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A schedule's fires of one day that are shown as one line: a single one, or `count` from `at` on."""

    at: datetime
    schedule: Schedule
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """The fires of a span by local day; `hours` counts all fires by their local hour's start.

    `unfinished` are schedules that fire too often to be counted to the end of the span.
    """

    days: Mapping[date, Sequence[Entry]]
    hours: Mapping[datetime, int]
    unfinished: Sequence[Schedule]


def agenda(start: datetime, end: datetime, zone: ZoneInfo) -> Agenda:
    """Return what the bound tenant's active schedules fire in [start, end), by days of `zone`."""
    days: defaultdict[date, list[Entry]] = defaultdict(list)
    hours: Counter[datetime] = Counter()
    unfinished = []
    for schedule in active_schedules():
        fires = fires_of(schedule, start, end)
        if len(fires) == MOST_FIRES:
            unfinished.append(schedule)
        for day, moments in _by_day(fires, zone).items():
            days[day].extend(_entries(schedule, moments))
        hours.update(at.astimezone(zone).replace(minute=0, second=0, fold=at.astimezone(zone).fold) for at in fires)
    for entries in days.values():
        entries.sort(key=lambda entry: (entry.at, entry.schedule.name))
    return Agenda(days=days, hours=hours, unfinished=unfinished)


def active_schedules() -> Sequence[Schedule]:
    """Return the bound tenant's schedules that fire by themselves."""
    query = sa.select(Schedule).where(
        Schedule.archived_at.is_(None),
        Schedule.paused_at.is_(None),
        Schedule.next_at.is_not(None),
        Schedule.problem == "",
    )
    return db.session.scalars(query.order_by(Schedule.id).limit(MOST_SCHEDULES)).all()


def fires_of(schedule: Schedule, start: datetime, end: datetime) -> list[datetime]:
    """Return the fires of a schedule in [start, end), at most MOST_FIRES; none for a rule that makes no sense."""
    try:
        rule = recurrence(schedule)
    except RecurrenceError:
        return []
    moment = timedelta(seconds=1)
    limit = MOST_FIRES if schedule.runs_left is None else min(MOST_FIRES, schedule.runs_left)
    return list(islice(rule.between(start - moment, end - moment), limit))


@dataclass(frozen=True, slots=True, kw_only=True)
class Swallowed:
    """What fires in a window: each schedule with its count, most first; `more` if one fires too often to be counted."""

    schedules: Sequence[tuple[Schedule, int]]
    more: bool

    @property
    def fires(self) -> int:
        return sum(count for _, count in self.schedules)


def swallowed(start: datetime, end: datetime) -> Swallowed:
    """Count what the bound tenant's schedules fire in [start, end), as far as it lies ahead."""
    start = max(start, utc_now())
    counted = [(schedule, len(fires_of(schedule, start, end))) for schedule in active_schedules()]
    found = sorted((each for each in counted if each[1]), key=lambda each: (-each[1], each[0].name))
    return Swallowed(schedules=found, more=any(count == MOST_FIRES for _, count in found))


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyMinute:
    """A minute at which several schedules start at once."""

    at: datetime
    schedules: Sequence[Schedule]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The load of a span: fires per minute as (minute, count), and the busiest minutes, busiest first."""

    minutes: Mapping[datetime, int]
    busiest: Sequence[BusyMinute]

    @property
    def peak(self) -> int:
        return max(self.minutes.values(), default=0)

    @property
    def total(self) -> int:
        return sum(self.minutes.values())


def forecast(start: datetime, end: datetime, *, most: int = 5) -> Forecast:
    """Count the bound tenant's fires of [start, end) minute by minute, jitter included."""
    at_minute: defaultdict[datetime, list[Schedule]] = defaultdict(list)
    minutes: Counter[datetime] = Counter()
    for schedule in active_schedules():
        for at in fires_of(schedule, start, end):
            minute = at.replace(second=0)
            minutes[minute] += 1
            if not schedule.jitter_seconds:
                at_minute[minute].append(schedule)
    crowded = (BusyMinute(at=at, schedules=found) for at, found in at_minute.items() if len(found) > 1)
    busiest = sorted(crowded, key=lambda minute: (-len(minute.schedules), minute.at))
    return Forecast(minutes=minutes, busiest=_different(busiest, most))


def _different(busiest: Iterable[BusyMinute], most: int) -> list[BusyMinute]:
    """Keep one minute for each group of schedules that meet: a daily meeting needs one answer, not one a day."""
    seen: set[frozenset[object]] = set()
    kept: list[BusyMinute] = []
    for minute in busiest:
        group = frozenset(schedule.id for schedule in minute.schedules)
        if group not in seen and len(kept) < most:
            seen.add(group)
            kept.append(minute)
    return kept


def _by_day(fires: Iterable[datetime], zone: ZoneInfo) -> dict[date, list[datetime]]:
    days: defaultdict[date, list[datetime]] = defaultdict(list)
    for at in fires:
        days[at.astimezone(zone).date()].append(at)
    return days


def _entries(schedule: Schedule, moments: list[datetime]) -> list[Entry]:
    if len(moments) > OFTEN:
        return [Entry(at=moments[0], schedule=schedule, count=len(moments))]
    return [Entry(at=at, schedule=schedule) for at in moments]
