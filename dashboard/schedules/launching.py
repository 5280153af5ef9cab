"""Turn an occurrence of a schedule into a run in the ledger."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.tenancy import Actor, require_binding
from dashboard.jobs.params import told
from dashboard.jobs.registry import JobType, UnknownJobType, job_type
from dashboard.runs.ledger import Lane, RunRequest, enqueue
from dashboard.runs.models import Run
from dashboard.schedules.claiming import DueSchedule
from dashboard.schedules.models import Occurrence, Schedule
from dashboard.schedules.occurrences import Entry

CANNOT_RUN = "Its job cannot be run. "
"""Begins what is wrong with a schedule whose job type is gone or has other parameters by now, and with no other."""


def launch(
    session: Session,
    schedule: Schedule,
    occurrence: Occurrence,
    *,
    not_before: datetime | None,
    actor: Actor,
    lane: Lane = "bulk",
    beside: bool = False,
) -> Run:
    """Insert the run of `occurrence`, with the schedule's parameters as they are now.

    `beside` lets it run at the same time as others of the schedule; a concurrency key that somebody gave still counts.
    Raises Refused if the schedule's job type is gone, or its parameters no longer fit it.
    """
    kind = kind_for(schedule)
    request = request_for(schedule, occurrence, kind, not_before=not_before, actor=actor, lane=lane)
    return enqueue(session, replace(request, concurrency_key=given_key(schedule)) if beside else request)


def request_for(
    schedule: Schedule | DueSchedule,
    occurrence: Occurrence | Entry,
    kind: JobType,
    *,
    not_before: datetime | None,
    actor: Actor,
    lane: Lane,
) -> RunRequest:
    """Return what the run of `occurrence` needs, with the schedule's parameters and policies as they are now.

    One that a person asks for has the language and the request id of their request, which must be bound here.
    """
    asked = require_binding() if actor.kind == "user" else None
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
        concurrency_key=key_of(schedule),
        idempotent=kind.idempotent,
        max_attempts=schedule.max_attempts or kind.max_attempts,
        backoff=schedule.backoff,
        timeout_seconds=schedule.timeout_seconds or int(kind.timeout.total_seconds()),
        not_before=not_before,
        expires_at=planned + timedelta(seconds=expires) if expires and planned else None,
        root_id=schedule.context_root_id,
        locale=(asked and asked.locale) or schedule.context_locale,
        request_id=asked.request_id if asked else None,
        actor=actor,
    )


def misfit(schedule: Schedule | DueSchedule) -> str:
    """Return why no run can be made of the schedule as it is stored, in sentences; nothing if one can.

    Parameters that have the names of the job type's are taken for good: they were checked when they were stored.
    """
    try:
        kind = job_type(schedule.job_type)
    except UnknownJobType as error:
        return f"{CANNOT_RUN}{error}"
    if kind.has_shape(schedule.params, schedule.job_version):
        return ""
    try:
        kind.load_params(schedule.params, schedule.job_version)
    except InvalidInput as error:
        return f"{CANNOT_RUN}Its parameters no longer fit: edit them. {told(kind.Params, error)}"
    return ""


def kind_for(schedule: Schedule) -> JobType:
    """Return the schedule's job type. Raises Refused, saying what to do, if it cannot run the schedule as it is."""
    if problem := misfit(schedule):
        raise Refused(problem)
    return job_type(schedule.job_type)


def key_of(schedule: Schedule | DueSchedule) -> str | None:
    """Return what a schedule's runs hold while they are with a worker, one at a time; None if they may overlap.

    The schedule's own key goes before its job type's. However a run came about, by its time or by hand, this is the
    last word on overlap. Backfills have their own where nobody gave a key.
    """
    return given_key(schedule) or (None if schedule.overlap == "allow" else f"schedule:{schedule.id}")


def given_key(schedule: Schedule | DueSchedule) -> str | None:
    """Return the concurrency key that somebody gave the schedule, else its job type's for these parameters, if any."""
    return schedule.concurrency_key or _key_of_job(schedule)


def _key_of_job(schedule: Schedule | DueSchedule) -> str | None:
    try:
        return job_type(schedule.job_type).key_for(schedule.params, schedule.job_version)
    except UnknownJobType:
        return None
