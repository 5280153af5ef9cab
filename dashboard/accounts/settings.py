"""The pages by which admins run their tenant: its settings and its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

import sqlalchemy as sa
from flask import Blueprint, abort, current_app, flash, render_template, request, url_for
from flask.typing import ResponseReturnValue

from dashboard.accounts import actions, board, invitations, signing_in
from dashboard.accounts.access import Action, Role, requires
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.formats import plural
from dashboard.core.htmx import see_other, uncached
from dashboard.core.orm import db
from dashboard.core.tenancy import current_tenant
from dashboard.extensions import limiter
from dashboard.tenants.actions import Move, foreseen_moves, reset_option, set_option
from dashboard.tenants.forms import Changes, SettingsForm, reset_with
from dashboard.tenants.models import TenantSetting
from dashboard.tenants.options import option_for

PASSWORD = "current_password"  # noqa: S105 - the name of a field

ZONE = "TIMEZONE"
"""The setting that schedules follow: whoever changes it is shown first which of them move."""

bp = Blueprint("settings", __name__, url_prefix="/settings")


@bp.get("")
@requires(Action.EDIT_SETTINGS)
def index() -> ResponseReturnValue:
    """The settings, the members, and the roots."""
    return _page(_form())


@bp.post("")
@limiter.limit(signing_in.PER_ACCOUNT, key_func=signing_in.own_account_key, deduct_when=signing_in.was_wrong)
@requires(Action.EDIT_SETTINGS)
def update() -> ResponseReturnValue:
    """Save what changed; a mail server only for somebody who just gave their password."""
    form = _form(typed=request.form)
    try:
        changes = form.changes()
        _confirm(changes)
    except InvalidInput as error:
        return _page(_form(typed=request.form, errors=error.errors)), 422
    if ZONE in changes.values and _moves(changes.values[ZONE]):
        return _ask_about_zone(changes)
    _apply(changes)
    flash("Saved." if changes.keys else "Nothing was changed.", "ok" if changes.keys else "info")
    return see_other(url_for("settings.index"))


@bp.post("/resets")
@requires(Action.EDIT_SETTINGS)
def reset() -> ResponseReturnValue:
    """Let one setting follow the default again."""
    option = option_for(request.form.get("reset", ""))
    if option.guarded and not signing_in.is_fresh():
        return _ask_for_password()
    if option.key == ZONE and _moves(None):
        return see_other(url_for("settings.new_zone"))
    _apply(Changes(values={}, resets=reset_with(option.key)))
    flash(f"{option.label} follows the default again.", "ok")
    return see_other(url_for("settings.index"))


@bp.get("/zones/new")
@requires(Action.EDIT_SETTINGS)
def new_zone() -> ResponseReturnValue:
    """Show which schedules move if the organisation goes to the time zone `to` (absent: the default), and ask."""
    to = request.args.get("to")
    try:
        moves = _moves(to)
    except InvalidInput as error:
        abort(404, " ".join(error.errors.values()))
    page = render_template(
        "settings/new_zone.html",
        to=to,
        zone=to or option_for(ZONE).default,
        current=current_tenant().values[ZONE],
        moves=moves,
    )
    return uncached(current_app.make_response(page))


@bp.post("/zones")
@requires(Action.EDIT_SETTINGS)
def create_zone() -> ResponseReturnValue:
    """Go to another time zone; the schedules without one of their own follow."""
    to = request.form.get("to")
    try:
        moved = len(_moves(to))
        _apply(Changes(values={ZONE: to} if to else {}, resets=() if to else (ZONE,)))
    except InvalidInput as error:
        abort(404, " ".join(error.errors.values()))
    flash(f"The time zone is {to or option_for(ZONE).default} now. {plural(moved, 'schedule')} moved.", "ok")
    return see_other(url_for("settings.index"))


@bp.post("/invitations")
@limiter.limit(invitations.PER_ADMIN, key_func=signing_in.own_account_key)
@requires(Action.EDIT_MEMBERS)
def invite() -> ResponseReturnValue:
    """Ask a person to become a member; the answer is the same whether anybody signs in with the address."""
    if not signing_in.is_fresh():
        return _ask_for_password()
    typed = {"email": request.form.get("email", ""), "role": request.form.get("role", "")}
    try:
        invitations.invite(db.session(), current_tenant().id, typed["email"], typed["role"])
    except InvalidInput as error:
        return _page(_form(), invited=typed, invite_errors=error.errors), 422
    return _saved("Invited. Whoever signs in with this address is asked under “Your organisations”.")


@bp.post("/invitations/<uuid:invitation_id>/withdrawals")
@requires(Action.EDIT_MEMBERS)
def withdraw(invitation_id: UUID) -> ResponseReturnValue:
    """Take an invitation back."""
    if not signing_in.is_fresh():
        return _ask_for_password()
    try:
        invitations.withdraw(db.session(), current_tenant().id, invitation_id)
    except Refused as refusal:
        return _refused(refusal)
    return _saved("The invitation is withdrawn.")


@bp.post("/members/<uuid:user_id>")
@requires(Action.EDIT_MEMBERS)
def change_member(user_id: UUID) -> ResponseReturnValue:
    """Give a member another role; it counts from their next request."""
    if not signing_in.is_fresh():
        return _ask_for_password()
    try:
        actions.change_role(db.session(), current_tenant().id, user_id, request.form.get("role", ""))
    except Refused as refusal:
        return _refused(refusal)
    return _saved("The role is changed.")


@bp.post("/members/<uuid:user_id>/removals")
@requires(Action.EDIT_MEMBERS)
def remove_member(user_id: UUID) -> ResponseReturnValue:
    """End a membership; the person is out at their next request."""
    if not signing_in.is_fresh():
        return _ask_for_password()
    try:
        actions.remove_member(db.session(), current_tenant().id, user_id)
    except Refused as refusal:
        return _refused(refusal)
    return _saved("The person is no member any more.")


def _form(typed: Mapping[str, str] | None = None, errors: Mapping[str, str] | None = None) -> SettingsForm:
    own = {setting.key: setting for setting in db.session.scalars(sa.select(TenantSetting))}
    return SettingsForm(own=own, effective=current_tenant().values, typed=typed or {}, errors=errors or {})


def _page(
    form: SettingsForm, *, invited: Mapping[str, str] | None = None, invite_errors: Mapping[str, str] | None = None
) -> str:
    return render_template(
        "settings/index.html",
        groups=form.groups(),
        errors=form.errors,
        members=board.members(),
        invitations=invitations.open_invitations(db.session(), current_tenant().id),
        invited=invited or {"email": "", "role": Role.VIEWER.value},
        invite_errors=invite_errors or {},
        roles=list(Role),
        roots=current_tenant().roots,
        is_fresh=signing_in.is_fresh(),
    )


def _confirm(changes: Changes) -> None:
    """Let guarded settings through only with the password, given just now or along with them."""
    if signing_in.is_fresh() or not any(option_for(key).guarded for key in changes.keys):
        return
    try:
        signing_in.confirm_password(request.form.get(PASSWORD, ""))
    except InvalidInput:
        raise InvalidInput({PASSWORD: "To change the mail server, enter your own password here."}) from None


def _moves(zone: str | None) -> Sequence[Move]:
    """Return the next fires that another time zone would move (None: the default). Raises InvalidInput."""
    return foreseen_moves(db.session(), current_tenant().id, ZONE, zone or None)


def _ask_about_zone(changes: Changes) -> ResponseReturnValue:
    """Save all but the time zone, which moves schedules, and lead to the page that shows them."""
    zone = changes.values[ZONE]
    others = replace(changes, values={key: value for key, value in changes.values.items() if key != ZONE})
    _apply(others)
    if others.keys:
        flash("Saved all but the time zone.", "ok")
    return see_other(url_for("settings.new_zone", to=zone))


def _apply(changes: Changes) -> None:
    tenant_id = current_tenant().id
    for key, value in changes.values.items():
        set_option(db.session(), tenant_id, key, value)
    for key in changes.resets:
        reset_option(db.session(), tenant_id, key)
    db.session.commit()


def _saved(message: str) -> ResponseReturnValue:
    db.session.commit()
    flash(message, "ok")
    return see_other(url_for("settings.index", _anchor="members"))


def _refused(refusal: Refused) -> ResponseReturnValue:
    flash(str(refusal), "warn")
    return see_other(url_for("settings.index", _anchor="members"))


def _ask_for_password() -> ResponseReturnValue:
    flash("Enter your password first, then do it again.", "info")
    return see_other(url_for("sessions.confirm", next=url_for("settings.index")))
