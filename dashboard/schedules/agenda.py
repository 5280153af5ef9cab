"""Compute what all schedules of a tenant will fire in a span of time, day by day."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from dashboard.core.clock import utc_now
from dashboard.core.orm import db
from dashboard.jobs.registry import UnknownJobType, job_type
from dashboard.schedules.actions import recurrence
from dashboard.schedules.alike import Alike, alike
from dashboard.schedules.blackouts import Window, apart, window_at
from dashboard.schedules.calendars import HOLIDAY
from dashboard.schedules.durations import nearly_longest_of
from dashboard.schedules.models import Occurrence, Schedule
from dashboard.schedules.reach import Exceptions, rests_until, starts_at, stops_at
from dashboard.schedules.recurrence import Recurrence, RecurrenceError
from dashboard.schedules.single_fires import BY_HAND, planned_by_hand, was_moved

OFTEN, OFTEN_SKIPPED = 12, 3
"""A schedule that fires, or is skipped, more often than this in a day is one line of that day, with its count."""

MOST_FIRES = 1500
"""Of one schedule in a span, where many schedules are asked each for itself."""

MOST_COUNTED = 100_000
"""Of one schedule in the days of an agenda: each minute of 60 days. What fires more often is not counted further."""

MOST_COUNTED_TOGETHER = 300_000
"""Of all schedules in the days of an agenda; beyond it each is counted up to `MOST_FIRES`."""

NOT_COUNTED = 0
"""The count of an entry that stands for more fires than were counted."""

MOST_SCHEDULES = 5000
_MOMENT = timedelta(seconds=1)
CROWD = 5
"""So many fires in one minute are still no crowd."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A schedule's fires of one day that are shown as one line: a single one, or `count` (or NOT_COUNTED) from `at` on.

    `nominal` is the instant that the rule names, another than `at` for a fire that was moved by hand (`is_moved`) or
    whose run is planned with its jitter. `skipped` says why it will not run. `crowd` is how many fires start in the
    same minute, if those are too many. `lasts` is how long nearly all runs take at most, if that is longer than since
    the fire before.
    """

    at: datetime
    schedule: Schedule
    nominal: datetime
    count: int = 1
    skipped: str = ""
    is_moved: bool = False
    crowd: int = 0
    lasts: timedelta | None = None

    @property
    def is_frequent(self) -> bool:
        """Whether it stands for many fires of its day."""
        return self.count != 1

    @property
    def times(self) -> str:
        """How many fires it stands for."""
        return "many, not counted" if self.count == NOT_COUNTED else f"×{self.count:,}"

    @property
    def is_movable(self) -> bool:
        return self.count == 1 and not self.skipped

    @property
    def note(self) -> str:
        """What is special about it, in a few words."""
        return f"{self.skipped.partition(':')[0]}: skipped" if self.skipped else "moved" if self.is_moved else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """The fires of a span by local day; `hours` counts those that will run by their local hour of the day, 0 to 23.

    `windows` are the blackouts that reach into the span. `unfinished` are schedules that fire too often to be counted
    to the end of the span: from there on each of their days has an entry that says so.
    """

    days: Mapping[date, Sequence[Entry]]
    hours: Mapping[int, int]
    unfinished: Sequence[Schedule]
    windows: Sequence[Window] = ()


@dataclass(slots=True, kw_only=True)
class _Look:
    """What a rule fires in a span: what will run by local day, and what is skipped by local day and reason.

    `uncounted` are the first fires of the days on which it fires and was not counted any more. `shortest` is the least
    time between two that will run. `uses` counts the schedules that it holds for, `meeting` those of them that no
    jitter spreads.
    """

    runs: Mapping[date, Sequence[datetime]]
    skipped: Mapping[tuple[date, str], Sequence[datetime]]
    uncounted: Mapping[date, datetime]
    shortest: timedelta | None
    uses: int = 0
    meeting: int = 0

    @property
    def moments(self) -> list[datetime]:
        return [at for day in self.runs.values() for at in day]


class _Tight(NamedTuple):
    """How long nearly all runs of a schedule take, and those of its fires that come sooner after the one before."""

    lasts: timedelta
    fires: frozenset[datetime]


def agenda(start: datetime, end: datetime, zone: ZoneInfo) -> Agenda:
    """Return what the bound tenant's active schedules fire in [start, end), by days of `zone`."""
    schedules = active_schedules(end)
    book = _Book(start, end, zone, Exceptions(schedules, end))
    for schedule in schedules:
        book.enter(schedule)
    for run, occurrence, schedule in planned_by_hand(start, end):
        if run.not_before is not None and occurrence.nominal is not None:
            fire = Entry(
                at=run.not_before, schedule=schedule, nominal=occurrence.nominal, is_moved=was_moved(occurrence)
            )
            book.add(run.not_before, fire)
    return book.closed()


