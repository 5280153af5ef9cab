"""Puts runs into the ledger, and the workers they wait for; and says what became of them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise, starmap
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from dashboard.core.ids import new_id
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.ledger import RunRequest, enqueue_all
from dashboard.runs.models import Process, Run, RunEvent, TenantLoad
from dashboard.runs.states import READY, RUNNING, SCHEDULED, can_move


def enqueue_runs(app: Flask, tenant: Tenant, count: int = 1, **values: Any) -> list[UUID]:
    """Return the ids of new runs of `tenant`; `values` are fields of RunRequest."""
    request = RunRequest(**{"tenant_id": tenant.id, "name": "Nightly report", "job_type": "test.report", **values})
    with app.app_context(), system_scope("test") as session:
        return enqueue_all(session, [request] * count)


def make_worker(
    app: Flask, slots: int, queues: Iterable[str] = ("default", "email", "bulk"), name: str = "worker@test"
) -> UUID:
    """Return the id of a worker that says it lives."""
    with app.app_context(), system_scope("test") as session:
        worker = Process(id=new_id(), kind="worker", name=name, host="test", pid=1, slots=slots, queues=list(queues))
        session.add(worker)
        return worker.id


def set_load(app: Flask, tenant: Tenant, **values: Any) -> None:
    """Set columns of the tenant's load, like weight or max_running."""
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(TenantLoad).where(TenantLoad.tenant_id == tenant.id).values(**values))


def load_of(app: Flask, tenant: Tenant) -> TenantLoad:
    with app.app_context(), system_scope("test") as session:
        return session.get_one(TenantLoad, tenant.id)


def run_of(app: Flask, run_id: UUID) -> Run:
    """Return the run as it is now."""
    with app.app_context(), system_scope("test") as session:
        return session.get_one(Run, run_id)


def states_of(app: Flask, run_ids: Iterable[UUID]) -> list[str]:
    """Return the state of each run, in order."""
    with app.app_context(), system_scope("test") as session:
        found = dict(session.execute(sa.select(Run.id, Run.state)).all())
    return [found[run_id] for run_id in run_ids]


BEGINNINGS = (SCHEDULED, READY)
"""States in which a run is made."""


def broken_timelines(session: Session, run_ids: Iterable[UUID]) -> set[UUID]:
    """Return the runs whose timeline does not lead by legal moves from a beginning to the state that they are in."""
    runs = dict(session.execute(sa.select(Run.id, Run.state).where(Run.id.in_(run_ids))).all())
    timelines: dict[UUID, list[str]] = {run_id: [] for run_id in runs}
    for run_id, state in session.execute(
        sa.select(RunEvent.run_id, RunEvent.state).where(RunEvent.run_id.in_(runs)).order_by(RunEvent.id)
    ):
        timelines[run_id].append(state)
    return {run_id for run_id, states in timelines.items() if not _is_whole(states, runs[run_id])}


def _is_whole(states: list[str], end: str) -> bool:
    return bool(states) and states[0] in BEGINNINGS and states[-1] == end and all(starmap(_follows, pairwise(states)))


def _follows(old: str, new: str) -> bool:
    """Whether one line may come after another; a run that is asked to stop goes on running."""
    return can_move(old, new) or old == new == RUNNING


def timeline_of(app: Flask, run_id: UUID) -> list[str]:
    """Return the states that the run went through."""
    with app.app_context(), system_scope("test") as session:
        query = sa.select(RunEvent.state).where(RunEvent.run_id == run_id).order_by(RunEvent.id)
        return list(session.scalars(query))
