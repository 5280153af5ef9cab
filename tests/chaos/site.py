"""A whole installation of the product on servers that may be stopped and killed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from flask_migrate import upgrade

import migrations
from config.settings import Settings
from dashboard.app import Dashboard, create_app
from dashboard.core.tenancy import Tenant
from scripts.embedded import free_port
from tests.application import disconnect
from tests.factories import make_tenant
from tests.processes import RunningProcess, beat_process, celery, running, worker_process
from tests.servers import PostgresServer, ValkeyServer, temporary_postgres, temporary_valkey
from tests.worker.ledger_probes import PLUGIN, until_ready

WITNESSED = "tests.chaos.witnessed_jobs"
PLUGINS = (PLUGIN, WITNESSED)

_numbers = count(1)


@dataclass(slots=True, kw_only=True)
class Site:
    """A whole installation: its servers, and processes that are started on them."""

    postgres: PostgresServer
    valkey: ValkeyServer
    environment: dict[str, str]
    app: Dashboard
    stack: ExitStack = field(default_factory=ExitStack)

    def start_beat(self) -> RunningProcess:
        return self.stack.enter_context(beat_process(self.environment, plugins=PLUGINS))

    def start_worker(
        self, concurrency: int = 4, more_plugins: tuple[str, ...] = (), pool: str = "prefork"
    ) -> RunningProcess:
        """Start a worker, and return once beat may count on it."""
        plugins = (*PLUGINS, *more_plugins)
        process = worker_process(self.environment, plugins=plugins, concurrency=concurrency, pool=pool)
        worker = self.stack.enter_context(process)
        until_ready(self.app)
        return worker

    def start_early_worker(self) -> RunningProcess:
        """Start a worker that cannot be ready yet."""
        settings = {**self.environment, "PLUGINS": ",".join(PLUGINS), "WORKER_CONCURRENCY": "2"}
        return self.stack.enter_context(running([*celery("worker"), "--loglevel=INFO"], settings))

    def start_web(self) -> RunningProcess:
        """Start the web process, and return once it listens at the platform's root."""
        command = [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py", "dashboard.wsgi:app"]
        settings = {**self.environment, "PLUGINS": ",".join(PLUGINS)}
        return self.stack.enter_context(running(command, settings, ready="Listening at"))

    def tenant(self, slug: str, **values: Any) -> Tenant:
        """Return a new tenant with `values` for its settings; each test has its own."""
        name = f"{slug}{next(_numbers)}"
        return make_tenant(self.app, name, f"{self.environment['PLATFORM_ROOT']}/{name}", **values)


@contextmanager
def installed(environment: Mapping[str, str]) -> Iterator[Site]:
    """An installation with `environment`, on servers of its own and at an address where it can be asked."""
    with temporary_postgres() as postgres, temporary_valkey() as valkey:
        port = free_port()
        own = {
            **environment,
            "DATABASE_URL": postgres.url("app"),
            "SYSTEM_DATABASE_URL": postgres.url("system"),
            "OWNER_DATABASE_URL": postgres.url("owner"),
            "REDIS_URL": valkey.url(),
            "PORT": str(port),
            "PLATFORM_ROOT": f"http://localhost:{port}",
        }
        app = create_app(Settings.from_env(own))
        migrations.attach(app)
        with app.app_context():
            upgrade()
        yield Site(postgres=postgres, valkey=valkey, environment=own, app=app)
        disconnect(app)
