"""Time limits, cancellations and other workers cut in while PostgreSQL lets a run wait: it ends once, as it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs import ledger, reaper
from dashboard.runs.models import Artifact
from tests.factories.ledger import enqueue_runs, load_of, states_of, timeline_of
from tests.processes import RunningProcess, beat_process, wait_until, worker_process
from tests.worker.job_types_for_tests import COMMIT_LOCK, QUERY_LOCK
from tests.worker.ledger_probes import (
    AGAIN,
    PLUGIN,
    effects_of,
    holding,
    job,
    until,
    until_ready,
    until_started,
    until_waiting,
)

pytestmark = pytest.mark.xdist_group("interruptions")

LIMIT_SECONDS = 6
"""Longer than a slow machine takes to come to the moment that is meant."""

JOB_AND_HEARTBEAT = 2
"""How many wait while a run whose job has ended is kept from being committed or written."""

LIMIT_REACHED = "Soft time limit"
"""What Celery says when it tells a process of the pool."""


@pytest.fixture(scope="module")
def beat(migrated_app: Dashboard, environment: dict[str, str]) -> Iterator[RunningProcess]:
    with beat_process(environment, plugins=[PLUGIN]) as process:
        yield process


@pytest.fixture
def worker(app: Dashboard, environment: dict[str, str], beat: RunningProcess) -> Iterator[RunningProcess]:
    """A worker of each test's own, with one process in its pool; no lease of its runs out where a test keeps a row."""
    with worker_process({**environment, "LEASE_SECONDS": "60"}, plugins=[PLUGIN], concurrency=1) as process:
        until_ready(app)
        yield process


@contextmanager
def locked(app: Dashboard, number: int) -> Iterator[None]:
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})
        yield


@contextmanager
def failure_being_written(
    app: Dashboard, tenant: Tenant, gate: Path, worker: RunningProcess, **values: Any
) -> Iterator[tuple[UUID, Session]]:
    """A run whose job has failed, and the session that keeps its worker from writing so; `values` are as it is made."""
    (run_id,) = enqueue_runs(app, tenant, **job("fail", gate=str(gate)), **values)
    wait_until(lambda: states_of(app, [run_id]) == ["running"], explain=worker.output)
    with holding(app, run_id) as session:
        gate.touch()
        until_waiting(app, JOB_AND_HEARTBEAT, worker)
        yield run_id, session


def test_a_time_limit_does_not_part_a_run_from_the_work_that_is_being_committed(
    app: Dashboard, acme: Tenant, beat: RunningProcess, worker: RunningProcess
) -> None:
    with locked(app, COMMIT_LOCK):
        (run_id,) = enqueue_runs(app, acme, **job("commit_slowly"), timeout_seconds=LIMIT_SECONDS)
        until_waiting(app, JOB_AND_HEARTBEAT, worker)
        worker.wait_for(LIMIT_REACHED)
    until(app, run_id, "succeeded", worker, beat)
    assert effects_of(app, run_id) == 1


def test_a_time_limit_does_not_change_the_outcome_that_is_being_written(
    app: Dashboard, acme: Tenant, beat: RunningProcess, worker: RunningProcess, gate: Path
) -> None:
    with failure_being_written(app, acme, gate, worker, timeout_seconds=LIMIT_SECONDS) as (run_id, _):
        worker.wait_for(LIMIT_REACHED)
    assert until(app, run_id, "failed", worker, beat).error_type == "ValueError"
    (after,) = enqueue_runs(app, acme, **job("sleep_once"))
    until(app, after, "succeeded", worker, beat)
    assert "outcome_came_too_late" not in worker.output()


def test_postgres_does_not_work_on_for_a_job_that_ran_into_its_time_limit(
    app: Dashboard, acme: Tenant, beat: RunningProcess, worker: RunningProcess
) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("ask_for_long"), timeout_seconds=LIMIT_SECONDS)
    until_started(app, run_id, worker, beat)
    until(app, run_id, "timed_out", worker, beat)
    with locked(app, QUERY_LOCK):
        pass


def test_a_run_that_is_cancelled_while_its_retry_is_written_is_not_tried_again(
    app: Dashboard, acme: Tenant, beat: RunningProcess, worker: RunningProcess, gate: Path
) -> None:
    with failure_being_written(app, acme, gate, worker, **AGAIN) as (run_id, session):
        run = ledger.lock(session, run_id)
        assert run is not None
        ledger.cancel(session, run, note="Somebody clicked.")
    until(app, run_id, "cancelled", worker, beat)
    assert load_of(app, acme).running == 0


def test_a_retry_that_is_written_after_the_lease_was_lost_is_refused(
    app: Dashboard, acme: Tenant, beat: RunningProcess, worker: RunningProcess, gate: Path
) -> None:
    """Somebody took the run back meanwhile, so that it starts again at once and not after the backoff."""
    with failure_being_written(app, acme, gate, worker, **AGAIN) as (run_id, session):
        reaper.release(session, run_id, 1, "As if its worker were dead.", counts=True)
    until(app, run_id, "retrying", worker, beat)
    assert "outcome_came_too_late" in worker.output()
    assert timeline_of(app, run_id)[2:] == ["running", "ready", "admitted", "running", "retrying"]


def test_a_file_that_is_written_after_the_lease_was_lost_is_not_kept(
    app: Dashboard, acme: Tenant, beat: RunningProcess, worker: RunningProcess, gate: Path
) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("file_at_gate", gate=str(gate)), **AGAIN)
    until_started(app, run_id, worker, beat)
    with app.app_context(), system_scope("test") as session:
        reaper.release(session, run_id, 1, "As if its worker were dead.", counts=True)
    gate.touch()
    assert until(app, run_id, "succeeded", worker, beat).attempt == 2
    assert "lease_lost" in worker.output()
    with app.app_context(), system_scope("test") as session:
        assert session.scalars(sa.select(Artifact.size)).all() == [len("day,runs\n")]
