"""Compute what all schedules of a tenant will fire in a span of time, for the calendar and the load forecast."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import islice
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from dashboard.core.clock import utc_now
from dashboard.core.orm import db
from dashboard.schedules.actions import recurrence
from dashboard.schedules.blackouts import Window, divide, window_at, windows_between
from dashboard.schedules.calendars import HOLIDAY
from dashboard.schedules.models import Occurrence, Schedule
from dashboard.schedules.recurrence import RecurrenceError
from dashboard.schedules.single_fires import BY_HAND, decided_of, planned_by_hand
from dashboard.schedules.timing import start_of

OFTEN, OFTEN_SKIPPED = 12, 3
"""A schedule that fires, or is skipped, more often than this in a day is one line of that day, with its count."""

MOST_FIRES = 1500
"""Of one schedule in a span; one that fires every minute of a month is shown as frequent, not minute by minute."""

MOST_SCHEDULES = 5000
CROWD = 5
"""So many fires in one minute are still no crowd."""

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A schedule's fires of one day that are shown as one line: a single one, or `count` from `at` on.

    `nominal` is the instant that the rule names, another than `at` for a fire that was moved by hand. `skipped` says
    why it will not run. `crowd` is how many fires start in the same minute, if those are too many.
    """

    at: datetime
    schedule: Schedule
    nominal: datetime
    count: int = 1
    skipped: str = ""
    crowd: int = 0

    @property
    def is_moved(self) -> bool:
        return self.at != self.nominal

    @property
    def is_movable(self) -> bool:
        return self.count == 1 and not self.skipped

    @property
    def note(self) -> str:
        """What is special about it, in a few words."""
        return f"{self.skipped.partition(':')[0]}: skipped" if self.skipped else "moved" if self.is_moved else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """The fires of a span by local day; `hours` counts those that will run by their local hour's start.

    `windows` are the blackouts that reach into the span. `unfinished` are schedules that fire too often to be counted
    to the end of the span.
    """

    days: Mapping[date, Sequence[Entry]]
    hours: Mapping[datetime, int]
    unfinished: Sequence[Schedule]
    windows: Sequence[Window] = ()


def agenda(start: datetime, end: datetime, zone: ZoneInfo) -> Agenda:
    """Return what the bound tenant's active schedules fire in [start, end), by days of `zone`."""
    schedules = active_schedules()
    book = _Book(start, end, zone, windows_between(start, end), decided_of(schedules, utc_now()))
    for schedule in schedules:
        book.enter(schedule)
    for run, occurrence, schedule in planned_by_hand(start, end):
        if run.not_before is not None and occurrence.nominal is not None:
            book.add(run.not_before, Entry(at=run.not_before, schedule=schedule, nominal=occurrence.nominal))
    return book.closed()


class _Book:
    """Collects the entries of a span, schedule by schedule."""

    def __init__(
        self,
        start: datetime,
        end: datetime,
        zone: ZoneInfo,
        windows: Sequence[Window],
        decided: Mapping[tuple[UUID, datetime], Occurrence],
    ) -> None:
        self.start, self.end, self.zone, self.windows, self.decided = start, end, zone, windows, decided
        self.days: defaultdict[date, list[Entry]] = defaultdict(list)
        self.hours: Counter[datetime] = Counter()
        self.minutes: Counter[datetime] = Counter()
        self.unfinished: list[Schedule] = []

    def enter(self, schedule: Schedule) -> None:
        """Add what the schedule fires by itself, and what of that is skipped."""
        fires = fires_of(schedule, self.start, self.end)
        if len(fires) == MOST_FIRES:
            self.unfinished.append(schedule)
        elif schedule.skip_dates or schedule.days_off:
            self._enter_skipped(schedule, _left_out(schedule, self.start, self.end))
        swallowed = {at: window for at in fires if (window := window_at(self.windows, at))}
        self._enter_skipped(schedule, [(at, f"blackout: {window.name}") for at, window in swallowed.items()])
        runs = [at for at in fires if at not in swallowed]
        if self.decided:
            by_hand = [at for at in runs if self._reason(schedule, at) == BY_HAND]
            self._enter_skipped(schedule, [(at, "by hand") for at in by_hand])
            runs = [at for at in runs if (schedule.id, at) not in self.decided]
        for moments in _by_day(runs, self.zone).values():
            self._enter_runs(schedule, moments)

    def add(self, at: datetime, entry: Entry) -> None:
        """Add what will run at a moment."""
        local = at.astimezone(self.zone)
        self.days[local.date()].append(entry)
        self.hours[local.replace(minute=0, second=0, microsecond=0)] += 1
        self.minutes[at.replace(second=0, microsecond=0)] += 1

    def closed(self) -> Agenda:
        """Return the whole, in order, with the minutes marked at which too much starts."""
        for day, entries in self.days.items():
            entries.sort(key=lambda entry: (entry.at, entry.schedule.name))
            self.days[day] = [self._marked(entry) for entry in entries]
        return Agenda(days=self.days, hours=self.hours, unfinished=self.unfinished, windows=self.windows)

    def _reason(self, schedule: Schedule, at: datetime) -> str:
        decided = self.decided.get((schedule.id, at))
        return decided.reason if decided else ""

    def _enter_runs(self, schedule: Schedule, moments: list[datetime]) -> None:
        locals_ = [at.astimezone(self.zone) for at in moments]
        self.hours.update(local.replace(minute=0, second=0) for local in locals_)
        if not schedule.jitter_seconds:
            self.minutes.update(at.replace(second=0) for at in moments)
        self.days[locals_[0].date()].extend(_entries(schedule, moments))

    def _enter_skipped(self, schedule: Schedule, skipped: Iterable[tuple[datetime, str]]) -> None:
        by_reason: defaultdict[tuple[date, str], list[datetime]] = defaultdict(list)
        for at, words in skipped:
            by_reason[at.astimezone(self.zone).date(), words].append(at)
        for (day, words), moments in by_reason.items():
            self.days[day].extend(_entries(schedule, moments, skipped=words, often=OFTEN_SKIPPED))

    def _marked(self, entry: Entry) -> Entry:
        crowd = 0 if entry.skipped or entry.count > 1 else self.minutes[entry.at.replace(second=0, microsecond=0)]
        return replace(entry, crowd=crowd) if crowd > CROWD else entry


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


def _left_out(schedule: Schedule, start: datetime, end: datetime) -> list[tuple[datetime, str]]:
    """Return what the rule names in [start, end) and leaves out, with the reason in words."""
    moment = timedelta(seconds=1)
    try:
        skips = islice(recurrence(schedule).left_out(start - moment, end - moment), MOST_FIRES)
        return [(skip.at, f"holiday: {skip.note}" if skip.reason == HOLIDAY else "skipped date") for skip in skips]
    except RecurrenceError:
        return []


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
    windows = windows_between(start, end)
    for schedule in active_schedules():
        for at in divide(fires_of(schedule, start, end), windows)[0]:
            minute = start_of(schedule, recurrence(schedule), at).replace(second=0)
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


def _entries(schedule: Schedule, moments: list[datetime], *, skipped: str = "", often: int = OFTEN) -> list[Entry]:
    if len(moments) > often:
        first = moments[0]
        return [Entry(at=first, nominal=first, schedule=schedule, count=len(moments), skipped=skipped)]
    return [Entry(at=at, nominal=at, schedule=schedule, skipped=skipped) for at in moments]
