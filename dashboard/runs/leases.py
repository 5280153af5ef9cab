"""Hold a run while it executes: claim it, renew the lease, finish it; each by compare-and-set on its fence.

Every function is one question for the bound tenant, in a transaction of its own: row-level security hides the runs of
others, so that a message with a wrong header claims nothing. Claim and finish are functions in the database
(`migrations/versions/0002_pre_held_runs.py`), because every run asks for them. Errors are psycopg's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from psycopg.types.json import Jsonb

from dashboard.core.trips import tenant_call, tenant_statement
from dashboard.runs.fingerprint import likeness
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
    nominal: datetime | None
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
    row = tenant_call(_CLAIM, {"id": run_id, "fence": fence, "lease": lease, "worker": worker})
    claimed = dict(zip(_CLAIMED, row, strict=True))
    return Claim(run_id=run_id, fence=fence, **claimed) if claimed["tenant_id"] else None


_CLAIMED: Final = tuple(each.name for each in fields(Claim) if each.name not in ("run_id", "fence"))
_CLAIM: Final = f"""
SELECT {", ".join(_CLAIMED)}
FROM claim_run(%(tenant)s, %(user)s, %(id)s, %(fence)s, %(lease)s, %(worker)s)
"""


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
    rows = tenant_statement(
        _RENEW, {"ids": [run_id for run_id, _ in pairs], "fences": [fence for _, fence in pairs], "lease": lease}
    )
    kept = {
        run_id: Renewal(kept=True, cancelled=cancelled, suspended=suspended) for run_id, cancelled, suspended in rows
    }
    return {run_id: kept.get(run_id, Renewal(kept=False)) for run_id, _ in pairs}


# Whoever stops many runs locks them in this order, too: without it one of the two would wait in a circle.
_RENEW: Final = """
WITH held AS MATERIALIZED (
    SELECT run.id FROM run
    JOIN unnest(CAST(%(ids)s AS uuid[]), CAST(%(fences)s AS bigint[])) AS held(id, fence) USING (id)
    WHERE run.fence = held.fence AND run.state = 'running' ORDER BY run.id FOR NO KEY UPDATE OF run)
UPDATE run SET lease_until = now() + %(lease)s FROM held WHERE run.id = held.id
RETURNING run.id, run.cancel_requested_at IS NOT NULL AS cancelled,
    (SELECT suspended_at IS NOT NULL FROM tenant WHERE tenant.id = run.tenant_id) AS suspended
"""


def report(run_id: UUID, fence: int, progress: Progress, *, lease: timedelta) -> Renewal:
    """Show how far the run is, and renew its lease with the same statement."""
    rows = tenant_statement(
        _REPORT,
        {
            "id": run_id,
            "fence": fence,
            "lease": lease,
            "done": progress.done,
            "total": progress.total,
            "note": progress.note,
        },
    )
    for cancelled, suspended in rows:
        return Renewal(kept=True, cancelled=cancelled, suspended=suspended)
    return Renewal(kept=False)


_REPORT: Final = """
WITH shown AS (
    UPDATE run SET lease_until = now() + %(lease)s,
        progress_done = %(done)s, progress_total = %(total)s, progress_note = %(note)s
    WHERE id = %(id)s AND fence = %(fence)s AND state = 'running'
    RETURNING tenant_id, cancel_requested_at),
told AS (UPDATE tenant_load SET version = version + 1 FROM shown WHERE tenant_load.tenant_id = shown.tenant_id)
SELECT cancel_requested_at IS NOT NULL AS cancelled,
    (SELECT suspended_at IS NOT NULL FROM tenant WHERE tenant.id = shown.tenant_id) AS suspended
FROM shown
"""


def write_log(run_id: UUID, attempt: int, level: str, text: str) -> None:
    """Add a line to the run's log."""
    tenant_statement(_LOG, {"run_id": run_id, "attempt": attempt, "level": level, "text": text})


_LOG: Final = """
INSERT INTO run_log (tenant_id, run_id, attempt, level, text)
VALUES (app_tenant(), %(run_id)s, %(attempt)s, %(level)s, %(text)s)
"""


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
    progress, fault = outcome.progress, outcome.fault
    (written,) = tenant_call(
        _FINISH,
        {
            "id": run_id,
            "fence": fence,
            "state": outcome.state,
            "reason": outcome.reason,
            "note": outcome.note,
            "delay": outcome.delay,
            "result": None if outcome.result is None else Jsonb(dict(outcome.result)),
            "done": progress and progress.done,
            "total": progress and progress.total,
            "done_note": progress and progress.note,
            "fault": fault.type,
            "message": fault.message,
            "traceback": fault.traceback,
            "likeness": likeness(fault.type or outcome.reason, fault.message),
            "cost_unit": COST_UNIT_SECONDS,
            "channel": CHANNEL,
            "word": RUNS,
        },
    )
    return bool(written)


_FINISH: Final = """
SELECT finish_run(%(tenant)s, %(user)s, %(id)s, %(fence)s, %(state)s, %(reason)s, %(note)s, %(delay)s, %(result)s,
    %(done)s, %(total)s, %(done_note)s, %(fault)s, %(message)s, %(traceback)s, %(likeness)s, %(cost_unit)s,
    %(channel)s, %(word)s)
"""
