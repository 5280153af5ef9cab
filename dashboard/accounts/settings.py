"""The pages by which admins run their tenant: its settings and its members."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import sqlalchemy as sa
from flask import Blueprint, flash, render_template, request, url_for
from flask.typing import ResponseReturnValue

from dashboard.accounts import actions, board, invitations, signing_in
from dashboard.accounts.access import Action, Role, requires
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.htmx import see_other
from dashboard.core.orm import db
from dashboard.core.tenancy import current_tenant
from dashboard.extensions import limiter
from dashboard.tenants.actions import reset_option, set_option
from dashboard.tenants.forms import Changes, SettingsForm, reset_with
from dashboard.tenants.models import TenantSetting
from dashboard.tenants.options import option_for

PASSWORD = "current_password"  # noqa: S105 - the name of a field

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
    _apply(Changes(values={}, resets=reset_with(option.key)))
    flash(f"{option.label} follows the default again.", "ok")
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
