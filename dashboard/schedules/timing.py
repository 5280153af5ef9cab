"""Build the recurrence of a stored schedule, and keep its next instant."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import cast

from dashboard.core.clock import tzdata_version
from dashboard.schedules.firing import Gap, Overlap
from dashboard.schedules.models import Schedule
from dashboard.schedules.recurrence import Kind, Recurrence, jittered


def recurrence_of(schedule: Schedule, tenant_zone: str) -> Recurrence:
    """Return when `schedule` fires; without a zone of its own it follows the tenant's.

    Raises RecurrenceError for a rule that no longer makes sense.
    """
    return Recurrence(
        kind=cast(Kind, schedule.kind),
        crons=schedule.crons,
        every=schedule.every_seconds,
        anchor=schedule.anchor,
        once_local=schedule.once_local,
        timezone=schedule.timezone or tenant_zone,
        dst_gap=cast(Gap, schedule.dst_gap),
        dst_overlap=cast(Overlap, schedule.dst_overlap),
        start_at=schedule.start_at,
        end_at=schedule.end_at,
        skip_dates=schedule.skip_dates,
        extra_dates=schedule.extra_dates,
        spread_key=str(schedule.id),
    )


def rewind(schedule: Schedule, tenant_zone: str, now: datetime) -> None:
    """Let the schedule go on from `now`: what lies before is handled, and nothing fires at this moment.

    Raises RecurrenceError for a rule that makes no sense.
    """
    schedule.cursor = now
    schedule.next_at = None if schedule.runs_left == 0 else recurrence_of(schedule, tenant_zone).after(now)
    schedule.tz_version = tzdata_version()


def start_of(schedule: Schedule, recurrence: Recurrence, nominal: datetime) -> datetime:
    """Return when a run for `nominal` may start: later by the schedule's jitter, which is the same every time."""
    if not schedule.jitter_seconds:
        return nominal
    jitter = timedelta(seconds=schedule.jitter_seconds)
    return jittered(str(schedule.id), nominal, jitter, recurrence.after(nominal))
