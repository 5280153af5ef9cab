"""Do in one trip to PostgreSQL, for the bound tenant, what every run does anyhow: past sessions and their pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString, cast

import psycopg
import sqlalchemy as sa
from flask import Flask, current_app
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.generators import execute
from psycopg.rows import dict_row

from config import pooling
from config.settings import Settings
from dashboard.core.orm import SET_TENANT, who_is_bound
from dashboard.database import db


class Trips:
    """Connections of the tenants' role between two trips; at most `most` are kept.

    Each trip is a transaction of its own. One that broke in the middle of something is thrown away.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._idle: list[_Line] = []

    @contextmanager
    def line(self) -> Iterator[_Line]:
        """Yield a connection that nobody else uses meanwhile."""
        line = self._living() or _Line()
        try:
            yield line
        except BaseException:
            line.driver.close()
            raise
        if len(self._idle) < self.most:
            self._idle.append(line)
        else:
            line.driver.close()

    def dispose(self, *, close: bool) -> None:
        """Keep none any more. A forked child does not close them: its parent uses them on."""
        idle, self._idle = self._idle, []
        for line in idle if close else ():
            line.driver.close()

    def _living(self) -> _Line | None:
        while self._idle:
            line = self._idle.pop()  # the one that was used last
            try:
                pooling.check(line.driver)
            except sa.exc.InvalidatePoolError:
                line.driver.close()
            else:
                return line
        return None


class _Line:
    """A connection, and the calls that it has prepared."""

    def __init__(self) -> None:
        pooled = db.engine.raw_connection()
        self.driver = cast("psycopg.Connection[Any]", pooled.driver_connection)
        pooled.detach()
        self.driver.autocommit = True
        self._transformer = Transformer.from_context(self.driver)
        self._prepared: dict[str, bytes] = {}

    def call(self, call: str, arguments: Sequence[Any]) -> tuple[Any, ...]:
        """Return the row that the call answers with. psycopg's cursor would cost as much as all the rest."""
        values = self._transformer.dump_sequence(arguments, [PyFormat.TEXT] * len(arguments))
        if self.driver.prepare_threshold is None:  # a pooler stands before the database
            self.driver.pgconn.send_query_params(call.encode(), values, result_format=pq.Format.BINARY)
        else:
            self.driver.pgconn.send_query_prepared(self._name(call), values, result_format=pq.Format.BINARY)
        self._transformer.set_pgresult(self._answer())
        return self._transformer.load_row(0, tuple)

    def _name(self, call: str) -> bytes:
        name = self._prepared.get(call)
        if name is None:
            name = b"trip%d" % len(self._prepared)
            self.driver.pgconn.send_prepare(name, call.encode())
            self._answer()
            self._prepared[call] = name
        return name

    def _answer(self) -> pq.abc.PGresult:
        result: pq.abc.PGresult = self.driver.wait(execute(self.driver.pgconn))[0]
        if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
            raise psycopg.errors.error_from_result(result, self.driver.info.encoding)
        return result


def tenant_call(call: LiteralString, arguments: Sequence[Any]) -> tuple[Any, ...]:
    """Call a function of the database for the bound tenant, in a transaction of its own; return its one row.

    `call` is like `SELECT * FROM claim_run($1, $2, $3)`: the first two arguments are the tenant and the user, which
    the function binds itself. For what every run does anyhow: it costs a quarter of what `tenant_statement` does.
    Errors are psycopg's.
    """
    who = who_is_bound()
    with trips_of(current_app).line() as line:
        return line.call(call, (who["tenant"], who["user"], *arguments))


def tenant_statement(statement: LiteralString, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run one statement for the bound tenant, in a transaction of its own and in one trip; return its rows.

    For what runs do often (renewal, progress, log lines): a session makes five trips for the same. What a pipeline
    sends at once is one transaction to PostgreSQL, which ends with it: no BEGIN, no COMMIT. Parameters are psycopg's,
    like `%(id)s`, and so are the errors.
    """
    who = who_is_bound()
    with trips_of(current_app).line() as line:
        cursor = line.driver.cursor(row_factory=dict_row)
        with line.driver.pipeline():
            line.driver.execute(SET_TENANT, who)
            cursor.execute(statement, values)
    return cursor.fetchall() if cursor.description else []


def init_app(app: Flask, settings: Settings) -> None:
    """Give the app its connections for trips; it makes them when they are needed."""
    app.extensions["trips"] = Trips(settings.database_pool_size)


def trips_of(app: Flask) -> Trips:
    """Return the connections of the app."""
    return cast(Trips, app.extensions["trips"])