class _Book:
    """Collects the entries of a span, schedule by schedule; those that fire in the same minutes share one look."""

    def __init__(self, start: datetime, end: datetime, zone: ZoneInfo, exceptions: Exceptions) -> None:
        self.start, self.end, self.zone, self.exceptions = start, end, zone, exceptions
        self.decided: defaultdict[UUID, dict[datetime, Occurrence]] = defaultdict(dict)
        for (schedule_id, nominal), occurrence in exceptions.decided.items():
            self.decided[schedule_id][nominal] = occurrence
        self.days: defaultdict[date, list[Entry]] = defaultdict(list)
        self.hours: Counter[int] = Counter()
        self.minutes: Counter[datetime] = Counter()
        self.unfinished: list[Schedule] = []
        self.looks: dict[object, _Look] = {}
        self.counted = 0
        self.frequent: dict[UUID, tuple[_Look, timedelta]] = {}
        self.tight: Mapping[UUID, _Tight] = {}

    def enter(self, schedule: Schedule) -> None:
        """Add what the schedule fires by itself, and what of that is skipped."""
        shared = alike(schedule, self.start)
        if shared is None:
            return
        look, shift = self._look_of(schedule, shared), shared.shift
        look.uses += 1
        look.meeting += not schedule.jitter_seconds
        if look.uncounted:
            self.unfinished.append(schedule)
        if look.shortest and look.shortest < _longest_allowed(schedule):
            self.frequent[schedule.id] = look, shift
        for day, moments in look.runs.items():
            self.days[day].extend(_entries(schedule, moments, shift))
        for (day, words), moments in look.skipped.items():
            self.days[day].extend(_entries(schedule, moments, shift, skipped=words, often=OFTEN_SKIPPED))
        for day, first in look.uncounted.items():
            self.days[day].append(Entry(at=first + shift, nominal=first + shift, schedule=schedule, count=NOT_COUNTED))

    def add(self, at: datetime, entry: Entry) -> None:
        """Add what will run at a moment."""
        local = at.astimezone(self.zone)
        self.days[local.date()].append(entry)
        self.hours[local.hour] += 1
        self.minutes[at.replace(second=0, microsecond=0)] += 1

    def closed(self) -> Agenda:
        """Return the whole, in order, marked where too much starts at once and where runs may meet the next."""
        for look in self.looks.values():
            self._count(look)
        self.tight = self._find_tight()
        for day, entries in self.days.items():
            entries.sort(key=lambda entry: (entry.at, entry.schedule.name))
            self.days[day] = [self._marked(entry) for entry in entries]
        return Agenda(days=self.days, hours=self.hours, unfinished=self.unfinished, windows=self.exceptions.blackouts)

    def _look_of(self, schedule: Schedule, shared: Alike) -> _Look:
        """Return a look that was had before, if the schedule's fires are those of others."""
        by_hand = self.decided.get(schedule.id, {})
        pause = schedule.paused_until if schedule.paused_at else None
        key = schedule.id if by_hand else (shared.rule, schedule.runs_left, pause)
        if key not in self.looks:
            self.looks[key] = self._look(schedule, shared, by_hand)
        return self.looks[key]

    def _look(self, schedule: Schedule, shared: Alike, by_hand: Mapping[datetime, Occurrence]) -> _Look:
        windows = [
            Window(start - shared.shift, end - shared.shift, name) for start, end, name in self.exceptions.windows
        ]
        start = starts_at(schedule, self.start + shared.shift) - shared.shift
        end = stops_at(
            shared.rule,
            schedule.runs_left,
            rests_until(schedule),
            self.end,
            windows,
            lambda at: at + shared.shift in by_hand,
        )
        most = max(MOST_FIRES, min(MOST_COUNTED, MOST_COUNTED_TOGETHER - self.counted))
        fires = fires_between(shared.rule, start, end, most)
        self.counted += len(fires)
        uncounted: Mapping[date, datetime] = {}
        if len(fires) == most:
            cut = fires[-1].astimezone(self.zone).date()
            uncounted = dict(self._firsts(shared.rule, cut, end))
            fires = [at for at in fires if at < self._midnight(cut)]
        skipped = [] if uncounted else _left_out(shared.rule, start, end, most)
        runs = []
        for at in fires:
            decided = by_hand.get(at + shared.shift)
            if window := window_at(windows, at):
                skipped.append((at, f"blackout: {window.name}"))
            elif decided is None:
                runs.append(at)
            elif decided.reason == BY_HAND:
                skipped.append((at, "by hand"))
        by_reason: defaultdict[tuple[date, str], list[datetime]] = defaultdict(list)
        for at, words in skipped:
            by_reason[at.astimezone(self.zone).date(), words].append(at)
        shortest = min((later - at for at, later in pairwise(runs)), default=None)
        return _Look(runs=_by_day(runs, self.zone), skipped=by_reason, uncounted=uncounted, shortest=shortest)

    def _firsts(self, rule: Recurrence, day: date, end: datetime) -> Iterator[tuple[date, datetime]]:
        """Yield the days from `day` on in which the rule fires, with the first fire of each."""
        while (midnight := self._midnight(day)) < end:
            tomorrow = day + timedelta(days=1)
            first = rule.after(max(midnight, self.start) - _MOMENT)
            if first is not None and first < min(self._midnight(tomorrow), end):
                yield day, first
            day = tomorrow

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), self.zone).astimezone(UTC)

    def _find_tight(self) -> Mapping[UUID, _Tight]:
        tight = {}
        for schedule_id, lasts in nearly_longest_of(list(self.frequent)).items():
            look, shift = self.frequent[schedule_id]
            fires = (later + shift for at, later in pairwise(look.moments) if later - at < lasts)
            tight[schedule_id] = _Tight(lasts, frozenset(fires))
        return tight

    def _count(self, look: _Look) -> None:
        moments = look.moments
        for hour, number in Counter(at.astimezone(self.zone).hour for at in moments).items():
            self.hours[hour] += number * look.uses
        for at in moments if look.meeting else ():
            self.minutes[at.replace(second=0)] += look.meeting

    def _marked(self, entry: Entry) -> Entry:
        if entry.skipped:
            return entry
        crowd = 0 if entry.is_frequent else self.minutes[entry.at.replace(second=0, microsecond=0)]
        tight = self.tight.get(entry.schedule.id)
        meets = tight and (entry.at in tight.fires or (entry.is_frequent and tight.fires))
        if crowd <= CROWD and not meets:
            return entry
        return replace(entry, crowd=crowd if crowd > CROWD else 0, lasts=tight.lasts if tight and meets else None)


