"""Gives tests the application on a migrated database of their own, emptied after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_migrate import upgrade

import migrations
from config.settings import Settings
from dashboard.app import Dashboard, create_app
from dashboard.core.orm import db
from dashboard.core.tenancy import Tenant
from dashboard.core.trips import trips_of
from dashboard.tenants.registry import forget_cached
from tests.factories import make_tenant
from tests.servers import PostgresAddress

PLATFORM = "http://platform.test"
KEPT = {"alembic_version", "dispatch_clock", "tenant_change"}


@pytest.fixture(scope="session")
def environment(postgres: PostgresAddress, database: str, redis_url: str) -> dict[str, str]:
    """The environment variables that start any of our processes on this test's database and broker."""
    return {
        "DATABASE_URL": postgres.url("app", database),
        "SYSTEM_DATABASE_URL": postgres.url("system", database),
        "OWNER_DATABASE_URL": postgres.url("owner", database),
        "REDIS_URL": redis_url,
        "SECRET_KEY": "a-secret-key-that-only-tests-know-0123456789",
        "ENCRYPTION_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        "PLATFORM_ROOT": PLATFORM,
        "LOG_FORMAT": "console",
        "ALLOW_PRIVATE_NETWORKS": "1",
        "LEASE_SECONDS": "4",
        "HEARTBEAT_SECONDS": "1",
        "SOFT_SHUTDOWN_SECONDS": "2",
        "DATABASE_POOL_SIZE": "5",
    }


@pytest.fixture(scope="session")
def settings(environment: dict[str, str]) -> Settings:
    return Settings.from_env(environment)


@pytest.fixture(scope="session")
def migrated_app(settings: Settings) -> Iterator[Dashboard]:
    with migrated(settings) as app:
        yield app


@contextmanager
def migrated(settings: Settings) -> Iterator[Dashboard]:
    """The application for `settings`, on the database that they name, brought to the present schema."""
    app = create_app(settings)
    app.testing = True
    migrations.attach(app)
    with app.app_context():
        upgrade()
    yield app
    disconnect(app)


def disconnect(app: Flask) -> None:
    """Close the connections of an application that nobody uses any more."""
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose()
    trips_of(app).dispose(close=True)


@contextmanager
def on_database_of_its_own(postgres: PostgresAddress, environment: dict[str, str], name: str) -> Iterator[Dashboard]:
    """The application on a new database called `name`, which is dropped at the end."""
    postgres.create_database(name)
    roles = {"DATABASE_URL": "app", "SYSTEM_DATABASE_URL": "system", "OWNER_DATABASE_URL": "owner"}
    urls = {variable: postgres.url(role, name) for variable, role in roles.items()}
    with migrated(Settings.from_env({**environment, **urls})) as app:
        yield app
    postgres.drop_database(name)


@pytest.fixture
def app(migrated_app: Dashboard, postgres: PostgresAddress, database: str) -> Iterator[Dashboard]:
    """The application; what a test leaves in the database is gone before the next one."""
    yield migrated_app
    empty(migrated_app, postgres, database)


def empty(app: Dashboard, postgres: PostgresAddress, database: str) -> None:
    """Delete what a test left in the tables."""
    engine = sa.create_engine(_superuser_url(postgres, database), poolclass=sa.NullPool)
    with engine.begin() as connection:
        tables = sorted(set(sa.inspect(connection).get_table_names()) - KEPT)
        connection.execute(sa.text("SET session_replication_role = replica"))
        for table in tables:
            connection.execute(sa.text(f"DELETE FROM {table}"))
    forget_cached(app)


@pytest.fixture
def as_superuser(app: Dashboard, postgres: PostgresAddress, database: str) -> Callable[..., None]:
    """Call it with SQL statements to run them on this test's database, each in a transaction of its own."""

    def run(*statements: str) -> None:
        url = _superuser_url(postgres, database)
        engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))

    return run


@pytest.fixture
def analyze(as_superuser: Callable[..., None]) -> Callable[[], None]:
    """Call it to let PostgreSQL rewrite all tables and count their rows.

    Plans hang on how many there are, and on the room that those of earlier tests have left; autovacuum comes at will.
    """
    return lambda: as_superuser("VACUUM (FULL, ANALYZE)")


def _superuser_url(postgres: PostgresAddress, database: str) -> str:
    return postgres.url("admin", database).replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def acme(app: Dashboard) -> Tenant:
    """A tenant with a host of its own, and an alias under a prefix of the platform's host."""
    return make_tenant(
        app, "acme", "https://jobs.acme.test", f"{PLATFORM}/acme", MAIL_SENDER="Acme <jobs@acme.test>", ACCENT_HUE=150
    )


@pytest.fixture
def globex(app: Dashboard) -> Tenant:
    """A tenant under a prefix of the platform's host."""
    return make_tenant(
        app, "globex", f"{PLATFORM}/globex", MAIL_SENDER="Globex <mail@globex.test>", TIMEZONE="Asia/Tokyo"
    )


@pytest.fixture
def initech(app: Dashboard) -> Tenant:
    """A tenant on a port, under a prefix."""
    return make_tenant(app, "initech", "http://initech.test:8080/ops", MAIL_SENDER="ops@initech.test")
