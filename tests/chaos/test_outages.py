"""Servers and processes go away in the middle of the work: no run is lost, and none is doubled."""

from __future__ import annotations

import os
from pathlib import Path
from signal import SIGKILL, SIGQUIT, SIGTERM, Signals
from uuid import UUID

import pytest
import redis

from config.settings import Settings
from dashboard.core.sending import SendingCelery
from dashboard.core.tenancy import Binding, Tenant, bound
from tests.chaos.site import Site
from tests.factories.ledger import enqueue_runs, load_of, run_of, states_of, timeline_of
from tests.processes import DEADLINE_SECONDS, RunningProcess, wait_until
from tests.worker.conftest import closing
from tests.worker.ledger_probes import AGAIN, effects_of, job, starts_of, until, until_started

ENDS_WITHIN_SECONDS = 30
"""Heroku kills what has not ended by then."""

pytestmark = pytest.mark.xdist_group("chaos")


def until_all_succeeded(site: Site, runs: list[UUID], *processes: RunningProcess) -> None:
    wait_until(
        lambda: set(states_of(site.app, runs)) == {"succeeded"},
        explain=lambda: f"{sorted(states_of(site.app, runs))}\n" + "\n".join(process.output() for process in processes),
    )


def assert_nothing_is_held(site: Site, tenant: Tenant) -> None:
    load = load_of(site.app, tenant)
    assert (load.ready, load.running) == (0, 0)


@pytest.mark.parametrize("violently", [False, True], ids=["stopped", "killed"])
def test_postgres_goes_and_comes_back_under_running_jobs(site: Site, tmp_path: Path, violently: bool) -> None:
    tenant, gone, back = site.tenant("acme"), tmp_path / "gone", tmp_path / "back"
    beat, worker = site.start_beat(), site.start_worker(concurrency=8)
    (long,) = enqueue_runs(site.app, tenant, **job("sleep_once", gate=str(back)))
    (ends_meanwhile,) = enqueue_runs(site.app, tenant, **job("quiet", gate=str(gone)))
    (loses_its_work,) = enqueue_runs(site.app, tenant, **job("deaf", gate=str(gone)), lane="interactive")
    for run_id in (long, ends_meanwhile, loses_its_work):
        until_started(site.app, run_id, beat, worker)
    if violently:
        site.postgres.kill()
    else:
        site.postgres.stop()
    gone.touch()
    worker.wait_for("outcome_not_written_yet")
    worker.wait_for("leases_not_renewed")
    beat.wait_for("database_is_away")
    site.postgres.start()
    back.touch()
    (after,) = enqueue_runs(site.app, tenant, **job("sleep_once"))
    until_all_succeeded(site, [long, ends_meanwhile, after], beat, worker)
    assert [starts_of(site.app, run_id) for run_id in (long, ends_meanwhile, after)] == [1, 1, 1]
    assert effects_of(site.app, long) == 1
    assert until(site.app, loses_its_work, "failed", beat, worker).error_type == "OperationalError"
    assert_nothing_is_held(site, tenant)


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent", "solo"])
def test_a_task_whose_tenant_cannot_be_looked_up_fails_and_the_worker_goes_on(site: Site, pool: str) -> None:
    """The tenants' store is down, and this process has never heard of the tenant: nobody guesses."""
    tenant = site.tenant("acme")
    worker = site.start_worker(more_plugins=("tests.worker.tasks_for_tests",), pool=pool)
    celery = SendingCelery(Settings.from_env(site.environment))
    with closing(celery), bound(Binding.of(tenant)):
        site.postgres.stop()
        failed = celery.send_task("probe.report", ignore_result=False)
        wait_until(failed.ready, explain=worker.output)
        site.postgres.start()
        assert failed.state == "FAILURE", worker.output()
        assert "OperationalError" in repr(failed.result)
        seen = celery.send_task("probe.report", ignore_result=False).get(timeout=DEADLINE_SECONDS)
    assert seen["tenant"] == tenant.slug


def test_valkey_is_killed_and_forgets_everything(site: Site, tmp_path: Path) -> None:
    tenant, gone = site.tenant("acme"), tmp_path / "gone"
    beat, worker = site.start_beat(), site.start_worker()
    runs = enqueue_runs(site.app, tenant, 40, **job("sleep_once", seconds=0.2, gate=str(gone)))
    wait_until(lambda: "running" in states_of(site.app, runs))
    site.valkey.kill()
    gone.touch()
    beat.wait_for("broker_is_away")
    site.valkey.start()
    until_all_succeeded(site, runs, beat, worker)
    assert {effects_of(site.app, run_id) for run_id in runs} == {1}
    assert max(run_of(site.app, run_id).fence for run_id in runs) <= 4
    assert_nothing_is_held(site, tenant)


