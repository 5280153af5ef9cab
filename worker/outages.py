"""Know which errors mean that PostgreSQL or the broker is away, so that work waits for them and says so in a line."""

from __future__ import annotations

import psycopg
import sqlalchemy as sa
from kombu.exceptions import OperationalError as BrokerError

DATABASE_AWAY = (
    sa.exc.OperationalError,
    sa.exc.InterfaceError,
    sa.exc.TimeoutError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
)
BROKER_AWAY = (BrokerError, OSError)


def first_line(error: BaseException) -> str:
    """Return what `error` says, in one line and without the SQL."""
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__
