"""Write the past of a demo schedule: the runs it would have made, as the ledger would have kept them."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from dashboard.core.clock import database_now
from dashboard.core.ids import earliest_id, new_id
from dashboard.demo.story import DemoSchedule
from dashboard.jobs.registry import job_type
from dashboard.runs.fingerprint import fingerprint, likeness
from dashboard.runs.models import Run, RunEvent, RunLog
from dashboard.runs.states import PROBLEM_STATES, READY, RUNNING
from dashboard.schedules.actions import recurrence
from dashboard.schedules.models import Schedule

WAITED = timedelta(milliseconds=300)
RANDOM_BITS = 80
LONGEST_PAST = timedelta(days=45)


def write_history(session: Session, schedule: Schedule, told: DemoSchedule) -> None:
    """Add a run for each of the schedule's last fires, with the states that the story tells."""
    if not told.past:
        return
    now = database_now(session)
    for at, state in zip(_last_fires(schedule, now, len(told.past)), told.past, strict=False):
        _write(session, schedule, told, at, state)


def _last_fires(schedule: Schedule, now: datetime, count: int) -> list[datetime]:
    """Return the last instants at which it would have fired, oldest first; for an interval, counted back from now."""
    if schedule.every_seconds:
        every = timedelta(seconds=schedule.every_seconds)
        return [now - every * back for back in range(count, 0, -1)]
    rule, fires = recurrence(schedule), []
    at = rule.after(now - LONGEST_PAST)
    while at is not None and at < now:
        fires.append(at)
        at = rule.after(at)
    return fires[-count:]


def _write(session: Session, schedule: Schedule, told: DemoSchedule, at: datetime, state: str) -> None:
    job = job_type(schedule.job_type)
    has_failed = state in PROBLEM_STATES
    started, ended = at + WAITED, at + WAITED + told.takes
    run = Run(
        id=_id_at(at),
        tenant_id=schedule.tenant_id,
        schedule_id=schedule.id,
        name=schedule.name,
        job_type=job.key,
        job_version=job.version,
        params=schedule.params,
        queue=job.queue,
        lane=job.lane,
        idempotent=job.idempotent,
        max_attempts=job.max_attempts,
        attempt=job.max_attempts if has_failed else 1,
        timeout_seconds=int(job.timeout.total_seconds()),
        state=state,
        created_at=at,
        ready_at=at,
        admitted_at=at,
        started_at=started,
        finished_at=ended,
        error_type="SupplierAway" if has_failed else "",
        error_message=told.error if has_failed else "",
        fingerprint=fingerprint(job.key, likeness("SupplierAway", told.error)) if has_failed else "",
        actor_kind="schedule",
        actor_id=schedule.id,
    )
    session.add(run)
    session.flush()
    for moment, word in ((at, READY), (started, RUNNING), (ended, state)):
        session.add(RunEvent(tenant_id=run.tenant_id, run_id=run.id, at=moment, state=word, attempt=run.attempt))
    if has_failed:
        session.add(RunLog(tenant_id=run.tenant_id, run_id=run.id, at=ended, level="error", text=told.error))


def _id_at(moment: datetime) -> UUID:
    """Return an identifier as it would have been made then, so that the run stands in its place in lists."""
    return UUID(int=earliest_id(moment).int | new_id().int & (1 << RANDOM_BITS) - 1)
