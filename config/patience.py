"""Wait for PostgreSQL only as long as somebody waits for us.

A server that stands still takes whatever it is sent and answers nothing, and TCP cannot tell: the kernel of its machine
acknowledges what nobody reads, so that neither a connect timeout nor tcp_user_timeout ends a question put to it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg.abc import PQGen
from sqlalchemy import event

Answer = TypeVar("Answer")

KNOWN_SILENCE_SECONDS = 1.0
"""How long the next one waits while the last thing this process knows is that the database does not answer."""

CANCEL_SECONDS = 0.5
SHORTEST_CONNECT_SECONDS = 2
"""What psycopg makes of a shorter connect_timeout, as libpq does."""


class DatabaseSilent(psycopg.OperationalError):
    """The database accepted what it was asked and did not answer in time."""

    def __init__(self) -> None:
        super().__init__("The database accepted what it was asked and did not answer in time.")


@dataclass(slots=True)
class _Known:
    """What this process last saw of the database."""

    is_silent: bool = False


@dataclass(slots=True)
class _Budget:
    """How long, in seconds, the database may still be waited for; what is done meanwhile costs nothing."""

    left: float

    @contextmanager
    def spent(self) -> Iterator[float]:
        """Yield how long the next wait may last, and take off how long it lasted; nobody asks again after a silence."""
        begun = time.monotonic()
        try:
            yield min(self.left, KNOWN_SILENCE_SECONDS) if _known.is_silent else self.left
        except (DatabaseSilent, psycopg.errors.ConnectionTimeout):
            self.left, _known.is_silent = 0.0, True
            raise
        finally:
            self.left = max(0.0, self.left - (time.monotonic() - begun))


_known = _Known()
_budget: ContextVar[_Budget | None] = ContextVar("_budget", default=None)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Wait for the database for `seconds` in all inside the block, or less where less is left around it.

    Then DatabaseSilent is raised, by SQLAlchemy as OperationalError. Without such a block a question may take its time,
    as a job's does.
    """
    around = _budget.get()
    token = _budget.set(_Budget(seconds if around is None else min(seconds, around.left)))
    try:
        yield
    finally:
        _budget.reset(token)


class ImpatientConnection(psycopg.Connection[Any]):
    """A connection that keeps the patience of whoever uses it."""

    @classmethod
    def connect(cls, conninfo: str = "", **options: Any) -> Self:
        budget = _budget.get()
        if budget is None:
            return super().connect(conninfo, **options)
        with budget.spent() as seconds:
            if not seconds:
                raise DatabaseSilent
            given = int(options.get("connect_timeout") or math.ceil(seconds))
            options["connect_timeout"] = max(SHORTEST_CONNECT_SECONDS, min(given, math.ceil(seconds)))
            return super().connect(conninfo, **options)

    def wait(self, gen: PQGen[Answer], interval: float = 0.1, timeout: float | None = None) -> Answer:
        budget = _budget.get()
        if budget is None or timeout is not None:
            return super().wait(gen, interval, timeout)
        with budget.spent() as seconds:
            try:
                answer = super().wait(gen, interval, seconds)
            except psycopg.errors._WaitTimeout:
                self._give_up()
                raise DatabaseSilent from None
        _known.is_silent = False
        return answer

    def _give_up(self) -> None:
        """Leave the connection, which is in the middle of something; a server that is only slow is told to stop."""
        if not _known.is_silent:
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=CANCEL_SECONDS)
        self.pgconn.finish()


@event.listens_for(sa.Engine, "do_connect")
def _connect(_dialect: sa.Dialect, _record: Any, words: list[str], options: dict[str, Any]) -> ImpatientConnection:
    return ImpatientConnection.connect(*words, **options)
