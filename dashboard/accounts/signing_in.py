"""Decide who is acting: check passwords, load the person of a session or of a task, and remember known browsers.

The one module that talks to Flask-Login. Its own session keys and remember cookie are not used.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import sqlalchemy as sa
import structlog
from flask import Flask, Request, abort, current_app, g, redirect, request, url_for
from flask_login import current_user
from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as BaseResponse

from dashboard.accounts import passwords, sessions
from dashboard.accounts.actions import set_password, user_by_email
from dashboard.accounts.models import Credential, Membership, User
from dashboard.accounts.sessions import SignedInUser, current_browser, current_sign_in
from dashboard.audit.actions import name_actor
from dashboard.core.errors import InvalidInput
from dashboard.core.htmx import is_htmx
from dashboard.core.orm import system_scope, tenant_session
from dashboard.core.tenancy import Actor, act_as, current_binding
from dashboard.core.zones import register_own_zone
from dashboard.extensions import login_manager

WRONG = "The email address or the password is wrong."
"""The same words whether the address is unknown, the password wrong, or the person disabled."""

PER_ADDRESS = "20 per minute; 200 per hour"
PER_ACCOUNT = "5 per minute; 30 per hour"
"""Wrong passwords, per sending address and per account: too few to guess with, enough for people who mistype."""

FORMER_MEMBER = "Former member"
"""What pages and jobs call a person who did something and has left since."""

MAX_EMAIL_LENGTH = 254
KNOWN_BROWSER_FOR = timedelta(days=365)
MAX_KNOWN_ACCOUNTS = 5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nobody:
    """Who acts where no person does: a visitor, a schedule, the system, or somebody who has left."""

    name: str = ""
    email: str = ""
    timezone: str = ""
    id: None = None
    is_platform_owner: bool = False
    is_authenticated: bool = False
    is_active: bool = False
    is_anonymous: bool = True

    def get_id(self) -> None:
        return None


def sign_in(email: str, password: str) -> SignedInUser:
    """Sign this browser in and return the person. Raises InvalidInput, as slowly for strangers as for everybody."""
    with system_scope("sign-in") as session:
        user = user_by_email(session, email)
        if not _is_password_of(session, user, password) or user is None or user.disabled_at:
            raise InvalidInput({"": WRONG})
        sessions.begin(session, user)
    log.info("signed_in", user_id=str(user.id))
    return SignedInUser.of(user)


def sign_out() -> None:
    """End this browser's session."""
    with system_scope("sign-out") as session:
        sessions.end(session)


def confirm_password(password: str) -> None:
    """Count the person as present for a while. Raises InvalidInput if this is not their password."""
    with system_scope("sign-in") as session:
        if not _is_password_of(session, session.get(User, current_user.id), password):
            raise InvalidInput({"password": "This is not your password."})
        sessions.confirm(session)


def change_password(current: str, password: str) -> None:
    """Change the person's password: every session of theirs ends, and this browser gets a new one.

    Raises InvalidInput for `current` if it is not their password, and for `password` if it will not do.
    """
    with system_scope("sign-in") as session:
        user = session.get_one(User, current_user.id)
        if not _is_password_of(session, user, current):
            raise InvalidInput({"current": "This is not your password."})
        set_password(session, user, password)
        sessions.begin(session, user)


def is_fresh() -> bool:
    """Whether the person at this browser gave their password within the last minutes."""
    known = current_sign_in()
    return known is not None and known.is_fresh


def _is_password_of(session: Session, user: User | None, password: str) -> bool:
    credential = session.get(Credential, user.id) if user else None
    if not passwords.matches(credential.password_hash if credential else None, password):
        g.password_was_wrong = True
        return False
    if credential and passwords.is_outdated(credential.password_hash):
        # Not through the model: `changed_at` tells when the person changed it.
        rehashed = {"password_hash": passwords.hash_password(password), "changed_at": Credential.changed_at}
        session.execute(sa.update(Credential).where(Credential.user_id == credential.user_id).values(rehashed))
    return True


