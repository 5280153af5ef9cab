"""Makes runs in the state a test names."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask

from dashboard.core.clock import database_now
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.ledger import RunRequest, enqueue
from dashboard.runs.models import Run
from dashboard.runs.states import ACTIVE_STATES, READY, SCHEDULED, SKIPPED


def make_run(
    app: Flask, tenant: Tenant, state: str = READY, *, name: str = "Report", lasted: float = 2.0, **values: Any
) -> Run:
    """Return a run of `tenant` in `state`, which it reached as time would have it; `lasted` in seconds."""
    request = {field: values.pop(field) for field in list(values) if field in RunRequest.__dataclass_fields__}
    with app.app_context(), system_scope("test") as session:
        now = database_now(session)
        request.setdefault("job_type", "test.echo")
        request.setdefault("params", {"word": "hi"})
        run = enqueue(session, RunRequest(tenant_id=tenant.id, name=name, **request))
        if state not in {READY, SCHEDULED, SKIPPED}:
            values = {"started_at": now - timedelta(seconds=lasted), "attempt": 1, **values}
        if state not in ACTIVE_STATES:
            values = {"finished_at": now, **values}
        session.execute(sa.update(Run).where(Run.id == run.id).values(state=state, **values))
        session.refresh(run)
        return run
