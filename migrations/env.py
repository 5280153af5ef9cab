"""Run migrations as the owner of the tables, then say what each role may touch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context
from flask import current_app

from config.settings import Settings
from dashboard.core import walls
from dashboard.database import Base
from migrations import TURN_LOCK
from migrations.privileges import APP_TABLES

LOCK_TIMEOUT = "4s"
STATEMENT_TIMEOUT = "5s"

TURN_TIMEOUT = "60s"
"""How long to wait for the one that came first; nothing it may do takes as long."""


def run() -> None:
    """Migrate in one transaction per revision, and grant after the last; whoever comes second finds it done."""
    settings: Settings = current_app.extensions["settings"]
    engine = sa.create_engine(settings.owner_url.get_secret_value(), poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"SET lock_timeout = '{TURN_TIMEOUT}'"))
        connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": TURN_LOCK})
        connection.execute(sa.text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(sa.text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
        connection.execute(sa.text("SET app.scope = 'system'"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            transaction_per_migration=True,
            compare_server_default=False,
        )
        with context.begin_transaction():
            context.run_migrations()
        grant(connection, settings)
        connection.commit()


def grant(connection: sa.Connection, settings: Settings) -> None:
    """Post the guards for the roles that the settings name; a fully downgraded database has nothing to guard."""
    tables = sa.inspect(connection).get_table_names()
    if not APP_TABLES.keys() & set(tables):
        return
    walls.post_guards(
        connection,
        owner=_user(settings.owner_url.get_secret_value()),
        system=_user(settings.system_url.get_secret_value()),
        app=_user(settings.database_url.get_secret_value()),
        tables=sorted(tables),
        app_privileges=APP_TABLES,
    )


def _user(url: str) -> str:
    return sa.make_url(url).username or ""


run()
