"""Keep a signed-in browser's session in PostgreSQL, and a visitor's in a signed cookie.

Why a visitor has none in the database: docs/adr/0003-sessions-of-people-and-of-visitors.md.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import UUID

import sqlalchemy as sa
import structlog
from flask import Flask, Request, Response, current_app, request, session
from flask.json.tag import TaggedJSONSerializer
from flask.sessions import SecureCookieSession, SessionInterface
from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from werkzeug.exceptions import ServiceUnavailable

from dashboard.accounts.models import Membership, User, WebSession
from dashboard.core.clock import database_now, utc_now
from dashboard.core.mounting import KNOWN_HOST
from dashboard.core.orm import system_scope
from dashboard.tenants.models import TenantRoot

FRESH_FOR = timedelta(minutes=15)
"""How long a password that was just given stands for the person being at the keyboard."""

SEEN_EVERY = timedelta(minutes=5)
"""How precisely we know when a session was last used: one write in this time, not one per request."""

VISITOR_LIFETIME_SECONDS = 24 * 60 * 60
MAX_AGENT_LENGTH = 300

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedInUser:
    """The person behind a session, as Flask-Login wants them; a snapshot of their row.

    `timezone` is the zone they want times in; empty for each tenant's.
    """

    id: UUID
    email: str
    name: str
    timezone: str = ""
    is_platform_owner: bool = False
    is_authenticated: bool = True
    is_active: bool = True
    is_anonymous: bool = False

    @classmethod
    def of(cls, user: User) -> SignedInUser:
        return cls(
            id=user.id,
            email=user.email,
            name=user.name,
            timezone=user.timezone or "",
            is_platform_owner=user.is_platform_owner,
        )

    def get_id(self) -> str:
        return str(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """A person's session as the database has it; `token` is what the cookie holds."""

    id: UUID
    token: str
    user: SignedInUser
    confirmed_at: datetime
    seen_at: datetime

    @property
    def is_fresh(self) -> bool:
        """Whether the person gave their password a short while ago."""
        return utc_now() - self.confirmed_at < FRESH_FOR


class BrowserSession(SecureCookieSession):
    """Flask's `session`: of a person if `sign_in` is there, else of a visitor; nothing is kept without a `host`."""

    def __init__(self, data: dict[str, Any] | None = None, *, host: str = "", sign_in: SignIn | None = None) -> None:
        super().__init__(data)
        self.host = host
        self.sign_in = sign_in
        self.is_new = False
        self.is_unavailable = False


def current_browser() -> BrowserSession | None:
    """Return this request's session, or None in a rebuilt context, which has a plain one of its own."""
    current = session._get_current_object()  # type: ignore[attr-defined]
    return current if isinstance(current, BrowserSession) else None


def current_sign_in() -> SignIn | None:
    """Return the signed-in person's session, or None for a visitor."""
    browser = current_browser()
    return None if browser is None else browser.sign_in  # a session without data is falsy, and yet somebody's


def begin(system: Session, user: User) -> None:
    """Sign the browser in: a new token, so that one planted before is worth nothing, and an empty session."""
    browser = _this_browser()
    end(system)
    now = database_now(system)
    token = secrets.token_urlsafe(32)
    row = WebSession(
        token_hash=_hash(token),
        host=browser.host,
        user_id=user.id,
        data={},
        signed_in_at=now,
        seen_at=now,
        expires_at=now + current_app.permanent_session_lifetime,
        address=request.remote_addr or "",
        user_agent=request.user_agent.string[:MAX_AGENT_LENGTH],
    )
    system.add(row)
    system.flush()
    system.execute(sa.delete(WebSession).where(WebSession.expires_at < now))
    browser.sign_in = SignIn(id=row.id, token=token, user=SignedInUser.of(user), confirmed_at=now, seen_at=now)
    browser.is_new = True


def end(system: Session) -> None:
    """Sign the browser out: its row is gone, so the token in its cookie opens nothing any more."""
    browser = _this_browser()
    if browser.sign_in:
        system.execute(sa.delete(WebSession).where(WebSession.id == browser.sign_in.id))
    browser.clear()
    browser.sign_in = None


def end_others(system: Session, user_id: UUID, *, but: UUID | None = None, only: UUID | None = None) -> int:
    """End a person's sessions everywhere, `but` one or `only` one of them, and return how many there were."""
    conditions = [WebSession.user_id == user_id]
    if but is not None:
        conditions.append(WebSession.id != but)
    if only is not None:
        conditions.append(WebSession.id == only)
    ended = system.execute(sa.delete(WebSession).where(*conditions).returning(WebSession.id))
    return len(ended.all())


def end_where_suspended(system: Session, tenant_id: UUID) -> None:
    """End the sessions that a tenant's suspension leaves without use, in its transaction.

    At hosts that are the tenant's alone these are all; at hosts it shares, those of people who belong nowhere else.
    """
    platform = urlsplit(current_app.config["PLATFORM_ROOT"]).hostname
    own = sa.select(TenantRoot.host).where(TenantRoot.tenant_id == tenant_id)
    others = sa.select(TenantRoot.host).where(TenantRoot.tenant_id != tenant_id)
    members = sa.select(Membership.user_id).where(Membership.tenant_id == tenant_id)
    elsewhere = sa.select(Membership.user_id).where(Membership.tenant_id != tenant_id)
    staff = sa.select(User.id).where(User.is_platform_owner)
    user, host = WebSession.user_id, WebSession.host
    is_alone = sa.and_(host != platform, host.not_in(others))
    belongs_here = sa.and_(user.in_(members), user.not_in(elsewhere), user.not_in(staff))
    system.execute(sa.delete(WebSession).where(host.in_(own), sa.or_(is_alone, belongs_here)))


