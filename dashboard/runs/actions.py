"""What an operator may do to a run: cancel it, or run it again."""

from __future__ import annotations

from uuid import UUID

from werkzeug.exceptions import NotFound

from dashboard.audit.actions import record
from dashboard.core.errors import Refused
from dashboard.core.orm import db
from dashboard.core.tenancy import require_binding
from dashboard.runs import ledger
from dashboard.runs.models import Run
from dashboard.runs.states import ACTIVE_STATES, CANCELLED, PROBLEM_STATES, READY, SUCCEEDED


def cancel(run_id: UUID) -> Run:
    """Stop a run: at once if it waits; a running one is told, and its worker stops it at the next check.

    Raises NotFound for a run that is not this tenant's, Refused for one that has ended or was told before.
    """
    run = _locked(run_id)
    if run.state not in ACTIVE_STATES:
        raise Refused("This run has already ended, so there is nothing to cancel.")
    if not ledger.cancel(db.session(), run, note="Cancelled.", actor=require_binding().actor):
        raise Refused("This run is being cancelled already. Its worker stops it at the next check.")
    record(db.session(), "run.cancel", subject=("run", run.id, run.name), details={"job_type": run.job_type})
    db.session.commit()
    return run


def retry(run_id: UUID) -> Run:
    """Run a failed run again, with all its attempts before it and no limit on how late it starts.

    Raises NotFound for a run that is not this tenant's, Refused for one that did not fail.
    """
    run = _locked(run_id)
    if run.state not in PROBLEM_STATES:
        raise Refused(_why_not(run.state))
    was = run.state
    session = db.session()
    again = ledger.step(run, READY, note="Run again.", actor=require_binding().actor)
    ledger.run_again(session, [again])
    session.refresh(run)
    record(session, "run.retry", subject=("run", run.id, run.name), details={"job_type": run.job_type, "was": was})
    session.commit()
    return run


def _why_not(state: str) -> str:
    if state in ACTIVE_STATES:
        return "This run has not ended yet. Wait for it, or cancel it first."
    if state == SUCCEEDED:
        return "This run has succeeded. To do the work once more, start a new run."
    if state == CANCELLED:
        return "This run was cancelled. To do the work after all, start a new run."
    return "This run was skipped and never started. To do the work after all, start a new run."


def _locked(run_id: UUID) -> Run:
    run = ledger.lock(db.session(), run_id)
    if run is None:
        raise NotFound
    return run
