"""The pages that spread what starts at once: before and after, done by a click and taken back by another."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from flask import Blueprint, abort, current_app, flash, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from dashboard.accounts.access import Action, requires
from dashboard.core.formats import plural
from dashboard.core.htmx import see_other, uncached
from dashboard.core.typed import instant
from dashboard.schedules import spreading

bp = Blueprint("spreads", __name__, url_prefix="/calendar/load/spreads")

LAST = "spread"
"""Under this name the session keeps what was spread last, so that it can be taken back."""

NO_MINUTE = "Choose a minute and a way on the page of the load ahead."


@bp.get("/new")
@requires(Action.EDIT_SCHEDULE)
def new() -> ResponseReturnValue:
    """Show what spreading the schedules of a minute would change, for each way to do it."""
    minute, way = _asked(request.args)
    page = render_template(
        "calendar/spread.html", comparison=spreading.compare(minute, way), minute=minute, way=way, ways=spreading.WAYS
    )
    return uncached(current_app.make_response(page))


@bp.post("")
@requires(Action.EDIT_SCHEDULE)
def create() -> ResponseReturnValue:
    """Spread the schedules of a minute."""
    minute, way = _asked(request.form)
    done = spreading.spread(minute, way)
    if done:
        session[LAST] = done
    flash(f"{plural(len(done), 'schedule')} spread. Each starts at its own moment, always the same.", "ok")
    return see_other(url_for("calendar.load"))


@bp.post("/reversals")
@requires(Action.EDIT_SCHEDULE)
def take_back() -> ResponseReturnValue:
    """Take back what was spread last in this browser."""
    spread: list[spreading.Spread] = session.pop(LAST, [])
    back = spreading.take_back(spread)
    kept = len(spread) - back
    stays = f" {plural(kept, 'other')} stayed: somebody has saved them since." if kept else ""
    flash(f"{plural(back, 'schedule')} as before.{stays}", "ok")
    return see_other(url_for("calendar.load"))


def last_spread() -> int:
    """Return how many schedules were spread last in this browser and can be taken back."""
    return len(session.get(LAST, []))


def _asked(given: Mapping[str, str]) -> tuple[datetime, str]:
    """Read the minute and the way; what the pages did not write is refused."""
    moment = instant(given.get("minute", ""))
    if moment is None or not 1970 < moment.year < 2200:
        abort(422, NO_MINUTE)
    minute = moment.replace(second=0, microsecond=0)
    way = given.get("way") or spreading.way_for(minute)
    if way not in spreading.WAYS:
        abort(422, NO_MINUTE)
    return minute, way
