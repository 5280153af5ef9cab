"""What an operator does about single mails of a run."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from flask import Blueprint, abort, flash, request, url_for
from flask.typing import ResponseReturnValue

from dashboard.accounts.access import Action, requires
from dashboard.core.errors import Refused
from dashboard.core.htmx import see_other
from dashboard.core.orm import db
from dashboard.emails import actions
from dashboard.emails.models import Delivery

bp = Blueprint("deliveries", __name__, url_prefix="/deliveries")


@bp.post("/<uuid:delivery_id>/resends")
@requires(Action.RESOLVE_DELIVERY)
def resend(delivery_id: UUID) -> ResponseReturnValue:
    """Send an uncertain mail once more."""
    return _settle(actions.resend, delivery_id, "It goes out again when its run does.")


@bp.post("/<uuid:delivery_id>/confirmations")
@requires(Action.RESOLVE_DELIVERY)
def mark_sent(delivery_id: UUID) -> ResponseReturnValue:
    """Say of an uncertain mail that it arrived."""
    return _settle(actions.mark_sent, delivery_id, "Marked as sent.")


def _settle(act: Callable[[UUID], Delivery], delivery_id: UUID, done: str) -> ResponseReturnValue:
    """Act, and lead back to where the button was: the run's page, or the problems."""
    found = db.session.get(Delivery, delivery_id) or abort(404)
    run_id = found.run_id
    try:
        act(delivery_id)
        flash(done, "ok")
    except Refused as refusal:
        flash(str(refusal), "warn")
    if request.form.get("back") == "problems":
        return see_other(url_for("problems.index", view="mails"))
    return see_other(url_for("runs.show", run_id=run_id, _anchor="deliveries"))
