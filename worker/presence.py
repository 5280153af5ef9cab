"""Tell the others that this worker or beat lives, how much it can do, and how it is."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog
from flask import Flask
from sqlalchemy.dialects.postgresql import insert

from dashboard.core.clock import tzdata_version
from dashboard.core.ids import new_id
from dashboard.core.orm import system_scope
from dashboard.runs.models import Process
from worker.loops import Loop

TOLERATED_SKEW_SECONDS = 0.5
"""How far this machine's clock may be from the database's, which decides what is due, before somebody should know."""

log = structlog.get_logger(__name__)


class Presence:
    """Writes this process's row every `every` seconds; `vitals` says what is new in it (columns of Process)."""

    def __init__(
        self, flask_app: Flask, kind: str, name: str, every: float, vitals: Callable[[], Mapping[str, Any]]
    ) -> None:
        self.id: UUID = new_id()
        self.flask_app = flask_app
        self.kind = kind
        self.name = name
        self.every = every
        self.vitals = vitals
        self._loop = Loop("presence", flask_app, self.tell)
        self._is_off = False

    def start(self) -> None:
        self._loop.start()

    def wake(self) -> None:
        """Write the row now."""
        self._loop.wake()

    def stop(self) -> None:
        """Say farewell, so that nobody counts on this process any more."""
        self._loop.stop()
        Loop("farewell", self.flask_app, self._say_farewell).once()

    def tell(self) -> float:
        """Write the row; return when to do so next."""
        with system_scope("presence") as session:
            asked = time.monotonic()
            there = session.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
            trip = time.monotonic() - asked
            skew = (datetime.now(UTC) - there).total_seconds() - trip / 2
            self._judge_clock(skew, trip)
            now = {"seen_at": sa.func.now(), "skew_ms": skew * 1000, "stopped_at": None, **self.vitals()}
            row = insert(Process).values(
                id=self.id,
                kind=self.kind,
                name=self.name,
                host=socket.gethostname(),
                pid=os.getpid(),
                tzdata=tzdata_version(),
                **now,
            )
            session.execute(row.on_conflict_do_update(index_elements=[Process.id], set_=now))
        return self.every

    def _judge_clock(self, skew: float, trip: float) -> None:
        """Say once when this machine's clock is off; the answer itself took `trip` seconds, which blurs the measure."""
        is_off = abs(skew) - trip / 2 > TOLERATED_SKEW_SECONDS
        if is_off and not self._is_off:
            log.warning("clock_is_off", skew_seconds=round(skew, 3))
        self._is_off = is_off

    def _say_farewell(self) -> float:
        with system_scope("presence") as session:
            session.execute(sa.update(Process).where(Process.id == self.id).values(stopped_at=sa.func.now(), busy=0))
        return 0
