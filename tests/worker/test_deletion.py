"""A tenant is deleted under a worker that executes its runs: the worker notices, and goes on for the others."""

from __future__ import annotations

import pytest

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from tests.factories.ledger import enqueue_runs
from tests.processes import beat_process, worker_process
from tests.worker.ledger_probes import PLUGIN, effects_of, job, until, until_ready, until_started

pytestmark = pytest.mark.xdist_group("runs")


def test_a_worker_drops_a_deleted_tenants_run_and_goes_on(
    app: Dashboard, environment: dict[str, str], acme: Tenant, globex: Tenant
) -> None:
    with (
        beat_process(environment, plugins=[PLUGIN]) as beat,
        worker_process(environment, plugins=[PLUGIN], concurrency=2) as worker,
    ):
        until_ready(app)
        (gone,) = enqueue_runs(app, acme, **job("sleep_once", seconds=60))
        enqueue_runs(app, acme, 20, **job("sleep_once", seconds=60))
        until_started(app, gone, beat, worker)
        done = app.test_cli_runner().invoke(args=["tenants", "delete", "acme", "--confirm", "acme"])
        assert done.exit_code == 0, done.output
        for _ in range(4):
            (theirs,) = enqueue_runs(app, globex, **job("sleep_once", seconds=1))
            until(app, theirs, "succeeded", beat, worker)
            assert effects_of(app, theirs) == 1
        worker.wait_for("lease_lost")
        assert "loop_failed" not in beat.output()
