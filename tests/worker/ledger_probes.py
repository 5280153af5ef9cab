"""What tests ask of runs that real workers execute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dashboard.app import Dashboard
from dashboard.core.clock import database_now
from dashboard.core.orm import system_scope
from dashboard.runs import ledger
from dashboard.runs.models import Process, Run, RunLog
from tests.factories.ledger import run_of, timeline_of
from tests.processes import RunningProcess, wait_until
from tests.worker.job_types_for_tests import EFFECT, STARTED

PLUGIN = "tests.worker.job_types_for_tests"


def job(key: str, **params: Any) -> dict[str, Any]:
    """Return the fields of a request for the job type `test.<key>`."""
    return {"job_type": f"test.{key}", "params": params}


AGAIN = {"idempotent": True, "max_attempts": 3}
"""The fields that the job type `test.sleep_again` gives its runs."""


def until(app: Dashboard, run_id: UUID, state: str, *processes: RunningProcess) -> Run:
    """Return the run once it is in `state`; what the processes said explains why it never was."""

    def explain() -> str:
        said = "\n".join(process.output() for process in processes)
        return f"{run_of(app, run_id).state} {timeline_of(app, run_id)}, not {state}:\n{said}"

    wait_until(lambda: run_of(app, run_id).state == state, explain=explain)
    return run_of(app, run_id)


def until_started(app: Dashboard, run_id: UUID, *processes: RunningProcess) -> None:
    """Wait until the job itself has said that it is at work."""
    wait_until(
        lambda: any(line.startswith(STARTED) for line in log_of(app, run_id)),
        explain=lambda: "\n".join(process.output() for process in processes),
    )


def until_outlasted(app: Dashboard, run_id: UUID) -> None:
    """Wait until the lease that the run has now is over: if it runs on then, it was renewed."""
    lease_until = run_of(app, run_id).lease_until
    assert lease_until is not None

    def now() -> datetime:
        with app.app_context(), system_scope("test") as session:
            return database_now(session)

    wait_until(lambda: now() > lease_until)


def log_of(app: Dashboard, run_id: UUID) -> list[str]:
    with app.app_context(), system_scope("test") as session:
        return list(session.scalars(sa.select(RunLog.text).where(RunLog.run_id == run_id).order_by(RunLog.id)))


def effects_of(app: Dashboard, run_id: UUID) -> int:
    """Return how many attempts of the run were committed."""
    return log_of(app, run_id).count(EFFECT)


def starts_of(app: Dashboard, run_id: UUID) -> int:
    """Return how many attempts of the run began."""
    return sum(line.startswith(STARTED) for line in log_of(app, run_id))


def until_ready(app: Dashboard, workers: int = 1) -> None:
    """Wait until so many workers have said that they live."""

    def living() -> int:
        with app.app_context(), system_scope("test") as session:
            query = sa.select(sa.func.count()).where(Process.kind == "worker", Process.stopped_at.is_(None))
            return session.scalar(query) or 0

    wait_until(lambda: living() >= workers)


@contextmanager
def holding(app: Dashboard, run_id: UUID) -> Iterator[Session]:
    """Keep the run's row locked inside the block, in a transaction that is committed at its end."""
    with app.app_context(), system_scope("test") as session:
        assert ledger.lock(session, run_id)
        yield session


def until_waiting(app: Dashboard, count: int, worker: RunningProcess) -> None:
    """Wait until so many connections to this database wait for a lock."""
    query = sa.text(
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE NOT granted AND datname = current_database()"
    )

    def waiting() -> int:
        with app.app_context(), system_scope("test") as session:
            return session.scalar(query) or 0

    wait_until(lambda: waiting() == count, explain=worker.output)