def test_the_broker_is_flushed(site: Site) -> None:
    tenant = site.tenant("acme")
    beat, worker = site.start_beat(), site.start_worker()
    runs = enqueue_runs(site.app, tenant, 40, **job("sleep_once", seconds=0.2))
    wait_until(lambda: "succeeded" in states_of(site.app, runs))
    with redis.Redis.from_url(site.valkey.url()) as client:
        client.flushall()
    until_all_succeeded(site, runs, beat, worker)
    assert {effects_of(site.app, run_id) for run_id in runs} == {1}


def test_the_only_beat_is_killed_and_another_takes_its_place(site: Site) -> None:
    tenant = site.tenant("acme")
    beat, worker = site.start_beat(), site.start_worker()
    runs = enqueue_runs(site.app, tenant, 40, **job("sleep_once", seconds=0.1))
    wait_until(lambda: "succeeded" in states_of(site.app, runs))
    beat.kill_group()
    heir = site.start_beat()
    until_all_succeeded(site, runs, heir, worker)
    assert {effects_of(site.app, run_id) for run_id in runs} == {1}


def test_processes_that_start_before_their_servers_wait_and_say_so(site: Site) -> None:
    tenant = site.tenant("acme")
    (run_id,) = enqueue_runs(site.app, tenant, **job("sleep_once"))
    site.postgres.stop()
    site.valkey.stop()
    beat = site.start_beat()
    worker = site.start_early_worker()
    worker.wait_for("Cannot connect to redis://")
    beat.wait_for("broker_is_away")
    beat.wait_for("database_is_away")
    site.valkey.start()
    site.postgres.start()
    until_all_succeeded(site, [run_id], beat, worker)
    assert timeline_of(site.app, run_id).count("running") == 1


def test_a_killed_child_of_the_pool_gives_its_run_back_at_once(site: Site) -> None:
    tenant = site.tenant("acme")
    beat, worker = site.start_beat(), site.start_worker(concurrency=2)
    (run_id,) = enqueue_runs(site.app, tenant, **job("killed_once"), **AGAIN)
    run = until(site.app, run_id, "succeeded", beat, worker)
    assert run.attempt == 2


@pytest.mark.parametrize("is_killed", [False, True], ids=["at its time limit", "by somebody"])
def test_a_child_that_ends_while_postgres_is_away_loses_no_run(site: Site, is_killed: bool) -> None:
    """The worker's main process can tell nobody of it: the lease does."""
    tenant = site.tenant("acme")
    beat, worker = site.start_beat(), site.start_worker(concurrency=1)
    (run_id,) = enqueue_runs(site.app, tenant, **job("quiet", seconds=600), timeout_seconds=5)
    until_started(site.app, run_id, beat, worker)
    site.postgres.stop()
    if is_killed:
        (child,) = worker.children()
        os.kill(child, SIGKILL)
    worker.wait_for("consumer_failed" if is_killed else "message_refused")
    site.postgres.start()
    (after,) = enqueue_runs(site.app, tenant, **job("sleep_once"))
    until_all_succeeded(site, [after], beat, worker)
    until(site.app, run_id, "interrupted", beat, worker)
    assert_nothing_is_held(site, tenant)


@pytest.mark.parametrize(
    ("is_busy", "farewell"),
    [(False, SIGTERM), (True, SIGQUIT)],
    ids=["idle", "busy, and asked as the Procfile lets it be asked"],
)
def test_a_worker_ends_when_asked_though_both_servers_are_gone(
    site: Site, tmp_path: Path, is_busy: bool, farewell: Signals
) -> None:
    tenant, gone = site.tenant("acme"), tmp_path / "gone"
    beat, worker = site.start_beat(), site.start_worker()
    if is_busy:
        (run_id,) = enqueue_runs(site.app, tenant, **job("quiet", gate=str(gone)))
        until_started(site.app, run_id, beat, worker)
    site.valkey.kill()
    site.postgres.kill()
    gone.touch()
    worker.wait_for("Trying again in" if not is_busy else "outcome_not_written_yet")
    try:
        worker.signal(farewell)
        wait_until(lambda: not worker.is_running, ENDS_WITHIN_SECONDS, worker.output)
    finally:
        site.postgres.start()
        site.valkey.start()
