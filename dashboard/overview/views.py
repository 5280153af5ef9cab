"""The first page of a tenant; on the platform it leads to the tenant chooser."""

from __future__ import annotations

from flask import Blueprint, redirect, url_for
from flask.typing import ResponseReturnValue

from dashboard.accounts.access import Action, requires
from dashboard.core.clock import utc_now
from dashboard.core.htmx import Live, fragment_or_page, unchanged
from dashboard.core.tenancy import current_binding
from dashboard.overview.board import overview
from dashboard.problems import station
from dashboard.runs.board import duration_of, panel_version

bp = Blueprint("overview", __name__)


@bp.get("/")
def index() -> ResponseReturnValue:
    """Show the overview, or send a visitor of the platform to the chooser."""
    if current_binding() is None:
        return redirect(url_for("chooser.index"), 303)
    return show()


@requires(Action.VIEW)
def show() -> ResponseReturnValue:
    """The overview; htmx polls the same address for its panel."""
    alerts = station.alerts()
    tag = f"{panel_version()}.{station.tag_of(alerts)}"
    if response := unchanged(tag):
        return response
    board = overview(alerts)
    now = utc_now()
    return fragment_or_page(
        "overview/index.html",
        "overview/_panel.html",
        tag=tag,
        board=board,
        live=Live.of(active=board.recent.has_active, tag=tag),
        duration_of=lambda run: duration_of(run, now),
    )


index.policy = show.policy  # type: ignore[attr-defined]
