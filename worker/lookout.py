"""See whether the planner has anything to do, by one cheap question on a connection that is kept for it."""

from __future__ import annotations

import math

import psycopg

from config.settings import Settings
from dashboard.schedules.claiming import GLANCE

CONNECT_TIMEOUT_SECONDS = 5


class Lookout:
    """Asks PostgreSQL when something is due next, by its own clock; a tenth of what a session costs."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.system_url.get_secret_value().replace("postgresql+psycopg://", "postgresql://", 1)
        self.one_credential = settings.one_credential
        self.prepare_threshold = None if settings.direct_database_url else 5
        self._cursor: psycopg.Cursor | None = None

    def look(self) -> float:
        """Return in how many seconds something is due: 0 or less if it is, infinity if nothing is planned.

        Raises psycopg.Error while the database is away.
        """
        cursor = self._cursor or self._connect()
        try:
            if not self.one_credential:
                return _ask(cursor)
            with cursor.connection.transaction():
                cursor.execute("SELECT set_config('app.scope', 'system', true)")
                return _ask(cursor)
        except psycopg.Error:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection, whatever state it is in."""
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            cursor.connection.close()

    def _connect(self) -> psycopg.Cursor:
        connection = psycopg.connect(
            self.url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            prepare_threshold=self.prepare_threshold,
            application_name="stationmaster lookout",
        )
        self._cursor = connection.cursor(binary=True)
        return self._cursor


def _ask(cursor: psycopg.Cursor) -> float:
    (seconds,) = cursor.execute(GLANCE).fetchone() or (None,)
    return math.inf if seconds is None else float(seconds)
