"""Keep next fires right when a tenant moves to another time zone, or the rules of time zones change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dashboard.audit.actions import record
from dashboard.core.clock import database_now, tzdata_version
from dashboard.core.orm import rows_as_json
from dashboard.runs.load import SCHEDULES, announce
from dashboard.schedules.catchup import one_skip
from dashboard.schedules.civil import timeline
from dashboard.schedules.claiming import DueSchedule, TenantNow, claim_of_tenant, claim_outdated, tenants_now
from dashboard.schedules.holidays import holidays_version
from dashboard.schedules.occurrences import Entry, decided, entry_of, last_until, local_text, record_all
from dashboard.schedules.recurrence import RecurrenceError
from dashboard.schedules.timing import next_after, rules_version, unplanned
from dashboard.tenants.actions import Move

BATCH = 500

TOO_LATE = "Its time had passed already in the new time zone"
HAS_RUN = "The rules of its time zone changed, and it had run at this local time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A schedule whose next fire changes from `old` to `new` (None: it never fires again)."""

    schedule: DueSchedule
    old: datetime | None
    new: datetime | None


def shifts(session: Session, tenant_id: UUID, zone: str, now: datetime) -> list[Shift]:
    """Return the tenant's schedules whose next fire would change if the tenant's time zone became `zone`."""
    moved = (
        Shift(schedule=schedule, old=schedule.next_at, new=_rezoned(schedule, zone, now))
        for schedule in claim_of_tenant(session, tenant_id)
    )
    return [shift for shift in moved if shift.old != shift.new]


def foresee(session: Session, tenant_id: UUID, old: str, new: str) -> list[Move]:
    """Return the next fires that would move if the tenant went from the time zone `old` to `new`, on their clocks."""
    here, there = timeline(old).zone, timeline(new).zone
    found = shifts(session, tenant_id, new, database_now(session)) if old != new else []
    return [
        Move(
            name=shift.schedule.name,
            before=shift.old.astimezone(here),
            after=shift.new.astimezone(there) if shift.new else None,
        )
        for shift in found
        if shift.old
    ]


def rezone(session: Session, tenant_id: UUID, old: str, new: str) -> None:
    """Let the tenant's schedules without a zone of their own go on from now by the clock of zone `new`; none fires.

    What the old clock made due and nobody planned, and a single time that the new clock has passed, is listed as
    skipped. In the caller's transaction.
    """
    if old == new:
        return
    now = database_now(session)
    schedules = claim_of_tenant(session, tenant_id, lock=True)
    known = decided(session, schedules, now)
    entries = [entry for each in schedules for entry in _left_behind(each, known[each.id], old, new, now)]
    record_all(session, entries)
    _store(session, [_Reached(schedule, now, _rezoned(schedule, new, now)) for schedule in schedules])
    record(
        session,
        "schedule.rezone",
        subject=("tenant", tenant_id, ""),
        tenant_id=tenant_id,
        details={"from": old, "to": new, "schedules": len(schedules)},
    )
    announce(session, tenant_id, SCHEDULES)


def _rezoned(schedule: DueSchedule, zone: str, now: datetime) -> datetime | None:
    """Return the next fire by the clock of `zone`; a rule that makes no sense keeps the one it has."""
    if schedule.next_at is None:
        return None
    try:
        return next_after(schedule, zone, now)
    except RecurrenceError:
        return schedule.next_at


def _left_behind(schedule: DueSchedule, known: set[datetime], old: str, new: str, now: datetime) -> list[Entry]:
    entries = unplanned(schedule, known, old, now, "edited")
    if not entries and schedule.next_at is not None and _rezoned(schedule, new, now) is None:
        decision = one_skip([schedule.next_at], "edited", TOO_LATE)[0]
        entries = [entry_of(schedule, decision, new, now)]
    return entries


@dataclass(frozen=True, slots=True)
class _Reached:
    """Where a schedule goes on."""

    schedule: DueSchedule
    cursor: datetime | None
    next_at: datetime | None


def _store(session: Session, reached: Sequence[_Reached]) -> None:
    rows: list[dict[str, Any]] = [
        {"id": each.schedule.id, "cursor": each.cursor, "next_at": each.next_at} for each in reached
    ]
    session.execute(_STORE, {"rows": rows_as_json(rows), "version": rules_version()})


_STORE = sa.text("""
UPDATE schedule SET next_at = reached.next_at, cursor = reached.cursor, tz_version = :version
FROM json_to_recordset(CAST(:rows AS json)) AS reached(id uuid, next_at timestamptz, cursor timestamptz)
WHERE schedule.id = reached.id
""")


def follow_tzdata(session: Session, now: datetime, after: UUID | None = None) -> UUID | None:
    """Recompute a batch of next fires that older rules of zones or holidays gave, in a system session; none twice.

    `after` is what the call before returned: where to go on; None at the end.
    """
    schedules = claim_outdated(session, rules_version(), after, BATCH)
    if not schedules:
        return None
    tenants = tenants_now(session, (schedule.tenant_id for schedule in schedules))
    found = [_followed(schedule, tenants[schedule.tenant_id]) for schedule in schedules]
    done, entries = _without_repeats(session, found, tenants, now)
    record_all(session, entries)
    _store(session, done)
    for tenant_id, count in Counter(each.schedule.tenant_id for each in done if _moved(each)).items():
        record(
            session,
            "schedule.follow_tzdata",
            subject=("tenant", tenant_id, ""),
            tenant_id=tenant_id,
            details={"tzdata": tzdata_version(), "holidays": holidays_version(), "moved": count},
        )
    return schedules[-1].id


def _moved(reached: _Reached) -> bool:
    return reached.next_at != reached.schedule.next_at


def _followed(schedule: DueSchedule, tenant: TenantNow) -> _Reached:
    handled = schedule.cursor or cast(datetime, schedule.next_at) - timedelta(seconds=1)
    try:
        return _Reached(schedule, handled, next_after(schedule, tenant.zone, handled))
    except RecurrenceError:  # the planner holds it when it is due
        return _Reached(schedule, handled, schedule.next_at)


def _without_repeats(
    session: Session, found: Sequence[_Reached], tenants: dict[UUID, TenantNow], now: datetime
) -> tuple[list[_Reached], list[Entry]]:
    """Pass over next fires at a local time at which the schedule has just run under the older rules."""
    ahead = {each.schedule.id: each.next_at for each in found if each.next_at is not None and _moved(each)}
    ran = {last.schedule_id: last.nominal_local for last in last_until(session, list(ahead.items())) if last.runs}
    done, entries = [], []
    for each in found:
        schedule, zone = each.schedule, each.schedule.timezone or tenants[each.schedule.tenant_id].zone
        at = each.next_at
        if at is not None and schedule.id in ran and _wall(ran[schedule.id]) == _wall(local_text(at, zone)):
            entries += [entry_of(schedule, skip, zone, now) for skip in one_skip([at], "dst_skip", HAS_RUN)]
            done.append(_Reached(schedule, at, next_after(schedule, zone, at)))
        else:
            done.append(each)
    return done, entries


def _wall(local: str) -> str:
    """Return a local text without the abbreviation of its offset."""
    return local[:19]