def _longest_allowed(schedule: Schedule) -> timedelta:
    """Return how long a run of the schedule may take; nothing for a job type that is gone."""
    if schedule.timeout_seconds is not None:
        return timedelta(seconds=schedule.timeout_seconds)
    try:
        return job_type(schedule.job_type).timeout
    except UnknownJobType:
        return timedelta()


def active_schedules(by: datetime) -> Sequence[Schedule]:
    """Return the bound tenant's schedules that fire by themselves; those that are paused, if the pause ends before."""
    is_awake = sa.and_(Schedule.paused_at.is_(None), Schedule.next_at.is_not(None))
    awakes = sa.and_(Schedule.paused_at.is_not(None), Schedule.paused_until < by)
    query = sa.select(Schedule).where(Schedule.archived_at.is_(None), sa.or_(is_awake, awakes), Schedule.problem == "")
    return db.session.scalars(query.order_by(Schedule.id).limit(MOST_SCHEDULES)).all()


def fires_of(schedule: Schedule, start: datetime, end: datetime, exceptions: Exceptions) -> list[datetime]:
    """Return the fires of a schedule in [start, end), at most MOST_FIRES; none for a rule that makes no sense.

    They end where it has used up its runs, which the `exceptions` do not.
    """
    try:
        rule = recurrence(schedule)
    except RecurrenceError:
        return []
    return fires_between(rule, starts_at(schedule, start), exceptions.stop_of(schedule, rule, end))


def fires_between(rule: Recurrence, start: datetime, end: datetime, most: int = MOST_FIRES) -> list[datetime]:
    """Return the fires of a rule in [start, end), at most `most`."""
    return list(islice(rule.between(start - _MOMENT, end - _MOMENT), most))


def _left_out(rule: Recurrence, start: datetime, end: datetime, most: int) -> list[tuple[datetime, str]]:
    """Return what a rule names in [start, end) and leaves out, with the reason in words."""
    skips = islice(rule.left_out(start - _MOMENT, end - _MOMENT), most)
    return [(skip.at, f"holiday: {skip.note}" if skip.reason == HOLIDAY else "skipped date") for skip in skips]


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
    schedules = active_schedules(end)
    exceptions = Exceptions(schedules, end)
    exceptions.windows = apart(sorted([*exceptions.windows, Window(start, end, "")]))
    counted = [(schedule, len(fires_of(schedule, start, end, exceptions))) for schedule in schedules]
    found = sorted((each for each in counted if each[1]), key=lambda each: (-each[1], each[0].name))
    return Swallowed(schedules=found, more=any(count == MOST_FIRES for _, count in found))


def _by_day(fires: Iterable[datetime], zone: ZoneInfo) -> dict[date, list[datetime]]:
    days: defaultdict[date, list[datetime]] = defaultdict(list)
    for at in fires:
        days[at.astimezone(zone).date()].append(at)
    return days


def _entries(
    schedule: Schedule, moments: Sequence[datetime], shift: timedelta, *, skipped: str = "", often: int = OFTEN
) -> list[Entry]:
    if len(moments) > often:
        first = moments[0] + shift
        return [Entry(at=first, nominal=first, schedule=schedule, count=len(moments), skipped=skipped)]
    return [Entry(at=at, nominal=at, schedule=schedule, skipped=skipped) for at in (each + shift for each in moments)]
