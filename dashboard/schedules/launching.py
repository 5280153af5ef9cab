"""Turn an occurrence of a schedule into a run in the ledger."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from dashboard.core.tenancy import Actor
from dashboard.jobs.registry import JobType, job_type
from dashboard.runs.ledger import Lane, RunRequest, enqueue
from dashboard.runs.models import Run
from dashboard.schedules.models import Occurrence, Schedule

ONE_AT_A_TIME = frozenset({"queue_one", "queue_all", "cancel_running"})
"""Overlap policies under which a schedule's runs wait for one another."""


def launch(
    session: Session,
    schedule: Schedule,
    occurrence: Occurrence,
    *,
    not_before: datetime | None,
    actor: Actor,
    lane: Lane = "bulk",
) -> Run:
    """Insert the run of `occurrence`, with the schedule's parameters as they are now.

    Raises UnknownJobType if the schedule's job type is gone, InvalidInput if its parameters no longer fit it.
    """
    kind = job_type(schedule.job_type)
    return enqueue(session, request_for(schedule, occurrence, kind, not_before=not_before, actor=actor, lane=lane))


def request_for(
    schedule: Schedule,
    occurrence: Occurrence,
    kind: JobType,
    *,
    not_before: datetime | None,
    actor: Actor,
    lane: Lane,
) -> RunRequest:
    """Return what the run of `occurrence` needs, with the schedule's parameters and policies as they are now."""
    expires = schedule.expires_after_seconds
    planned = occurrence.nominal or not_before
    return RunRequest(
        tenant_id=schedule.tenant_id,
        schedule_id=schedule.id,
        occurrence_id=occurrence.id,
        name=schedule.name,
        job_type=schedule.job_type,
        job_version=schedule.job_version,
        params=schedule.params,
        queue=kind.queue,
        lane=lane,
        priority=schedule.priority,
        concurrency_key=schedule.concurrency_key
        or (f"schedule:{schedule.id}" if schedule.overlap in ONE_AT_A_TIME else None),
        idempotent=kind.idempotent,
        max_attempts=schedule.max_attempts or kind.max_attempts,
        backoff=schedule.backoff,
        timeout_seconds=schedule.timeout_seconds or int(kind.timeout.total_seconds()),
        not_before=not_before,
        expires_at=planned + timedelta(seconds=expires) if expires and planned else None,
        root_id=schedule.context_root_id,
        locale=schedule.context_locale,
        actor=actor,
    )
