"""Start a run of a job type for the bound tenant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from dashboard.audit.actions import record
from dashboard.core.tenancy import require_binding
from dashboard.jobs import params as job_params
from dashboard.jobs.registry import Lane, job_type
from dashboard.runs.ledger import RunRequest, enqueue
from dashboard.runs.models import Run


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
) -> Run:
    """Put a run of the job type `key` into the ledger, in the caller's transaction and with its audit line.

    `params` are plain values, as an API sends them. Context and actor are what is bound. Raises UnknownJobType, and
    InvalidInput with a sentence per parameter.
    """
    job = job_type(key)
    checked = job_params.validate(job.Params, params)
    binding = require_binding()
    run = enqueue(
        session,
        RunRequest(
            tenant_id=binding.tenant.id,
            name=name or job.label,
            job_type=job.key,
            job_version=job.version,
            params=job_params.dump(checked),
            queue=job.queue,
            lane=lane,
            priority=priority,
            idempotent=job.idempotent,
            max_attempts=job.max_attempts,
            timeout_seconds=int(job.timeout.total_seconds()),
            not_before=not_before,
            schedule_id=schedule_id,
            root_id=binding.root.id,
            locale=binding.locale,
            request_id=binding.request_id,
            actor=binding.actor,
        ),
    )
    record(session, "run.start", subject=("run", run.id, run.name), details={"job_type": job.key})
    return run
