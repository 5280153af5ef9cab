"""The worker's main process speaks for a killed child in the tenant's name, and survives whatever a message does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from config.celery import KEY_PREFIX
from dashboard.app import Dashboard
from dashboard.core.tenancy import Binding, Tenant, bound
from tests.processes import RunningProcess, wait_until, worker_process
from tests.worker import tasks_for_tests as probe
from tests.worker.expectations import PLUGIN, Notes, got, of_tenant

WATCHED_SECONDS = 1.0
"""How long it is watched that something does not happen."""


each_pool_that_ends_work = pytest.mark.parametrize("worker", ["prefork", "gevent"], indirect=True, scope="module")
"""prefork kills the child that overran its hard limit, gevent ends the greenlet; threads and solo can do neither."""


@pytest.fixture(scope="module")
def worker(
    request: pytest.FixtureRequest, migrated_app: Dashboard, environment: dict[str, str]
) -> Iterator[RunningProcess]:
    """A worker whose children can be killed, unless a test asks for another pool."""
    with worker_process(environment, pool=getattr(request, "param", "prefork"), plugins=[PLUGIN]) as process:
        yield process
        assert process.is_running


@each_pool_that_ends_work
def test_hooks_of_what_overran_its_hard_limit_see_the_tenant(
    worker: RunningProcess, celery: Celery, notes: Notes, initech: Tenant
) -> None:
    with bound(Binding.of(initech)):
        probe.overrun.delay()
    called = notes("hooks", 3)
    assert [note["hook"] for note in called] == ["before_start", "on_failure", "after_return"]
    assert called[1]["error"] == "TimeLimitExceeded"
    assert all(of_tenant(note, initech) for note in called)


@each_pool_that_ends_work
def test_a_hook_does_not_wait_for_what_was_held_beyond_the_hard_limit(
    worker: RunningProcess, celery: Celery, notes: Notes, acme: Tenant
) -> None:
    with bound(Binding.of(acme)):
        probe.overrun_with_a_lock.delay()
        assert notes("locked", 1)[0]["error"] == "TimeLimitExceeded"
        assert of_tenant(got(probe.report.delay()), acme)


@each_pool_that_ends_work
@pytest.mark.parametrize(("errback", "how"), [(probe.errback_inline, "inline"), (probe.errback_sent, "sent")])
def test_errbacks_of_what_overran_its_hard_limit_see_the_tenant(
    worker: RunningProcess, celery: Celery, notes: Notes, globex: Tenant, errback: Any, how: str
) -> None:
    assert_errback_is_the_tenants(probe.overrun, errback, how, notes, globex)
    notes("hooks", 3)  # so that none of them is noted down in the next test


@pytest.mark.parametrize(("errback", "how"), [(probe.errback_inline, "inline"), (probe.errback_sent, "sent")])
def test_errbacks_of_a_killed_child_see_the_tenant(
    worker: RunningProcess, celery: Celery, notes: Notes, globex: Tenant, errback: Any, how: str
) -> None:
    assert_errback_is_the_tenants(probe.die, errback, how, notes, globex)
    notes("hooks", 1)


def assert_errback_is_the_tenants(task: Any, errback: Any, how: str, notes: Notes, tenant: Tenant) -> None:
    with bound(Binding.of(tenant)):
        task.apply_async(link_error=errback.s())
        called = notes("errback", 1)[0]
        assert of_tenant(got(probe.report.delay()), tenant)
    assert called["how"] == how
    assert of_tenant(called, tenant)


@pytest.mark.parametrize(
    ("task", "said"),
    [(probe.exhaust, "consumer_failed"), (probe.overrun_badly, "hook_failed"), (probe.fail_badly, "hook_failed")],
    ids=["memory error", "a hook that fails here", "a hook that fails in the child"],
)
def test_what_fails_in_the_consumer_is_logged_and_the_worker_goes_on(
    worker: RunningProcess, celery: Celery, globex: Tenant, task: Any, said: str
) -> None:
    with bound(Binding.of(globex)):
        sent = task.delay()
        wait_until(lambda: is_said(worker, said, f"task_id={sent.id}"), explain=worker.output)
        assert of_tenant(got(probe.report.delay()), globex)


def is_said(worker: RunningProcess, *words: str) -> bool:
    """Whether a line of the worker's log has all of these."""
    return any(all(word in line for word in words) for line in worker.output().splitlines())


def test_a_worker_takes_no_message_that_it_has_no_free_slot_for(
    worker: RunningProcess, celery: Celery, notes: Notes, gate: Path, redis_url: str, acme: Tenant
) -> None:
    with bound(Binding.of(acme)):
        results = [probe.hold.delay(str(gate)) for _ in range(5)]
    notes("held", 2)
    end, lengths = time.monotonic() + WATCHED_SECONDS, set()
    with redis.Redis.from_url(redis_url) as broker:
        while time.monotonic() < end:
            lengths.add(broker.llen(f"{KEY_PREFIX}default"))
    gate.touch()
    assert lengths == {3}
    assert [got(result) for result in results] == [None] * 5
