"""Makes schedules in the state a test names."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from flask import Flask

from dashboard.core.clock import database_now
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.schedules.models import Schedule


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
            "job_type": "test.echo",
            "next_at": next_at,
            "cursor": next_at - timedelta(seconds=1),
        }
        schedule = Schedule(tenant_id=tenant.id, **{**fields, **values})
        session.add(schedule)
        session.flush()
        session.refresh(schedule)
        return schedule
