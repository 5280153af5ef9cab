"""The messages of runs are what Celery itself would send, and none is taken for sent that may not be."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import redis

from config.celery import KEY_PREFIX
from config.settings import Settings
from dashboard.app import Dashboard
from dashboard.core.carriage import HEADER, pack
from dashboard.core.ids import new_id
from dashboard.core.tenancy import Actor, Binding, Tenant
from dashboard.runs.dispatcher import Admitted
from tests.servers import temporary_valkey
from worker.app import create_celery
from worker.context import TenantCelery
from worker.publishing import BrokerAway, Publisher


@pytest.fixture
def celery(app: Dashboard) -> Iterator[TenantCelery]:
    """The Celery of a worker."""
    before = app.extensions["celery"]
    with create_celery(app) as celery:
        yield celery
    app.extensions["celery"] = before
    before.set_default()


@pytest.fixture
def broker(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client
        client.flushall()


def admitted(tenant: Tenant, **values: Any) -> Admitted:
    run: dict[str, Any] = {
        "id": new_id(),
        "fence": 3,
        "tenant_id": tenant.id,
        "attempt": 1,
        "queue": "default",
        "lane": "bulk",
        "job_type": "test.report",
        "timeout_seconds": 900,
        "context_root_id": None,
        "context_locale": None,
        "context_request_id": None,
        "actor_kind": "system",
        "actor_id": None,
    }
    return Admitted(**{**run, **values})


def sent_by_celery(celery: TenantCelery, run: Admitted, binding: Binding) -> None:
    """Send the same as Celery does it."""
    celery.send_task(
        "runs.execute",
        args=[str(run.id), run.fence],
        task_id=f"{run.id}.{run.fence}",
        queue=run.queue,
        headers={HEADER: pack(binding, celery.header_key)},
        soft_time_limit=run.timeout_seconds,
        time_limit=run.timeout_seconds + 10,
        shadow=run.job_type,
        ignore_result=True,
    )


def taken_from(broker: redis.Redis, queue: str) -> dict[str, Any]:
    """Return the next message that a worker would take, with its body read."""
    message: dict[str, Any] = json.loads(broker.rpop(f"{KEY_PREFIX}{queue}"))  # type: ignore[arg-type]
    message["body"] = json.loads(base64.b64decode(message["body"]))
    assert UUID(message["properties"].pop("delivery_tag")).version == 4
    UUID(message["properties"].pop("reply_to"))  # nobody replies: it only has to be one
    return message


def test_a_message_equals_celerys_own_field_by_field(
    app: Dashboard, settings: Settings, celery: TenantCelery, broker: redis.Redis, acme: Tenant
) -> None:
    person, asked = new_id(), new_id()
    of_a_person = {"context_locale": "de", "context_request_id": asked, "actor_kind": "user", "actor_id": person}
    bindings = [
        Binding.of(acme),
        Binding.of(acme, acme.roots[-1].id, actor=Actor(kind="user", id=person), locale="de", request_id=asked),
    ]
    runs = [
        admitted(acme, timeout_seconds=60),
        admitted(acme, queue="email", fence=1, context_root_id=acme.roots[-1].id, **of_a_person),
    ]
    publisher = Publisher(app, settings)
    publisher.connect()
    assert publisher.publish(runs) == []
    publisher.close()
    for run, binding in zip(runs, bindings, strict=True):
        sent_by_celery(celery, run, binding)
        ours, theirs = taken_from(broker, run.queue), taken_from(broker, run.queue)
        assert ours == theirs


def test_messages_are_taken_in_the_order_of_their_admission(
    app: Dashboard, settings: Settings, broker: redis.Redis, acme: Tenant
) -> None:
    runs = [admitted(acme) for _ in range(5)]
    publisher = Publisher(app, settings)
    publisher.connect()
    publisher.publish(runs)
    publisher.close()
    assert [taken_from(broker, "default")["body"][0][0] for _ in runs] == [str(run.id) for run in runs]


def test_what_the_broker_may_not_have_taken_counts_as_unsent(
    app: Dashboard, environment: dict[str, str], acme: Tenant
) -> None:
    with temporary_valkey() as server:
        publisher = Publisher(app, Settings.from_env({**environment, "REDIS_URL": server.url()}))
        publisher.connect()
        assert publisher.publish([admitted(acme)]) == []
        server.kill()
        runs = [admitted(acme), admitted(acme, queue="email")]
        assert publisher.publish(runs) == runs
        with pytest.raises(BrokerAway):
            publisher.connect()
