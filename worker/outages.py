"""Know which errors mean that PostgreSQL is away, so that work waits for it and says so in a line."""

from __future__ import annotations

import psycopg
import sqlalchemy as sa

DATABASE_AWAY = (
    sa.exc.OperationalError,
    sa.exc.InterfaceError,
    sa.exc.TimeoutError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
)


def first_line(error: BaseException) -> str:
    """Return what `error` says, in one line and without the SQL."""
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__
