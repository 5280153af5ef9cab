"""A backup taken as docs/deploy.md says holds every tenant's rows, although the owner too stands behind the walls."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from scripts.embedded import postgres_binaries
from tests.factories.runs import make_run
from tests.servers import PostgresAddress

SEES_ALL = {"PGOPTIONS": "-c app.scope=system"}


def postgres_tool(name: str, *arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [str(postgres_binaries() / name), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def empty_database(postgres: PostgresAddress, database: str) -> Iterator[str]:
    name = f"{database}_restored"
    postgres.create_database(name)
    yield name
    postgres.drop_database(name)


def test_a_backup_holds_every_tenants_rows_and_comes_back_with_its_walls(
    app: Dashboard,
    acme: Tenant,
    globex: Tenant,
    postgres: PostgresAddress,
    database: str,
    empty_database: str,
    tmp_path: Path,
) -> None:
    make_run(app, acme, "succeeded")
    make_run(app, globex, "succeeded")
    file = tmp_path / "backup"
    url = postgres.url("owner", database)
    dumped = postgres_tool("pg_dump", "--enable-row-security", "-Fc", "-f", str(file), url, environment=SEES_ALL)
    assert (dumped.returncode, dumped.stderr) == (0, "")
    url = postgres.url("owner", empty_database)
    restored = postgres_tool("pg_restore", "--exit-on-error", "-d", url, str(file), environment=SEES_ALL)
    assert (restored.returncode, restored.stderr) == (0, "")
    with psycopg.connect(url, options="-c app.scope=system") as connection:
        assert connection.execute("SELECT count(*) FROM run").fetchone() == (2,)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM run").fetchone() == (0,)


def test_a_backup_that_forgets_the_walls_fails_loudly(app: Dashboard, postgres: PostgresAddress, database: str) -> None:
    dumped = postgres_tool("pg_dump", postgres.url("owner", database), environment={})
    assert dumped.returncode == 1
    assert "row-level security" in dumped.stderr
