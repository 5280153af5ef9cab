"""The pages of runs: the live list, one run, and what an operator may do to it."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from flask import Blueprint, abort, flash, request, url_for
from flask.typing import ResponseReturnValue

from dashboard.accounts.access import Action, requires
from dashboard.core.clock import utc_now
from dashboard.core.errors import Refused
from dashboard.core.htmx import Live, fragment_or_page, see_other, unchanged
from dashboard.runs import actions
from dashboard.runs.board import RunFilter, duration_of, panel_version, run_page, runs_board
from dashboard.runs.models import Run

bp = Blueprint("runs", __name__, url_prefix="/runs")


@bp.get("")
@requires(Action.VIEW)
def index() -> ResponseReturnValue:
    """The list; htmx polls the same address for its panel."""
    tag = panel_version()
    if response := unchanged(tag):
        return response
    board = runs_board(RunFilter.from_args(request.args))
    live = Live.of(active=board.has_active, tag=tag)
    return fragment_or_page(
        "runs/index.html", "runs/_panel.html", tag=tag, board=board, live=live, duration_of=_duration()
    )


@bp.get("/<uuid:run_id>")
@requires(Action.VIEW)
def show(run_id: UUID) -> ResponseReturnValue:
    """One run; htmx polls the same address for its panel until the run has ended."""
    tag = panel_version()
    if response := unchanged(tag):
        return response
    page = run_page(run_id) or abort(404)
    live = Live.of(active=not page.waits, final=page.is_final, tag=tag)
    return fragment_or_page("runs/show.html", "runs/_run.html", tag=tag, page=page, live=live, duration_of=_duration())


@bp.post("/<uuid:run_id>/cancellations")
@requires(Action.CANCEL_RUN)
def cancel(run_id: UUID) -> ResponseReturnValue:
    """Stop a run: at once if it waits, at its next step if it works."""
    try:
        run = actions.cancel(run_id)
        flash("Cancelled." if run.finished_at else "Asked it to stop. It does so at its next step.", "ok")
    except Refused as refusal:
        flash(str(refusal), "warn")
    return see_other(url_for("runs.show", run_id=run_id))


@bp.post("/<uuid:run_id>/retries")
@requires(Action.RETRY_RUN)
def retry(run_id: UUID) -> ResponseReturnValue:
    """Give a failed run a fresh budget of attempts."""
    try:
        actions.retry(run_id)
        flash("It will run again as soon as a worker is free.", "ok")
    except Refused as refusal:
        flash(str(refusal), "warn")
    return see_other(url_for("runs.show", run_id=run_id))


def _duration() -> Callable[[Run], float | None]:
    now = utc_now()
    return lambda run: duration_of(run, now)
