"""The pages of schedules: list, editor with preview, one schedule, and what an operator may do to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, current_app, flash, render_template, request, url_for
from flask.typing import ResponseReturnValue

from dashboard.accounts.access import Action, requires
from dashboard.core.clock import database_now, utc_now, zone_names
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.htmx import Live, fragment_or_page, see_other, uncached, unchanged
from dashboard.core.orm import db
from dashboard.jobs.actions import start_run
from dashboard.jobs.params import dump, form_fields, parse_form
from dashboard.jobs.registry import JobType, UnknownJobType, all_job_types, job_type
from dashboard.runs.board import duration_of, panel_version
from dashboard.schedules import actions
from dashboard.schedules.actions import ScheduleDraft
from dashboard.schedules.board import preview, schedule_page, schedules_board
from dashboard.schedules.forms import (
    CATCHUP_CHOICES,
    DELAY,
    OVERLAP_CHOICES,
    UNITS,
    WHEN_CHOICES,
    ScheduleForm,
)
from dashboard.schedules.models import Schedule
from dashboard.schedules.recurrence import Recurrence, RecurrenceError

bp = Blueprint("schedules", __name__, url_prefix="/schedules")

AT_ONCE = {"now", "minute"}


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


@bp.get("/new")
@requires(Action.EDIT_SCHEDULE)
def new() -> ResponseReturnValue:
    """The empty editor, for the job type in the address or the first one."""
    key = request.args.get("job_type") or all_job_types()[0].key
    return _editor(ScheduleForm.blank(key, _zone()))


@bp.post("")
@requires(Action.EDIT_SCHEDULE)
def create() -> ResponseReturnValue:
    """Save a schedule, or send now or in a minute; a form with mistakes comes back as it was typed."""
    form = ScheduleForm.from_post(request.form)
    try:
        if form.when in AT_ONCE:
            return _start(form)
        schedule = actions.create(_draft(form))
    except InvalidInput as error:
        return _editor(form, errors=error.errors)
    flash("Schedule saved.", "ok")
    return see_other(url_for("schedules.show", schedule_id=schedule.id))


@bp.post("/previews")
@requires(Action.EDIT_SCHEDULE)
def create_preview() -> ResponseReturnValue:
    """Say what the typed rule means and when it fires next."""
    form = ScheduleForm.from_post(request.form)
    shown, problem = None, ""
    if form.when not in AT_ONCE:
        try:
            shown = preview(_rule(form))
        except (InvalidInput, RecurrenceError) as error:
            problem = " ".join(error.errors.values()) if isinstance(error, InvalidInput) else str(error)
    return uncached(
        current_app.make_response(render_template("schedules/_preview.html", preview=shown, problem=problem))
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
        token=uuid4(),
        duration_of=lambda run: duration_of(run, now),
    )


@bp.get("/<uuid:schedule_id>/edit")
@requires(Action.EDIT_SCHEDULE)
def edit(schedule_id: UUID) -> ResponseReturnValue:
    """The editor of a stored schedule."""
    schedule = actions.get(schedule_id) or abort(404)
    return _editor(ScheduleForm.of(schedule), schedule=schedule)


@bp.post("/<uuid:schedule_id>")
@requires(Action.EDIT_SCHEDULE)
def update(schedule_id: UUID) -> ResponseReturnValue:
    """Save changes; a mistake, or somebody else's change meanwhile, brings the form back as it was typed."""
    schedule = actions.get(schedule_id) or abort(404)
    form = ScheduleForm.from_post(request.form)
    try:
        rev = int(form.text("rev") or 0)
        actions.update(schedule, _draft(form, schedule.params), rev=rev)
    except InvalidInput as error:
        return _editor(form, schedule=schedule, errors=error.errors)
    except (Refused, ValueError) as error:
        return _editor(form, schedule=schedule, errors={"": str(error)}, status=409)
    flash("Schedule saved.", "ok")
    return see_other(url_for("schedules.show", schedule_id=schedule_id))


