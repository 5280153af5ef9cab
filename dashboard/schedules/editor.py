"""The editor of schedules: its form, its preview, and what comes of saving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import Blueprint, abort, current_app, flash, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import IntegrityError
from werkzeug.datastructures import MultiDict

from dashboard.accounts.access import Action, requires
from dashboard.core.clock import database_now, utc_now, zone_names
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.htmx import fragment_or_page, see_other, uncached, wants_fragment
from dashboard.core.orm import db
from dashboard.core.paging import cursor
from dashboard.core.zones import browser_zone
from dashboard.jobs.actions import start_run
from dashboard.jobs.params import FormField, dump, form_fields, parse_form
from dashboard.jobs.registry import JobType, UnknownJobType, all_job_types, job_type
from dashboard.runs.models import Run
from dashboard.schedules import actions, calendars, forms
from dashboard.schedules.actions import Conflict, ScheduleDraft
from dashboard.schedules.board import Difference, difference, saves
from dashboard.schedules.forms import DELAY, ScheduleForm
from dashboard.schedules.models import Schedule
from dashboard.schedules.previews import Preview, Trouble, Wanted, find_trouble, foresee, longest_run
from dashboard.schedules.reach import rests_until
from dashboard.schedules.recurrence import Recurrence, RecurrenceError
from dashboard.schedules.single_fires import decided_ahead

bp = Blueprint("schedules", __name__, url_prefix="/schedules")

AT_ONCE = {"now", "minute"}

POLICY_FIELDS = [FormField(name=name, label=label, type="text") for name, label in forms.POLICIES.items()]
"""Their labels begin what is said of them above the form."""


@bp.get("/new")
@requires(Action.EDIT_SCHEDULE)
def new() -> ResponseReturnValue:
    """The empty editor, for the job type in the address or the first one; or a copy of a schedule."""
    copied = cursor(request.args.get("copy"))
    if copied is not None:
        schedule = actions.get(copied) or abort(404)
        return _editor(ScheduleForm.copy_of(schedule, _zone()), params=schedule.params)
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
        schedule = actions.create(_draft(form), schedule_id=form.schedule_id)
    except InvalidInput as error:
        return _editor(form, errors=error.errors)
    flash("Schedule saved.", "ok")
    return see_other(url_for("schedules.show", schedule_id=schedule.id))


@bp.post("/previews")
@requires(Action.EDIT_SCHEDULE)
def create_preview() -> ResponseReturnValue:
    """Say what the typed rule means and when it fires next; without htmx, on the editor's page as it was typed.

    `spread` asks for the rule with `H` in the place of its minutes.
    """
    form = ScheduleForm.from_post(request.form)
    schedule = actions.get(form.schedule_id)
    outlook = _outlook(form, schedule)
    if "spread" in request.form and outlook.spread_crons:
        form.values["crons"] = "\n".join(outlook.spread_crons)
        outlook = _outlook(form, schedule)
    if not wants_fragment(request):
        return _editor(form, schedule=schedule, outlook=outlook)
    page = render_template("schedules/_preview_answer.html", outlook=outlook)
    return uncached(current_app.make_response(page))


@bp.post("/drafts")
@requires(Action.EDIT_SCHEDULE)
def create_draft() -> ResponseReturnValue:
    """Open the editor of a new schedule for another job type, `switch_to`, with what was typed and fits there."""
    form = ScheduleForm.from_post(request.form)
    before, kind = _kind_or_404(form.text("job_type")), _kind_or_404(form.text("switch_to"))
    form.values["job_type"] = kind.key
    return _editor(form, fields=_fitting(before, kind))


@bp.get("/<uuid:schedule_id>/edit")
@requires(Action.EDIT_SCHEDULE)
def edit(schedule_id: UUID) -> ResponseReturnValue:
    """The editor of a stored schedule."""
    schedule = actions.get(schedule_id) or abort(404)
    try:
        job_type(schedule.job_type)
    except UnknownJobType as error:
        flash(f"{error} Without it nobody knows what to ask for; you can pause or archive the schedule.", "bad")
        return see_other(url_for("schedules.show", schedule_id=schedule_id))
    return _editor(ScheduleForm.of(schedule, _zone()), schedule=schedule)


@bp.post("/<uuid:schedule_id>")
@requires(Action.EDIT_SCHEDULE)
def update(schedule_id: UUID) -> ResponseReturnValue:
    """Save changes; a mistake, or somebody else's change meanwhile, brings the form back as it was typed."""
    schedule = actions.get(schedule_id) or abort(404)
    form = ScheduleForm.from_post(request.form)
    form.values["schedule_id"] = str(schedule_id)
    try:
        draft = _draft(form, _stored(schedule))
        actions.update(schedule, draft, rev=form.rev, sets_runs_left=form.sets_runs_left)
    except InvalidInput as error:
        if "runs_left" in error.errors:  # what is typed now is meant, even the number that the form was opened with
            form.values["runs_left_opened"] = "0"
        return _editor(form, schedule=schedule, errors=error.errors)
    except Conflict as conflict:
        form.values["rev"] = str(conflict.rev)
        return _editor(form, schedule=schedule, conflict=conflict)
    except Refused as error:
        return _editor(form, schedule=schedule, errors={"": str(error)}, status=409)
    flash("Schedule saved.", "ok")
    return see_other(url_for("schedules.show", schedule_id=schedule_id))


