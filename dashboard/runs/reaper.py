"""Take back what dead workers held, wake what has waited long enough, and end what came too late."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dashboard.runs.ledger import Move, move_all
from dashboard.runs.models import Process, Run
from dashboard.runs.states import (
    ADMITTED,
    CANCELLED,
    DEAD,
    INTERRUPTED,
    READY,
    RETRYING,
    RUNNING,
    SCHEDULED,
    SKIPPED,
)

BATCH = 500
"""Runs moved in one transaction, so that none is long."""

FORGOTTEN_AFTER = timedelta(days=1)
"""How long a process that is gone is still shown."""

EXPIRED = "expired"
WORKER_DIED = "worker_died"


class Due(NamedTuple):
    """A locked run about which something has to be decided."""

    id: UUID
    tenant_id: UUID
    state: str
    attempt: int
    max_attempts: int
    idempotent: bool
    cancel_requested: bool

    def to(self, state: str, reason: str = "", note: str = "") -> Move:
        return Move(
            run_id=self.id,
            tenant_id=self.tenant_id,
            attempt=self.attempt,
            old=self.state,
            new=state,
            reason=reason,
            note=note,
        )


_LOCKED = sa.select(
    Run.id,
    Run.tenant_id,
    Run.state,
    Run.attempt,
    Run.max_attempts,
    Run.idempotent,
    Run.cancel_requested_at.is_not(None),
).with_for_update(skip_locked=True, key_share=True)
_BATCH = _LOCKED.limit(BATCH)
_NOW = sa.func.now()
_Question = sa.Select[UUID, UUID, str, int, int, bool, bool]


def _in(*states: str) -> sa.ColumnElement[bool]:
    """Compare with literals, because a plan for any parameter could not use an index for some states."""
    return Run.state.in_(sa.bindparam(None, list(states), expanding=True, literal_execute=True))


def reap(session: Session, lease: timedelta) -> list[Move]:
    """Decide about runs whose lease ran out, at most BATCH of them, and return the moves made.

    For one lease after PostgreSQL started it does nothing: workers could not renew while it was away. If it started in
    the future, its clock was set back since.
    """
    started = sa.func.pg_postmaster_start_time()
    is_up = sa.or_(started < _NOW - sa.bindparam(None, lease), started > _NOW)
    overdue = _BATCH.where(_in(ADMITTED, RUNNING), Run.lease_until < _NOW, is_up).order_by(Run.lease_until)
    return _settle(session, overdue, _fate_of_overdue)


def _fate_of_overdue(run: Due) -> Move:
    if run.state == ADMITTED:
        return run.to(READY, note="No worker took it in time; its message may be lost.")
    return fate_of_orphan(run, "Its worker died.")


def fate_of_orphan(run: Due, cause: str) -> Move:
    """Return the move of a running run whose worker is gone, for `cause` (a sentence).

    What is idempotent starts again while attempts are left; what is not waits for a person, because nobody knows how
    far it came (at most once).
    """
    if run.cancel_requested:
        return run.to(CANCELLED, note=f"{cause} It had been cancelled.")
    if not run.idempotent:
        return run.to(INTERRUPTED, WORKER_DIED, f"{cause} Nobody knows how far the run came.")
    if run.attempt >= run.max_attempts:
        return run.to(DEAD, WORKER_DIED, f"{cause} No attempt is left.")
    return run.to(READY, note=cause)


def wake_due(session: Session) -> list[Move]:
    """Make runs ready whose time has come, at most BATCH of them; return the moves made."""
    awake = _BATCH.where(
        _in(SCHEDULED, RETRYING),
        Run.not_before <= _NOW,
        Run.expires_at.is_(None) | (Run.expires_at > _NOW),
    ).order_by(Run.not_before)
    return _settle(session, awake, lambda run: run.to(READY))


def expire(session: Session) -> list[Move]:
    """End waiting runs that may not start any more, at most BATCH of them; return the moves made."""
    too_late = _BATCH.where(_in(SCHEDULED, READY, RETRYING), Run.expires_at <= _NOW)
    return _settle(session, too_late.order_by(Run.expires_at), _fate_of_late)


def _fate_of_late(run: Due) -> Move:
    if run.attempt:
        return run.to(DEAD, EXPIRED, "It may not start again so late.")
    return run.to(SKIPPED, EXPIRED, "It could not start in time.")


def next_due(session: Session) -> datetime | None:
    """Return when the next waiting run's time comes, or None."""
    return session.scalar(sa.select(sa.func.min(Run.not_before)).where(_in(SCHEDULED, RETRYING)))


def mend_leases(session: Session, lease: timedelta) -> None:
    """Let leases and heartbeats that a clock set back has left in the future be of now: who lives renews them."""
    session.execute(_MEND_LEASES, {"lease": lease})
    session.execute(_MEND_HEARTBEATS)


# No LEASE_SECONDS is longer than ten minutes, in whatever process.
_MEND_LEASES = sa.text("""
UPDATE run SET lease_until = now() + :lease WHERE id = ANY(ARRAY(
    SELECT id FROM run WHERE state IN ('admitted', 'running') AND lease_until > now() + interval '11 minutes'
    FOR NO KEY UPDATE SKIP LOCKED))
""")
_MEND_HEARTBEATS = sa.text("""
UPDATE process SET seen_at = now() WHERE id = ANY(ARRAY(
    SELECT id FROM process WHERE seen_at > now() + interval '1 minute' FOR NO KEY UPDATE SKIP LOCKED))
""")


def forget_processes(session: Session) -> None:
    """Delete the rows of processes that have been silent for long."""
    session.execute(sa.delete(Process).where(Process.seen_at < _NOW - FORGOTTEN_AFTER))


def release(session: Session, run_id: UUID, fence: int, cause: str, *, counts: bool) -> list[Move]:
    """Give back a run at once whose worker is known to be gone; `counts` says whether the attempt does.

    Returns no move if the run is held no more. Works in a tenant's session too.
    """
    held = _LOCKED.where(Run.id == run_id, Run.fence == fence, Run.state == RUNNING)
    return _release(session, held, cause, counts)


def release_all(session: Session, worker: str, cause: str) -> list[Move]:
    """Give back all that a stopped worker held, and return the moves made.

    The attempts do not count: stopping was no fault of the runs.
    """
    return _release(session, _LOCKED.where(Run.state == RUNNING, Run.worker == worker), cause, False)


def _release(session: Session, held: _Question, cause: str, counts: bool) -> list[Move]:
    taken_off = 0 if counts else 1
    moves = _settle(session, held, lambda run: fate_of_orphan(run._replace(attempt=run.attempt - taken_off), cause))
    again = [move.run_id for move in moves if move.new == READY]
    session.execute(sa.update(Run).where(Run.id.in_(again)).values(attempt=Run.attempt - taken_off))
    return moves


def _settle(session: Session, due: _Question, fate: Callable[[Due], Move]) -> list[Move]:
    moves = [fate(Due(*row)) for row in session.execute(due)]
    move_all(session, moves)
    return moves
