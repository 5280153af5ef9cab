"""What an operator may do about problems: put a kind of failure aside, list it again, take over a schedule."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from werkzeug.exceptions import NotFound

from dashboard.audit.actions import record
from dashboard.core.orm import db
from dashboard.core.tenancy import current_tenant, require_binding
from dashboard.problems.failures import newest_of
from dashboard.problems.models import Dismissal
from dashboard.runs.models import Run
from dashboard.schedules.models import Schedule


def dismiss(fingerprint: str) -> None:
    """Put the failures of this kind aside, until one more run fails like them. Raises NotFound if there are none."""
    run = _newest(fingerprint)
    actor = require_binding().actor
    fields = {"at": sa.func.now(), "by_id": actor.id if actor.kind == "user" else None}
    statement = insert(Dismissal).values(tenant_id=current_tenant().id, fingerprint=fingerprint, **fields)
    db.session.execute(statement.on_conflict_do_update(index_elements=["tenant_id", "fingerprint"], set_=fields))
    _commit("problem.dismiss", fingerprint, run)


def restore(fingerprint: str) -> None:
    """Let the failures of this kind need somebody again. Raises NotFound if there are none."""
    run = _newest(fingerprint)
    db.session.execute(sa.delete(Dismissal).where(Dismissal.fingerprint == fingerprint))
    _commit("problem.restore", fingerprint, run)


def take_over(schedule_id: UUID) -> Schedule:
    """Make the person who asks the owner of a schedule. Raises NotFound for one that is not this tenant's."""
    schedule = db.session.get(Schedule, schedule_id, with_for_update=True)
    if schedule is None:
        raise NotFound
    schedule.owner_id = require_binding().actor.id
    record(db.session(), "schedule.take_over", subject=("schedule", schedule.id, schedule.name))
    db.session.commit()
    return schedule


def _newest(fingerprint: str) -> Run:
    run = newest_of(fingerprint)
    if run is None:
        raise NotFound
    return run


def _commit(action: str, fingerprint: str, run: Run) -> None:
    details = {"fingerprint": fingerprint, "job_type": run.job_type, "error": run.error_type or run.reason}
    record(db.session(), action, subject=("run", run.id, run.name), details=details)
    db.session.commit()
