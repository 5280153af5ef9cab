"""Do one thing to every run that is meant: counted first, then batch by batch, so that 100,000 of them block nobody.

A bulk action is a row. Whoever asked does its first batch, and beat does the rest. Each batch moves its runs out of
what the selection matches, in one transaction with its count: whoever dies in the middle loses and repeats nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dashboard.audit.actions import record
from dashboard.core.clock import database_now
from dashboard.core.errors import Refused
from dashboard.core.orm import db
from dashboard.core.tenancy import Actor, ActorKind, current_tenant, require_binding
from dashboard.runs import ledger
from dashboard.runs.ledger import Move, move_all
from dashboard.runs.models import BulkAction, Run
from dashboard.runs.selection import Selection
from dashboard.runs.states import ACTIVE_STATES, CANCELLED, PROBLEM_STATES, READY, RUNNING

Kind = Literal["retry", "cancel"]

REACHES: Mapping[Kind, frozenset[str]] = {"retry": PROBLEM_STATES, "cancel": ACTIVE_STATES}
"""To runs in which states each action can be done."""

BATCH = 500
"""Runs moved in one transaction, so that none is long."""

MOST_COUNTED = 100_000
MOST_SHOWN = 5


def estimate(kind: Kind, selection: Selection) -> dict[str, int]:
    """Count the bound tenant's runs that are meant, by state; counting stops at MOST_COUNTED."""
    session = db.session()
    meant = _meant(kind, selection, current_tenant().id, database_now(session))
    some = sa.select(Run.state).where(*meant).limit(MOST_COUNTED).subquery()
    rows = session.execute(sa.select(some.c.state, sa.func.count().label("number")).group_by(some.c.state))
    return {row.state: row.number for row in rows}


def newest(kind: Kind, selection: Selection) -> Sequence[Run]:
    """Return a few of the runs that are meant."""
    meant = _meant(kind, selection, current_tenant().id, database_now(db.session()))
    return db.session.scalars(sa.select(Run).where(*meant).order_by(Run.id.desc()).limit(MOST_SHOWN)).all()


def start(kind: Kind, selection: Selection) -> BulkAction:
    """Begin to do it to the bound tenant's runs, and do the first batch. Raises Refused where no run is meant."""
    session = db.session()
    actor = require_binding().actor
    selection = selection.among(REACHES[kind])
    expected = sum(estimate(kind, selection).values())
    if not expected:
        raise Refused(NOTHING[kind])
    bulk = BulkAction(
        tenant_id=current_tenant().id,
        action=kind,
        filter=selection.to_json(),
        estimate=expected,
        actor_kind=actor.kind,
        actor_id=actor.id,
    )
    session.add(bulk)
    session.flush()
    session.refresh(bulk)
    _go_on(session, bulk)
    if bulk.finished_at is None:
        _record(session, bulk, f"run.{kind}_all_begun", estimate=expected)
    session.commit()
    return bulk


NOTHING: Mapping[Kind, str] = {
    "retry": "No failed run matches any more, so there is nothing to run again.",
    "cancel": "No run that waits or runs matches any more, so there is nothing to cancel.",
}


def advance(session: Session, bulk_id: UUID | None = None) -> bool:
    """Do one batch of a bulk action, of the one that is least far unless `bulk_id` says which; False if there is none.

    One that somebody else is at right now is passed over, unless it is the one that is asked for.
    """
    query = sa.select(BulkAction).where(BulkAction.finished_at.is_(None)).order_by(BulkAction.done, BulkAction.id)
    if bulk_id is not None:
        query = query.where(BulkAction.id == bulk_id).with_for_update()
    else:
        query = query.limit(1).with_for_update(skip_locked=True)
    bulk = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if bulk is None:
        return False
    _go_on(session, bulk)
    return True


