"""The migrations lead from nothing to what the models say, and back; one after the other, whoever starts them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask_migrate import downgrade, upgrade

from config.settings import Settings
from dashboard.app import Dashboard, create_app
from dashboard.core.orm import Base, db, system_scope
from dashboard.database import MIGRATIONS
from migrations import TURN_LOCK, attach
from migrations.privileges import APP_TABLES
from tests.processes import DEADLINE_SECONDS, running, wait_until
from tests.servers import PostgresAddress

SYSTEM_ONLY = {
    "credential",  # what passwords are checked against
    "web_session",  # whose browser this is, before anybody knows which tenant
    "tenant_change",  # counted by triggers, read by whoever looks for a tenant
    "alembic_version",
}
"""Tables that no tenant's work may touch at all."""

RULES = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'
    AND contype <> 't'
UNION ALL SELECT tablename, indexname, indexdef
FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
"""

GRANTS = """
SELECT relname, string_agg(privilege, ', ' ORDER BY place)
FROM pg_class, unnest(%s::text[]) WITH ORDINALITY AS known(privilege, place)
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND has_table_privilege(oid, privilege)
GROUP BY relname
"""
PRIVILEGES = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]

WAITING = """
SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database WHERE datname = %s AND NOT granted
"""


@pytest.fixture
def fresh_database(postgres: PostgresAddress, database: str) -> Iterator[str]:
    """The name of an empty database."""
    name = f"{database}_fresh"
    postgres.create_database(name)
    yield name
    postgres.drop_database(name)


@pytest.fixture
def fresh_environment(environment: dict[str, str], postgres: PostgresAddress, fresh_database: str) -> dict[str, str]:
    urls = {
        f"{prefix}DATABASE_URL": postgres.url(role, fresh_database)
        for prefix, role in {"": "app", "SYSTEM_": "system", "OWNER_": "owner"}.items()
    }
    return {**environment, **urls}


@pytest.fixture
def fresh_app(fresh_environment: dict[str, str]) -> Iterator[Dashboard]:
    """The application on an empty database."""
    app = create_app(Settings.from_env(fresh_environment))
    attach(app)
    with app.app_context():
        yield app
        for engine in db.engines.values():
            engine.dispose()


def everything_in(url: str) -> set[tuple[str, ...]]:
    """Return what a database has beside Alembic's own table: relations, functions, and whom they are open to."""
    with psycopg.connect(url) as connection:
        return set(
            connection.execute(
                "SELECT relname, coalesce(relacl::text, '') FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                " AND relname NOT LIKE 'alembic_version%'"
                " UNION ALL SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            ).fetchall()
        )


def rules_in(url: str) -> set[tuple[str, ...]]:
    """Return the constraints and indexes of a database."""
    with psycopg.connect(url) as connection:
        return set(connection.execute(RULES).fetchall())


def test_there_is_one_head_and_its_name_is_written_down() -> None:
    heads = ScriptDirectory(str(MIGRATIONS)).get_heads()
    assert heads == Path(MIGRATIONS, "HEAD").read_text().split()


def test_every_migration_says_whether_it_runs_before_or_after_the_new_code() -> None:
    names = [path.stem for path in Path(MIGRATIONS, "versions").glob("*.py")]
    assert [name for name in names if name.split("_")[1] not in {"pre", "post"} or not name[:4].isdigit()] == []


def test_the_way_back_leads_to_nothing_and_the_way_forth_is_the_same_again(
    fresh_app: Dashboard, postgres: PostgresAddress, fresh_database: str
) -> None:
    url = postgres.url("owner", fresh_database)
    upgrade()
    first = everything_in(url)
    downgrade(revision="base")
    assert everything_in(url) == set()
    upgrade()
    assert everything_in(url) == first


def test_the_models_are_what_the_migrations_make(app: Dashboard) -> None:
    with app.app_context(), system_scope("test") as session:
        context = MigrationContext.configure(
            session.connection(), opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_their_constraints_and_indexes_are_the_same_too(
    app: Dashboard, postgres: PostgresAddress, database: str, fresh_database: str
) -> None:
    engine = sa.create_engine(
        postgres.url("owner", fresh_database).replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool
    )
    Base.metadata.create_all(engine)
    migrated, modelled = (rules_in(postgres.url("owner", name)) for name in (database, fresh_database))
    assert migrated == modelled


def test_every_table_is_open_to_tenants_work_or_the_systems_alone_on_purpose(app: Dashboard) -> None:
    with app.app_context(), system_scope("test") as session:
        tables = set(sa.inspect(session.connection()).get_table_names())
    assert tables == APP_TABLES.keys() | SYSTEM_ONLY
    assert APP_TABLES.keys().isdisjoint(SYSTEM_ONLY)


def test_statistics_know_of_a_backlog_however_many_old_runs_are_kept(app: Dashboard) -> None:
    question = "SELECT option_name, option_value FROM pg_class, pg_options_to_table(reloptions) WHERE relname = 'run'"
    with app.app_context(), system_scope("test") as session:
        options = {name: int(value) for name, value in session.execute(sa.text(question))}
    assert options == {"autovacuum_analyze_scale_factor": 0, "autovacuum_analyze_threshold": 5000}


@pytest.mark.parametrize("role", ["app", "system"])
def test_a_role_may_do_what_was_granted_and_nothing_else(
    app: Dashboard, postgres: PostgresAddress, database: str, role: str
) -> None:
    with psycopg.connect(postgres.url(role, database)) as connection:
        granted = connection.execute(GRANTS, [PRIVILEGES]).fetchall()
    everything = dict.fromkeys(APP_TABLES.keys() | SYSTEM_ONLY, "SELECT, INSERT, UPDATE, DELETE")
    whole_tables = {table: grant.partition(", UPDATE (")[0] for table, grant in APP_TABLES.items()}
    assert dict(granted) == (whole_tables if role == "app" else everything)


def test_tenants_work_changes_its_counters_but_not_its_limits(
    app: Dashboard, postgres: PostgresAddress, database: str
) -> None:
    with psycopg.connect(postgres.url("app", database)) as connection:
        columns = connection.execute(
            "SELECT column_name FROM information_schema.column_privileges"
            " WHERE table_name = 'tenant_load' AND privilege_type = 'UPDATE' AND grantee = current_user"
        ).fetchall()
    assert {name for (name,) in columns} == {"vtime", "ready", "running", "version"}


@pytest.mark.parametrize("role", ["app", "system"])
@pytest.mark.parametrize(
    "thing", ["TABLE mine ()", "SCHEMA mine", "FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'"]
)
def test_only_the_owner_makes_things(
    app: Dashboard, postgres: PostgresAddress, database: str, role: str, thing: str
) -> None:
    with (
        psycopg.connect(postgres.url(role, database)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(f"CREATE {thing}")


def test_two_releases_that_migrate_at_once_take_turns(
    fresh_environment: dict[str, str], postgres: PostgresAddress, fresh_database: str
) -> None:
    command = [sys.executable, "-m", "flask", "--app", "dashboard.wsgi", "db", "upgrade"]
    with ExitStack() as stack:
        owner = stack.enter_context(psycopg.connect(postgres.url("owner", fresh_database), autocommit=True))
        owner.execute("SELECT pg_advisory_lock(%s)", [TURN_LOCK])
        releases = [stack.enter_context(running(command, fresh_environment)) for _ in range(2)]
        wait_until(lambda: owner.execute(WAITING, [fresh_database]).fetchone() == (2,))
        owner.execute("SELECT pg_advisory_unlock(%s)", [TURN_LOCK])
        for release in releases:
            assert release.popen.wait(DEADLINE_SECONDS) == 0, release.output()
    assert rules_in(postgres.url("owner", fresh_database))


def test_a_migration_that_does_not_get_its_table_gives_up_and_changes_nothing(
    fresh_app: Dashboard, postgres: PostgresAddress, fresh_database: str
) -> None:
    url = postgres.url("owner", fresh_database)
    upgrade(revision="0001_pre")
    before = everything_in(url)
    with psycopg.connect(url) as busy:
        busy.execute("LOCK TABLE run")
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            downgrade(revision="base")
    assert everything_in(url) == before
