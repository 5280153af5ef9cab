"""Plan: turn what is due into occurrences and runs, each once, in one transaction per batch.

Any number of planners may work at the same time: a schedule is claimed with SKIP LOCKED, its cursor only moves
forward, and an occurrence is a unique row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import cast

import sqlalchemy as sa
import structlog
from flask import current_app
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dashboard.core.errors import InvalidInput
from dashboard.core.ids import new_id
from dashboard.core.tenancy import Actor, resolver_of
from dashboard.jobs.registry import UnknownJobType
from dashboard.runs.ledger import cancel
from dashboard.runs.models import Run
from dashboard.runs.states import ACTIVE_STATES, READY, SCHEDULED
from dashboard.schedules.catchup import Decision, Policy, decide
from dashboard.schedules.civil import timeline
from dashboard.schedules.launching import launch
from dashboard.schedules.models import Occurrence, Schedule
from dashboard.schedules.recurrence import Recurrence, RecurrenceError
from dashboard.schedules.timing import recurrence_of, rewind, start_of
from dashboard.tenants.models import TenantRecord

BATCH = 1000
MOST_INSTANTS = 5000
"""Instants of one schedule handled in one transaction; after a long sleep the rest follows in the next."""

DEFAULT_ZONE = "UTC"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanResult:
    """What one batch did; `full` says that more may be due."""

    schedules: int = 0
    runs: int = 0
    skips: int = 0
    full: bool = False


def plan(session: Session, now: datetime) -> PlanResult:
    """Plan one batch of what is due at `now` (the transaction's), in a system session; the caller commits."""
    wake(session, now)
    schedules = _claim_due(session, now)
    runs = skips = 0
    for schedule in schedules:
        planned = _plan_one(session, schedule, now)
        runs += sum(planned)
        skips += len(planned) - sum(planned)
    return PlanResult(schedules=len(schedules), runs=runs, skips=skips, full=len(schedules) == BATCH)


def wake(session: Session, now: datetime) -> int:
    """Resume the schedules whose pause ran out at `now`; return how many."""
    due = session.scalars(
        sa.select(Schedule)
        .where(Schedule.paused_at.is_not(None), Schedule.paused_until <= now, Schedule.archived_at.is_(None))
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    ).all()
    for schedule in due:
        resume(session, schedule, now)
    return len(due)


def resume(session: Session, schedule: Schedule, now: datetime) -> None:
    """End a pause: what was missed becomes one skip row, nothing fires, and the schedule goes on from `now`."""
    zone = tenant_zone(schedule)
    try:
        recurrence = recurrence_of(schedule, zone)
        missed = list(islice(recurrence.between(schedule.cursor or schedule.created_at, now), MOST_INSTANTS))
        rewind(schedule, zone, now)
    except RecurrenceError as error:
        hold(schedule, str(error))
        return
    schedule.paused_at = schedule.paused_until = schedule.paused_by_id = None
    schedule.paused_reason = ""
    if missed:
        skipped = Decision(nominal=missed[0], until=missed[-1], count=len(missed), reason="paused")
        _record(session, schedule, skipped, zone, now)


def hold(schedule: Schedule, problem: str) -> None:
    """Stop a schedule that cannot fire; the page shows `problem` and what to do."""
    schedule.problem = problem
    log.warning("schedule_needs_attention", schedule_id=str(schedule.id), problem=problem)


def tenant_zone(schedule: Schedule) -> str:
    """Return the time zone of the schedule's tenant."""
    tenant = resolver_of(current_app).by_id(schedule.tenant_id)
    return cast(str, tenant.values["TIMEZONE"]) if tenant else DEFAULT_ZONE


def _claim_due(session: Session, now: datetime) -> list[Schedule]:
    """Lock what is due, oldest first; a suspended tenant's schedules wait."""
    query = (
        sa.select(Schedule)
        .join(TenantRecord, TenantRecord.id == Schedule.tenant_id)
        .where(
            Schedule.next_at <= now,
            Schedule.paused_at.is_(None),
            Schedule.archived_at.is_(None),
            Schedule.problem == "",
            TenantRecord.suspended_at.is_(None),
        )
        .order_by(Schedule.next_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True, of=Schedule)
    )
    return list(session.scalars(query))


def _plan_one(session: Session, schedule: Schedule, now: datetime) -> list[bool]:
    """Decide on every due instant of a claimed schedule; return for each decision whether it became a run."""
    zone = tenant_zone(schedule)
    try:
        recurrence = recurrence_of(schedule, zone)
        before = schedule.cursor or cast(datetime, schedule.next_at) - timedelta(seconds=1)
        due = list(islice(recurrence.between(before, now), MOST_INSTANTS + 1))
        decisions = _decisions(schedule, due, now)
        planned = [_carry_out(session, schedule, recurrence, decision, zone, now) for decision in decisions]
    except (RecurrenceError, UnknownJobType, InvalidInput) as error:
        hold(schedule, str(error))
        return []
    for skip in recurrence.skips(before, now):
        named = Decision(nominal=skip.at, until=skip.at, count=skip.count, reason=skip.reason)
        _record(session, schedule, named, zone, now, key=f"skip:{skip.at.isoformat()}", note=skip.note)
    schedule.cursor = due[min(len(due), MOST_INSTANTS) - 1] if len(due) > MOST_INSTANTS else now
    schedule.next_at = None if schedule.runs_left == 0 else recurrence.after(schedule.cursor)
    return planned


def _decisions(schedule: Schedule, due: list[datetime], now: datetime) -> list[Decision]:
    more = len(due) > MOST_INSTANTS
    return decide(
        due[:MOST_INSTANTS],
        now,
        policy=cast(Policy, schedule.catchup),
        window=timedelta(seconds=schedule.catchup_window_seconds),
        cap=schedule.catchup_cap,
        more=more,
    )


def _carry_out(
    session: Session, schedule: Schedule, recurrence: Recurrence, decision: Decision, zone: str, now: datetime
) -> bool:
    """Write the occurrence, and its run unless the schedule's limits or overlap policy forbid one."""
    reason = decision.reason or _obstacle(session, schedule)
    if reason:
        skip = Decision(nominal=decision.nominal, until=decision.until, count=decision.count, reason=reason)
        _record(session, schedule, skip, zone, now)
        return False
    occurrence = _record(session, schedule, decision, zone, now, note=recurrence.notes(decision.nominal) or "")
    if occurrence is None:
        return False
    if schedule.overlap == "cancel_running":
        _cancel_active(session, schedule)
    start = start_of(schedule, recurrence, decision.nominal)
    run = launch(session, schedule, occurrence, not_before=start, actor=Actor(kind="schedule", id=schedule.id))
    if schedule.runs_left is not None:
        schedule.runs_left -= 1
    log.info("run_planned", run_id=str(run.id), schedule_id=str(schedule.id), nominal=decision.nominal.isoformat())
    return True


def _obstacle(session: Session, schedule: Schedule) -> str:
    """Return why no further run of the schedule may be planned now, or nothing."""
    if schedule.runs_left == 0:
        return "limit"
    states = {"skip": ACTIVE_STATES, "queue_one": {READY, SCHEDULED}}.get(schedule.overlap)
    if states is None:
        return ""
    active = sa.select(Run.id).where(Run.schedule_id == schedule.id, Run.state.in_(states)).limit(1)
    return "overlap" if session.scalar(active) else ""


def _cancel_active(session: Session, schedule: Schedule) -> None:
    active = sa.select(Run).where(Run.schedule_id == schedule.id, Run.state.in_(ACTIVE_STATES)).with_for_update()
    for run in session.scalars(active).all():
        cancel(session, run, note="The next one is due.", actor=Actor(kind="schedule", id=schedule.id))


def _record(
    session: Session,
    schedule: Schedule,
    decision: Decision,
    zone: str,
    now: datetime,
    *,
    key: str | None = None,
    note: str = "",
) -> Occurrence | None:
    """Write the occurrence row; None if it was decided on before, by another planner or before a restart."""
    local = decision.nominal.astimezone(timeline(schedule.timezone or zone).zone)
    row = {
        "id": new_id(),
        "tenant_id": schedule.tenant_id,
        "schedule_id": schedule.id,
        "occurrence": key or decision.nominal.isoformat(),
        "nominal": decision.nominal,
        "nominal_local": f"{local:%Y-%m-%d %H:%M:%S %Z}",
        "decision": "run" if decision.runs else "skip",
        "reason": decision.reason,
        "note": note,
        "rev": schedule.rev,
        "count": decision.count,
        "until": None if decision.count == 1 else decision.until,
        "lateness_ms": int((now - decision.nominal).total_seconds() * 1000),
    }
    statement = (
        insert(Occurrence)
        .values(row)
        .on_conflict_do_nothing(index_elements=["schedule_id", "occurrence"])
        .returning(Occurrence)
    )
    return session.scalars(statement).one_or_none()
