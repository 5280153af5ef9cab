"""What the pages about people list: their tenants, their sessions, and a tenant's members."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.orm import joinedload

from dashboard.accounts.access import Role
from dashboard.accounts.invitations import invitations_of
from dashboard.accounts.models import Membership, User, WebSession
from dashboard.accounts.sessions import SignedInUser
from dashboard.core.links import tenant_url
from dashboard.core.orm import db, system_scope
from dashboard.core.tenancy import resolver_of

_BROWSERS = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "Chrome": "Chrome", "Safari": "Safari"}
_SYSTEMS = {"Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Windows": "Windows", "Mac OS": "macOS"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A tenant that a person is a member of, as the chooser shows it."""

    name: str
    url: str
    address: str
    role: Role
    is_active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An invitation to a tenant, as the person who is asked sees it."""

    id: UUID
    tenant: str
    role: Role
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """One of a person's sign-ins."""

    id: UUID
    device: str
    host: str
    address: str
    signed_in_at: datetime | None
    seen_at: datetime
    is_this_one: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A person in the bound tenant."""

    id: UUID
    name: str
    email: str
    role: Role
    since: datetime
    is_disabled: bool


def places_of(user_id: UUID) -> list[Place]:
    """Return the tenants of a person, by name."""
    with system_scope("tenant chooser") as session:
        roles = session.execute(
            sa.select(Membership.tenant_id, Membership.role).where(Membership.user_id == user_id)
        ).all()
    resolver = resolver_of(current_app._get_current_object())  # type: ignore[attr-defined]
    found = [(resolver.by_id(tenant_id), Role(role)) for tenant_id, role in roles]
    places = [
        Place(
            name=tenant.name,
            url=tenant_url(tenant, "overview.index"),
            address=tenant.roots[0].url.partition("://")[2],
            role=role,
            is_active=tenant.active,
        )
        for tenant, role in found
        if tenant is not None
    ]
    return sorted(places, key=lambda place: place.name.casefold())


def invitations_to(person: SignedInUser) -> list[Asked]:
    """Return the open invitations of a person, the oldest first."""
    with system_scope("tenant chooser") as session:
        rows = invitations_of(session, person)
    resolver = resolver_of(current_app._get_current_object())  # type: ignore[attr-defined]
    found = [(row, resolver.by_id(row.tenant_id)) for row in rows]
    return [
        Asked(id=row.id, tenant=tenant.name, role=Role(row.role), at=row.created_at)
        for row, tenant in found
        if tenant is not None
    ]


def sessions_of(user_id: UUID, this_one: UUID | None) -> list[OpenSession]:
    """Return a person's sign-ins on every host, the last used first."""
    with system_scope("own sessions") as session:
        rows = session.scalars(
            sa.select(WebSession)
            .where(WebSession.user_id == user_id, WebSession.expires_at > sa.func.now())
            .order_by(WebSession.seen_at.desc())
        ).all()
    return [
        OpenSession(
            id=row.id,
            device=device_name(row.user_agent),
            host=row.host,
            address=row.address,
            signed_in_at=row.created_at,
            seen_at=row.seen_at,
            is_this_one=row.id == this_one,
        )
        for row in rows
    ]


def members() -> list[Member]:
    """Return the people of the bound tenant, by name."""
    rows = db.session.scalars(
        sa.select(Membership)
        .join(User, User.id == Membership.user_id)
        .options(joinedload(Membership.user))
        .order_by(sa.func.lower(User.name), User.id)
    )
    return [
        Member(
            id=row.user_id,
            name=row.user.name,
            email=row.user.email,
            role=Role(row.role),
            since=row.created_at,
            is_disabled=row.user.disabled_at is not None,
        )
        for row in rows
    ]


def names_of(people: Iterable[UUID]) -> dict[UUID, str]:
    """Return the names of those people whom the bound tenant may see: its members."""
    ids = set(people)
    if not ids:
        return {}
    rows = db.session.execute(sa.select(User.id, User.name).where(User.id.in_(ids)))
    return {row.id: row.name for row in rows}


def device_name(user_agent: str) -> str:
    """Return what a User-Agent header means to its owner, like `Firefox on Windows`."""
    browser = next((name for mark, name in _BROWSERS.items() if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS.items() if mark in user_agent), "")
    system = system or ("Linux" if "Linux" in user_agent else "")
    return " on ".join(part for part in (browser, system) if part) or "Another program"
