"""When a schedule fires: a pure function of its rule, the zone's clock and the last instant handled."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Literal, cast, get_args

from dashboard.schedules import given, holidays
from dashboard.schedules.civil import DAY, Timeline, timeline, to_datetime, to_instant, to_wall
from dashboard.schedules.crontab import HORIZON_YEARS, Crontab, parse
from dashboard.schedules.errors import RecurrenceError
from dashboard.schedules.firing import Clock, Gap, Overlap, WallTimes
from dashboard.schedules.notes import ClockChange, clock_changes, clock_note, missing_note
from dashboard.schedules.phrases import describe, describe_interval, joined
from dashboard.schedules.spread import jittered

__all__ = ["ClockChange", "Fire", "Recurrence", "RecurrenceError", "Skip", "clock_changes", "jittered"]

Kind = Literal["once", "interval", "cron"]
SkipReason = Literal["dst_skip", "blackout", "holiday"]

MOST_CRONS = 5
MOST_DATES = 1000
LONGEST_INTERVAL = timedelta(days=24_800)
"""Its seconds fit into an integer of PostgreSQL."""

_MOST_DATES_SPELLED = 3
_HORIZON = HORIZON_YEARS * 366 * DAY
_EARLIEST = to_instant(datetime(1900, 1, 1, tzinfo=UTC))
_LATEST = to_instant(datetime(9900, 1, 1, tzinfo=UTC))
_KINDS, _GAPS, _OVERLAPS = get_args(Kind), get_args(Gap), get_args(Overlap)
_FIRST_DAY = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class _DaysOut:
    """Skipped dates and days off together, without the added dates."""

    dates: frozenset[int]
    off: holidays.DaysOff
    added: frozenset[int]

    def __contains__(self, day: int) -> bool:
        return day in self.dates or (day in self.off and day not in self.added)

    def __bool__(self) -> bool:
        return bool(self.dates or self.off)


_Skipped = frozenset[int] | _DaysOut


@dataclass(frozen=True, slots=True)
class _CronTimes:
    """The wall times of one expression, without the skipped days and with its times of day on the added ones."""

    crontab: Crontab
    skipped: _Skipped
    added: tuple[int, ...]

    @property
    def follows_clock(self) -> bool:
        return self.crontab.follows_clock

    def next_wall(self, wall: int) -> int | None:
        if not (self.skipped or self.added):
            return self.crontab.next_wall(wall)
        times = self.crontab.times
        day = wall // DAY
        place = bisect_right(times, wall - day * DAY)
        if place < len(times) and self._next_day(day) == day:
            return day * DAY + times[place]
        found = self._next_day(day + 1)
        return None if found is None else found * DAY + times[0]

    def _next_day(self, day: int) -> int | None:
        return _next_day(self.crontab, self.skipped, self.added, day)


# Another expression of the rule may fire each minute of days on which this one would look through a year each time.
@lru_cache(maxsize=8192)
def _next_day(crontab: Crontab, skipped: _Skipped, days: tuple[int, ...], day: int) -> int | None:
    place = bisect_left(days, day)
    added = days[place] if place < len(days) else None
    found, horizon = crontab.next_day(day), day + _HORIZON // DAY if added is None else added
    while found is not None and found in skipped:
        found = crontab.next_day(found + 1) if found < horizon else None
    return found if added is None or (found is not None and found < added) else added


@dataclass(frozen=True, slots=True)
class _OneTime:
    """A single wall time."""

    wall: int
    follows_clock: bool = False

    def next_wall(self, wall: int) -> int | None:
        return self.wall if self.wall > wall else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """One fire: the instant in UTC, the same on the schedule's clock, and what a clock change did to it (or None)."""

    at: datetime
    local: datetime
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """`count` fires that a rule names and that do not happen, at `at` (UTC): the end of the gap or the skipped fire."""

    at: datetime
    reason: SkipReason
    count: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """A rule that says when a schedule fires. Fields that belong to another kind are ignored.

    - kind "cron": the union of 1 to 5 expressions `crons`, on the clock of `timezone`.
    - kind "interval": `anchor` + n * `every` (timedelta or whole seconds, n >= 0) in absolute time, whatever the clock
      does. Without an anchor it counts from 1970-01-01 00:00 UTC.
    - kind "once": the wall time `once_local` (naive) in `timezone`; it fires once, so dst_overlap "both" means "first".

    `dst_gap` and `dst_overlap` say what happens to fixed times when the clock changes (see `firing`). `start_at` and
    `end_at` are inclusive bounds: an aware datetime, or a date, which means from the start or to the end of that local
    day. On `skip_dates` (local dates, up to 1000) nothing fires, nor on the `days_off` of holiday calendars (lines, see
    `holidays`). On `extra_dates` (cron only, up to 1000) the times of day of the expressions fire too; an extra date
    beats a skipped one. `spread_key` is what `H` is derived from: the schedule's id. Times and dates may also be ISO
    8601 texts, and `crons` a single expression; the fields hold them as declared here. Raises RecurrenceError, whose
    `field` names the field to mend.
    """

    kind: Kind
    crons: Sequence[str] = ()
    every: timedelta | int | None = None
    anchor: datetime | None = None
    once_local: datetime | None = None
    timezone: str = "UTC"
    dst_gap: Gap = "after"
    dst_overlap: Overlap = "first"
    start_at: datetime | date | None = None
    end_at: datetime | date | None = None
    skip_dates: Sequence[date] = ()
    extra_dates: Sequence[date] = ()
    spread_key: str = ""
    days_off: Sequence[str] = ()
    _clock: Clock = field(init=False, repr=False, compare=False)
    _rules: tuple[WallTimes, ...] = field(init=False, repr=False, compare=False)
    _skipped: _Skipped = field(init=False, repr=False, compare=False)
    _bounds: tuple[int, int] = field(init=False, repr=False, compare=False)
    _grid: tuple[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_choice("kind", self.kind, _KINDS)
        _check_choice("dst_gap", self.dst_gap, _GAPS)
        _check_choice("dst_overlap", self.dst_overlap, _OVERLAPS)
        overlap: Overlap = "first" if self.kind == "once" and self.dst_overlap == "both" else self.dst_overlap
        self._keep(
            crons=given.expressions(self.crons),
            anchor=given.anchor(self.anchor) if self.kind == "interval" else None,
            once_local=given.local_time(self.once_local) if self.kind == "once" else None,
            every=timedelta(seconds=_period(self.every)) if self.kind == "interval" else None,
            timezone=given.zone_name(self.timezone),
            start_at=given.limit("start_at", self.start_at),
            end_at=given.limit("end_at", self.end_at),
            skip_dates=given.dates("skip_dates", self.skip_dates),
            extra_dates=given.dates("extra_dates", self.extra_dates),
            spread_key=str(self.spread_key),
            days_off=given.lines(self.days_off),
        )
        zone = timeline(self.timezone)
        added = _days("extra_dates", self.extra_dates)
        if added and self.kind != "cron":
            raise RecurrenceError("extra_dates", "Extra dates need cron expressions, whose times of day they repeat.")
        self._keep(
            _clock=Clock(zone, self.dst_gap, overlap),
            _skipped=self._days_out(added),
            _bounds=_bounds(self.start_at, self.end_at, zone),
        )
        self._keep(_rules=self._wall_times(added), _grid=_grid(self.every, self.anchor))

    def _keep(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def after(self, instant: datetime) -> datetime | None:
        """The first fire strictly later than the aware datetime, in UTC; None if there is none.

        The search looks 50 years ahead, which no cron expression that fires at all exceeds. Raises RecurrenceError for
        an instant without a time zone.
        """
        first, last = self._bounds
        found = self._first(max(to_instant(given.instant(instant)) + 1, first), last)
        return None if found is None else to_datetime(found)

    def between(self, a: datetime, b: datetime) -> Iterator[datetime]:
        """The fires in (a, b], in order, in UTC: later than `a`, `b` itself included."""
        return self._between(given.instant(a), given.instant(b))

    def _between(self, a: datetime, b: datetime) -> Iterator[datetime]:
        if self.kind == "interval" and not (self.skip_dates or self.days_off):
            yield from self._grid_between(a, b)
            return
        fire = self.after(a)
        while fire is not None and fire <= b:
            yield fire
            fire = self.after(fire)

    def notes(self, instant: datetime) -> str | None:
        """What a clock change did to the fire at this instant, such as “02:30 does not exist, runs 03:00”; or None."""
        return clock_note(self._clock, self._rules, to_instant(instant))

    def preview(self, after: datetime, count: int = 10) -> list[Fire]:
        """The next `count` fires later than `after`, found by the function that fires them."""
        fires: list[Fire] = []
        at = self.after(after)
        while at is not None and len(fires) < count:
            fires.append(Fire(at=at, local=at.astimezone(self._clock.timeline.zone), note=self.notes(at)))
            at = self.after(at)
        return fires

    def skips(self, a: datetime, b: datetime, most: int | None = None) -> list[Skip]:
        """What the rule names in (a, b] and does not fire, in order: times the clock skipped, and skipped dates.

        At most the first `most`, if that is given: a rule may name millions of times on its days off.
        """
        first, last = max(to_instant(a) + 1, self._bounds[0]), min(to_instant(b), self._bounds[1])
        named = [*self._missing(first, last), *islice(self.left_out(a, b), most)]
        return sorted(named, key=lambda skip: skip.at)[:most]

    def left_out(self, a: datetime, b: datetime) -> Iterator[Skip]:
        """The fires in (a, b] that the rule names and leaves out, in order: on skipped dates and on days off."""
        if not (self.skip_dates or self.days_off) or not self._meets_days_out(a, b):
            return
        fires = set(self.between(a, b))
        for at in replace(self, skip_dates=(), days_off=()).between(a, b):
            if at not in fires:
                yield self._skip(at)

    def explain(self) -> str:
        """The rule in plain words, such as “Every weekday at 09:00, Europe/Berlin time”."""
        return f"{self._rule_words()}{self._limit_words()}"

    def _missing(self, start: int, last: int) -> Iterator[Skip]:
        while start <= last:
            span = self._clock.timeline.span(start)
            if span.gap and span.start == start and self._clock.drops(span):
                walls = sorted({wall for rule in self._rules for wall in self._clock.swallowed(rule, span)})
                if walls:
                    at = to_datetime(start)
                    yield Skip(at=at, reason="dst_skip", count=len(walls), note=missing_note(walls))
            start = span.end

    def _days_out(self, added: frozenset[int]) -> _Skipped:
        """The days on which nothing fires; rules without holidays pay for none."""
        dates = _days("skip_dates", self.skip_dates) - added
        return _DaysOut(dates, holidays.days_off(tuple(self.days_off)), added) if self.days_off else dates

    def _meets_days_out(self, a: datetime, b: datetime) -> bool:
        first, last = (to_instant(moment) // DAY for moment in (a, b))
        return any(day in self._skipped for day in range(first - 1, last + 2))

    def _skip(self, at: datetime) -> Skip:
        local = at.astimezone(self._clock.timeline.zone)
        if local.date() in self.skip_dates:
            return Skip(at=at, reason="blackout", count=1, note=f"{local:%A %Y-%m-%d} is a skipped date")
        name = holidays.days_off(tuple(self.days_off)).on(local.date())
        return Skip(at=at, reason="holiday", count=1, note=name or f"{local:%A %Y-%m-%d}")

    def _rule_words(self) -> str:
        if self.kind == "interval":
            since = f", counted from {self.anchor.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if self.anchor else ""
            return f"{describe_interval(timedelta(seconds=self._grid[1]))}{since}"
        if self.kind == "once":
            local = cast(datetime, self.once_local)
            return f"Once, on {local:%A} {local.date()} at {local:%H:%M}, {self.timezone} time"
        return f"{'; also '.join(self._cron_words())}, {self.timezone} time"

    def _cron_words(self) -> list[str]:
        first, *more = (describe(crontab) for crontab in self._crontabs())
        return [first, *(words[0].lower() + words[1:] for words in more)]

    def _limit_words(self) -> str:
        parts = []
        if self.start_at is not None:
            parts.append(f"from {self._limit(self.start_at)}")
        if self.end_at is not None:
            parts.append(f"until {self._limit(self.end_at)}")
        if self.skip_dates:
            parts.append(f"not on {_dates(self.skip_dates)}")
        if self.days_off:
            parts.append(f"not on {holidays.words(self.days_off)}")
        if self.extra_dates:
            parts.append(f"also on {_dates(self.extra_dates)}")
        return "".join(f", {part}" for part in parts)

    def _limit(self, limit: datetime | date) -> str:
        if isinstance(limit, datetime):
            moment = to_datetime(min(max(to_instant(limit), _EARLIEST), _LATEST))
            return f"{moment.astimezone(self._clock.timeline.zone):%Y-%m-%d %H:%M}"
        return limit.isoformat()

    def _wall_times(self, added: frozenset[int]) -> tuple[WallTimes, ...]:
        if self.kind == "cron":
            days = tuple(sorted(added))
            return tuple(_CronTimes(crontab, self._skipped, days) for crontab in self._crontabs())
        if self.kind == "once":
            wall = _once(self.once_local)
            return () if wall // DAY in self._skipped else (_OneTime(wall),)
        return ()

    def _crontabs(self) -> tuple[Crontab, ...]:
        if not 1 <= len(self.crons) <= MOST_CRONS:
            raise RecurrenceError("crons", f"Give one to {MOST_CRONS} cron expressions.")
        return tuple(parse(expression, self.spread_key) for expression in self.crons)

    def _first(self, start: int, last: int) -> int | None:
        """The first firing instant in [start, last]."""
        if self.kind == "interval":
            return self._first_on_grid(start, last)
        end = min(last, start + _HORIZON) + 1
        found = None
        for rule in self._rules:
            fire = self._clock.first(rule, start, end)
            if fire is not None:
                found, end = fire, fire
        return found

    def _grid_between(self, a: datetime, b: datetime) -> Iterator[datetime]:
        """The fires of a bare interval in (a, b]: plain arithmetic, without a look at the clock for each."""
        (first, last), (anchor, every) = self._bounds, self._grid
        start = max(to_instant(a) + 1, first)
        nearest = anchor + max(0, -((anchor - start) // every)) * every
        return (to_datetime(fire) for fire in range(nearest, min(to_instant(b), last) + 1, every))

    def _first_on_grid(self, start: int, last: int) -> int | None:
        anchor, every = self._grid
        while start <= last:
            fire = anchor + max(0, -((anchor - start) // every)) * every
            span = self._clock.timeline.span(fire)
            day = (fire + span.offset) // DAY
            if fire > last or day not in self._skipped:
                return fire if fire <= last else None
            start = fire
            while start < span.end and day in self._skipped:
                day += 1
                start = day * DAY - span.offset
            start = min(span.end, start)
        return None


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise RecurrenceError(name, f"Choose one of {', '.join(choices)}.")


def _dates(dates: Sequence[date]) -> str:
    if len(dates) > _MOST_DATES_SPELLED:
        return f"{len(dates)} dates"
    return joined([day.isoformat() for day in sorted(dates)])


def _days(name: str, dates: Sequence[date]) -> frozenset[int]:
    if len(dates) > MOST_DATES:
        raise RecurrenceError(name, f"Give at most {MOST_DATES} dates.")
    return frozenset(map(_day, dates))


def _once(local: datetime | None) -> int:
    if local is None:
        raise RecurrenceError("once_local", "Give the date and time at which it runs.")
    return to_wall(local)


def _period(every: object) -> int:
    period = given.period(every)
    if not 1 <= period <= LONGEST_INTERVAL // timedelta(seconds=1):
        raise RecurrenceError("every", f"Give a period from 1 second to {LONGEST_INTERVAL.days:,} days.")
    return period


def _grid(every: timedelta | int | None, anchor: datetime | None) -> tuple[int, int]:
    """Anchor and period in seconds; a period of 0 if there is none."""
    return (0 if anchor is None else to_instant(anchor)), (0 if every is None else given.period(every))


def _bounds(start: datetime | date | None, end: datetime | date | None, zone: Timeline) -> tuple[int, int]:
    """The first and the last instant at which anything may fire."""
    first, last = _EARLIEST, _LATEST
    if isinstance(start, datetime):
        first = to_instant(start) + bool(start.microsecond)
    elif start is not None:
        first = _midnights(_day(start), zone)[0]
    if isinstance(end, datetime):
        last = to_instant(end)
    elif end is not None:
        last = _midnights(_day(end) + 1, zone)[-1] - 1
    if last < first:
        raise RecurrenceError("end_at", "The end lies before the start. Choose a later end.")
    return max(first, _EARLIEST), min(last, _LATEST)


def _day(day: date) -> int:
    """The number of days since 1970-01-01."""
    return (day - _FIRST_DAY).days


def _midnights(day: int, zone: Timeline) -> tuple[int, ...]:
    """The instants at which a local day begins: two if the clock is put back across midnight."""
    wall = min(max(day * DAY, _EARLIEST), _LATEST)
    opened = zone.gap_end(wall)
    return zone.passes(wall) if opened is None else (opened.start,)
