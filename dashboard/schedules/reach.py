"""Say which of a schedule's fires will run: past those decided on, after a pause, and until its runs are used up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

import sqlalchemy as sa

from dashboard.core.clock import utc_now
from dashboard.core.orm import db
from dashboard.runs.models import Run
from dashboard.runs.states import SCHEDULED
from dashboard.schedules.actions import recurrence
from dashboard.schedules.blackouts import Window, apart, window_at, windows_between
from dashboard.schedules.models import Occurrence, Schedule
from dashboard.schedules.recurrence import Recurrence, RecurrenceError
from dashboard.schedules.single_fires import decided_of

MOST_RUNS = 100_000
"""A limit of more runs is not counted off: each minute of 69 days."""

LOOKED_AHEAD = timedelta(days=366)
"""So far blackouts are looked at for the next run; none is longer."""

_SECOND, _MOMENT = timedelta(seconds=1), datetime.resolution


class Exceptions:
    """Fires of the bound tenant's schedules from now to `end` that do not run by themselves.

    They are blacked out, or somebody decided on them: skipped, moved or run ahead, they use up no run any more.
    `blackouts` are the windows as they were set, `windows` the same without overlaps.
    """

    def __init__(self, schedules: Sequence[Schedule], end: datetime) -> None:
        now = utc_now()
        self.blackouts = windows_between(now, end)
        self.windows = apart(self.blackouts)
        self.decided = decided_of(schedules, now)

    def hold(self, schedule_id: UUID, at: datetime) -> bool:
        """Whether the fire of a schedule is one of them."""
        return (schedule_id, at) in self.decided or window_at(self.windows, at) is not None

    def stop_of(self, schedule: Schedule, rule: Recurrence, end: datetime) -> datetime:
        """Return `end`, or the moment before it when the schedule has used up its runs if it follows `rule`."""
        since = rests_until(schedule)
        return stops_at(
            rule, schedule.runs_left, since, end, self.windows, lambda at: (schedule.id, at) in self.decided
        )


def rests_until(schedule: Schedule) -> datetime:
    """Return the moment after which the schedule fires by itself: now, or when its pause ends."""
    now = utc_now()
    if schedule.paused_at is None or schedule.paused_until is None:
        return now
    return max(now, schedule.paused_until)


def starts_at(schedule: Schedule, start: datetime) -> datetime:
    """Return `start`, or the first moment after a pause that goes on then."""
    return start if schedule.paused_at is None else max(start, rests_until(schedule).replace(microsecond=0) + _SECOND)


def stops_at(
    rule: Recurrence,
    runs_left: int | None,
    since: datetime,
    end: datetime,
    windows: Sequence[Window],
    is_decided: Callable[[datetime], bool],
) -> datetime:
    """Return `end`, or the moment before it when the rule has used up the runs that it may still make after `since`.

    Fires in the `windows`, which are apart, and those that `is_decided` holds for are none.
    """
    if runs_left is None or runs_left > MOST_RUNS:
        return end
    if runs_left == 0:
        return min(since, end)
    runs = (at for at in _between_windows(rule, since, end, windows) if not is_decided(at))
    last = next(islice(runs, runs_left - 1, None), end)
    return min(last + _SECOND, end)


def _between_windows(rule: Recurrence, start: datetime, end: datetime, windows: Sequence[Window]) -> Iterator[datetime]:
    """Yield the fires of a rule in (start, end] outside of windows, which are passed over at once, however long."""
    for window in windows:
        if window.start > start:
            yield from rule.between(start, min(window.start - _MOMENT, end))
        start = max(start, window.end - _MOMENT)
    yield from rule.between(start, end)


def next_runs(schedules: Sequence[Schedule]) -> Mapping[UUID, datetime]:
    """Return when each of these schedules really runs next, by its id; those that do not run are left out.

    That is past fires that are skipped or blacked out, and the time that a fire was moved to.
    """
    going = [schedule for schedule in schedules if schedule.state in {"active", "completed"}]
    exceptions = Exceptions(going, utc_now() + LOOKED_AHEAD)
    moved = _waiting(going)
    ahead = {schedule.id: (_next_fire(schedule, exceptions), moved.get(schedule.id)) for schedule in going}
    return {schedule_id: min(filter(None, moments)) for schedule_id, moments in ahead.items() if any(moments)}


def _next_fire(schedule: Schedule, exceptions: Exceptions) -> datetime | None:
    at = None if schedule.runs_left == 0 else schedule.next_at
    if at is None or not exceptions.hold(schedule.id, at):
        return at
    try:
        rule = recurrence(schedule)
    except RecurrenceError:
        return None
    while at is not None and exceptions.hold(schedule.id, at):
        window = window_at(exceptions.windows, at)
        at = rule.after(max(at, window.end - _SECOND) if window else at)
    return at


def _waiting(schedules: Sequence[Schedule]) -> dict[UUID, datetime]:
    """Return the first moment for which a fire of each schedule was put off, by its id."""
    query = (
        sa.select(Run.schedule_id, sa.func.min(Run.not_before))
        .join(Occurrence, Occurrence.id == Run.occurrence_id)
        .where(
            Run.state == SCHEDULED,
            Run.not_before > utc_now(),
            Run.schedule_id.in_([schedule.id for schedule in schedules]),
            Occurrence.nominal.is_not(None),
        )
    )
    rows = db.session.execute(query.group_by(Run.schedule_id))
    return {schedule_id: at for schedule_id, at in rows if schedule_id is not None and at is not None}
