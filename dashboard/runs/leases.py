"""Hold a run while it executes: claim it, renew the lease, finish it; each by compare-and-set on its fence.

Every function works for the bound tenant in a short session of its own: row-level security hides the runs of others,
so that a message with a wrong header claims nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from dashboard.core.orm import tenant_session
from dashboard.runs.load import CHANNEL, RUNS
from dashboard.runs.states import RUNNING, can_move

COST_UNIT_SECONDS = 1.0
"""A run is charged for each such unit that it held a slot, and for one at least (a refund would starve newcomers)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A run that this worker may execute now. `attempt` counts from 1."""

    run_id: UUID
    fence: int
    tenant_id: UUID
    schedule_id: UUID | None
    name: str
    job_type: str
    job_version: int
    params: Mapping[str, Any]
    attempt: int
    max_attempts: int
    idempotent: bool
    backoff: Mapping[str, Any]
    timeout_seconds: int


def claim(run_id: UUID, fence: int, *, lease: timedelta, worker: str) -> Claim | None:
    """Take an admitted run, or None: another admission's message, cancelled meanwhile, or not this tenant's."""
    with tenant_session() as session:
        row = (
            session.execute(_CLAIM, {"id": run_id, "fence": fence, "lease": lease, "worker": worker})
            .mappings()
            .one_or_none()
        )
    return None if row is None else Claim(run_id=run_id, fence=fence, **row)


_CLAIM = sa.text("""
WITH claimed AS (
    UPDATE run SET state = 'running', attempt = attempt + 1, lease_until = now() + :lease, started_at = now(),
        worker = :worker, reason = '', progress_done = NULL, progress_total = NULL, progress_note = ''
    WHERE id = :id AND fence = :fence AND state = 'admitted'
    RETURNING *),
told AS (INSERT INTO run_event (tenant_id, run_id, state, attempt) SELECT tenant_id, id, state, attempt FROM claimed),
shown AS (
    UPDATE tenant_load SET version = version + 1 FROM claimed WHERE tenant_load.tenant_id = claimed.tenant_id)
SELECT tenant_id, schedule_id, name, job_type, job_version, params, attempt, max_attempts, idempotent, backoff,
    timeout_seconds
FROM claimed
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is; `total` may be unknown."""

    done: int
    total: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What a lease's renewal answered; `kept` is False if the run is no longer this worker's.

    `cancelled`: somebody asked the run to stop. `suspended`: its tenant is, so that nothing of it may go on.
    """

    kept: bool
    cancelled: bool = False
    suspended: bool = False


def renew(held: Iterable[tuple[UUID, int]], *, lease: timedelta) -> dict[UUID, Renewal]:
    """Extend the leases of the bound tenant's runs, given as (id, fence)."""
    pairs = list(held)
    with tenant_session() as session:
        rows = session.execute(
            _RENEW, {"ids": [run_id for run_id, _ in pairs], "fences": [fence for _, fence in pairs], "lease": lease}
        )
        kept = {row.id: Renewal(kept=True, cancelled=row.cancelled, suspended=row.suspended) for row in rows}
    return {run_id: kept.get(run_id, Renewal(kept=False)) for run_id, _ in pairs}


_RENEW = sa.text("""
UPDATE run SET lease_until = now() + :lease
FROM unnest(CAST(:ids AS uuid[]), CAST(:fences AS bigint[])) AS held(id, fence)
WHERE run.id = held.id AND run.fence = held.fence AND run.state = 'running'
RETURNING run.id, run.cancel_requested_at IS NOT NULL AS cancelled,
    (SELECT suspended_at IS NOT NULL FROM tenant WHERE tenant.id = run.tenant_id) AS suspended
""")


def report(run_id: UUID, fence: int, progress: Progress, *, lease: timedelta) -> Renewal:
    """Show how far the run is, and renew its lease with the same statement."""
    with tenant_session() as session:
        row = session.execute(
            _REPORT,
            {
                "id": run_id,
                "fence": fence,
                "lease": lease,
                "done": progress.done,
                "total": progress.total,
                "note": progress.note,
            },
        ).one_or_none()
    return Renewal(kept=False) if row is None else Renewal(kept=True, cancelled=row.cancelled, suspended=row.suspended)


