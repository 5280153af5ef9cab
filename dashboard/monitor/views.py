"""The Monitor page: live runs beside the embedded Flower, or beside the native fleet view."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, current_app, request
from flask.typing import ResponseReturnValue

from dashboard.accounts.access import Action, requires
from dashboard.core.clock import utc_now
from dashboard.core.htmx import Live, fragment_or_page, unchanged
from dashboard.core.links import host_url
from dashboard.core.orm import db
from dashboard.monitor.audience import sees_flower
from dashboard.monitor.fleet import load_tenant_fleet
from dashboard.runs.board import RunFilter, duration_of, panel_version, runs_board

bp = Blueprint("monitor", __name__, url_prefix="/monitor")

ROWS = 25
FLEET_VIEW = "fleet"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowerPage:
    """A page of Flower's that the frame can show."""

    label: str
    url: str


FLOWER_PAGES = (
    FlowerPage(label="Workers", url=host_url("flower/workers?autorefresh=5")),
    FlowerPage(label="Tasks", url=host_url("flower/tasks")),
    FlowerPage(label="Broker", url=host_url("flower/broker")),
)


@bp.get("")
@requires(Action.VIEW)
def index() -> ResponseReturnValue:
    """The page; htmx polls the same address for its panel."""
    may_see_flower = sees_flower()
    shows_flower = may_see_flower and request.args.get("view") != FLEET_VIEW
    fleet = None if shows_flower else load_tenant_fleet(db.session())
    tag = panel_version() + (f".{fleet.tag}" if fleet else "")
    if response := unchanged(tag):
        return response
    board = runs_board(RunFilter(), page=ROWS)
    now = utc_now()
    return fragment_or_page(
        "monitor/index.html",
        "monitor/_panel.html",
        tag=tag,
        board=board,
        fleet=fleet,
        live=Live.of(active=board.has_active, tag=tag),
        duration_of=lambda run: duration_of(run, now),
        may_see_flower=may_see_flower,
        has_flower=current_app.config["FLOWER_URL"] is not None,
        flower_pages=FLOWER_PAGES,
    )