def _start(form: ScheduleForm) -> ResponseReturnValue:
    """Start what was typed, once: a form that is reloaded or sent twice leads to the run that it started."""
    form_id = _id_of_form(request.form)
    before = _started_by(form_id)
    if before is not None:
        return _started_already(before)
    kind = _kind(form)
    session = db.session()
    not_before = database_now(session) + DELAY if form.when == "minute" else None
    params = parse_form(kind.Params, request.form).model_dump()
    try:
        run = start_run(
            session, kind.key, params, name=form.text("name") or None, not_before=not_before, form_id=form_id
        )
    except IntegrityError:  # the other click was quicker by a moment
        session.rollback()
        before = _started_by(form_id)
        if before is None:
            raise
        return _started_already(before)
    session.commit()
    return see_other(url_for("runs.show", run_id=run.id))


def _id_of_form(posted: MultiDict[str, str]) -> UUID | None:
    """Return what tells a form as it was opened and typed from every other one, if it came from the editor."""
    fields = sorted(pair for pair in posted.items(multi=True) if pair[0] != "csrf_token")
    return UUID(bytes=sha256(repr(fields).encode()).digest()[:16]) if posted.get("schedule_id") else None


def _started_by(form_id: UUID | None) -> Run | None:
    return db.session.scalar(sa.select(Run).where(Run.form_id == form_id)) if form_id else None


def _started_already(run: Run) -> ResponseReturnValue:
    flash("This was started already, and here it is. To start another one, open the editor again.", "info")
    return see_other(url_for("runs.show", run_id=run.id))


def _editor(
    form: ScheduleForm,
    *,
    schedule: Schedule | None = None,
    params: dict[str, Any] | None = None,
    fields: Sequence[FormField] | None = None,
    errors: dict[str, str] | None = None,
    conflict: Conflict | None = None,
    outlook: Outlook | None = None,
    status: int | None = None,
) -> ResponseReturnValue:
    form.errors = _at_fields(form, errors or {})
    kind = _kind_or_404(form.text("job_type"))
    asked = fields or form_fields(
        kind.Params,
        _stored(schedule) if schedule else params,
        typed=request.form if request.method == "POST" else None,
        errors=form.errors,
    )
    return fragment_or_page(
        "schedules/edit.html",
        "schedules/_form.html",
        status=status or (409 if conflict else 422 if errors else 200),
        form=form,
        schedule=schedule,
        kind=kind,
        kinds=all_job_types(),
        params=asked,
        labelled=[*asked, *POLICY_FIELDS],
        whens=[choice for choice in forms.WHEN_CHOICES if schedule is None or choice[0] not in AT_ONCE],
        conflict=conflict,
        theirs=next(iter(saves(schedule)), None) if schedule and conflict else None,
        outlook=outlook or _outlook(form, schedule),
        choices=forms,
        calendars=[(each.id, each.name) for each in calendars.all_calendars()],
        zones=[("", f"The organisation's ({_zone()})"), *zone_names()],
    )


def _at_fields(form: ScheduleForm, errors: dict[str, str]) -> dict[str, str]:
    """Return the errors by the fields that are on show: “every 30 seconds” may be typed among the days and times."""
    period = "crons" if form.when == "cron" else "every_count"
    return {period if name == "every" else name: words for name, words in errors.items()}


