"""Makes schedules in the state a test names, plans them, and says what became of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask

from dashboard.core.clock import database_now
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.models import Run
from dashboard.schedules.models import Occurrence, Schedule
from dashboard.schedules.planner import PlanResult, plan
from tests.factories.job_types import Echo


def make_schedule(app: Flask, tenant: Tenant, *, due_for: timedelta | None = None, **values: Any) -> Schedule:
    """Return a new schedule of `tenant`, every minute unless `values` say otherwise.

    `due_for` is how long its next fire has been due; without it nothing is due yet.
    """
    with app.app_context(), system_scope("test") as session:
        now = database_now(session).replace(microsecond=0)
        next_at: datetime = now - due_for if due_for is not None else now + timedelta(minutes=1)
        fields = {
            "name": "Minutely",
            "kind": "interval",
            "every_seconds": 60,
            "anchor": next_at,
            "job_type": Echo.key,
            "params": {"word": "hello"} if values.get("job_type", Echo.key) == Echo.key else {},
            "next_at": next_at,
            "cursor": next_at - timedelta(seconds=1),
        }
        schedule = Schedule(tenant_id=tenant.id, **{**fields, **values})
        session.add(schedule)
        session.flush()
        session.refresh(schedule)
        return schedule


def echo_form(**changes: Any) -> dict[str, Any]:
    """Return what the editor sends of a new schedule that echoes a word on weekdays, with these `changes`."""
    typed = {"job_type": Echo.key, "name": "Hourly echo", "when": "cron", "crons": "weekdays at 9"}
    return {**typed, "timezone": "Europe/London", "params-word": "hello", "params-times": "2", **changes}


def planned(app: Flask, *, at: datetime | None = None) -> PlanResult:
    """Plan one batch, by the database's clock or as if it showed `at`."""
    with app.app_context(), system_scope("test") as session:
        return plan(session, at or database_now(session))


def let_pass(app: Flask, time: timedelta) -> None:
    """Move all schedules and what was decided about them back by `time`, as if it had gone by."""
    with app.app_context(), system_scope("test") as session:
        for schedule in session.scalars(sa.select(Schedule)):
            for name in ("anchor", "next_at", "cursor", "paused_at", "created_at"):
                moment = getattr(schedule, name)
                setattr(schedule, name, moment - time if moment else None)
        for decision in session.scalars(sa.select(Occurrence).where(Occurrence.nominal.is_not(None))):
            assert decision.nominal is not None
            decision.nominal -= time
            decision.occurrence = decision.nominal.isoformat()


def runs(app: Flask) -> list[Run]:
    """Return all runs, the oldest first."""
    with app.app_context(), system_scope("test") as session:
        return list(session.scalars(sa.select(Run).order_by(Run.id)))


def occurrences(app: Flask) -> list[Occurrence]:
    """Return all decisions, by the instant they are about."""
    with app.app_context(), system_scope("test") as session:
        return list(session.scalars(sa.select(Occurrence).order_by(Occurrence.nominal)))


def stored(app: Flask, schedule: Schedule) -> Schedule:
    """Return the schedule as it is now."""
    with app.app_context(), system_scope("test") as session:
        return session.get_one(Schedule, schedule.id)
