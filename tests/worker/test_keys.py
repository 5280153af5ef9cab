"""An operator takes a key from a run that a real worker is at: the next one runs, and the first leaves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from dashboard.runs import actions
from tests.factories.ledger import enqueue_runs, run_of, timeline_of
from tests.factories.mailings import acting
from tests.processes import beat_process, worker_process
from tests.worker.ledger_probes import PLUGIN, effects_of, job, until, until_started

pytestmark = pytest.mark.xdist_group("keys")

KEY: dict[str, Any] = {"concurrency_key": "import:Globex"}


@pytest.mark.parametrize("key", ["sleep_once", "deaf"])
def test_the_holder_of_a_released_key_can_not_finish(
    app: Dashboard, environment: dict[str, str], acme: Tenant, gate: Path, key: str
) -> None:
    """A job that listens stops at its next step; a deaf one finds at its end that nothing of it may stand."""
    with (
        beat_process(environment, plugins=[PLUGIN]) as beat,
        worker_process(environment, plugins=[PLUGIN], concurrency=2) as worker,
    ):
        (holder,) = enqueue_runs(app, acme, **job(key, gate=str(gate)), **KEY)
        until_started(app, holder, beat, worker)
        (waiting,) = enqueue_runs(app, acme, **job("sleep_once"), **KEY)
        with acting(app, acme):
            actions.release_key(holder)
        until(app, waiting, "succeeded", beat, worker)
        if key == "deaf":
            gate.touch()
        worker.wait_for("lease_lost")
    assert timeline_of(app, holder)[-1] == run_of(app, holder).state == "interrupted"
    assert (effects_of(app, holder), effects_of(app, waiting)) == (0, 1)


def test_a_key_that_a_dead_worker_held_is_free_after_a_lease(
    app: Dashboard, environment: dict[str, str], acme: Tenant
) -> None:
    with beat_process(environment, plugins=[PLUGIN]) as beat:
        with worker_process(environment, plugins=[PLUGIN], concurrency=1) as first:
            (holder,) = enqueue_runs(app, acme, **job("sleep_once", seconds=60), **KEY)
            until_started(app, holder, beat, first)
            first.kill_group()
        (waiting,) = enqueue_runs(app, acme, **job("sleep_once"), **KEY)
        with worker_process(environment, plugins=[PLUGIN], concurrency=1) as second:
            until(app, waiting, "succeeded", beat, second)
    assert run_of(app, holder).state == "interrupted"
