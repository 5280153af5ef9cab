"""The page of problems, and what an operator may do there about kinds of failures."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from uuid import UUID

from flask import Blueprint, flash, request, url_for
from flask.typing import ResponseReturnValue

from dashboard.accounts.access import Action, requires
from dashboard.core.clock import utc_now
from dashboard.core.htmx import Live, fragment_or_page, see_other, unchanged
from dashboard.core.paging import cursor
from dashboard.problems import actions, station
from dashboard.problems.board import KINDS, count_problems, problems_board
from dashboard.runs.board import duration_of, panel_version

bp = Blueprint("problems", __name__, url_prefix="/problems")


@bp.get("")
@requires(Action.VIEW)
def index() -> ResponseReturnValue:
    """What needs a person; htmx polls the same address for its panel."""
    alerts, counts = station.alerts(), count_problems()
    tag = f"{panel_version()}.{station.tag_of(alerts)}.{zlib.crc32(repr(counts).encode()):x}"
    if response := unchanged(tag):
        return response
    view = request.args.get("view", "")
    board = problems_board(
        view if view in KINDS else "",
        before=cursor(request.args.get("before")),
        dismissed=request.args.get("dismissed") == "1" and view == "failures",
        alerts=alerts,
        counts=counts,
    )
    now = utc_now()
    return fragment_or_page(
        "problems/index.html",
        "problems/_panel.html",
        tag=tag,
        board=board,
        live=Live.of(active=False, tag=tag),
        duration_of=lambda run: duration_of(run, now),
    )


@bp.post("/dismissals")
@requires(Action.RESOLVE_PROBLEM)
def dismiss() -> ResponseReturnValue:
    """Put a kind of failure aside until it happens again."""
    return _act(actions.dismiss, "Dismissed, until it happens again.")


@bp.post("/restorations")
@requires(Action.RESOLVE_PROBLEM)
def restore() -> ResponseReturnValue:
    """Take a kind of failure back that was dismissed."""
    return _act(actions.restore, "It is listed again.")


@bp.post("/schedules/<uuid:schedule_id>/owners")
@requires(Action.EDIT_SCHEDULE)
def take_over(schedule_id: UUID) -> ResponseReturnValue:
    """Become the owner of a schedule that has none."""
    schedule = actions.take_over(schedule_id)
    flash(f"You are the owner of “{schedule.name}” now.", "ok")
    return see_other(url_for("problems.index", view="schedules"))


def _act(act: Callable[[str], None], done: str) -> ResponseReturnValue:
    act(request.form.get("fingerprint", ""))
    flash(done, "ok")
    return see_other(url_for("problems.index", view="failures"))
