"""Puts runs into the ledger, and the workers they wait for; and says what became of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import Flask

from dashboard.core.ids import new_id
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.ledger import RunRequest, enqueue_all
from dashboard.runs.models import Process, Run, RunEvent, TenantLoad


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


def timeline_of(app: Flask, run_id: UUID) -> list[str]:
    """Return the states that the run went through."""
    with app.app_context(), system_scope("test") as session:
        query = sa.select(RunEvent.state).where(RunEvent.run_id == run_id).order_by(RunEvent.id)
        return list(session.scalars(query))
