"""Runs that kill what executes them, or eat its memory: they end, their worker goes on, and so do the others' runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from tests.factories.ledger import enqueue_runs, load_of, timeline_of
from tests.processes import RunningProcess, beat_process, celery, running, worker_process
from tests.worker.ledger_probes import PLUGIN, job, log_of, until, until_ready

pytestmark = pytest.mark.xdist_group("poison")


@pytest.fixture(scope="module")
def beat(migrated_app: Dashboard, environment: dict[str, str]) -> Iterator[RunningProcess]:
    with beat_process(environment, plugins=[PLUGIN]) as process:
        yield process


@contextmanager
def kept_worker(environment: dict[str, str]) -> Iterator[RunningProcess]:
    """A worker that is started again when it dies, as the Procfile has it."""
    settings = {**environment, "PLUGINS": PLUGIN, "WORKER_CONCURRENCY": "2", "REMAP_SIGTERM": "SIGQUIT"}
    command = [sys.executable, "-m", "scripts.keep", *celery("worker"), "--loglevel=INFO"]
    with running(command, settings, ready="ready.") as process:
        yield process


def test_a_run_that_kills_its_worker_each_time_is_dead_after_its_attempts_and_the_worker_is_back(
    app: Dashboard, acme: Tenant, globex: Tenant, environment: dict[str, str], beat: RunningProcess
) -> None:
    with kept_worker(environment) as worker:
        until_ready(app)
        (poison,) = enqueue_runs(app, acme, **job("kill_worker"), idempotent=True, max_attempts=2)
        run = until(app, poison, "dead", worker, beat)
        assert (run.reason, timeline_of(app, poison).count("running")) == ("worker_died", 2)
        (innocent,) = enqueue_runs(app, globex, **job("sleep_once"))
        until(app, innocent, "succeeded", worker, beat)
        assert worker.output().count("is started again") == 2
        assert load_of(app, acme).running == 0


def test_a_run_that_kills_its_worker_and_may_not_run_twice_waits_for_a_person(
    app: Dashboard, acme: Tenant, environment: dict[str, str], beat: RunningProcess
) -> None:
    with kept_worker(environment) as worker:
        until_ready(app)
        (poison,) = enqueue_runs(app, acme, **job("kill_worker"))
        assert until(app, poison, "interrupted", worker, beat).attempt == 1


def test_a_process_that_grew_over_its_limit_ends_its_run_and_is_replaced(
    app: Dashboard, acme: Tenant, environment: dict[str, str], beat: RunningProcess
) -> None:
    limited = {**environment, "WORKER_MAX_MEMORY_MB": "400"}
    with worker_process(limited, plugins=[PLUGIN], concurrency=1) as worker:
        until_ready(app)
        processes = []
        for fields in (job("sleep_once"), job("bloat", megabytes=450), job("sleep_once")):
            (run_id,) = enqueue_runs(app, acme, **fields)
            until(app, run_id, "succeeded", worker, beat)
            processes.append(log_of(app, run_id)[0])
    first, grown, fresh = processes
    assert first == grown
    assert fresh != grown
