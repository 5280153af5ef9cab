"""Workers that stop, are killed, or belong to any of the pools: no run is lost, and none is doubled."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from celery import Celery

from config.celery import KEY_PREFIX
from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Binding, Tenant, bound
from dashboard.runs import actions
from dashboard.tenants.actions import resume, suspend
from tests.factories.ledger import enqueue_runs, load_of, run_of, states_of, timeline_of
from tests.processes import RunningProcess, beat_process, wait_until, worker_process
from tests.worker.expectations import PLUGIN as TASKS
from tests.worker.expectations import Notes, got, of_tenant
from tests.worker.ledger_probes import (
    AGAIN,
    PLUGIN,
    effects_of,
    job,
    starts_of,
    until,
    until_outlasted,
    until_ready,
    until_started,
)
from tests.worker.tasks_for_tests import outstay, overrun_with_a_lock, report, tell_connection

pytestmark = pytest.mark.xdist_group("runs stopping")

POOLS = ("prefork", "threads", "gevent", "solo")
PATIENT = {"SOFT_SHUTDOWN_SECONDS": "600"}


@pytest.fixture(scope="module")
def beat(migrated_app: Dashboard, environment: dict[str, str]) -> Iterator[RunningProcess]:
    with beat_process(environment, plugins=[PLUGIN]) as process:
        yield process


@pytest.mark.parametrize("pool", POOLS)
def test_every_pool_executes_renews_and_hears_of_a_cancellation(
    app: Dashboard, acme: Tenant, environment: dict[str, str], beat: RunningProcess, gate: Path, pool: str
) -> None:
    slots = 1 if pool == "solo" else 3
    with worker_process(environment, pool=pool, plugins=[PLUGIN], concurrency=slots) as worker:
        until_ready(app)
        (long,) = enqueue_runs(app, acme, **job("sleep_again", gate=str(gate)), **AGAIN)
        until_started(app, long, worker, beat)
        until_outlasted(app, long)
        gate.touch()
        until(app, long, "succeeded", worker, beat)
        assert (starts_of(app, long), effects_of(app, long)) == (1, 1)
        (endless,) = enqueue_runs(app, acme, **job("sleep_once", seconds=60))
        until_started(app, endless, worker, beat)
        with app.app_context(), bound(Binding.of(acme)):
            actions.cancel(endless)
        until(app, endless, "cancelled", worker, beat)


@pytest.mark.parametrize("pool", ["threads", "gevent", "solo"])
def test_a_pool_without_time_limits_stops_a_job_that_listens(
    app: Dashboard, acme: Tenant, environment: dict[str, str], beat: RunningProcess, pool: str
) -> None:
    with worker_process(environment, pool=pool, plugins=[PLUGIN]) as worker:
        until_ready(app)
        (run_id,) = enqueue_runs(app, acme, **job("sleep_once", seconds=60), timeout_seconds=1)
        until(app, run_id, "timed_out", worker, beat)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(("how", "error"), [("exit", "SystemExit"), ("asyncio", "CancelledError")])
def test_a_job_that_exits_uses_up_its_attempts_and_its_worker_goes_on(
    app: Dashboard, acme: Tenant, environment: dict[str, str], beat: RunningProcess, pool: str, how: str, error: str
) -> None:
    with worker_process(environment, pool=pool, plugins=[PLUGIN], concurrency=1) as worker:
        until_ready(app)
        (run_id,) = enqueue_runs(app, acme, **job("fail", how=how), **AGAIN, backoff={"base": 0.1})
        run = until(app, run_id, "dead", worker, beat)
        assert (run.error_type, timeline_of(app, run_id).count("running")) == (error, 3)
        (after,) = enqueue_runs(app, acme, **job("sleep_once"))
        until(app, after, "succeeded", worker, beat)


@pytest.mark.parametrize("to_group", [False, True], ids=["the worker", "its whole group"])
def test_a_worker_that_is_asked_to_stop_finishes_what_it_can_and_hands_back_the_rest(
    app: Dashboard, acme: Tenant, environment: dict[str, str], beat: RunningProcess, gate: Path, to_group: bool
) -> None:
    with worker_process({**environment, "SOFT_SHUTDOWN_SECONDS": "6"}, plugins=[PLUGIN], concurrency=6) as worker:
        until_ready(app)
        (short,) = enqueue_runs(app, acme, **job("sleep_once", gate=str(gate)))
        (again,) = enqueue_runs(app, acme, **job("sleep_again", seconds=60), **AGAIN)
        (once,) = enqueue_runs(app, acme, **job("sleep_once", seconds=60))
        for run_id in (short, again, once):
            until_started(app, run_id, worker, beat)
        if to_group:
            os.killpg(worker.pid, signal.SIGTERM)
        else:
            worker.signal(signal.SIGTERM)
        worker.wait_for("worker_stops")
        gate.touch()
        wait_until(lambda: not worker.is_running, explain=worker.output)
        assert states_of(app, [short, again, once]) == ["succeeded", "ready", "interrupted"], worker.output()
        assert run_of(app, again).attempt == 0
        assert load_of(app, acme).running == 0


@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_leaves_as_soon_as_its_last_run_has_ended(
    app: Dashboard, acme: Tenant, environment: dict[str, str], beat: RunningProcess, gate: Path, pool: str
) -> None:
    with worker_process({**environment, **PATIENT}, pool=pool, plugins=[PLUGIN]) as worker:
        until_ready(app)
        (run_id,) = enqueue_runs(app, acme, **job("sleep_once", gate=str(gate)))
        until_started(app, run_id, worker, beat)
        worker.signal(signal.SIGTERM)
        worker.wait_for("worker_stops")
        gate.touch()
        wait_until(lambda: not worker.is_running, explain=worker.output)
        assert states_of(app, [run_id]) == ["succeeded"]
        assert timeline_of(app, run_id).count("running") == 1


def test_a_worker_that_is_asked_to_stop_finishes_what_it_had_taken_though_its_process_is_slow(
    app: Dashboard, acme: Tenant, environment: dict[str, str], beat: RunningProcess
) -> None:
    """The message is taken, and the process of the pool has not looked at it yet."""
    with worker_process({**environment, **PATIENT}, plugins=[PLUGIN], concurrency=1) as worker:
        until_ready(app)
        (child,) = worker.children()
        os.kill(child, signal.SIGSTOP)
        try:
            (run_id,) = enqueue_runs(app, acme, **job("sleep_once", seconds=1))
            worker.wait_for(f"[{run_id}.1] received")
            worker.signal(signal.SIGTERM)
            worker.wait_for("worker_stops")
        finally:
            os.kill(child, signal.SIGCONT)
        wait_until(lambda: not worker.is_running, explain=worker.output)
        assert states_of(app, [run_id]) == ["succeeded"], worker.output()


def has_unread(pid: int) -> bool:
    """Whether something lies in a pipe that this process reads from."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        reads = int(Path(f"/proc/{pid}/fdinfo/{descriptor.name}").read_text().split()[3], 8) & os.O_ACCMODE == 0
        if reads and str(descriptor.readlink()).startswith("pipe:"):
            with descriptor.open("rb", buffering=0) as pipe:
                if select.select([pipe], [], [], 0)[0]:
                    return True
    return False


