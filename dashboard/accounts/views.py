"""The pages of a person: sign-in and sign-out, their sessions and password, and the choice of a tenant."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy.orm import Session

from dashboard.accounts import actions, board, invitations, sessions, signing_in
from dashboard.accounts.access import public, signed_in
from dashboard.accounts.sessions import SignedInUser
from dashboard.core.clock import zone_names
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.htmx import see_other
from dashboard.core.orm import system_scope
from dashboard.core.security import safe_next
from dashboard.core.tenancy import current_binding
from dashboard.core.zones import browser_choice
from dashboard.extensions import limiter

NO_ZONE = ("", "Each organisation’s own")
"""What a person chooses who wants no zone of their own."""

bp = Blueprint("sessions", __name__)
chooser = Blueprint("chooser", __name__)


@bp.get("/sign-in")
@public
def new() -> ResponseReturnValue:
    """The sign-in form; who is signed in already may go on or sign out."""
    return render_template("sessions/new.html", next=_next(), email="", errors={}, home=_home())


@bp.post("/sign-in")
@limiter.limit(signing_in.PER_ADDRESS, deduct_when=signing_in.was_wrong)
@limiter.limit(signing_in.PER_ACCOUNT, key_func=signing_in.account_key, deduct_when=signing_in.was_wrong)
@public
def create() -> ResponseReturnValue:
    """Sign in, and go on to where the person wanted to."""
    email = signing_in.typed_email()
    try:
        user = signing_in.sign_in(email, request.form.get("password", ""))
    except InvalidInput as error:
        page = render_template("sessions/new.html", next=_next(), email=email, errors=error.errors, home=_home())
        return page, 422
    response = redirect(_next() or _home(), 303)
    signing_in.remember_browser(response, user.email)
    return response


@bp.post("/sign-out")
@public
def destroy() -> ResponseReturnValue:
    """End this session."""
    signing_in.sign_out()
    flash("You are signed out.", "ok")
    return see_other(url_for("sessions.new"))


@bp.get("/sessions")
@signed_in
def index() -> ResponseReturnValue:
    """Where the person is signed in, their password, and their time zone."""
    return _account_page({}, timezone=current_user.timezone)


@bp.post("/sessions/<uuid:session_id>/removals")
@signed_in
def revoke(session_id: UUID) -> ResponseReturnValue:
    """End one of the person's own sessions."""
    with system_scope("own sessions") as session:
        if not sessions.end_others(session, current_user.id, only=session_id):
            abort(404)
    flash("Signed out there.", "ok")
    return see_other(url_for("sessions.index"))


@bp.post("/sessions/removals")
@signed_in
def revoke_all() -> ResponseReturnValue:
    """End all of the person's sessions, this one too."""
    with system_scope("own sessions") as session:
        sessions.end_others(session, current_user.id)
        sessions.end(session)
    flash("You are signed out everywhere.", "ok")
    return see_other(url_for("sessions.new"))


@bp.post("/password")
@limiter.limit(signing_in.PER_ACCOUNT, key_func=signing_in.own_account_key, deduct_when=signing_in.was_wrong)
@signed_in
def change_password() -> ResponseReturnValue:
    """Change the person's password, which ends every session but this one."""
    try:
        signing_in.change_password(request.form.get("current", ""), request.form.get("password", ""))
    except InvalidInput as error:
        return _account_page(error.errors, timezone=current_user.timezone), 422
    flash("Your password is changed, and you are signed out everywhere else.", "ok")
    return see_other(url_for("sessions.index"))


@bp.post("/time-zone")
@signed_in
def change_timezone() -> ResponseReturnValue:
    """Keep the zone that the person wants times in, wherever they sign in."""
    zone = request.form.get("timezone", "")
    try:
        with system_scope("own time zone") as session:
            actions.set_timezone(session, current_user.id, zone)
    except InvalidInput as error:
        return _account_page(error.errors, timezone=zone), 422
    flash(_saved_words(), "ok")
    return see_other(url_for("sessions.index"))


@bp.get("/confirm-password")
@signed_in
def confirm() -> ResponseReturnValue:
    """Ask for the password again before something that matters."""
    return render_template("sessions/confirm.html", next=_next(), errors={})


@bp.post("/confirm-password")
@limiter.limit(signing_in.PER_ACCOUNT, key_func=signing_in.own_account_key, deduct_when=signing_in.was_wrong)
@signed_in
def confirmed() -> ResponseReturnValue:
    """Take the password, and go back."""
    try:
        signing_in.confirm_password(request.form.get("password", ""))
    except InvalidInput as error:
        return render_template("sessions/confirm.html", next=_next(), errors=error.errors), 422
    return redirect(_next() or _home(), 303)


@chooser.get("/tenants", endpoint="index")
@signed_in
def choose() -> ResponseReturnValue:
    """The tenants of the person, on the platform's own pages."""
    if current_binding() is not None:
        abort(404)
    return render_template(
        "chooser/index.html", places=board.places_of(current_user.id), invitations=board.invitations_to(current_user)
    )


@chooser.post("/tenants/invitations/<uuid:invitation_id>/acceptances")
@signed_in
def accept(invitation_id: UUID) -> ResponseReturnValue:
    """Become a member of the tenant that asked."""
    return _answer(invitations.accept, invitation_id, "You are a member now.")


@chooser.post("/tenants/invitations/<uuid:invitation_id>/refusals")
@signed_in
def decline(invitation_id: UUID) -> ResponseReturnValue:
    """Stay out of the tenant that asked."""
    return _answer(invitations.decline, invitation_id, "Declined.")


def _answer(
    act: Callable[[Session, SignedInUser, UUID], None], invitation_id: UUID, message: str
) -> ResponseReturnValue:
    if current_binding() is not None:
        abort(404)
    try:
        with system_scope("tenant chooser") as session:
            act(session, current_user, invitation_id)
    except Refused as refusal:
        flash(str(refusal), "warn")
    else:
        flash(message, "ok")
    return see_other(url_for("chooser.index"))


def _account_page(errors: dict[str, str], *, timezone: str) -> str:
    known = sessions.current_sign_in()
    found = board.sessions_of(current_user.id, known.id if known else None)
    return render_template(
        "sessions/index.html", sessions=found, errors=errors, timezone=timezone, zones=[NO_ZONE, *zone_names()]
    )


def _saved_words() -> str:
    here = browser_choice()
    return f"Saved. In this browser times stay in {here}, as chosen in the menu under your name." if here else "Saved."


def _next() -> str | None:
    return safe_next(current_app, request.args.get("next"))


def _home() -> str:
    return url_for("overview.index" if current_binding() else "chooser.index")