def stop(bulk_id: UUID) -> BulkAction | None:
    """Let no further batch of the bound tenant's bulk action begin; what is done stays. None if there is none such."""
    session = db.session()
    bulk = session.get(BulkAction, bulk_id, with_for_update=True)
    if bulk is None:
        return None
    if bulk.finished_at is not None:
        raise Refused("This has ended already.")
    bulk.stopped_at = bulk.finished_at = database_now(session)
    record(session, f"run.{bulk.action}_all_stopped", subject=_subject(bulk), details={"done": bulk.done})
    session.commit()
    return bulk


def get(bulk_id: UUID) -> BulkAction | None:
    """Return the bound tenant's bulk action, or None."""
    return db.session.get(BulkAction, bulk_id)


def unfinished() -> Sequence[BulkAction]:
    """Return what is being done to the bound tenant's runs, the oldest first."""
    return db.session.scalars(
        sa.select(BulkAction).where(BulkAction.finished_at.is_(None)).order_by(BulkAction.id)
    ).all()


def _go_on(session: Session, bulk: BulkAction) -> None:
    """Do one batch; when nothing is left, not even a run that somebody else held for a moment, it is finished.

    Only who holds no run waits for one: else two who meet would wait for each other.
    """
    batch = _lock_batch(session, bulk, patiently=False) or _lock_batch(session, bulk, patiently=True)
    if bulk.action == "retry":
        ledger.run_again(session, [replace(move, new=READY, note="Run again, with others.") for move in batch])
    else:
        _cancel(session, batch, bulk.created_at)
    bulk.done += len(batch)
    if len(batch) < BATCH and not session.scalar(sa.select(sa.exists().where(*_meant_by(bulk)))):
        bulk.finished_at = database_now(session)
        _record(session, bulk, f"run.{bulk.action}_all", done=bulk.done)
    session.flush()


def _lock_batch(session: Session, bulk: BulkAction, *, patiently: bool) -> list[Move]:
    """Lock the next runs, and return their moves. Who waits for locks takes them in one order, to avoid a deadlock."""
    actor = Actor(kind=cast(ActorKind, bulk.actor_kind), id=bulk.actor_id)
    query = sa.select(Run.id, Run.state, Run.attempt).where(*_meant_by(bulk)).limit(BATCH)
    if patiently:
        query = query.order_by(Run.id)
    rows = session.execute(query.with_for_update(skip_locked=not patiently, key_share=True))
    return [
        Move(run_id=run_id, tenant_id=bulk.tenant_id, attempt=attempt, old=state, new=CANCELLED, actor=actor)
        for run_id, state, attempt in rows
    ]


def _cancel(session: Session, batch: Sequence[Move], now: datetime) -> None:
    """End what waits, and tell the workers of what runs."""
    note = "Cancelled, with others."
    move_all(session, [replace(move, note=note) for move in batch if move.old != RUNNING])
    running = [replace(move, new=RUNNING, note=note) for move in batch if move.old == RUNNING]
    ledger.ask_to_stop(session, running, now)


def _meant_by(bulk: BulkAction) -> list[sa.ColumnElement[bool]]:
    return _meant(cast(Kind, bulk.action), Selection.from_json(bulk.filter), bulk.tenant_id, bulk.created_at)


def _meant(kind: Kind, selection: Selection, tenant_id: UUID, asked_at: datetime) -> list[sa.ColumnElement[bool]]:
    """Return what the runs have in common that were meant when it was asked for, and to which it was not done yet."""
    conditions = [Run.tenant_id == tenant_id, *selection.among(REACHES[kind]).conditions()]
    if kind == "retry":
        return [*conditions, Run.finished_at <= asked_at]
    return [*conditions, Run.created_at <= asked_at, Run.cancel_requested_at.is_(None)]


def _subject(bulk: BulkAction) -> tuple[str, UUID, str]:
    return ("bulk_action", bulk.id, f"{bulk.done:,} runs")


def _record(session: Session, bulk: BulkAction, action: str, **details: int) -> None:
    """Write who did it, also when beat does the rest."""
    actor = Actor(kind=cast(ActorKind, bulk.actor_kind), id=bulk.actor_id)
    details_and_filter = {**bulk.filter, **details}
    record(session, action, subject=_subject(bulk), tenant_id=bulk.tenant_id, actor=actor, details=details_and_filter)
