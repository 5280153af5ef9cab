"""Lets tests hold the database's clock, which decides everything, and set it forward or back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from dashboard.app import Dashboard
from tests.application import disconnect
from tests.servers import PostgresAddress

ROLES = ("stationmaster_app", "stationmaster_system")

# A function of this name that is found before PostgreSQL's own: whoever asks for now() gets what the test says.
STOP = """
CREATE SCHEMA stopped;
CREATE TABLE stopped.clock (at timestamptz NOT NULL);
INSERT INTO stopped.clock VALUES (pg_catalog.now());
CREATE FUNCTION stopped.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT at FROM stopped.clock';
GRANT USAGE ON SCHEMA stopped TO PUBLIC;
GRANT SELECT ON stopped.clock TO PUBLIC;
"""


@dataclass(frozen=True, slots=True)
class StoppedClock:
    """The clock of a database, which goes on only when it is told to."""

    engine: sa.Engine

    @property
    def now(self) -> datetime:
        with self.engine.connect() as connection:
            moment: datetime = connection.execute(sa.text("SELECT at FROM stopped.clock")).scalar_one()
        return moment

    def set(self, moment: datetime) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text("UPDATE stopped.clock SET at = :at"), {"at": moment})

    def go_on(self, by: timedelta) -> None:
        self.set(self.now + by)


@contextmanager
def stopped_clock(app: Dashboard, postgres: PostgresAddress, database: str) -> Iterator[StoppedClock]:
    """Stop the clock of the test's database for new connections of the app and the system."""
    url = postgres.url("admin", database).replace("postgresql://", "postgresql+psycopg://")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text(STOP))
        for role in ROLES:
            path = f"ALTER ROLE {role} IN DATABASE {database} SET search_path = stopped, pg_catalog, public"
            connection.execute(sa.text(path))
    _reconnect(app)
    try:
        yield StoppedClock(engine)
    finally:
        with engine.begin() as connection:
            for role in ROLES:
                connection.execute(sa.text(f"ALTER ROLE {role} IN DATABASE {database} RESET search_path"))
            connection.execute(sa.text("DROP SCHEMA stopped CASCADE"))
        _reconnect(app)


def _reconnect(app: Dashboard) -> None:
    disconnect(app)
