"""Ask PostgreSQL what every run needs anyhow past sessions, pool and cursors, which cost nearly as much again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import chain, count
from threading import Semaphore
from typing import Any, Final, Literal, LiteralString, cast

import psycopg
import sqlalchemy as sa
import structlog
from flask import Flask, current_app
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.generators import execute

from config import pooling
from config.flask import CONNECT_TIMEOUT_SECONDS
from config.settings import Settings
from dashboard.core.orm import SET_SCOPE, SET_TENANT, who_is_bound
from dashboard.database import db

Role = Literal["system"] | None
"""Whose rows a line sees: every tenant's, or the bound one's."""

ROLES: Final[tuple[Role, ...]] = (None, "system")

Rows = list[tuple[Any, ...]]

BEGIN: Final = "BEGIN"
COMMIT: Final = "COMMIT"
DONE: Final = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.PIPELINE_SYNC)

log = structlog.get_logger(__name__)


class Line:
    """A connection, and the statements that it has prepared for it. Each trip is a transaction if none is open.

    Roll back by an error or by a question, not by psycopg's `rollback()`: that lets go of all prepared statements.
    """

    def __init__(self, driver: psycopg.Connection[Any]) -> None:
        self.driver = driver
        self._transformer = Transformer.from_context(driver)
        self._prepared: dict[str, bytes] = {}
        self._has_to_begin = False

    def ask(self, statement: str, values: Mapping[str, Any]) -> Rows:
        """Return the rows that a statement answers with; its parameters are psycopg's, like `%(id)s`.

        Their types are what PostgreSQL makes of their places: where it cannot know, the statement has a CAST.
        """
        if self._has_to_begin:
            return self.ask_all((statement, values))[0]
        self._prepare(statement)
        self._send(statement, values)
        return self._rows(self._answer())

    def ask_all(self, *questions: tuple[str, Mapping[str, Any]]) -> list[Rows]:
        """Ask several in one trip, and return the rows of each. Each sees what those before it did."""
        if self._has_to_begin:
            self._has_to_begin = False
            return self.ask_all((BEGIN, {}), *questions)[1:]
        for statement, _ in questions:
            self._prepare(statement)
        self.driver.pgconn.enter_pipeline_mode()
        for statement, values in questions:
            self._send(statement, values)
        self.driver.pgconn.pipeline_sync()
        answers = [self._rows(self._answer()) for _ in questions]
        self._answer()  # to the end of the pipeline
        self.driver.pgconn.exit_pipeline_mode()
        return answers

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Begin with the first question, and commit at the end. After an error the connection is of no use any more."""
        self._has_to_begin = True
        yield
        if not self._has_to_begin:
            self.ask(COMMIT, {})
        self._has_to_begin = False

    @property
    def _prepares(self) -> bool:
        """False where a pooler stands before the database."""
        return self.driver.prepare_threshold is not None

    def _prepare(self, statement: str) -> None:
        if self._prepares and statement not in self._prepared:
            name = b"trip%d" % next(_numbers)
            self.driver.pgconn.send_prepare(name, _numbered(statement)[0])
            self._answer()
            self._prepared[statement] = name

    def _send(self, statement: str, values: Mapping[str, Any]) -> None:
        text, names = _numbered(statement)
        given = [values[name] for name in names]
        dumped = self._transformer.dump_sequence(given, [PyFormat.TEXT] * len(given))
        if self._prepares:
            self.driver.pgconn.send_query_prepared(self._prepared[statement], dumped, result_format=pq.Format.BINARY)
        else:
            self.driver.pgconn.send_query_params(text, dumped, result_format=pq.Format.BINARY)

    def _rows(self, result: pq.abc.PGresult) -> Rows:
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, tuple)

    def _answer(self) -> pq.abc.PGresult:
        result: pq.abc.PGresult = self.driver.wait(execute(self.driver.pgconn))[0]
        if result.status not in DONE:
            raise psycopg.errors.error_from_result(result, self.driver.info.encoding)
        return result


