"""Makes the rows by which workers and beats say that they live."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Flask

from config.queues import QUEUES
from dashboard.core.clock import database_now, tzdata_version
from dashboard.core.orm import system_scope
from dashboard.runs.models import Process


def make_process(app: Flask, kind: str = "worker", *, silent_for: timedelta = timedelta(0), **values: Any) -> None:
    """Add a worker or beat that was heard of `silent_for` ago."""
    fields = {
        "name": f"{kind}@station-1",
        "host": "station-1",
        "pid": 7,
        "slots": 4 if kind == "worker" else 0,
        "queues": list(QUEUES) if kind == "worker" else [],
        "tzdata": tzdata_version(),
    }
    with app.app_context(), system_scope("test") as session:
        session.add(Process(kind=kind, seen_at=database_now(session) - silent_for, **{**fields, **values}))
