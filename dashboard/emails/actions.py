"""What an operator may do about a mail of which nobody knows whether it arrived: send it again, or mark it sent."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session
from werkzeug.exceptions import NotFound

from dashboard.audit.actions import record
from dashboard.core.clock import database_now
from dashboard.core.errors import Refused
from dashboard.core.orm import db
from dashboard.core.tenancy import require_binding
from dashboard.emails.models import Delivery
from dashboard.emails.states import PENDING, SENT, UNCERTAIN
from dashboard.runs import ledger
from dashboard.runs.load import moved
from dashboard.runs.models import Run
from dashboard.runs.states import ACTIVE_STATES, PROBLEM_STATES, READY, SUCCEEDED

FOUND = "A person found that it arrived."


def resend(delivery_id: UUID) -> Delivery:
    """Let an uncertain mail leave once more, with the Message-ID that it has.

    If its run had succeeded, that runs again and sends this mail alone; one that failed sends it when somebody runs it
    again. Raises NotFound for a mail that is not this tenant's, Refused for one that is settled, or whose run is going
    on or was cancelled.
    """
    session = db.session()
    run, delivery = _locked(session, delivery_id)
    if run.state in ACTIVE_STATES:
        raise Refused("Its run is still going on. Wait until it has ended.")
    if run.state not in PROBLEM_STATES | {SUCCEEDED}:
        raise Refused("Its run was cancelled, and would mail everybody else too. Start a new one for this address.")
    delivery.state, delivery.error, delivery.lease_until = PENDING, "", None
    session.flush()
    if run.state == SUCCEEDED:
        note = f"The mail to {delivery.address} is sent again."
        ledger.run_again(session, [ledger.step(run, READY, note=note, actor=require_binding().actor)])
    _commit(session, "delivery.resend", run, delivery)
    return delivery


def mark_sent(delivery_id: UUID) -> Delivery:
    """Say of an uncertain mail that it arrived, as a person found. Raises NotFound and Refused as `resend` does."""
    session = db.session()
    run, delivery = _locked(session, delivery_id)
    delivery.state, delivery.error, delivery.lease_until = SENT, FOUND, None
    delivery.sent_at = delivery.handing_at or database_now(session)
    _commit(session, "delivery.mark_sent", run, delivery)
    return delivery


def _locked(session: Session, delivery_id: UUID) -> tuple[Run, Delivery]:
    """Return the mail and its run, locked so that nobody settles it meanwhile."""
    run_id = session.scalar(sa.select(Delivery.run_id).where(Delivery.id == delivery_id))
    run = ledger.lock(session, run_id) if run_id else None
    delivery = session.get(Delivery, delivery_id, with_for_update=True, populate_existing=True)
    if run is None or delivery is None:
        raise NotFound
    if delivery.state != UNCERTAIN:
        raise Refused("This mail is settled already.")
    return run, delivery


def _commit(session: Session, action: str, run: Run, delivery: Delivery) -> None:
    moved(session, run.id, run.state)
    details = {"address": delivery.address, "message_id": delivery.message_id}
    record(session, action, subject=("run", run.id, run.name), details=details)
    session.commit()