class Trips:
    """The lines of a process, at most `most` for a role: they are kept between two trips, but one that broke is not."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept = {role: _Kept(most) for role in ROLES}

    @contextmanager
    def line(self, role: Role = None) -> Iterator[Line]:
        """Yield a line that nobody else uses meanwhile: the tenants', or the system's.

        Raises psycopg.OperationalError if all stay in use for too long.
        """
        kept = self._kept[role]
        if not kept.free.acquire(timeout=CONNECT_TIMEOUT_SECONDS):
            raise psycopg.OperationalError("All connections for trips stay in use.")
        try:
            line = kept.living() or _new_line(role)
            try:
                yield line
            except BaseException:
                line.driver.close()
                raise
            kept.idle.append(line)
        finally:
            kept.free.release()

    def dispose(self, *, close: bool) -> None:
        """Keep none any more. A forked child does not close them: its parent uses them on."""
        before, self._kept = self._kept, {role: _Kept(self.most) for role in ROLES}
        for line in chain(*(kept.idle for kept in before.values())) if close else ():
            line.driver.close()


class _Kept:
    """One role's lines that are not in use, and how many more may be."""

    def __init__(self, most: int) -> None:
        self.free = Semaphore(most)
        self.idle: list[Line] = []

    def living(self) -> Line | None:
        """Return the line that was used last and has not been ended since; None if there is none."""
        while self.idle:
            line = self.idle.pop()
            try:
                pooling.check(line.driver)
            except sa.exc.InvalidatePoolError:
                line.driver.close()
            else:
                return line
        return None


def _new_line(role: Role) -> Line:
    pooled = db.engines[role].raw_connection()
    driver = cast("psycopg.Connection[Any]", pooled.driver_connection)
    pooled.detach()
    driver.autocommit = True
    return Line(driver)


def tenant_call(call: LiteralString, arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    """Call a function of the database for the bound tenant, in a transaction of its own; return its one row.

    `call` is like `SELECT * FROM claim_run(%(tenant)s, %(user)s, %(id)s)`: the first two arguments are known here, and
    the function binds them itself. One question costs less than the two of `tenant_statement`. Errors are psycopg's.
    """
    with trips_of(current_app).line() as line:
        (row,) = line.ask(call, {**who_is_bound(), **arguments})
    return row


def tenant_statement(statement: LiteralString, values: Mapping[str, Any]) -> Rows:
    """Run one statement for the bound tenant, in a transaction of its own and in one trip; return its rows.

    For what runs do often (renewal, progress, log lines): a session makes five trips for the same. What is asked at
    once is one transaction to PostgreSQL, which ends with it: no BEGIN, no COMMIT. Errors are psycopg's.
    """
    with trips_of(current_app).line() as line:
        return line.ask_all((SET_TENANT, who_is_bound()), (statement, values))[1]


@contextmanager
def system_line(reason: str) -> Iterator[Line]:
    """Yield a line that sees every tenant's rows, in a transaction that commits at the end.

    What `system_scope` is for the dispatcher, which needs no models and for which every worker waits.
    """
    log.debug("system_line", reason=reason)
    with trips_of(current_app).line("system") as line, line.transaction():
        if current_app.config["ONE_CREDENTIAL"]:
            line.ask(SET_SCOPE, {})
        yield line


@cache
def _numbered(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """Return the statement as PostgreSQL wants it, with $1 for the first parameter, and the parameters' names."""
    names = tuple(dict.fromkeys(_PARAMETER.findall(statement)))
    return _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", statement).encode(), names


_numbers = count()
_PARAMETER = re.compile(r"%\((\w+)\)s")


def init_app(app: Flask, settings: Settings) -> None:
    """Give the app its connections for trips; it makes them when they are needed."""
    app.extensions["trips"] = Trips(settings.database_pool_size)


def trips_of(app: Flask) -> Trips:
    """Return the connections of the app."""
    return cast(Trips, app.extensions["trips"])
