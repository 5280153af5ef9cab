"""Gives web tests the people they sign in as, and the application where the host gives one database role only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.settings import Settings
from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from tests.application import empty, migrated
from tests.factories.people import People, make_people
from tests.servers import PostgresAddress

THE_OTHER_ROLES = ("SYSTEM_DATABASE_URL", "OWNER_DATABASE_URL")


@pytest.fixture
def people(app: Dashboard, acme: Tenant, globex: Tenant) -> People:
    """Alice, Olivia and Victor of Acme, Mallory of Globex, and Root, who owns the platform."""
    return make_people(app, acme, globex)


@pytest.fixture
def slow_leases(app: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a process that says nothing more be late after two minutes and lost after four: no page takes so long."""
    unhurried = app.extensions["settings"].model_copy(update={"heartbeat_seconds": 60, "lease_seconds": 240})
    monkeypatch.setitem(app.extensions, "settings", unhurried)


@pytest.fixture(scope="session")
def one_role_database(postgres: PostgresAddress, database: str) -> Iterator[str]:
    """The name of a second database, which its owner alone uses."""
    name = f"{database}_of_one_role"
    postgres.create_database(name)
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def one_credential(environment: dict[str, str], postgres: PostgresAddress, one_role_database: str) -> dict[str, str]:
    """The environment where DATABASE_URL is all there is: an ordinary role that owns its database."""
    others = {name: value for name, value in environment.items() if name not in THE_OTHER_ROLES}
    return {**others, "DATABASE_URL": postgres.url("owner", one_role_database)}


@pytest.fixture(scope="session")
def migrated_one_credential_app(one_credential: dict[str, str]) -> Iterator[Dashboard]:
    with migrated(Settings.from_env(one_credential)) as app:
        yield app


@pytest.fixture
def one_credential_app(
    migrated_one_credential_app: Dashboard, postgres: PostgresAddress, one_role_database: str
) -> Iterator[Dashboard]:
    """The application with one credential; what a test leaves in its database is gone before the next one."""
    yield migrated_one_credential_app
    empty(migrated_one_credential_app, postgres, one_role_database)
