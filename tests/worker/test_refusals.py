"""A message without a tenant that we can trust is refused and logged, and nothing in a message ends the worker."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import redis
import sqlalchemy as sa
from celery import Celery, chord, group

from config.celery import KEY_PREFIX
from config.queues import QUEUES
from config.settings import Settings
from dashboard.app import Dashboard
from dashboard.core.carriage import HEADER, header_key, pack
from dashboard.core.errors import NoTenant
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Binding, Root, Tenant, bound
from dashboard.tenants.actions import set_option
from dashboard.tenants.models import TenantRecord, TenantRoot
from tests.processes import RunningProcess, wait_until, worker_process
from tests.worker import tasks_for_tests as probe
from tests.worker.expectations import PLUGIN, SECONDS, Notes, got, of_tenant

POOLS = ("prefork", "threads", "gevent", "solo")
NOBODY = Tenant(
    id=UUID(int=1),
    slug="nobody",
    name="Nobody",
    active=True,
    roots=(Root(id=UUID(int=2), scheme="http", host="nobody.test", port=None, prefix=""),),
    values={},
)


@pytest.fixture(scope="module", params=POOLS)
def worker(
    request: pytest.FixtureRequest, migrated_app: Dashboard, environment: dict[str, str]
) -> Iterator[RunningProcess]:
    with worker_process(environment, pool=request.param, plugins=[PLUGIN]) as process:
        yield process
        assert process.is_running


@pytest.fixture
def key(settings: Settings) -> bytes:
    return header_key(settings.secret_key.get_secret_value())


def flipped(header: str, byte: int) -> str:
    """Return the header with one bit of one byte changed."""
    raw = bytearray(base64.urlsafe_b64decode(header))
    raw[byte] ^= 1
    return base64.urlsafe_b64encode(raw).decode()


def forgeries(binding: Binding, key: bytes) -> dict[str, Any]:
    """Return headers that others could write."""
    header = pack(binding, key)
    return {
        "empty": "",
        "not ours": "a header",
        "not ASCII": "ä",
        "a number": 7,
        "a dict": {"tenant": str(binding.tenant.id)},
        "unsigned": base64.urlsafe_b64encode(base64.urlsafe_b64decode(header)[:-16]).decode(),
        "another tenant": flipped(header, 3),
        "another actor": flipped(header, 1),
        "another signature": flipped(header, -1),
        "another key": pack(binding, header_key("another secret")),
        "cut short": header[:40],
    }


FORGERIES = ("none", *forgeries(Binding.of(NOBODY), b""))


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_message_without_a_header_of_ours_is_refused(
    worker: RunningProcess, celery: Celery, stranger: Celery, notes: Notes, key: bytes, acme: Tenant, forgery: str
) -> None:
    headers = {} if forgery == "none" else {HEADER: forgeries(Binding.of(acme), key)[forgery]}
    refused = stranger.send_task("probe.note", ["forged"], headers=headers, ignore_result=False)
    with bound(Binding.of(acme)):
        got(probe.note.delay("good"))
    wait_until(refused.ready, SECONDS)
    assert refused.state == "FAILURE"
    assert f"task_id={refused.id}" in refusals(worker)
    assert len(notes("good", 1)) == 1
    assert notes("forged", 0) == []


def refusals(worker: RunningProcess) -> str:
    return "\n".join(line for line in worker.output().splitlines() if "message_refused" in line)


@pytest.mark.parametrize(
    "away",
    [
        sa.delete(TenantRecord),
        sa.update(TenantRecord).values(suspended_at=datetime(2026, 1, 1, tzinfo=UTC)),
        sa.update(TenantRoot).values(verified_at=None),
    ],
    ids=["deleted", "suspended", "without a root"],
)
def test_a_tenant_that_is_gone_is_refused(
    app: Dashboard, worker: RunningProcess, celery: Celery, notes: Notes, acme: Tenant, away: Any
) -> None:
    with app.app_context(), system_scope("test") as session:
        session.execute(away)
    with bound(Binding.of(acme)):
        refused = probe.note.delay("gone")
    wait_until(refused.ready, SECONDS)
    assert refused.state == "FAILURE"
    assert f"task_id={refused.id}" in refusals(worker)
    assert notes("gone", 0) == []


def test_a_root_that_is_no_longer_verified_becomes_the_canonical_one(
    app: Dashboard, worker: RunningProcess, celery: Celery, acme: Tenant
) -> None:
    alias = acme.roots[1]
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(TenantRoot).where(TenantRoot.id == alias.id).values(verified_at=None))
    with bound(Binding.of(acme, alias.id)):
        assert of_tenant(got(probe.report.delay()), acme)


def test_a_root_that_moved_meanwhile_is_linked_to_where_it_is_now(
    app: Dashboard, worker: RunningProcess, celery: Celery, globex: Tenant
) -> None:
    """The domain changed between the click and the run."""
    with app.app_context(), system_scope("test") as session:
        session.execute(
            sa.update(TenantRoot)
            .where(TenantRoot.id == globex.roots[0].id)
            .values(scheme="https", host="jobs.globex.test", port=None, prefix="")
        )
    with bound(Binding.of(globex)):
        seen = got(probe.report.delay())
    assert (seen["root"], seen["path"]) == ("https://jobs.globex.test/", f"/runs/{probe.PAGE}")
    assert seen["link"] == f"https://jobs.globex.test/runs/{probe.PAGE}"


def test_a_root_that_was_removed_becomes_the_canonical_one(
    app: Dashboard, worker: RunningProcess, celery: Celery, acme: Tenant
) -> None:
    alias = acme.roots[1]
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.delete(TenantRoot).where(TenantRoot.id == alias.id))
    with bound(Binding.of(acme, alias.id)):
        assert of_tenant(got(probe.report.delay()), acme)


def test_a_setting_that_changed_meanwhile_counts_as_it_is_now(
    app: Dashboard, worker: RunningProcess, celery: Celery, acme: Tenant
) -> None:
    with app.app_context(), system_scope("test") as session:
        set_option(session, acme.id, "MAIL_SENDER", "new@acme.test")
        set_option(session, acme.id, "TIMEZONE", "Asia/Tokyo")
    with bound(Binding.of(acme)):
        seen = got(probe.report.delay())
    assert (seen["sender"], seen["timezone"]) == ("new@acme.test", "Asia/Tokyo")


def test_a_refused_message_starts_nothing(
    worker: RunningProcess, celery: Celery, stranger: Celery, notes: Notes, redis_url: str, globex: Tenant
) -> None:
    follow_up = stranger.signature("probe.note", ["follow-up"], immutable=True)
    options: dict[str, Any] = {
        "link": follow_up,
        "link_error": [follow_up, stranger.signature("probe.errback_sent"), stranger.signature("probe.errback_inline")],
        "chain": [follow_up],
        "ignore_result": False,
    }
    refused = [stranger.send_task(name, ["refused"], **options) for name in ("probe.note", "probe.hooked")]
    part = stranger.signature("probe.note", ["part"])
    chord([part], follow_up, app=stranger).apply_async()
    for result in refused:
        wait_until(result.ready, SECONDS)
    with bound(Binding.of(globex)):
        assert of_tenant(got(probe.report.delay()), globex)
    with redis.Redis.from_url(redis_url) as client:
        assert [client.llen(KEY_PREFIX + queue) for queue in QUEUES] == [0] * len(QUEUES)
    assert [notes(name, 0) for name in ("refused", "follow-up", "part", "errback", "hooks")] == [[]] * 5
    assert [refusals(worker).count(f"task_id={result.id}") for result in refused] == [1, 1]
    assert "INTERNAL ERROR" not in worker.output()


@pytest.mark.parametrize(
    "send",
    [
        lambda: probe.note.delay("x"),
        lambda: probe.note.apply_async(("x",), countdown=60),
        lambda: group(probe.note.s("x"), probe.note.s("y")).apply_async(),
        lambda: chord([probe.note.s("x")], probe.collect.s()).apply_async(),
        lambda: probe.note.map(["x"]).apply_async(),
        lambda: probe.note.app.send_task("probe.note", ["x"]),
    ],
    ids=["delay", "countdown", "group", "chord", "map", "send_task"],
)
def test_nothing_is_sent_without_a_tenant(celery: Celery, redis_url: str, send: Callable[[], Any]) -> None:
    with pytest.raises(NoTenant):
        send().get(timeout=1)
    with redis.Redis.from_url(redis_url) as client:
        assert [client.llen(KEY_PREFIX + queue) for queue in QUEUES] == [0] * len(QUEUES)
