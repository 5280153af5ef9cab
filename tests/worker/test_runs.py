"""Runs from the ledger through beat and broker into real workers, and back into the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.models import Run, RunLog
from tests.factories.ledger import enqueue_runs, load_of, run_of, states_of, timeline_of
from tests.processes import RunningProcess, beat_process, wait_until, worker_process
from tests.worker.job_types_for_tests import EFFECT

PLUGIN = "tests.worker.job_types_for_tests"
POOLS = ("prefork", "threads", "gevent", "solo")


@pytest.fixture
def beat(app: Dashboard, environment: dict[str, str]) -> Iterator[RunningProcess]:
    with beat_process(environment, plugins=[PLUGIN]) as process:
        yield process


@pytest.fixture
def worker(app: Dashboard, environment: dict[str, str], beat: RunningProcess) -> Iterator[RunningProcess]:
    with worker_process(environment, plugins=[PLUGIN], concurrency=4) as process:
        yield process


def job(key: str, **params: Any) -> dict[str, Any]:
    """Return the fields of a request for the job type `test.<key>`."""
    return {"job_type": f"test.{key}", "params": params}


def until(app: Dashboard, run_id: UUID, state: str, *processes: RunningProcess, deadline: float = 15.0) -> Run:
    """Return the run once it is in `state`; what the processes said explains why it never was."""

    def explain() -> str:
        said = "\n".join(process.output() for process in processes)
        return f"{run_of(app, run_id).state} {timeline_of(app, run_id)}, not {state}:\n{said}"

    wait_until(lambda: run_of(app, run_id).state == state, deadline, explain)
    return run_of(app, run_id)


def effects_of(app: Dashboard, run_id: UUID) -> int:
    with app.app_context(), system_scope("test") as session:
        query = sa.select(sa.func.count()).where(RunLog.run_id == run_id, RunLog.text == EFFECT)
        return session.scalar(query) or 0


def test_a_run_is_executed_at_its_tenants_address(
    app: Dashboard, acme: Tenant, globex: Tenant, beat: RunningProcess, worker: RunningProcess
) -> None:
    (ours,) = enqueue_runs(app, acme, **job("sleep_once"))
    (theirs,) = enqueue_runs(app, globex, **job("sleep_once"))
    assert until(app, ours, "succeeded", beat, worker).result == {"link": "https://jobs.acme.test/"}
    assert until(app, theirs, "succeeded", beat, worker).result == {"link": "http://platform.test/globex/"}
    assert effects_of(app, ours) == 1
    assert timeline_of(app, ours) == ["ready", "admitted", "running", "succeeded"]
