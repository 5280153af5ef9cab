"""Know, without a trip to the database, whether a kept connection still lives."""

from __future__ import annotations

import select
from typing import Any

import psycopg
import sqlalchemy as sa


def check(connection: psycopg.Connection, *_: Any) -> None:
    """Let the pool replace a connection that the server has ended. It is called whenever one is taken from the pool.

    The end of a connection lies in its socket, readable, as soon as the server or its machine's kernel has said so.
    Only a socket in which something lies costs a question to the server.
    """
    if not _is_readable(connection.fileno()):
        return
    try:
        connection.execute("")
        connection.rollback()
    except psycopg.Error:
        raise sa.exc.InvalidatePoolError from None


def _is_readable(socket: int) -> bool:
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))
