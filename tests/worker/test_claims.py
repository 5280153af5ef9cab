"""Workers are asked to stop in the middle of a claim."""

from __future__ import annotations

import os
import signal

import pytest
from celery import Celery

from config.settings import Settings
from dashboard.app import Dashboard
from dashboard.core.tenancy import Binding, Tenant, bound
from dashboard.core.trips import system_line
from dashboard.runs.dispatcher import Pace, admit
from tests.factories.ledger import enqueue_runs, make_worker, run_of
from tests.processes import wait_until, worker_process
from tests.worker.ledger_probes import PLUGIN, holding, job, until_ready, until_waiting

pytestmark = pytest.mark.xdist_group("claims")

POOLS = ("prefork", "threads", "gevent", "solo")


@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_that_is_asked_to_stop_while_it_claims_leaves_no_claim_behind(
    app: Dashboard,
    acme: Tenant,
    environment: dict[str, str],
    settings: Settings,
    celery: Celery,
    pool: str,
) -> None:
    """PostgreSQL would go on waiting, claim the run for a worker that is gone, and it would count as interrupted."""
    with worker_process(environment, pool=pool, plugins=[PLUGIN], concurrency=1) as worker:
        until_ready(app)
        (run_id,) = enqueue_runs(app, acme, **job("sleep_once"))
        make_worker(app, 1)
        with app.app_context(), system_line("test") as line:
            (admitted,) = admit(line, lease=settings.lease, pace=Pace())
        with holding(app, run_id):
            with bound(Binding.of(acme)):
                celery.send_task("runs.execute", [str(run_id), admitted.fence], queue=admitted.queue)
            until_waiting(app, 1, worker)
            os.killpg(worker.pid, signal.SIGTERM)
            wait_until(lambda: not worker.is_running, explain=worker.output)
            until_waiting(app, 0, worker)
        run = run_of(app, run_id)
        assert (run.state, run.attempt) == ("admitted", 0), worker.output()