def test_a_worker_that_is_asked_to_stop_ends_in_time_though_it_has_not_heard_yet_what_its_process_began(
    app: Dashboard, acme: Tenant, environment: dict[str, str], beat: RunningProcess
) -> None:
    with worker_process(environment, plugins=[PLUGIN], concurrency=1) as worker:
        until_ready(app)
        (child,) = worker.children()
        os.kill(child, signal.SIGSTOP)
        try:
            (run_id,) = enqueue_runs(app, acme, **job("deaf", seconds=600), **AGAIN)
            wait_until(lambda: has_unread(child), explain=worker.output)
            os.kill(worker.pid, signal.SIGSTOP)
        finally:
            os.kill(child, signal.SIGCONT)
        until_started(app, run_id, worker, beat)
        worker.signal(signal.SIGTERM)
        os.kill(worker.pid, signal.SIGCONT)
        wait_until(lambda: not worker.is_running, explain=worker.output)
        assert (states_of(app, [run_id]), run_of(app, run_id).attempt) == (["ready"], 0), worker.output()


@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_that_is_told_twice_to_stop_still_finishes_its_run(
    app: Dashboard, acme: Tenant, environment: dict[str, str], beat: RunningProcess, gate: Path, pool: str
) -> None:
    with worker_process({**environment, **PATIENT}, pool=pool, plugins=[PLUGIN]) as worker:
        until_ready(app)
        (run_id,) = enqueue_runs(app, acme, **job("sleep_once", gate=str(gate)))
        until_started(app, run_id, worker, beat)
        worker.signal(signal.SIGTERM)
        worker.wait_for("worker_stops")
        worker.signal(signal.SIGTERM)
        gate.touch()
        wait_until(lambda: not worker.is_running, explain=worker.output)
        assert states_of(app, [run_id]) == ["succeeded"], worker.output()


