"""The one door through which a fire is moved: by dragging on the calendar or by a form, and moved back."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, flash, request, session, url_for
from flask.typing import ResponseReturnValue

from dashboard.accounts.access import Action, requires
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.htmx import form_page, see_other
from dashboard.core.paging import cursor
from dashboard.core.templating import wall_time as wall_time_of
from dashboard.core.typed import instant, wall_time, whole_number
from dashboard.schedules import actions, calendar, moving, single_fires
from dashboard.schedules.models import Schedule

bp = Blueprint("moves", __name__, url_prefix="/calendar/moves")

NO_FIRE = "This is not a fire of a schedule. Load the page again."


@bp.get("/new")
@requires(Action.EDIT_SCHEDULE)
def new() -> ResponseReturnValue:
    """The form that moves a fire without a mouse; from the calendar, if it says at which `view` and `day` it was."""
    schedule, nominal = _fire(request.args.get("schedule"), request.args.get("nominal", ""))
    return _form(schedule, nominal, wall_time_of(single_fires.time_of(schedule, nominal)))


@bp.post("")
@requires(Action.EDIT_SCHEDULE)
def create() -> ResponseReturnValue:
    """Move a fire to where it was dropped, or to the time that was typed."""
    schedule, nominal = _fire(request.form.get("schedule"), request.form.get("nominal", ""))
    before = single_fires.time_of(schedule, nominal)
    to = _target(before, calendar.calendar_zone())
    try:
        if to is None:
            raise InvalidInput({"to": "Give a date and a time."})
        moved = moving.move(schedule, nominal, to, rev=whole_number(request.form.get("rev", "")) or 0)
    except InvalidInput as error:
        return _refused(schedule, nominal, " ".join(error.errors.values()), 422)
    except Refused as error:
        return _refused(schedule, nominal, str(error), 409)
    if "undo" in request.form:
        flash(f"“{schedule.name}” is back where it was.", "ok")
    elif not request.form.get("view"):
        flash(f"Moved this one fire{moved.in_pause}.", "ok")
        return see_other(url_for("schedules.show", schedule_id=schedule.id))
    else:
        session[calendar.MOVED] = {
            "name": schedule.name,
            "schedule": str(schedule.id),
            "nominal": moved.nominal.isoformat(),
            "rev": moved.rev,
            "to": before.isoformat(),
            "at": to.isoformat(),
            "in_pause": moved.in_pause,
        }
    return see_other(url_for("calendar.index", view=request.form.get("view"), day=request.form.get("day")))


def _target(before: datetime, zone: ZoneInfo) -> datetime | None:
    """Read where a fire goes: a slot of the calendar, a time that was typed, or the instant that it came from."""
    form = request.form
    if "slot" in form:
        to = moving.dropped_at(before, form["slot"], zone)
        return to.astimezone(UTC) if to else None
    if "undo" in form:
        return instant(form.get("to", ""))
    return wall_time(form.get("to", ""), zone, before)


def _fire(schedule_id: str | None, nominal: str) -> tuple[Schedule, datetime]:
    found = cursor(schedule_id)
    schedule = actions.get(found) if isinstance(found, UUID) else None
    if schedule is None:
        abort(404)
    return schedule, instant(nominal) or abort(400, NO_FIRE)


def _refused(schedule: Schedule, nominal: datetime, problem: str, status: int) -> ResponseReturnValue:
    """Say why a fire stays: on the form with what was typed, or on the calendar where it was dropped."""
    if "typed" in request.form:
        return _form(schedule, nominal, request.form.get("to", ""), problem=problem, status=status)
    return calendar.shown(request.form, problem=f"“{schedule.name}” stays where it was. {problem}", status=status)


def _form(
    schedule: Schedule, nominal: datetime, typed: str, *, problem: str = "", status: int | None = None
) -> ResponseReturnValue:
    context = {"schedule": schedule, "nominal": nominal, "typed": typed, "asked": request.values}
    return form_page("calendar/move.html", errors={"to": problem} if problem else {}, status=status, **context)