@bp.post("/<uuid:schedule_id>/runs")
@requires(Action.START_RUN)
def run_now(schedule_id: UUID) -> ResponseReturnValue:
    """Run it once more; the token makes a double click one run."""
    schedule = actions.get(schedule_id) or abort(404)
    try:
        run = actions.run_now(schedule, token=request.form.get("token", ""))
    except Refused as refusal:
        flash(str(refusal), "warn")
        return see_other(url_for("schedules.show", schedule_id=schedule_id))
    return see_other(url_for("runs.show", run_id=run.id))


@bp.post("/<uuid:schedule_id>/pauses")
@requires(Action.PAUSE_SCHEDULE)
def pause(schedule_id: UUID) -> ResponseReturnValue:
    """Stop firing until somebody resumes it, or until a time."""
    until = _local_moment(request.form.get("until", ""))
    reason = request.form.get("reason", "").strip()[:200]
    return _act(schedule_id, lambda schedule: actions.pause(schedule, reason=reason, until=until), "Paused.")


@bp.post("/<uuid:schedule_id>/resumptions")
@requires(Action.PAUSE_SCHEDULE)
def resume(schedule_id: UUID) -> ResponseReturnValue:
    """Fire again from now on."""
    return _act(schedule_id, actions.resume, "Resumed. It goes on from now.")


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


def _start(form: ScheduleForm) -> ResponseReturnValue:
    kind = _kind(form)
    session = db.session()
    not_before = database_now(session) + DELAY if form.when == "minute" else None
    params = parse_form(kind.Params, request.form).model_dump()
    run = start_run(session, kind.key, params, name=form.text("name") or None, not_before=not_before)
    session.commit()
    return see_other(url_for("runs.show", run_id=run.id))


def _editor(
    form: ScheduleForm,
    *,
    schedule: Schedule | None = None,
    errors: dict[str, str] | None = None,
    status: int | None = None,
) -> ResponseReturnValue:
    form.errors = errors or {}
    try:
        kind = job_type(form.text("job_type"))
    except UnknownJobType as error:
        abort(404, str(error))
    return fragment_or_page(
        "schedules/edit.html",
        "schedules/_form.html",
        status=status or (422 if errors else 200),
        form=form,
        schedule=schedule,
        kind=kind,
        kinds=all_job_types(),
        params=form_fields(
            kind.Params,
            schedule.params if schedule else None,
            typed=request.form if request.method == "POST" else None,
            errors=form.errors,
        ),
        whens=[choice for choice in WHEN_CHOICES if schedule is None or choice[0] not in AT_ONCE],
        units=list(UNITS),
        zones=[("", f"The organisation's ({_zone()})"), *zone_names()],
        catchups=CATCHUP_CHOICES,
        overlaps=OVERLAP_CHOICES,
    )


def _draft(form: ScheduleForm, stored: dict[str, Any] | None = None) -> ScheduleDraft:
    """Return the typed schedule. Raises InvalidInput with the mistakes in its parameters and its timing together."""
    errors: dict[str, str] = {}
    draft = None
    try:
        params = _params(form, stored)
    except InvalidInput as error:
        errors, params = error.errors, {}
    try:
        draft = form.draft(params)
    except InvalidInput as error:
        errors = {**errors, **error.errors}
    if errors or draft is None:
        raise InvalidInput(errors)
    return draft


def _params(form: ScheduleForm, stored: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the job type's parameters as they will be stored. Raises InvalidInput naming each field to mend."""
    return dump(parse_form(_kind(form).Params, request.form, stored=stored))


def _kind(form: ScheduleForm) -> JobType:
    try:
        return job_type(form.text("job_type"))
    except UnknownJobType as error:
        raise InvalidInput({"job_type": str(error)}) from error


def _rule(form: ScheduleForm) -> Recurrence:
    timing = form.timing()
    every = timing.pop("every_seconds", None)
    zone = timing.pop("timezone") or _zone()
    return Recurrence(**timing, every=every, anchor=utc_now() if every else None, timezone=zone)


def _zone() -> str:
    zone: str = current_app.config["TIMEZONE"]
    return zone


def _local_moment(text: str) -> datetime | None:
    """Read a wall time of the tenant's zone; nothing typed, or nothing readable, is no limit."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(_zone())).astimezone(UTC)
    except ValueError:
        return None
