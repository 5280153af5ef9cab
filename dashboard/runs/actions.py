"""What an operator may do to a run: cancel it, run it again, mark it done, or take its concurrency key."""

from __future__ import annotations

from uuid import UUID

from werkzeug.exceptions import NotFound

from dashboard.audit.actions import record
from dashboard.core.errors import Refused
from dashboard.core.orm import db
from dashboard.core.tenancy import require_binding
from dashboard.runs import ledger
from dashboard.runs.models import Run
from dashboard.runs.states import (
    ACTIVE_STATES,
    CANCELLED,
    HOLDS_SLOT,
    INTERRUPTED,
    PROBLEM_STATES,
    READY,
    RUNNING,
    SUCCEEDED,
)

LONGEST_NOTE = 300
MARKED_DONE = "marked_done"
RELEASED = "released"
TAKEN = "Somebody released its key. What its worker had not committed is undone; nobody knows how far it came."


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


def mark_done(run_id: UUID, note: str) -> Run:
    """Say of an interrupted run that its work is done, as somebody found who looked; `note` says how they know.

    Raises NotFound for a run that is not this tenant's, Refused without a note and for one that was not interrupted.
    """
    run = _locked(run_id)
    note = note.strip()[:LONGEST_NOTE]
    if not note:
        raise Refused("Say in a few words how you know that it is done.")
    if run.state != INTERRUPTED:
        raise Refused("Only a run that was interrupted can be marked as done.")
    session = db.session()
    ledger.move(session, run, SUCCEEDED, reason=MARKED_DONE, note=note, actor=require_binding().actor)
    record(session, "run.mark_done", subject=("run", run.id, run.name), details={"note": note})
    session.commit()
    return run


def release_key(run_id: UUID) -> Run:
    """Take the concurrency key from a running run: its worker loses the lease, and what it has not committed is undone.

    The run ends interrupted, because nobody knows how far it came. Raises NotFound for a run that is not this tenant's,
    Refused for one that does not run or holds no key.
    """
    run = _locked(run_id)
    if run.concurrency_key is None or run.state not in HOLDS_SLOT:
        raise Refused("This run holds no key any more.")
    if run.state != RUNNING:
        raise Refused("This run has not started yet. Cancel it instead.")
    session = db.session()
    ledger.move(session, run, INTERRUPTED, reason=RELEASED, note=TAKEN, actor=require_binding().actor)
    details = {"job_type": run.job_type, "key": run.concurrency_key, "worker": run.worker}
    record(session, "run.release_key", subject=("run", run.id, run.name), details=details)
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