def user_for(actor: Actor) -> SignedInUser | Nobody:
    """Return who acts in the bound tenant: a member as themselves, anybody and anything else as a named nobody."""
    if actor.kind != "user":
        return Nobody(name="Schedule" if actor.kind == "schedule" else "System")
    with tenant_session() as session:
        user = session.scalar(
            sa.select(User).join(Membership, Membership.user_id == User.id).where(User.id == actor.id)
        )
    if user is None or user.disabled_at:
        return Nobody(name=FORMER_MEMBER)
    return SignedInUser.of(user)


def was_wrong(_: object) -> bool:
    """Whether this request brought a wrong password: only those count towards the limits."""
    return bool(g.get("password_was_wrong"))


def typed_email() -> str:
    """Return the address in the sign-in form, as it is looked up: guesses at one account are counted as one."""
    return request.form.get("email", "").strip()[:MAX_EMAIL_LENGTH]


def own_account_key() -> str:
    """Return what a signed-in person's attempts are counted by."""
    return f"user {current_user.id}"


def account_key() -> str:
    """Return what attempts on one account are counted by.

    A browser that signed in to the account before has a count of its own, so that nobody who guesses from elsewhere
    can keep its owner out (OWASP: device cookies).
    """
    mark = _mark(typed_email())
    browser, accounts = _known_browser()
    return f"{mark}:{browser}" if mark in accounts else mark


def remember_browser(response: BaseResponse, email: str) -> None:
    """Leave the mark by which `account_key` knows this browser again; it opens nothing."""
    browser, accounts = _known_browser()
    mark = _mark(email)
    accounts = [mark, *(other for other in accounts if other != mark)][:MAX_KNOWN_ACCOUNTS]
    response.set_cookie(
        _known_cookie(),
        str(_known_signer().dumps([browser or secrets.token_urlsafe(9), accounts])),
        max_age=KNOWN_BROWSER_FOR,
        path="/",
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
    )


def _known_browser() -> tuple[str, list[str]]:
    try:
        browser, accounts = _known_signer().loads(request.cookies.get(_known_cookie(), ""))
    except BadSignature:
        return "", []
    return browser, accounts


def _known_signer() -> URLSafeSerializer:
    return URLSafeSerializer(cast(str, current_app.secret_key), salt="stationmaster known browser")


def _known_cookie() -> str:
    return "__Host-stationmaster-known" if request.is_secure else "stationmaster-known"


def _mark(email: str) -> str:
    return hashlib.sha256(email.strip().lower().encode()).hexdigest()[:24]


def init_app(app: Flask) -> None:
    """Load `current_user`, act as them inside a tenant, and lead strangers to the sign-in page."""
    sessions.init_app(app)
    login_manager.session_protection = None  # our own session decides
    login_manager.anonymous_user = Nobody
    login_manager.request_loader(_load_user)
    login_manager.unauthorized_handler(_ask_to_sign_in)
    login_manager.init_app(app)
    app.before_request(_act_as_person)
    register_own_zone(app, _own_zone)


def _load_user(_: Request) -> SignedInUser | Nobody | None:
    if current_browser() is not None:
        known = current_sign_in()
        return known.user if known else None
    binding = current_binding()
    return user_for(binding.actor) if binding else None


def _act_as_person() -> None:
    if not current_user.is_authenticated:
        return
    actor = Actor(kind="user", id=current_user.id)
    name_actor(actor, current_user.name)
    if current_binding() is not None:
        act_as(actor)


def _own_zone() -> str:
    zone: str = current_user.timezone
    return zone


def _ask_to_sign_in() -> BaseResponse:
    """Lead to the sign-in page and back; htmx is told 401, or it would swap that page into a panel."""
    if is_htmx(request):
        abort(401)
    here = request.script_root + request.full_path.rstrip("?")
    return redirect(url_for("sessions.new", next=here if request.method == "GET" else None), 303)
