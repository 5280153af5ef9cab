"""Count what else of the tenant starts in the same minute as a fire, and say how to keep clear of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from dashboard.schedules.actions import recurrence
from dashboard.schedules.agenda import active_schedules
from dashboard.schedules.reach import Exceptions
from dashboard.schedules.recurrence import Recurrence, RecurrenceError

MINUTE = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)


def others_at(minutes: Sequence[datetime], *, but: UUID | None) -> dict[datetime, int]:
    """Return how many fires of the bound tenant's other schedules start in each of these minutes.

    Those with jitter start spread out and are not counted. Schedules with the same rule are asked once.
    """
    rules: Counter[tuple[Recurrence, datetime]] = Counter()
    schedules = active_schedules(min(minutes))
    end = max(minutes) + MINUTE
    exceptions = Exceptions(schedules, end)
    for schedule in schedules:
        if schedule.id != but and not schedule.jitter_seconds:
            try:
                rule = recurrence(schedule)
            except RecurrenceError:
                continue
            rules[rule, exceptions.stop_of(schedule, rule, end)] += 1
    return {minute: _fires(rules, minute) for minute in minutes}


def with_spread_minutes(crons: Iterable[str]) -> list[str]:
    """Return the expressions with `H` in the place of a minute that is given as one number; the others as they are."""
    return [_with_spread_minute(cron) for cron in crons]


def _fires(rules: Mapping[tuple[Recurrence, datetime], int], minute: datetime) -> int:
    before, after = minute - _SECOND, minute + MINUTE
    fires = ((rule.after(before), min(stop, after), number) for (rule, stop), number in rules.items())
    return sum(number for at, end, number in fires if at is not None and at < end)


def _with_spread_minute(cron: str) -> str:
    minute, _, rest = cron.strip().partition(" ")
    return f"H {rest}" if minute.isdigit() else cron
