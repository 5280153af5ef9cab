"""Start runs of a job type for the bound tenant: one that somebody asked for, or those that a run wants done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dashboard.audit.actions import record
from dashboard.core.tenancy import require_binding
from dashboard.jobs import params as job_params
from dashboard.jobs.outcomes import PermanentError
from dashboard.jobs.registry import JobType, Lane, job_type
from dashboard.runs.ledger import RunRequest, enqueue, enqueue_all
from dashboard.runs.models import Run

MOST_CHILDREN = 10_000


class TooManyChildren(PermanentError):
    """A run may start 10,000 others at most. Let it start a few that start more, or give each more to do."""


def start_run(
    session: Session,
    key: str,
    params: Mapping[str, Any],
    *,
    name: str | None = None,
    not_before: datetime | None = None,
    lane: Lane = "interactive",
    priority: int = 0,
    schedule_id: UUID | None = None,
    form_id: UUID | None = None,
) -> Run:
    """Put a run of the job type `key` into the ledger, in the caller's transaction and with its audit line.

    `params` are plain values, as an API sends them. Context and actor are what is bound. Raises UnknownJobType, and
    InvalidInput with a sentence per parameter; SQLAlchemy's IntegrityError if a form with this id started one already.
    """
    job = job_type(key)
    wanted = replace(
        _request(job, params, lane=lane),
        name=name or job.label,
        priority=priority,
        not_before=not_before,
        schedule_id=schedule_id,
        form_id=form_id,
    )
    run = enqueue(session, wanted)
    record(session, "run.start", subject=("run", run.id, run.name), details={"job_type": job.key})
    return run


def start_children(
    session: Session, parent: tuple[UUID, str], key: str, params_list: Sequence[Mapping[str, Any]]
) -> list[UUID]:
    """Put a run for each of `params_list` into the ledger, as children of the run `parent` (id, name).

    Returns their ids in order. They are there if and only if the caller's transaction is committed. Raises
    UnknownJobType, TooManyChildren, and InvalidInput for the first parameters that do not fit.
    """
    parent_id, name = parent
    there = session.scalar(sa.select(sa.func.count()).where(Run.parent_id == parent_id)) or 0
    if there + len(params_list) > MOST_CHILDREN:
        raise TooManyChildren
    job = job_type(key)
    wanted = [replace(_request(job, params, lane=job.lane), parent_id=parent_id) for params in params_list]
    children = enqueue_all(session, wanted)
    if children:
        details = {"job_type": job.key, "runs": len(children)}
        record(session, "run.start_children", subject=("run", parent_id, name), details=details)
    return children


def _request(job: JobType, params: Mapping[str, Any], *, lane: Lane) -> RunRequest:
    """Return what a run of the job type needs, with what is bound. Raises InvalidInput, a sentence per parameter."""
    stored = job_params.dump(job_params.validate(job.Params, params))
    binding = require_binding()
    return RunRequest(
        tenant_id=binding.tenant.id,
        name=job.label,
        job_type=job.key,
        job_version=job.version,
        params=stored,
        queue=job.queue,
        lane=lane,
        concurrency_key=job.key_for(stored, job.version),
        idempotent=job.idempotent,
        max_attempts=job.max_attempts,
        timeout_seconds=int(job.timeout.total_seconds()),
        root_id=binding.root.id,
        locale=binding.locale,
        request_id=binding.request_id,
        actor=binding.actor,
    )
