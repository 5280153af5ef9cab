"""Our own job system: runs through the whole ledger, from their insertion to their end, and the tenant's context."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import psycopg
import redis
from celery import shared_task
from flask_migrate import upgrade

import migrations
from config.celery import KEY_PREFIX
from dashboard.core.carriage import HEADER
from dashboard.core.clock import database_now
from dashboard.core.ids import new_id
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Binding, bound, resolver_of
from dashboard.runs.ledger import RunRequest, enqueue_all
from dashboard.tenants.models import TenantRecord, TenantRoot
from tests.benchmarks.programs.contest import Task, answer, asked
from tests.benchmarks.programs.context_contest import WARM_UP_MESSAGES, Carrier, context
from tests.benchmarks.programs.noop import BEGAN
from tests.benchmarks.programs.work_contest import CONCURRENCY, STAGES, Workshop
from worker import main

TENANTS = 10
BATCH = 1000


def make_tenants() -> list[TenantRecord]:
    """Make the tables, and tenants with a root each."""
    migrations.attach(main.flask_app)
    upgrade()
    with system_scope("benchmark") as session:
        now = database_now(session)
        tenants = [TenantRecord(id=new_id(), slug=f"t{number}", name="T") for number in range(TENANTS)]
        session.add_all(tenants)
        for tenant in tenants:
            root = TenantRoot(id=new_id(), scheme="https", host=f"{tenant.slug}.test", port=None, verified_at=now)
            tenant.roots.append(root)
    return tenants


class Ledger(Workshop):
    """Ten tenants; a beat and a worker with two processes, as the Procfile starts them."""

    def prepare(self) -> None:
        self.redis = redis.Redis.from_url(self.task.redis_url)
        # A session for each question would cost ten times as much, and the peers' are as cheap.
        self.asking: Any = psycopg.connect(os.environ["SYSTEM_DATABASE_URL"], autocommit=True)
        with main.flask_app.app_context():
            self.tenants = [tenant.id for tenant in make_tenants()]

    def commands(self) -> list[list[str]]:
        words = ["-m", "celery", "-A", "worker.main"]
        return [
            [*words, "worker", "-P", "prefork", "-c", str(CONCURRENCY), "-l", "WARNING"],
            ["-m", "worker.beat", "-l", "WARNING"],
        ]

    def push(self, count: int) -> None:
        requests = [self._request(number, "bench.noop", {"report": "nightly"}) for number in range(count)]
        with main.flask_app.app_context():
            for first in range(0, count, BATCH):
                with system_scope("benchmark") as session:
                    enqueue_all(session, requests[first : first + BATCH])

    def are_done(self) -> bool:
        return not self.asking.execute("SELECT sum(ready + running) FROM tenant_load").fetchone()[0]

    def ping(self) -> float:
        with main.flask_app.app_context():
            with system_scope("benchmark") as session:
                enqueue_all(session, [self._request(0, "bench.note", {})])
            return time.time()

    def began_at(self) -> float:
        _, began = self.redis.blpop([BEGAN], timeout=30)  # type: ignore[misc]
        return float(began)

    def _request(self, number: int, job_type: str, params: dict[str, Any]) -> RunRequest:
        tenant_id = self.tenants[number % len(self.tenants)]
        return RunRequest(tenant_id=tenant_id, name="Empty", job_type=job_type, params=params)


@shared_task(name="empty")
def empty(is_last: bool) -> None:
    """Do nothing, as a plain task of a plugin."""


class Carried(Carrier):
    """A plain task of a plugin, sent for a tenant and run at the tenant's address."""

    queue = f"{KEY_PREFIX}default"
    celery = main.app

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        with main.flask_app.app_context():
            tenant = resolver_of(main.flask_app).by_id(make_tenants()[0].id)
        if tenant is None:
            raise SystemExit("The tenant that was made is not there.")
        self.always_the_same = Binding.of(tenant)
        self.of_requests = [Binding.of(tenant, request_id=new_id()) for _ in range(task.messages + WARM_UP_MESSAGES)]
        self.send: Callable[[bool], Any] = empty.delay

    def publish(self, number: int) -> None:
        with bound(self.always_the_same):
            self.send(False)

    def publish_as_somebody(self, number: int) -> None:
        with bound(self.of_requests[number]):
            self.send(False)

    def header_bytes(self, message: dict[str, Any]) -> int:
        return len(message["headers"][HEADER])


def main_program() -> None:
    """Do the stage that the command line names and print the answer."""
    stage, task = asked()
    answer(context(Carried(task)) if stage == "context" else STAGES[stage](Ledger(task)))


if __name__ == "__main__":
    main_program()
