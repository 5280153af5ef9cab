"""The pages of schedules beside the editor: the list, one schedule, and what an operator may do to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from flask import abort, current_app, flash, render_template, request, url_for
from flask.typing import ResponseReturnValue

from dashboard.accounts.access import Action, requires
from dashboard.core.clock import utc_now
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.formats import plural
from dashboard.core.htmx import Live, form_page, fragment_or_page, see_other, uncached, unchanged
from dashboard.core.templating import wall_time as wall_time_of
from dashboard.core.typed import instant, wall_time
from dashboard.core.zones import tenant_zone
from dashboard.runs.board import duration_of, panel_version
from dashboard.schedules import actions, backfills, single_fires
from dashboard.schedules.board import fires_board, schedule_history, schedule_page, schedules_board
from dashboard.schedules.editor import bp
from dashboard.schedules.models import Schedule
from dashboard.schedules.overlap import meeting

__all__ = ["bp"]

A_MINUTE = timedelta(minutes=1)
ENDS = ("start", "end")
BACKFILL_MODES = (("missing", "Only what has neither run nor been left out on purpose"), ("rerun", "All of it again"))


@bp.get("")
@requires(Action.VIEW)
def index() -> ResponseReturnValue:
    """The list; htmx polls the same address for its panel."""
    tag = panel_version()
    if response := unchanged(tag):
        return response
    board = schedules_board(request.args)
    return fragment_or_page(
        "schedules/index.html", "schedules/_panel.html", tag=tag, board=board, live=Live.of(active=False, tag=tag)
    )


@bp.get("/<uuid:schedule_id>")
@requires(Action.VIEW)
def show(schedule_id: UUID) -> ResponseReturnValue:
    """One schedule; htmx polls the same address for its panel."""
    tag = panel_version()
    if response := unchanged(tag):
        return response
    page = schedule_page(schedule_id) or abort(404)
    live = Live.of(active=any(run.finished_at is None for run in page.runs), tag=tag)
    now = utc_now()
    return fragment_or_page(
        "schedules/show.html",
        "schedules/_schedule.html",
        tag=tag,
        page=page,
        live=live,
        duration_of=lambda run: duration_of(run, now),
    )


@bp.get("/<uuid:schedule_id>/runs/new")
@requires(Action.START_RUN)
def new_run(schedule_id: UUID) -> ResponseReturnValue:
    """Ask before running it: with which parameters, and beside which runs that are still going."""
    schedule = actions.get(schedule_id) or abort(404)
    page = render_template("schedules/run_now.html", schedule=schedule, meeting=meeting(schedule), token=uuid4())
    return uncached(current_app.make_response(page))


@bp.post("/<uuid:schedule_id>/runs")
@requires(Action.START_RUN)
def run_now(schedule_id: UUID) -> ResponseReturnValue:
    """Run it once more; the token makes a double click one run."""
    schedule = actions.get(schedule_id) or abort(404)
    try:
        run = actions.run_now(schedule, token=request.form.get("token", ""), force="force" in request.form)
    except Refused as refusal:
        flash(str(refusal), "warn")
        return see_other(url_for("schedules.show", schedule_id=schedule_id))
    return see_other(url_for("runs.show", run_id=run.id))


@bp.get("/<uuid:schedule_id>/revisions")
@requires(Action.VIEW)
def history(schedule_id: UUID) -> ResponseReturnValue:
    """Who changed what, and who paused it and why, newest first."""
    schedule = actions.get(schedule_id) or abort(404)
    page = render_template("schedules/history.html", schedule=schedule, entries=schedule_history(schedule))
    return uncached(current_app.make_response(page))


@bp.get("/<uuid:schedule_id>/fires")
@requires(Action.VIEW)
def fires(schedule_id: UUID) -> ResponseReturnValue:
    """List what was decided about each of its fires, run or skipped, newest first."""
    schedule = actions.get(schedule_id) or abort(404)
    page = render_template("schedules/fires.html", schedule=schedule, board=fires_board(schedule, request.args))
    return uncached(current_app.make_response(page))


@bp.post("/<uuid:schedule_id>/fires/skips")
@requires(Action.PAUSE_SCHEDULE)
def skip_fire(schedule_id: UUID) -> ResponseReturnValue:
    """Leave out one fire ahead."""
    nominal = _instant(request.form)
    return _act(schedule_id, lambda schedule: single_fires.skip(schedule, nominal), "Skipped this one fire.")


@bp.post("/<uuid:schedule_id>/fires/restorations")
@requires(Action.PAUSE_SCHEDULE)
def restore_fire(schedule_id: UUID) -> ResponseReturnValue:
    """Run a fire after all that somebody skipped."""
    nominal = _instant(request.form)
    done = f"It runs after all{single_fires.in_pause(actions.get(schedule_id) or abort(404))}."
    return _act(schedule_id, lambda schedule: single_fires.restore(schedule, nominal), done)


@bp.get("/<uuid:schedule_id>/backfills/new")
@requires(Action.START_RUN)
def new_backfill(schedule_id: UUID) -> ResponseReturnValue:
    """Choose a range of the past, and see what making up for it would run."""
    return _backfill_page(actions.get(schedule_id) or abort(404), request.args)


@bp.post("/<uuid:schedule_id>/backfills")
@requires(Action.START_RUN)
def create_backfill(schedule_id: UUID) -> ResponseReturnValue:
    """Put the runs of the range into the ledger."""
    schedule = actions.get(schedule_id) or abort(404)
    try:
        start, end, mode = _range(request.form)
        backfill = backfills.create(schedule, start, end, mode)
    except InvalidInput as error:
        return _backfill_page(schedule, request.form, errors=error.errors)
    except Refused as refusal:
        return _backfill_page(schedule, request.form, errors={"": str(refusal)})
    flash(f"Making up for {backfill.total:,} fires, one after the other, behind everything else.", "ok")
    return see_other(url_for("schedules.show", schedule_id=schedule_id))


@bp.post("/<uuid:schedule_id>/backfills/<uuid:backfill_id>/stops")
@requires(Action.CANCEL_RUN)
def stop_backfill(schedule_id: UUID, backfill_id: UUID) -> ResponseReturnValue:
    """Cancel what of a backfill has not run yet."""
    stopped = backfills.stop(backfills.get(backfill_id) or abort(404))
    flash(f"Stopped. {stopped:,} runs were cancelled.", "ok")
    return see_other(url_for("schedules.show", schedule_id=schedule_id))


@bp.get("/<uuid:schedule_id>/pauses/new")
@requires(Action.PAUSE_SCHEDULE)
def new_pause(schedule_id: UUID) -> ResponseReturnValue:
    """Ask why and until when it is to pause."""
    return _pause_page(actions.get(schedule_id) or abort(404))


@bp.post("/<uuid:schedule_id>/pauses")
@requires(Action.PAUSE_SCHEDULE)
def pause(schedule_id: UUID) -> ResponseReturnValue:
    """Stop firing until somebody resumes it, or until a time."""
    schedule = actions.get(schedule_id) or abort(404)
    typed = request.form.get("until", "").strip()
    try:
        until = local_moment(typed)
        if typed and until is None:
            raise InvalidInput({"until": "Give a date and a time, or leave it empty."})
        actions.pause(schedule, reason=request.form.get("reason", "").strip()[:200], until=until)
    except InvalidInput as error:
        return _pause_page(schedule, errors=error.errors)
    except Refused as refusal:
        flash(str(refusal), "warn")
    else:
        flash("Paused.", "ok")
    return see_other(url_for("schedules.show", schedule_id=schedule_id))


@bp.post("/<uuid:schedule_id>/resumptions")
@requires(Action.PAUSE_SCHEDULE)
def resume(schedule_id: UUID) -> ResponseReturnValue:
    """Fire again from now on, and say what was missed."""
    schedule = actions.get(schedule_id) or abort(404)
    try:
        missed = actions.resume(schedule)
    except Refused as refusal:
        flash(str(refusal), "warn")
        return see_other(url_for("schedules.show", schedule_id=schedule_id))
    told = f" It missed {plural(missed, 'fire')}: see why it did not run." if missed else ""
    flash(f"Resumed. It goes on from now.{told}", "ok")
    return see_other(url_for("schedules.show", schedule_id=schedule_id, _anchor="why" if missed else None))


@bp.post("/<uuid:schedule_id>/archivings")
@requires(Action.PAUSE_SCHEDULE)
def archive(schedule_id: UUID) -> ResponseReturnValue:
    """Put it away for good; it can be restored."""
    return _act(schedule_id, actions.archive, "Archived. You can restore it from the archive.")


@bp.post("/<uuid:schedule_id>/restorations")
@requires(Action.PAUSE_SCHEDULE)
def restore(schedule_id: UUID) -> ResponseReturnValue:
    """Take it back out of the archive, paused."""
    return _act(schedule_id, actions.restore, "Restored, and paused until you resume it.")


def _act(schedule_id: UUID, act: Callable[[Schedule], None], done: str) -> ResponseReturnValue:
    schedule = actions.get(schedule_id) or abort(404)
    try:
        act(schedule)
        flash(done, "ok")
    except InvalidInput as error:
        flash(" ".join(error.errors.values()), "bad")
    except Refused as refusal:
        flash(str(refusal), "warn")
    return see_other(url_for("schedules.show", schedule_id=schedule_id))


def _pause_page(schedule: Schedule, *, errors: Mapping[str, str] | None = None) -> ResponseReturnValue:
    return form_page("schedules/pause.html", errors=errors or {}, schedule=schedule, typed=request.form)


def _backfill_page(
    schedule: Schedule, typed: Mapping[str, str], *, errors: dict[str, str] | None = None
) -> ResponseReturnValue:
    """Render the form; with a whole range in it, also what it would run."""
    errors = errors or {}
    wanted = None
    if not errors and typed.get("start") and typed.get("end"):
        try:
            wanted = backfills.estimate(schedule, *_range(typed))
        except InvalidInput as error:
            errors = error.errors
    context: dict[str, Any] = {"typed": typed, "shown": _shown(typed), "wanted": wanted, "modes": BACKFILL_MODES}
    return form_page("schedules/backfill.html", errors=errors, schedule=schedule, **context)


def _shown(typed: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of the range and, under `…_shown`, the moments that they stand for: a time may come twice."""
    moments = {name: _moment(typed, name) for name in ENDS}
    fields = {name: _as_typed(name, moment) if moment else typed.get(name, "") for name, moment in moments.items()}
    return {**fields, **{f"{name}_shown": moment.isoformat() if moment else "" for name, moment in moments.items()}}


