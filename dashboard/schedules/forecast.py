"""Foresee how many runs start in each minute ahead, over all schedules of a tenant, and which of them meet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from dashboard.core.clock import utc_now
from dashboard.core.formats import plural, zone_label
from dashboard.schedules.actions import recurrence
from dashboard.schedules.agenda import active_schedules, fires_between, fires_of
from dashboard.schedules.alike import alike
from dashboard.schedules.blackouts import divide
from dashboard.schedules.models import Schedule
from dashboard.schedules.reach import Exceptions, stops_at
from dashboard.schedules.recurrence import Recurrence
from dashboard.schedules.single_fires import planned_by_hand
from dashboard.schedules.spread import jittered

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)

Starts = Mapping[datetime, Sequence[Schedule]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyMinute:
    """A minute at which several schedules start at once."""

    at: datetime
    schedules: Sequence[Schedule]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """An hour of the clock on which `start` is given, and how many runs start in each of its minutes."""

    start: datetime
    counts: Sequence[int]

    @property
    def label(self) -> str:
        """The hour as people call it, Sat 09:00; with its zone if the clock shows it twice."""
        comes_twice = self.start.replace(fold=0).utcoffset() != self.start.replace(fold=1).utcoffset()
        return f"{self.start:%a %H:%M}{' ' + zone_label(self.start) if comes_twice else ''}"

    @property
    def titles(self) -> list[str]:
        """What to say of each minute: 09:31: 12 starts."""
        hour, first = f"{self.start:%H}", self.start.minute
        return [f"{hour}:{first + n:02}: {plural(count, 'start')}" for n, count in enumerate(self.counts)]

    @property
    def minutes(self) -> list[datetime]:
        """The minutes in which something starts."""
        return [self._minute(number) for number, count in enumerate(self.counts) if count]

    @property
    def total(self) -> int:
        return sum(self.counts)

    @property
    def peak(self) -> int:
        return max(self.counts)

    @property
    def busiest(self) -> datetime:
        """The first minute in which as many start as in no other."""
        return self._minute(self.counts.index(self.peak))

    def _minute(self, number: int) -> datetime:
        return self.start.astimezone(UTC) + MINUTE * number


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What starts in the minutes of [start, end), by minute (UTC).

    `together` start when the minute begins or at a second of their rule, so that they meet; `apart` are spread by
    jitter, or were moved by hand.
    """

    start: datetime
    end: datetime
    together: Starts
    apart: Starts

    def count(self, minute: datetime) -> int:
        return len(self.together.get(minute, ())) + len(self.apart.get(minute, ()))

    def starting(self, minute: datetime) -> list[Schedule]:
        """Return what starts in a minute, those that meet first."""
        return [*self.together.get(minute, ()), *self.apart.get(minute, ())]

    @property
    def total(self) -> int:
        return sum(len(found) for starts in (self.together, self.apart) for found in starts.values())

    @property
    def peak(self) -> int:
        return max((self.count(minute) for minute in {*self.together, *self.apart}), default=0)

    def hours(self, zone: ZoneInfo) -> list[Hour]:
        """Return the hours of the zone's clock that reach into the span; minutes outside of it count nothing."""
        hour, hours = hour_of(self.start, zone), []
        while hour < self.end:
            counts = [self.count(hour + MINUTE * number) for number in range(60)]
            hours.append(Hour(start=hour.astimezone(zone), counts=counts))
            hour += HOUR
        return hours

    def busiest(self, most: int) -> list[BusyMinute]:
        """Return the minutes at which most schedules meet, busiest first, one for each group that meets."""
        crowded = [BusyMinute(at=at, schedules=found) for at, found in self.together.items() if len(found) > 1]
        return _different(sorted(crowded, key=lambda minute: (-len(minute.schedules), minute.at)), most)


def forecast(start: datetime, end: datetime) -> Forecast:
    """Foresee the bound tenant's starts in [start, end), whole minutes."""
    schedules = active_schedules(end)
    span = _Span(start, end, Exceptions(schedules, end))
    changed = {schedule_id for schedule_id, _ in span.exceptions.decided}
    together: defaultdict[datetime, list[Schedule]] = defaultdict(list)
    apart: defaultdict[datetime, list[Schedule]] = defaultdict(list)
    plain = []
    for schedule in schedules:
        if not schedule.jitter_seconds and not schedule.paused_at and schedule.id not in changed:
            plain.append(schedule)
            continue
        starts = apart if schedule.jitter_seconds else together
        for minute in _own_minutes(schedule, span):
            starts[minute].append(schedule)
    for minute, found in _shared_minutes(plain, span):
        together[minute].extend(found)
    for run, _, schedule in planned_by_hand(start, end):
        if run.not_before is not None:
            apart[run.not_before.replace(second=0, microsecond=0)].append(schedule)
    return Forecast(start=start, end=end, together=together, apart=apart)


class _Span(NamedTuple):
    """The minutes that are looked at, and which fires do not run by themselves."""

    start: datetime
    end: datetime
    exceptions: Exceptions


def hour_of(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return the UTC instant at which the hour of the zone's clock began that holds the moment."""
    local = moment.astimezone(zone)
    past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return moment.astimezone(UTC) - past


def _shared_minutes(schedules: Iterable[Schedule], span: _Span) -> Iterator[tuple[datetime, list[Schedule]]]:
    """Yield minutes with schedules that start in them; a rule is asked once for all that fire in the same minutes."""
    windows = span.exceptions.windows
    groups: defaultdict[tuple[Recurrence, int | None], list[Schedule]] = defaultdict(list)
    for schedule in schedules:
        shared = alike(schedule, span.start)
        if shared is not None:
            groups[shared.rule, schedule.runs_left].append(schedule)
    for (rule, runs_left), group in groups.items():
        end = stops_at(rule, runs_left, utc_now(), span.end, windows, lambda _: False)
        fires = fires_between(rule, span.start, end)
        yield from ((at.replace(second=0), group) for at in divide(fires, windows)[0])


def _own_minutes(schedule: Schedule, span: _Span) -> Iterator[datetime]:
    """Yield the minutes in which a schedule starts by itself, jitter included, but for fires that were decided on."""
    fires = fires_of(schedule, span.start, span.end, span.exceptions)
    after_last = recurrence(schedule).after(fires[-1]) if fires else None
    jitter = timedelta(seconds=schedule.jitter_seconds)
    for at, following in zip(fires, [*fires[1:], after_last], strict=False):
        if not span.exceptions.hold(schedule.id, at):
            minute = jittered(str(schedule.id), at, jitter, following).replace(second=0)
            if minute < span.end:
                yield minute


def _different(busiest: Iterable[BusyMinute], most: int) -> list[BusyMinute]:
    """Keep one minute for each group of schedules that meet: a daily meeting needs one answer, not one a day."""
    seen: set[frozenset[Schedule]] = set()
    kept: list[BusyMinute] = []
    for minute in busiest:
        group = frozenset(minute.schedules)
        if group not in seen and len(kept) < most:
            seen.add(group)
            kept.append(minute)
    return kept
