"""Keep each tenant's counters equal to its runs, and the version of what its pages show: both when a change commits.

Not earlier, because a job may enqueue a run and go on working for minutes before it commits: nobody may wait for the
lock on the counters for so long. All tenants of a transaction are locked in one order, so that none deadlock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from dashboard.database import WalledSession
from dashboard.runs.states import HOLDS_SLOT, READY

CHANNEL = "stationmaster"
"""The NOTIFY channel; the payload is a word for what changed."""

FROZEN_AFTER = "5s"
"""How long PostgreSQL waits for the next word of whoever holds what all others need, as text for it: then it takes the
connection for one of a process that stands still or of a machine that is gone, and ends it."""

RUNS = "runs"
SCHEDULES = "schedules"

_MOVED = "runs moved"
_SHOWN = "tenants with something new to show"


def moved(session: Session, run_id: UUID, old: str | None) -> None:
    """Remember that the transaction changed a run that was in state `old` before (None: it is new)."""
    session.info.setdefault(_MOVED, {}).setdefault(run_id, old)


def shown(session: Session, tenant_id: UUID) -> None:
    """Let the tenant's open pages look anew once this transaction commits: something else than a run has changed."""
    session.info.setdefault(_SHOWN, set()).add(tenant_id)


def announce(session: Session, tenant_id: UUID, word: str) -> None:
    """Wake whoever listens for `word`, and let the tenant's open pages look anew, once this transaction commits."""
    shown(session, tenant_id)
    notify(session, word)


def notify(session: Session, word: str) -> None:
    """Wake whoever listens, once this transaction commits; PostgreSQL folds equal ones of a transaction into one."""
    session.execute(_NOTIFY, {"channel": CHANNEL, "word": word})


_NOTIFY = sa.text("SELECT pg_notify(:channel, :word)")


@event.listens_for(WalledSession, "before_commit")
def _count(session: Session) -> None:
    if session.in_nested_transaction():
        return
    before: Mapping[UUID, str | None] = session.info.pop(_MOVED, {})
    changes = _changes(session, before)
    for tenant_id in session.info.pop(_SHOWN, ()):
        changes.setdefault(tenant_id, _Change())
    if changes:
        _apply(session, changes)
    if before:
        notify(session, RUNS)


@event.listens_for(WalledSession, "after_transaction_end")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info.pop(_MOVED, None)
        session.info.pop(_SHOWN, None)


@dataclass(slots=True)
class _Change:
    ready: int = 0
    running: int = 0


def _changes(session: Session, before: Mapping[UUID, str | None]) -> dict[UUID, _Change]:
    """Return what each tenant's counters gain. What a savepoint took back is not in the rows any more."""
    changes: defaultdict[UUID, _Change] = defaultdict(_Change)
    for old in set(before.values()):
        ids = [run_id for run_id, state in before.items() if state == old]
        for tenant_id, runs, ready, running in session.execute(_STATES, {"ids": ids, "held": sorted(HOLDS_SLOT)}):
            change = changes[tenant_id]
            change.ready += ready - runs * (old == READY)
            change.running += running - runs * (old in HOLDS_SLOT)
    return changes


_STATES = sa.text("""
SELECT tenant_id, count(*), count(*) FILTER (WHERE state = 'ready'), count(*) FILTER (WHERE state = ANY(:held))
FROM run WHERE id = ANY(:ids) GROUP BY tenant_id
""")


def _apply(session: Session, changes: Mapping[UUID, _Change]) -> None:
    session.execute(
        _COUNT,
        {
            "tenants": list(changes),
            "ready": [change.ready for change in changes.values()],
            "running": [change.running for change in changes.values()],
            "frozen_after": FROZEN_AFTER,
        },
    )


# A tenant that goes from empty to backlogged starts level with the others, once: one that was idle brings no credit,
# and one that waits is not moved back again (done at each look, that starved a tenant). Only the commit comes after
# this: PostgreSQL ends whoever freezes before it, or every dispatcher would wait for the row.
_COUNT = sa.text("""
WITH change AS (
    SELECT * FROM unnest(CAST(:tenants AS uuid[]), CAST(:ready AS int[]), CAST(:running AS int[]))
        AS change(tenant_id, ready, running)),
held AS MATERIALIZED (
    SELECT load.tenant_id FROM tenant_load AS load JOIN change USING (tenant_id)
    ORDER BY load.tenant_id FOR UPDATE OF load)
UPDATE tenant_load AS load
SET vtime = CASE WHEN load.ready = 0 AND change.ready > 0 THEN greatest(load.vtime, clock.vtime) ELSE load.vtime END,
    ready = load.ready + change.ready,
    running = load.running + change.running,
    version = load.version + 1
FROM change JOIN held USING (tenant_id), dispatch_clock AS clock
WHERE load.tenant_id = change.tenant_id
RETURNING set_config('idle_in_transaction_session_timeout', :frozen_after, true)
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A tenant whose counters were not what its runs say."""

    tenant_id: UUID
    ready: int
    running: int
    counted_ready: int
    counted_running: int


def reconcile(session: Session) -> list[Drift]:
    """Set every tenant's counters from its runs, and return those that were wrong: there should be none.

    Their rows are locked and looked at again, because no run of theirs can move meanwhile. One that somebody holds now
    is left for the next time, so that nobody waits behind it. `session` is a system session of its own.
    """
    wrong = session.scalars(_DRIFTED).all()
    held = session.scalars(_HOLD, {"tenants": wrong}).all() if wrong else ()
    drifts = [Drift(**row) for row in session.execute(_DRIFT, {"tenants": held}).mappings()] if held else []
    for drift in drifts:
        session.execute(_CORRECT, _correction(drift))
    return drifts


def _correction(drift: Drift) -> dict[str, Any]:
    return {"tenant_id": drift.tenant_id, "ready": drift.ready, "running": drift.running}


_CORRECT = sa.text("""
UPDATE tenant_load SET ready = :ready, running = :running, drifts = drifts + 1, drifted_at = now()
WHERE tenant_id = :tenant_id
""")
_COUNTED = """
WITH counted AS (
    SELECT tenant_id, count(*) FILTER (WHERE state = 'ready') AS ready,
        count(*) FILTER (WHERE state IN ('admitted', 'running')) AS running
    FROM run WHERE state IN ('ready', 'admitted', 'running') GROUP BY tenant_id)
SELECT {columns}
FROM tenant_load AS load LEFT JOIN counted USING (tenant_id)
WHERE (load.ready, load.running) <> (coalesce(counted.ready, 0), coalesce(counted.running, 0))
"""
_DRIFTED = sa.text(_COUNTED.format(columns="load.tenant_id"))
_HOLD = sa.text("""
SELECT tenant_id FROM tenant_load WHERE tenant_id = ANY(:tenants) ORDER BY tenant_id FOR UPDATE SKIP LOCKED
""")
_DRIFT = sa.text(
    _COUNTED.format(
        columns="""load.tenant_id, coalesce(counted.ready, 0) AS ready, coalesce(counted.running, 0) AS running,
    load.ready AS counted_ready, load.running AS counted_running"""
    )
    + "AND load.tenant_id = ANY(:tenants)"
)
