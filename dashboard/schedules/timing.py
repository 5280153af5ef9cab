"""Know when a stored schedule fires, and keep its next instant."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import cast

from sqlalchemy.orm import Session

from dashboard.core.clock import tzdata_version
from dashboard.schedules.catchup import one_skip
from dashboard.schedules.claiming import DueSchedule
from dashboard.schedules.firing import Gap, Overlap
from dashboard.schedules.holidays import holidays_version
from dashboard.schedules.models import Schedule
from dashboard.schedules.occurrences import Entry, decided, entry_of, record_all
from dashboard.schedules.recurrence import Kind, Recurrence, RecurrenceError, jittered

MOST_INSTANTS = 5000
"""Instants of one schedule that are looked at in one go."""


def recurrence_of(schedule: Schedule | DueSchedule, tenant_zone: str) -> Recurrence:
    """Return when `schedule` fires; without a zone of its own it follows the tenant's.

    Raises RecurrenceError for a rule that no longer makes sense.
    """
    return _recurrence(
        schedule.kind,
        tuple(schedule.crons),
        schedule.every_seconds,
        schedule.anchor,
        schedule.once_local,
        schedule.timezone or tenant_zone,
        schedule.dst_gap,
        schedule.dst_overlap,
        schedule.start_at,
        schedule.end_at,
        tuple(schedule.skip_dates),
        tuple(schedule.extra_dates),
        str(schedule.id) if any("H" in cron.upper() for cron in schedule.crons) else "",
        tuple(schedule.days_off),
    )


@lru_cache(maxsize=4096)
def _recurrence(
    kind: str,
    crons: tuple[str, ...],
    every: int | None,
    anchor: datetime | None,
    once_local: datetime | None,
    timezone: str,
    dst_gap: str,
    dst_overlap: str,
    start_at: datetime | None,
    end_at: datetime | None,
    skip_dates: tuple[date, ...],
    extra_dates: tuple[date, ...],
    spread_key: str,
    days_off: tuple[str, ...],
) -> Recurrence:
    """Return the recurrence of these fields; schedules with the same rule share one."""
    return Recurrence(
        kind=cast(Kind, kind),
        crons=crons,
        every=every,
        anchor=anchor,
        once_local=once_local,
        timezone=timezone,
        dst_gap=cast(Gap, dst_gap),
        dst_overlap=cast(Overlap, dst_overlap),
        start_at=start_at,
        end_at=end_at,
        skip_dates=skip_dates,
        extra_dates=extra_dates,
        spread_key=spread_key,
        days_off=days_off,
    )


def rules_version() -> str:
    """Return the version of all rules that next fires follow: of time zones, then of public holidays (2026.1.0.109)."""
    return f"{tzdata_version()}.{holidays_version()}"


def due_until(recurrence: Recurrence, before: datetime, now: datetime) -> tuple[list[datetime], datetime | None]:
    """Return the instants in (before, now], `MOST_INSTANTS` at most, and the one that follows them."""
    due: list[datetime] = []
    at = recurrence.after(before)
    while at is not None and at <= now and len(due) < MOST_INSTANTS:
        due.append(at)
        at = recurrence.after(at)
    return due, at


def start_of(schedule: Schedule | DueSchedule, recurrence: Recurrence, nominal: datetime) -> datetime:
    """Return when a run for `nominal` may start: later by the schedule's jitter, which is the same every time."""
    if not schedule.jitter_seconds:
        return nominal
    jitter = timedelta(seconds=schedule.jitter_seconds)
    return jittered(str(schedule.id), nominal, jitter, recurrence.after(nominal))


def rewind(schedule: Schedule, tenant_zone: str, now: datetime) -> None:
    """Let the schedule go on from `now`: what lies before is handled, and nothing fires at this moment.

    Raises RecurrenceError for a rule that makes no sense.
    """
    schedule.cursor = now
    schedule.next_at = next_after(schedule, tenant_zone, now)
    schedule.tz_version = rules_version()


def settle(session: Session, schedule: Schedule, tenant_zone: str, now: datetime) -> None:
    """List as skipped what was due by `now` and never planned, before a new rule takes the old one's place."""
    due = DueSchedule.of(schedule)
    known = decided(session, [due], now)[due.id]
    record_all(session, unplanned(due, known, tenant_zone, now, *_whyunplanned(schedule)))


def _whyunplanned(schedule: Schedule) -> tuple[str, str]:
    if schedule.paused_at is not None:
        return "paused", ""
    return ("invalid", schedule.problem) if schedule.problem else ("edited", "")


def unplanned(
    schedule: DueSchedule, known: set[datetime], tenant_zone: str, now: datetime, reason: str, note: str = ""
) -> list[Entry]:
    """Return the skip of what was due by `now` and never planned; none if the rule makes no sense.

    `known` are the instants of it that were decided on before.
    """
    if schedule.next_at is None:
        return []
    try:
        due, _ = due_until(recurrence_of(schedule, tenant_zone), schedule.cursor or schedule.created_at, now)
    except RecurrenceError:
        return []
    zone = schedule.timezone or tenant_zone
    missed = [at for at in due if at not in known]
    return [entry_of(schedule, decision, zone, now) for decision in one_skip(missed, reason, note)]


def next_after(schedule: Schedule | DueSchedule, tenant_zone: str, moment: datetime) -> datetime | None:
    """Return the first fire after `moment`, unless the schedule's runs are used up. Raises RecurrenceError."""
    return None if schedule.runs_left == 0 else recurrence_of(schedule, tenant_zone).after(moment)
