"""Say how far a schedule's fires reach: from the end of its pause on, and until its runs are used up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

from dashboard.core.clock import utc_now
from dashboard.schedules.blackouts import window_at, windows_between
from dashboard.schedules.models import Schedule
from dashboard.schedules.recurrence import Recurrence
from dashboard.schedules.single_fires import decided_of

MOST_RUNS = 100_000
"""A limit of more runs is not counted off: each minute of 69 days."""

_SECOND = timedelta(seconds=1)


class Exceptions:
    """Fires of the bound tenant's schedules from now to `end` that do not run by themselves.

    They are blacked out, or somebody decided on them: skipped, moved or run ahead, they use up no run any more.
    """

    def __init__(self, schedules: Sequence[Schedule], end: datetime) -> None:
        now = utc_now()
        self.windows = windows_between(now, end)
        self.decided = decided_of(schedules, now)

    def hold(self, schedule_id: UUID, at: datetime) -> bool:
        """Whether the fire of a schedule is one of them."""
        return (schedule_id, at) in self.decided or window_at(self.windows, at) is not None


def rests_until(schedule: Schedule) -> datetime:
    """Return the moment after which the schedule fires by itself: now, or when its pause ends."""
    now = utc_now()
    is_asleep = schedule.paused_at is not None and schedule.paused_until is not None
    return max(now, schedule.paused_until) if is_asleep and schedule.paused_until else now


def starts_at(schedule: Schedule, start: datetime) -> datetime:
    """Return `start`, or the first moment after a pause that goes on then."""
    return start if schedule.paused_at is None else max(start, rests_until(schedule).replace(microsecond=0) + _SECOND)


def stops_at(
    rule: Recurrence,
    runs_left: int | None,
    since: datetime,
    end: datetime,
    is_exception: Callable[[datetime], bool],
) -> datetime:
    """Return `end`, or the moment before it when the rule has used up the runs that it may still make after `since`."""
    if runs_left is None or runs_left > MOST_RUNS:
        return end
    if runs_left == 0:
        return min(since, end)
    runs = (at for at in rule.between(since, end) if not is_exception(at))
    last = next(islice(runs, runs_left - 1, None), end)
    return min(last + _SECOND, end)
