"""Fixtures for the tests of job types, also of other packages: `pytest_plugins = ("tests.job_type_fixtures",)`.

They bring a real PostgreSQL, a tenant, and `perform`, which does a run as a worker does: from the ledger, in the
tenant's context, and back into the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask

from config.settings import Settings
from dashboard.app import Dashboard
from dashboard.core.orm import db, system_scope
from dashboard.core.tenancy import Binding, Tenant, bound
from dashboard.core.trips import system_line
from dashboard.jobs.actions import start_run
from dashboard.jobs.registry import JobType, register
from dashboard.runs.dispatcher import Pace, admit
from dashboard.runs.models import Artifact, ArtifactChunk, Run, RunLog
from tests.factories.ledger import make_worker
from worker.context import rebuilt
from worker.executor import Executor
from worker.heartbeat import Heartbeat

pytest_plugins = ("tests.conftest",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Performed:
    """What a run left: `state` and `error` as the ledger has them, files and children only if it succeeded."""

    state: str
    result: Mapping[str, Any] | None
    error: str
    log: list[str]
    files: Mapping[str, bytes]
    children: list[Run]


Perform = Callable[..., Performed]


@pytest.fixture
def perform(app: Dashboard, settings: Settings, acme: Tenant) -> Perform:
    """Return a function that does a run of a job type for a tenant: `perform(NightlyTotals, days=2)`.

    The tenant is Acme, unless `tenant` says otherwise. Raises InvalidInput for parameters that do not fit.
    """
    executor = Executor(Heartbeat(app, settings), "worker@test")

    def do(job: type[JobType], *, tenant: Tenant = acme, **params: Any) -> Performed:
        register(job)
        binding = Binding.of(tenant)
        with bound(binding), app.app_context():
            run_id = start_run(db.session(), job.key, params).id
            db.session.commit()
        fence = _admitted(app, run_id, settings)
        with rebuilt(app, binding, "runs.execute", str(run_id)):
            executor.execute(run_id, fence)
        return _left_by(app, run_id)

    return do


def _admitted(app: Flask, run_id: UUID, settings: Settings) -> int:
    """Let the run be admitted to a worker, and return the fence of its message."""
    make_worker(app, 100)
    with app.app_context(), system_line("test") as line:
        return next(run.fence for run in admit(line, lease=settings.lease, pace=Pace()) if run.id == run_id)


def _left_by(app: Flask, run_id: UUID) -> Performed:
    with app.app_context(), system_scope("test") as session:
        run = session.get_one(Run, run_id)
        lines = session.scalars(sa.select(RunLog.text).where(RunLog.run_id == run_id).order_by(RunLog.id))
        files = session.scalars(sa.select(Artifact).where(Artifact.run_id == run_id).order_by(Artifact.name))
        return Performed(
            state=run.state,
            result=cast("Mapping[str, Any] | None", run.result),
            error=run.error_message,
            log=list(lines),
            files={file.name: _content(session, file) for file in files},
            children=list(session.scalars(sa.select(Run).where(Run.parent_id == run_id).order_by(Run.id))),
        )


def _content(session: sa.orm.Session, file: Artifact) -> bytes:
    query = sa.select(ArtifactChunk.data).where(ArtifactChunk.artifact_id == file.id)
    return b"".join(session.scalars(query.order_by(ArtifactChunk.position)))
