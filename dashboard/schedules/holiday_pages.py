"""The pages of holiday calendars: the list, the form, and what a country's calendar has next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, current_app, flash, render_template, request, url_for
from flask.typing import ResponseReturnValue

from dashboard.accounts.access import Action, requires
from dashboard.core.clock import utc_now
from dashboard.core.errors import InvalidInput
from dashboard.core.formats import plural
from dashboard.core.htmx import form_page, see_other, uncached
from dashboard.core.typed import TypedForm
from dashboard.schedules import calendars
from dashboard.schedules.calendars import CalendarDraft, Changed
from dashboard.schedules.day_lists import as_text, read_days
from dashboard.schedules.errors import RecurrenceError
from dashboard.schedules.holidays import OwnDays, Place, check_place, countries, days_off, regions, words
from dashboard.schedules.models import HolidayCalendar, Schedule

bp = Blueprint("holidays", __name__, url_prefix="/calendar/holidays")

LISTED = 2
SHOWN = 20
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarRow:
    """A calendar as the list shows it: what it names, its next days off, and how many schedules use it."""

    calendar: HolidayCalendar
    words: str
    upcoming: Sequence[OwnDays]
    uses: int


class CalendarForm(TypedForm):
    """The form of a holiday calendar as it was typed."""

    __slots__ = ()

    @classmethod
    def of(cls, calendar: HolidayCalendar) -> CalendarForm:
        country, _, region = calendar.place.partition("-")
        days = as_text(calendar.days)
        rev = str(calendar.rev)
        return cls(values={"name": calendar.name, "country": country, "region": region, "days": days, "rev": rev})

    def draft(self) -> CalendarDraft:
        """Return what was typed. Raises InvalidInput with every field that cannot be read."""
        errors: dict[str, str] = {}
        place = "-".join(part for part in (self.text("country"), self.text("region")) if part)
        days: list[OwnDays] = []
        try:
            if place:
                check_place(place)
        except RecurrenceError as error:
            errors["region" if self.text("region") else "country"] = str(error)
        try:
            days = read_days(self.values.get("days", ""))
        except InvalidInput as error:
            errors.update(error.errors)
        if errors:
            raise InvalidInput(errors)
        return CalendarDraft(name=self.text("name")[:LONGEST_NAME], place=place, days=days)


@bp.get("")
@requires(Action.VIEW)
def index() -> ResponseReturnValue:
    """The tenant's calendars."""
    uses = calendars.use_counts()
    rows = [
        CalendarRow(
            calendar=calendar,
            words=words(calendar.days_off),
            upcoming=_upcoming(calendar.days_off)[:LISTED],
            uses=uses.get(calendar.id, 0),
        )
        for calendar in calendars.all_calendars()
    ]
    return uncached(current_app.make_response(render_template("holidays/index.html", rows=rows)))


@bp.get("/new")
@requires(Action.EDIT_SCHEDULE)
def new() -> ResponseReturnValue:
    """The form of a new calendar."""
    return _form(CalendarForm(values={}))


@bp.get("/regions")
@requires(Action.EDIT_SCHEDULE)
def list_regions() -> ResponseReturnValue:
    """The regions and the next holidays of the country that is chosen in the form."""
    form = CalendarForm(values=dict(request.args.items()))
    page = render_template("holidays/_place.html", **_place_of(form))
    return uncached(current_app.make_response(page))


@bp.post("")
@requires(Action.EDIT_SCHEDULE)
def create() -> ResponseReturnValue:
    """Save a new calendar; a form with mistakes comes back as it was typed."""
    form = CalendarForm(values=dict(request.form.items()))
    try:
        calendar = calendars.create(form.draft())
    except InvalidInput as error:
        return _form(form, errors=error.errors)
    flash(f"“{calendar.name}” is there. Schedules name it under More in their editor.", "ok")
    return see_other(url_for("holidays.show", calendar_id=calendar.id))


@bp.get("/<uuid:calendar_id>")
@requires(Action.VIEW)
def show(calendar_id: UUID) -> ResponseReturnValue:
    """One calendar: its form, its next days off, and who uses it."""
    calendar = calendars.get(calendar_id) or abort(404)
    return _form(CalendarForm.of(calendar), calendar=calendar)


@bp.post("/<uuid:calendar_id>")
@requires(Action.EDIT_SCHEDULE)
def update(calendar_id: UUID) -> ResponseReturnValue:
    """Save changes; the schedules that use it follow."""
    calendar = calendars.get(calendar_id) or abort(404)
    form = CalendarForm(values=dict(request.form.items()))
    try:
        moved = calendars.update(calendar, form.draft(), rev=form.rev)
    except InvalidInput as error:
        return _form(form, calendar=calendar, errors=error.errors)
    except Changed as error:
        form.values["rev"] = str(calendar.rev)
        return _form(form, calendar=calendar, errors={"": str(error)}, status=409)
    follow = f" {plural(moved, 'schedule')} now {'follows' if moved == 1 else 'follow'} it." if moved else ""
    flash(f"Calendar saved.{follow}", "ok")
    return see_other(url_for("holidays.show", calendar_id=calendar_id))


@bp.post("/<uuid:calendar_id>/removals")
@requires(Action.EDIT_SCHEDULE)
def remove(calendar_id: UUID) -> ResponseReturnValue:
    """Take a calendar away."""
    calendar = calendars.get(calendar_id) or abort(404)
    name = calendar.name
    moved = calendars.delete(calendar)
    leave = "leaves" if moved == 1 else "leave"
    again = f" {plural(moved, 'schedule')} no longer {leave} its days out." if moved else ""
    flash(f"Took “{name}” away.{again}", "ok")
    return see_other(url_for("holidays.index"))


def _form(
    form: CalendarForm,
    *,
    calendar: HolidayCalendar | None = None,
    errors: dict[str, str] | None = None,
    status: int | None = None,
) -> ResponseReturnValue:
    form.errors = errors or {}
    users: Sequence[Schedule] = calendars.users_of(calendar) if calendar else ()
    context = {"form": form, "calendar": calendar, "users": users, "countries": countries(), **_place_of(form)}
    return form_page("holidays/show.html", errors=form.errors, status=status, **context)


def _place_of(form: CalendarForm) -> Mapping[str, object]:
    """Return what the form shows of the chosen country: its regions, the chosen one, and the next days off."""
    known: list[Place] = regions(form.text("country"))
    region = form.text("region") if form.text("region") in [each.code for each in known] else ""
    place = "-".join(part for part in (form.text("country"), region) if part)
    try:
        days = [str(each) for each in read_days(form.values.get("days", ""))]
        upcoming = _upcoming([place, *days] if place else days)[:SHOWN]
    except (InvalidInput, RecurrenceError):
        upcoming = []
    error = form.errors.get("region")
    return {"regions": known, "region": region, "region_error": error, "upcoming": upcoming}


def _upcoming(lines: Sequence[str]) -> list[OwnDays]:
    today = utc_now().astimezone(ZoneInfo(current_app.config["TIMEZONE"])).date()
    return days_off(tuple(lines)).upcoming(today)