def confirm(system: Session) -> None:
    """Note that the person just gave their password again."""
    browser = _this_browser()
    if browser.sign_in:
        now = database_now(system)
        system.execute(sa.update(WebSession).where(WebSession.id == browser.sign_in.id).values(signed_in_at=now))
        browser.sign_in = replace(browser.sign_in, confirmed_at=now)


class BrowserSessions(SessionInterface):
    """Opens and saves sessions. A cookie is worth something only on the host that set it."""

    def open_session(self, app: Flask, request: Request) -> BrowserSession:
        """Return the session of the request; where the database is away, one that says so."""
        host = request.environ.get(KNOWN_HOST, "")
        token = request.cookies.get(_cookie("session", request), "")
        try:
            known = _find(token, host) if host and token else None
        except SQLAlchemyError:
            log.warning("session_lookup_failed", exc_info=True)
            unavailable = BrowserSession()
            unavailable.is_unavailable = True
            return unavailable
        return BrowserSession(_read_visitor(app, request, host), host=host) if known is None else known

    def save_session(self, app: Flask, session: Any, response: Response) -> None:
        """Write what changed, and set or delete the cookies."""
        if not isinstance(session, BrowserSession) or not session.host:
            return
        if session.accessed:
            response.vary.add("Cookie")
        if session.sign_in:
            response.headers.setdefault("Cache-Control", "private, no-store")
            self._save_person(app, session, session.sign_in, response)
            self._drop("visitor", response)
        else:
            self._save_visitor(app, session, response)
            self._drop("session", response)

    def _save_person(self, app: Flask, session: BrowserSession, sign_in: SignIn, response: Response) -> None:
        stale = utc_now() - sign_in.seen_at > SEEN_EVERY
        if stale or session.modified:
            now = sa.func.now()
            values = {"data": dict(session), "seen_at": now, "expires_at": now + app.permanent_session_lifetime}
            with system_scope("session") as system:
                system.execute(sa.update(WebSession).where(WebSession.id == sign_in.id).values(values))
        if stale or session.is_new:
            self._set("session", sign_in.token, response, max_age=app.permanent_session_lifetime)

    def _save_visitor(self, app: Flask, session: BrowserSession, response: Response) -> None:
        if session:
            if session.modified:
                self._set("visitor", _signer(app, session.host).dumps(dict(session)), response)
        else:
            self._drop("visitor", response)

    def _set(self, name: str, value: str | bytes, response: Response, max_age: timedelta | None = None) -> None:
        secure = request.is_secure
        cookie = _cookie(name, request)
        text = value if isinstance(value, str) else value.decode()
        response.set_cookie(cookie, text, max_age, path="/", secure=secure, httponly=True, samesite="Lax")

    def _drop(self, name: str, response: Response) -> None:
        cookie = _cookie(name, request)
        if cookie in request.cookies:
            response.delete_cookie(cookie, path="/", secure=request.is_secure, httponly=True, samesite="Lax")


def init_app(app: Flask) -> None:
    """Use these sessions, and answer 503 where a signed-in browser's can not be looked up."""
    app.session_interface = BrowserSessions()
    # First of all: without its session, a form's token would look forged.
    app.before_request_funcs.setdefault(None, []).insert(0, _refuse_while_unavailable)


def _refuse_while_unavailable() -> None:
    browser = current_browser()
    if browser is not None and browser.is_unavailable:
        raise ServiceUnavailable


def _this_browser() -> BrowserSession:
    return cast(BrowserSession, session._get_current_object())  # type: ignore[attr-defined]


def _find(token: str, host: str) -> BrowserSession | None:
    with system_scope("session") as system:
        found = system.execute(
            sa.select(WebSession, User)
            .join(User, User.id == WebSession.user_id)
            .where(
                WebSession.token_hash == _hash(token),
                WebSession.host == host,
                WebSession.expires_at > sa.func.now(),
                User.disabled_at.is_(None),
            )
        ).one_or_none()
    if found is None:
        return None
    row, user = found
    sign_in = SignIn(
        id=row.id,
        token=token,
        user=SignedInUser.of(user),
        confirmed_at=row.signed_in_at or row.created_at,
        seen_at=row.seen_at,
    )
    return BrowserSession(row.data, host=host, sign_in=sign_in)


def _read_visitor(app: Flask, request: Request, host: str) -> dict[str, Any]:
    signed = request.cookies.get(_cookie("visitor", request), "")
    if not signed or not host:
        return {}
    try:
        data = _signer(app, host).loads(signed, max_age=VISITOR_LIFETIME_SECONDS)
    except BadSignature:
        return {}
    return cast(dict[str, Any], data)


def _signer(app: Flask, host: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(
        cast(str, app.secret_key), salt=f"stationmaster visitor at {host}", serializer=TaggedJSONSerializer()
    )


def _cookie(name: str, request: Request) -> str:
    """Return the cookie's name; `__Host-` makes browsers refuse one that another host or plain HTTP set."""
    return f"__Host-stationmaster-{name}" if request.is_secure else f"stationmaster-{name}"


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
