"""The page on which a tenant's admins read who did what."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from dashboard.accounts.access import Action, requires
from dashboard.trail.board import AuditFilter, audit_board

bp = Blueprint("audit", __name__, url_prefix="/audit")


@bp.get("")
@requires(Action.VIEW_AUDIT)
def index() -> ResponseReturnValue:
    """What was done in this tenant, newest first."""
    return render_template("trail/index.html", board=audit_board(AuditFilter.from_args(request.args)))
