"""The pages of blackouts: the list, and the form that says how many fires a window will swallow before it is saved."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, abort, current_app, flash, render_template, request, url_for
from flask.typing import ResponseReturnValue

from dashboard.accounts.access import Action, requires
from dashboard.core.clock import utc_now
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.htmx import form_page, see_other, uncached
from dashboard.core.paging import cursor
from dashboard.core.templating import wall_time
from dashboard.core.typed import TypedForm
from dashboard.schedules import blackouts
from dashboard.schedules.agenda import Swallowed, swallowed
from dashboard.schedules.blackouts import BlackoutDraft
from dashboard.schedules.models import Blackout
from dashboard.schedules.views import local_moment

bp = Blueprint("blackouts", __name__, url_prefix="/calendar/blackouts")

LONGEST_NAME = 100


class BlackoutForm(TypedForm):
    """The form of a blackout as it was typed."""

    __slots__ = ()

    @classmethod
    def of(cls, blackout: Blackout) -> BlackoutForm:
        return cls(
            values={
                "name": blackout.name,
                "start": wall_time(blackout.start_at),
                "end": wall_time(blackout.end_at),
                "rev": str(blackout.rev),
            }
        )

    @property
    def span(self) -> str:
        """What is confirmed: a confirmation counts only for the times for which it was asked."""
        return f"{self.values.get('start', '')} {self.values.get('end', '')}"

    @property
    def is_confirmed(self) -> bool:
        return self.values.get("confirmed") == self.span

    def draft(self, stored: Blackout | None = None) -> BlackoutDraft:
        """Return what was typed, over what is `stored`. Raises InvalidInput with the times that cannot be read."""
        start = local_moment(self.text("start"), stored.start_at if stored else None)
        end = local_moment(self.text("end"), stored.end_at if stored else None)
        if start is None or end is None:
            unread = {"start": start is None, "end": end is None}
            raise InvalidInput({name: "Give a date and a time." for name, wrong in unread.items() if wrong})
        name = self.text("name")[:LONGEST_NAME]
        return BlackoutDraft(name=name, start_at=start, end_at=end)


@bp.get("")
@requires(Action.VIEW)
def index() -> ResponseReturnValue:
    """The blackouts that go on, lie ahead, or are over."""
    now = utc_now()
    after = cursor(request.args.get("after"))
    context = {"ahead": blackouts.page_ahead(now, after), "past": () if after else blackouts.past(now)}
    page = render_template("blackouts/index.html", now=now, is_first=after is None, **context)
    return uncached(current_app.make_response(page))


@bp.get("/new")
@requires(Action.EDIT_SCHEDULE)
def new() -> ResponseReturnValue:
    """The form of a new blackout."""
    return _form(BlackoutForm(values={"start": request.args.get("start", ""), "end": request.args.get("end", "")}))


@bp.post("")
@requires(Action.EDIT_SCHEDULE)
def create() -> ResponseReturnValue:
    """Say what a new blackout will swallow; once that is confirmed, save it."""
    form = BlackoutForm(values=dict(request.form.items()))
    try:
        draft = form.draft()
        blackouts.check(draft, utc_now())
        if not form.is_confirmed:
            return _form(form, found=swallowed(draft.start_at, draft.end_at))
        blackouts.create(draft)
    except InvalidInput as error:
        return _form(form, errors=error.errors)
    flash(f"“{draft.name}” is set: nothing is planned in it.", "ok")
    return see_other(url_for("blackouts.index"))


@bp.get("/<uuid:blackout_id>")
@requires(Action.EDIT_SCHEDULE)
def edit(blackout_id: UUID) -> ResponseReturnValue:
    """The form of a stored blackout."""
    blackout = blackouts.get(blackout_id) or abort(404)
    return _form(BlackoutForm.of(blackout), blackout=blackout)


@bp.post("/<uuid:blackout_id>")
@requires(Action.EDIT_SCHEDULE)
def update(blackout_id: UUID) -> ResponseReturnValue:
    """Say what the changed blackout will swallow; once that is confirmed, save it."""
    blackout = blackouts.get(blackout_id) or abort(404)
    form = BlackoutForm(values=dict(request.form.items()))
    try:
        draft = form.draft(blackout)
        blackouts.check(draft, utc_now())
        if not form.is_confirmed:
            return _form(form, blackout=blackout, found=swallowed(draft.start_at, draft.end_at))
        blackouts.update(blackout, draft, rev=form.rev)
    except InvalidInput as error:
        return _form(form, blackout=blackout, errors=error.errors)
    except Refused as error:
        form.values["rev"] = str(blackout.rev)
        return _form(form, blackout=blackout, errors={"": str(error)}, status=409)
    flash(f"“{draft.name}” is saved.", "ok")
    return see_other(url_for("blackouts.index"))


@bp.post("/<uuid:blackout_id>/cancellations")
@requires(Action.EDIT_SCHEDULE)
def cancel(blackout_id: UUID) -> ResponseReturnValue:
    """End a blackout, or take it away before it begins."""
    blackout = blackouts.get(blackout_id) or abort(404)
    name = blackout.name
    try:
        blackouts.cancel(blackout)
        flash(f"“{name}” is cancelled: what is due from now on runs.", "ok")
    except Refused as refusal:
        flash(str(refusal), "warn")
    return see_other(url_for("blackouts.index"))


def _form(
    form: BlackoutForm,
    *,
    blackout: Blackout | None = None,
    errors: dict[str, str] | None = None,
    found: Swallowed | None = None,
    status: int | None = None,
) -> ResponseReturnValue:
    form.errors = errors or {}
    context = {"form": form, "blackout": blackout, "found": found}
    return form_page("blackouts/form.html", errors=form.errors, status=status, **context)
