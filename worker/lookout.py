"""See whether the planner has anything to do, by one cheap question on a connection that is kept for it."""

from __future__ import annotations

import math
import struct
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.generators import execute

from config.settings import Settings
from dashboard.schedules.claiming import GLANCE

CONNECT_TIMEOUT_SECONDS = 5

NAME: Final = b"glance"
QUESTION: Final = GLANCE.encode()
BINARY: Final = pq.Format.BINARY


class Lookout:
    """Asks PostgreSQL when something is due next, by its own clock; a twentieth of what a session costs.

    Whoever plans asks at every tick, so that even psycopg's cursor, which costs as much as all the rest, is left out.
    """

    def __init__(self, settings: Settings) -> None:
        self.url = settings.system_url.get_secret_value().replace("postgresql+psycopg://", "postgresql://", 1)
        self.one_credential = settings.one_credential
        self.may_prepare = not settings.direct_database_url
        self._connection: psycopg.Connection[Any] | None = None

    def look(self) -> float:
        """Return in how many seconds something is due: 0 or less if it is, infinity if nothing is planned.

        Raises psycopg.Error while the database is away.
        """
        try:
            connection = self._connection or self._connect()
            if not self.one_credential:
                return self._ask(connection)
            with connection.transaction():
                connection.execute("SELECT set_config('app.scope', 'system', true)")
                return self._ask(connection)
        except psycopg.Error:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection, whatever state it is in."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> psycopg.Connection[Any]:
        self._connection = connection = psycopg.connect(
            self.url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS, application_name="stationmaster lookout"
        )
        if self.may_prepare:
            connection.pgconn.send_prepare(NAME, QUESTION)
            _answer(connection, pq.ExecStatus.COMMAND_OK)
        return connection

    def _ask(self, connection: psycopg.Connection[Any]) -> float:
        if self.may_prepare:
            connection.pgconn.send_query_prepared(NAME, None, result_format=BINARY)
        else:
            connection.pgconn.send_query_params(QUESTION, None, result_format=BINARY)
        seconds = _answer(connection, pq.ExecStatus.TUPLES_OK).get_value(0, 0)
        return math.inf if seconds is None else float(*struct.unpack(">d", seconds))


def _answer(connection: psycopg.Connection[Any], wanted: pq.ExecStatus) -> pq.abc.PGresult:
    """Wait for what was asked, as psycopg waits: a signal comes through. Raises OperationalError for a refusal."""
    result: pq.abc.PGresult = connection.wait(execute(connection.pgconn))[0]
    if result.status != wanted:
        raise psycopg.OperationalError(result.get_error_message())
    return result
