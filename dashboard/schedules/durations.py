"""Know from the ledger how long runs take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa

from dashboard.core.orm import db
from dashboard.core.tenancy import require_binding
from dashboard.runs.models import Run
from dashboard.runs.states import SUCCEEDED

NEARLY_ALL = 0.95
OF_SCHEDULE = 100
OF_TENANT = 1000
"""How many of the last runs are looked at: an index leads to them, however long the ledger is."""


def nearly_longest(schedule_id: UUID | None, job_type: str) -> float | None:
    """Return how many seconds 95 of 100 runs of the schedule take at most (p95), or None if none has ended.

    What has never run is judged by the tenant's last runs of its job type. One query.
    """
    own, alike = _p95(_of_schedule(schedule_id)), _p95(_of_job_type(job_type))
    seconds = db.session.scalar(sa.select(sa.func.coalesce(own, alike)))
    return None if seconds is None else float(seconds)


def nearly_longest_of(schedule_ids: Sequence[UUID]) -> Mapping[UUID, timedelta]:
    """Return how long 95 of 100 runs of each of these schedules take at most, where one has ended. One query."""
    if not schedule_ids:
        return {}
    ids = sa.func.unnest(sa.bindparam("ids", list(schedule_ids), type_=sa.ARRAY(sa.Uuid)))
    wanted = ids.table_valued("id").render_derived(name="wanted")
    p95 = _p95(_of_schedule(wanted.c.id).correlate(wanted))
    rows = db.session.execute(sa.select(wanted.c.id, p95).select_from(wanted))
    return {schedule_id: timedelta(seconds=float(seconds)) for schedule_id, seconds in rows if seconds is not None}


def _of_schedule(schedule_id: UUID | sa.ColumnElement[UUID] | None) -> sa.Select[float]:
    return _lasted().where(Run.schedule_id == schedule_id).order_by(Run.id.desc()).limit(OF_SCHEDULE)


def _of_job_type(job_type: str) -> sa.Select[float]:
    """Return how long runs of the job type took, among the tenant's last that succeeded."""
    last = (
        sa.select(Run.id)
        .where(Run.tenant_id == require_binding().tenant.id, Run.state == SUCCEEDED)
        .order_by(Run.id.desc())
        .limit(OF_TENANT)
    )
    return _lasted().where(Run.id.in_(last), Run.job_type == job_type)


def _lasted() -> sa.Select[float]:
    return sa.select(sa.extract("epoch", Run.finished_at - Run.started_at).label("lasted"))


def _p95(runs: sa.Select[float]) -> sa.ScalarSelect[float]:
    lasted = runs.subquery().c.lasted
    return sa.select(sa.func.percentile_cont(NEARLY_ALL).within_group(lasted)).scalar_subquery()