_REPORT = sa.text("""
WITH shown AS (
    UPDATE run SET lease_until = now() + :lease,
        progress_done = :done, progress_total = :total, progress_note = :note
    WHERE id = :id AND fence = :fence AND state = 'running'
    RETURNING tenant_id, cancel_requested_at),
told AS (UPDATE tenant_load SET version = version + 1 FROM shown WHERE tenant_load.tenant_id = shown.tenant_id)
SELECT cancel_requested_at IS NOT NULL AS cancelled,
    (SELECT suspended_at IS NOT NULL FROM tenant WHERE tenant.id = shown.tenant_id) AS suspended
FROM shown
""")


def write_log(run_id: UUID, attempt: int, level: str, text: str) -> None:
    """Add a line to the run's log."""
    with tenant_session() as session:
        session.execute(_LOG, {"run_id": run_id, "attempt": attempt, "level": level, "text": text})


_LOG = sa.text("""
INSERT INTO run_log (tenant_id, run_id, attempt, level, text) VALUES (app_tenant(), :run_id, :attempt, :level, :text)
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error as the ledger keeps it: no secret is in it."""

    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended: in `state`, for the one-word `reason`, told as `note`. `delay` is for retrying only."""

    state: str
    reason: str = ""
    note: str = ""
    delay: timedelta = timedelta()
    result: Mapping[str, Any] | None = None
    progress: Progress | None = None
    fault: Fault = field(default=Fault(type="", message=""))


def finish(run_id: UUID, fence: int, outcome: Outcome) -> bool:
    """Write how the attempt ended, in one transaction with the tenant's counters. False if the lease is lost."""
    if not can_move(RUNNING, outcome.state):
        raise ValueError(f"A running run cannot become {outcome.state}.")
    with tenant_session() as session:
        return session.execute(_FINISH, _finish_values(run_id, fence, outcome)).one_or_none() is not None


def _finish_values(run_id: UUID, fence: int, outcome: Outcome) -> dict[str, Any]:
    progress = outcome.progress
    return {
        "id": run_id,
        "fence": fence,
        "state": outcome.state,
        "reason": outcome.reason,
        "note": outcome.note,
        "delay": outcome.delay,
        "result": None if outcome.result is None else dict(outcome.result),
        "done": progress and progress.done,
        "total": progress and progress.total,
        "progress_note": progress and progress.note,
        "error_type": outcome.fault.type,
        "error_message": outcome.fault.message,
        "error_traceback": outcome.fault.traceback,
        "unit": COST_UNIT_SECONDS,
        "channel": CHANNEL,
        "word": RUNS,
    }


# A run that was cancelled meanwhile is not tried again.
_FINISH = sa.text("""
WITH ended AS (
    UPDATE run SET state = verdict.state, reason = :reason, lease_until = NULL, result = :result,
        not_before = CASE WHEN verdict.state = 'retrying' THEN now() + :delay ELSE run.not_before END,
        finished_at = CASE WHEN verdict.state = 'retrying' THEN NULL ELSE now() END,
        progress_done = coalesce(:done, progress_done), progress_total = coalesce(:total, progress_total),
        progress_note = coalesce(:progress_note, progress_note),
        error_type = :error_type, error_message = :error_message, error_traceback = :error_traceback
    FROM (
        SELECT id, CASE WHEN :state = 'retrying' AND cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE :state END
            AS state
        FROM run WHERE id = :id FOR NO KEY UPDATE) AS verdict
    WHERE run.id = verdict.id AND fence = :fence AND run.state = 'running'
    RETURNING tenant_id, run.id, run.state, attempt, extract(epoch FROM now() - started_at) AS seconds),
told AS (
    INSERT INTO run_event (tenant_id, run_id, state, attempt, note)
    SELECT tenant_id, id, state, attempt, :note FROM ended),
counted AS (
    UPDATE tenant_load AS load SET running = running - 1, version = version + 1,
        vtime = vtime + greatest(ended.seconds / :unit - 1, 0) / load.weight
    FROM ended WHERE load.tenant_id = ended.tenant_id)
SELECT pg_notify(:channel, :word) FROM ended
""").bindparams(
    sa.bindparam("result", type_=JSONB(none_as_null=True)),
    sa.bindparam("state", type_=sa.Text()),
    sa.bindparam("done", type_=sa.BigInteger()),
    sa.bindparam("total", type_=sa.BigInteger()),
    sa.bindparam("progress_note", type_=sa.Text()),
    sa.bindparam("unit", type_=sa.Double()),
)