def _as_typed(name: str, moment: datetime) -> str:
    """Write an end of the range as people type it: the range of whole minutes that holds what a link names."""
    return wall_time_of(moment if name == "start" else moment + A_MINUTE - datetime.resolution)


def _moment(typed: Mapping[str, str], name: str) -> datetime | None:
    """Read an end of the range: what its field showed, unless another time was typed.

    Of a time that comes twice the range begins with the first pass, and ends with the second if that is not to come.
    """
    text, shown = typed.get(name, ""), instant(typed.get(f"{name}_shown", ""))
    if shown and text == _as_typed(name, shown):
        return shown
    if (named := instant(text)) or name == "start":
        return named or local_moment(text)
    last = wall_time(text, tenant_zone(), latest=True)
    return last if last and last <= utc_now() else local_moment(text)


def _range(typed: Mapping[str, str]) -> tuple[datetime, datetime, backfills.Mode]:
    moments = {name: _moment(typed, name) for name in ENDS}
    missing = {name: "Give a date and a time." for name, moment in moments.items() if moment is None}
    if missing or moments["start"] is None or moments["end"] is None:
        raise InvalidInput(missing)
    return moments["start"], moments["end"], "rerun" if typed.get("mode") == "rerun" else "missing"


def _instant(given: Mapping[str, str]) -> datetime:
    """Read the nominal instant of a fire, as the page wrote it."""
    return instant(given.get("nominal", "")) or abort(422, "This is not a fire of the schedule. Load the page again.")


def local_moment(text: str, shown: datetime | None = None) -> datetime | None:
    """Read a wall time of the tenant's zone; nothing typed, or nothing readable, is none.

    `shown` is the moment that the field showed before; unless another time was typed, it is meant.
    """
    return wall_time(text, tenant_zone(), shown)