@pytest.mark.parametrize("pool", ["threads", "gevent", "solo"])
def test_another_pools_worker_hands_back_a_job_that_listens(
    app: Dashboard, acme: Tenant, environment: dict[str, str], beat: RunningProcess, pool: str
) -> None:
    with worker_process(environment, pool=pool, plugins=[PLUGIN]) as worker:
        until_ready(app)
        (again,) = enqueue_runs(app, acme, **job("sleep_again", seconds=60), **AGAIN)
        until_started(app, again, worker, beat)
        worker.signal(signal.SIGTERM)
        until(app, again, "ready", worker, beat)
        wait_until(lambda: not worker.is_running, explain=worker.output)
        assert (run_of(app, again).attempt, timeline_of(app, again).count("retrying")) == (0, 0)


@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_ends_in_time_and_hands_back_jobs_that_do_not_listen(
    app: Dashboard, acme: Tenant, environment: dict[str, str], beat: RunningProcess, gate: Path, pool: str
) -> None:
    """What it executes cannot be told to stop, and outside of prefork it cannot be killed but with the worker."""
    with worker_process(environment, pool=pool, plugins=[PLUGIN], concurrency=1 if pool == "solo" else 4) as worker:
        until_ready(app)
        deaf = job("deaf", seconds=600)
        runs = enqueue_runs(app, acme, **deaf, **AGAIN)
        if pool != "solo":
            runs += enqueue_runs(app, acme, **deaf)
        for run_id in runs:
            until_started(app, run_id, worker, beat)
        worker.signal(signal.SIGTERM)
        wait_until(lambda: not worker.is_running, explain=worker.output)
        assert states_of(app, runs) == ["ready", "interrupted"][: len(runs)]
        assert run_of(app, runs[0]).attempt == 0
        assert {effects_of(app, run_id) for run_id in runs} == {0}
        assert load_of(app, acme).running == 0


@pytest.mark.parametrize("pool", ["threads", "gevent", "solo"])
def test_a_worker_that_ends_in_time_puts_back_what_it_has_not_begun(
    environment: dict[str, str], celery: Celery, notes: Notes, redis_url: str, acme: Tenant, pool: str
) -> None:
    """One task is for later, and would be missed until the broker wonders; the other one must not begin once more."""
    with worker_process(environment, pool=pool, plugins=[TASKS]) as worker, bound(Binding.of(acme)):
        later = report.apply_async(countdown=600)
        worker.wait_for(f"[{later.id}] received")
        begun = outstay.delay()
        notes("hooks", 1)
        worker.signal(signal.SIGTERM)
        wait_until(lambda: not worker.is_running, explain=worker.output)
    with redis.Redis.from_url(redis_url, decode_responses=True) as broker:
        waiting = "".join(broker.lrange(f"{KEY_PREFIX}default", 0, -1))
        taken = "".join(broker.hvals(f"{KEY_PREFIX}unacked"))
        broker.flushdb()
    assert [task.id in waiting for task in (later, begun)] == [True, False]
    assert [task.id in taken for task in (later, begun)] == [False, False]


def test_a_suspended_tenants_runs_stop_and_go_on_when_it_may_work_again(
    app: Dashboard, acme: Tenant, globex: Tenant, environment: dict[str, str], beat: RunningProcess, gate: Path
) -> None:
    with worker_process(environment, plugins=[PLUGIN], concurrency=4) as worker:
        until_ready(app)
        (again,) = enqueue_runs(app, acme, **job("sleep_again", gate=str(gate)), **AGAIN)
        (once,) = enqueue_runs(app, acme, **job("sleep_once", seconds=60))
        (others,) = enqueue_runs(app, globex, **job("sleep_once", gate=str(gate)))
        for run_id in (again, once, others):
            until_started(app, run_id, worker, beat)
        with app.app_context(), system_scope("test") as session:
            suspend(session, acme.id, "Unpaid since May.")
        until(app, again, "ready", worker, beat)
        until(app, once, "interrupted", worker, beat)
        gate.touch()
        until(app, others, "succeeded", worker, beat)
        assert (run_of(app, again).state, run_of(app, again).attempt) == ("ready", 0)
        with app.app_context(), system_scope("test") as session:
            resume(session, acme.id)
        until(app, again, "succeeded", worker, beat)