def _fitting(before: JobType, kind: JobType) -> list[FormField]:
    """Return the parameters of a job type, with what was typed for those that the one before asks for alike."""
    asked = {each.name: (each.type, each.options) for each in form_fields(before.Params)}
    typed = form_fields(kind.Params, typed=request.form)
    return [
        kept if asked.get(kept.name) == (kept.type, kept.options) else blank
        for kept, blank in zip(typed, form_fields(kind.Params), strict=True)
    ]


def _kind_or_404(key: str) -> JobType:
    try:
        return job_type(key)
    except UnknownJobType as error:
        abort(404, str(error))


def _draft(form: ScheduleForm, stored: dict[str, Any] | None = None) -> ScheduleDraft:
    """Return the typed schedule. Raises InvalidInput with the mistakes in its parameters and its timing together."""
    errors: dict[str, str] = {}
    draft = None
    try:
        params = _params(form, stored)
    except InvalidInput as error:
        errors, params = error.errors, {}
    try:
        draft = form.draft(params, _zone())
    except InvalidInput as error:
        errors = {**errors, **error.errors}
    if errors or draft is None:
        raise InvalidInput(errors)
    return draft


def _params(form: ScheduleForm, stored: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the job type's parameters as they will be stored. Raises InvalidInput naming each field to mend."""
    return dump(parse_form(_kind(form).Params, request.form, stored=stored))


def _stored(schedule: Schedule) -> dict[str, Any]:
    """Return the schedule's parameters for its job type's form: carried over, if they are older and can be."""
    try:
        return job_type(schedule.job_type).carried_over(schedule.params, schedule.job_version)
    except (UnknownJobType, InvalidInput):
        return schedule.params


def _kind(form: ScheduleForm) -> JobType:
    try:
        return job_type(form.text("job_type"))
    except UnknownJobType as error:
        raise InvalidInput({"job_type": str(error)}) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What the editor shows beside the form: what the typed rule will do, or the problem with it.

    `changed` are the fires that saving would win and lose, if a stored schedule is being edited. All are empty for what
    starts at once.
    """

    preview: Preview | None = None
    trouble: Trouble | None = None
    changed: Difference | None = None
    problem: str = ""

    @property
    def spread_crons(self) -> Sequence[str]:
        return self.trouble.spread_crons if self.trouble else ()


def _outlook(form: ScheduleForm, schedule: Schedule | None) -> Outlook:
    if form.when in AT_ONCE:
        return Outlook()
    try:
        return _foreseen(form, schedule)
    except InvalidInput as error:
        return Outlook(problem=" ".join(_told(*each) for each in error.errors.items()))
    except RecurrenceError as error:
        return Outlook(problem=_told(error.field, str(error)))


def _told(name: str, problem: str) -> str:
    """Return a problem as it is told beside the days and times: that of a field farther down begins with its label."""
    return f"{forms.POLICIES[name]}: {problem}" if name in forms.POLICIES else problem


def _foreseen(form: ScheduleForm, schedule: Schedule | None) -> Outlook:
    rule, runs_left = _rule(form, schedule)
    wanted = Wanted(
        schedule_id=form.schedule_id,
        job_type=form.text("job_type"),
        jitter=timedelta(seconds=form.jitter_seconds),
        overlap=form.text("overlap"),
        runs_left=runs_left,
        decided=decided_ahead(schedule, utc_now()) if schedule else (),
        since=rests_until(schedule) if schedule and schedule.paused_until else None,
    )
    longest = longest_run(wanted)
    preview = foresee(rule, wanted, browser_zone(), longest=longest)
    return Outlook(
        preview=preview,
        trouble=find_trouble(rule, preview, wanted, longest),
        changed=difference(schedule, rule, runs_left) if schedule else None,
    )


def _rule(form: ScheduleForm, schedule: Schedule | None) -> tuple[Recurrence, int | None]:
    """Return the typed rule and how often it may run. Raises InvalidInput or RecurrenceError."""
    timing = {**form.timing(), **form.limits(_zone())}
    runs_left = timing.pop("runs_left")
    days_off = calendars.hold(timing.pop("holiday_calendars"))
    every = timing.pop("every_seconds", None)
    zone = timing.pop("timezone") or _zone()
    stored = schedule.anchor if schedule else None
    anchor = timing.pop("anchor") or stored or utc_now().replace(microsecond=0)
    key = str(form.schedule_id)
    rule = Recurrence(**timing, every=every, anchor=anchor, timezone=zone, spread_key=key, days_off=days_off)
    return rule, runs_left


def _zone() -> str:
    zone: str = current_app.config["TIMEZONE"]
    return zone