def test_a_killed_workers_runs_start_again_or_wait_for_a_person(
    app: Dashboard, acme: Tenant, environment: dict[str, str], beat: RunningProcess, gate: Path
) -> None:
    with worker_process(environment, plugins=[PLUGIN], concurrency=4) as victim:
        until_ready(app)
        (again,) = enqueue_runs(app, acme, **job("sleep_again", gate=str(gate)), **AGAIN)
        (once,) = enqueue_runs(app, acme, **job("sleep_once", gate=str(gate)))
        for run_id in (again, once):
            until_started(app, run_id, victim, beat)
        victim.kill_group()
        gate.touch()
        with worker_process(environment, plugins=[PLUGIN], concurrency=4) as heir:
            assert until(app, again, "succeeded", heir, beat).attempt == 2
            until(app, once, "interrupted", heir, beat)
            assert (starts_of(app, again), effects_of(app, again)) == (2, 1)
            assert (starts_of(app, once), effects_of(app, once)) == (1, 0)
            with app.app_context(), bound(Binding.of(acme)):
                actions.retry(once)
            until(app, once, "succeeded", heir, beat)
            assert effects_of(app, once) == 1


def test_a_cancellation_outlives_the_worker_that_never_heard_of_it(
    app: Dashboard, acme: Tenant, environment: dict[str, str], beat: RunningProcess
) -> None:
    """The job listens to nobody, and may be tried again: without the request it would be."""
    with worker_process(environment, plugins=[PLUGIN], concurrency=1) as victim:
        until_ready(app)
        (run_id,) = enqueue_runs(app, acme, **job("deaf", seconds=60), idempotent=True, max_attempts=3)
        until_started(app, run_id, victim, beat)
        with app.app_context(), bound(Binding.of(acme)):
            actions.cancel(run_id)
        victim.kill_group()
    with worker_process(environment, plugins=[PLUGIN], concurrency=1) as heir:
        until(app, run_id, "cancelled", heir, beat)
    assert (starts_of(app, run_id), effects_of(app, run_id)) == (1, 0)


def test_two_beats_start_no_run_twice(
    app: Dashboard, acme: Tenant, globex: Tenant, environment: dict[str, str], beat: RunningProcess
) -> None:
    with (
        beat_process(environment, plugins=[PLUGIN]) as other,
        worker_process(environment, plugins=[PLUGIN], concurrency=4) as worker,
    ):
        runs = [
            run_id
            for tenant in (acme, globex)
            for run_id in enqueue_runs(app, tenant, 30, **job("sleep_once", seconds=0.05))
        ]
        wait_until(lambda: set(states_of(app, runs)) == {"succeeded"}, explain=lambda: worker.output() + other.output())
        assert {timeline_of(app, run_id).count("admitted") for run_id in runs} == {1}
        assert {effects_of(app, run_id) for run_id in runs} == {1}


def test_the_hook_of_a_task_that_a_stopping_worker_cancels_sees_the_tenant(
    environment: dict[str, str], celery: Celery, notes: Notes, initech: Tenant
) -> None:
    with worker_process(environment, plugins=[TASKS]) as worker, bound(Binding.of(initech)):
        outstay.delay()
        notes("hooks", 1)
        worker.signal(signal.SIGTERM)
        called = notes("hooks", 2)
    assert [note["hook"] for note in called] == ["before_start", "on_retry"]
    assert all(of_tenant(note, initech) for note in called)


def test_a_new_child_of_the_pool_uses_no_connection_of_its_parent(
    app: Dashboard, environment: dict[str, str], celery: Celery, notes: Notes, acme: Tenant
) -> None:
    """The parent has some: the hook of the first child that overran ran there, before the second was forked anew."""
    with worker_process(environment, plugins=[TASKS], concurrency=1), bound(Binding.of(acme)):
        for number in (1, 2):
            overrun_with_a_lock.delay()
            notes("locked", number)
        with app.app_context(), system_scope("test") as session:
            known = set(session.scalars(sa.text("SELECT pid FROM pg_stat_activity")))
        assert got(tell_connection.delay()) not in known
