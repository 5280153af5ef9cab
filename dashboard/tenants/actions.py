"""What may be done to a tenant: create, suspend, resume, and set its options; the caller's transaction, audited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import Flask, current_app
from pydantic import SecretStr
from sqlalchemy import event
from sqlalchemy.orm import Session

from dashboard.audit.actions import record
from dashboard.core import secrets
from dashboard.core.clock import database_now
from dashboard.core.errors import InvalidInput, Refused
from dashboard.tenants.models import TenantRecord, TenantRoot, TenantSetting
from dashboard.tenants.names import Place, check_root, check_slug
from dashboard.tenants.options import TenantOption, option_for
from dashboard.tenants.registry import forget_cached

MAX_NAME_LENGTH = 80


def create(session: Session, slug: str, name: str, roots: Sequence[str], timezone: str = "UTC") -> TenantRecord:
    """Add a tenant mounted at `roots` (URLs, the canonical one first) and return its record.

    Whoever creates it vouches for the roots: they count as verified. Needs a system session.
    Raises InvalidInput for a slug, name, root or time zone that cannot be taken.
    """
    app = _app()
    check_slug(app, slug, session.scalars(sa.select(TenantRecord.slug)))
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise InvalidInput({"name": f"Give a name of 1 to {MAX_NAME_LENGTH} characters."})
    places = [_free_place(session, app, url) for url in roots]
    if not places:
        raise InvalidInput({"roots": "Give at least one root, like https://jobs.acme.example."})
    tenant = TenantRecord(slug=slug, name=name)
    session.add(tenant)
    session.flush()
    session.add_all(_root(tenant, position, place, session) for position, place in enumerate(places))
    record(
        session, "tenant.create", subject=("tenant", tenant.id, name), tenant_id=tenant.id, details={"roots": [*roots]}
    )
    set_option(session, tenant.id, "TIMEZONE", timezone)
    return tenant


def suspend(session: Session, tenant_id: UUID, reason: str) -> None:
    """Stop a tenant: its pages say so, nothing of it runs until it is resumed, and its people are signed out.

    Needs a system session.
    """
    tenant = _tenant(session, tenant_id)
    if not tenant.is_active:
        raise Refused(f"{tenant.name} is suspended already.")
    if not reason.strip():
        raise InvalidInput({"reason": "Say why; it is kept in the audit trail."})
    tenant.suspended_at, tenant.suspended_reason = database_now(session), reason.strip()
    _recorded(session, tenant, "tenant.suspend", {"reason": tenant.suspended_reason})
    for follower in _suspension_followers:
        follower(session, tenant_id)


SuspensionFollower = Callable[[Session, UUID], None]
"""Is given the session of the suspension and the tenant's id."""

_suspension_followers: set[SuspensionFollower] = set()


def follow_suspension(follower: SuspensionFollower) -> None:
    """Let `follower` act in every transaction that suspends a tenant: what the tenant has open is closed with it."""
    _suspension_followers.add(follower)


def resume(session: Session, tenant_id: UUID) -> None:
    """Let a suspended tenant work again. Needs a system session."""
    tenant = _tenant(session, tenant_id)
    if tenant.is_active:
        raise Refused(f"{tenant.name} is not suspended.")
    tenant.suspended_at, tenant.suspended_reason = None, ""
    _recorded(session, tenant, "tenant.resume", {})


OptionFollower = Callable[[Session, UUID, Any, Any], None]
"""Is given the session of the change, the tenant's id, and the value before and after it."""

_followers: dict[str, OptionFollower] = {}


def follow_option(key: str, follower: OptionFollower) -> None:
    """Let `follower` act in every transaction that changes this setting of a tenant: what depends on it changes too."""
    _followers[option_for(key).key] = follower


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Something that a change of a setting moves in time, from `before` to `after` (None: not at all any more).

    Both are aware, on the clocks that they are to be read on.
    """

    name: str
    before: datetime
    after: datetime | None

    @property
    def later_by(self) -> timedelta | None:
        """How much later it comes; below zero if it comes earlier."""
        return None if self.after is None else self.after - self.before


OptionForeseer = Callable[[Session, UUID, Any, Any], Sequence[Move]]
"""Is given a session, the tenant's id, and the value before and after the change that somebody thinks of."""

_foreseers: dict[str, OptionForeseer] = {}


def foresee_option(key: str, foreseer: OptionForeseer) -> None:
    """Let `foreseer` say what a change of this setting would move; whoever changes it is asked first."""
    _foreseers[option_for(key).key] = foreseer


def foreseen_moves(session: Session, tenant_id: UUID, key: str, value: object | None) -> Sequence[Move]:
    """Return what would move if the setting got this value (None: the default), soonest first.

    Raises InvalidInput for a value that the setting does not take.
    """
    option = option_for(key)
    after = option.default if value is None else option.parse(value)
    if option.key not in _foreseers:
        return []
    setting = session.get(TenantSetting, (tenant_id, key))
    before = setting.value if setting else option.default
    return sorted(_foreseers[option.key](session, tenant_id, before, after), key=lambda move: move.before)


def set_option(session: Session, tenant_id: UUID, key: str, value: object) -> None:
    """Give one of the declared settings a value of the tenant's own.

    `value` may be text as typed; raises InvalidInput, naming the key, for one that the setting does not take.
    """
    option = option_for(key)
    parsed = option.parse(value)
    setting = session.get(TenantSetting, (tenant_id, key))
    before = setting.value if setting else None
    if setting is None:
        setting = TenantSetting(tenant_id=tenant_id, key=key)
        session.add(setting)
    if isinstance(parsed, SecretStr):
        setting.value, setting.secret = None, secrets.encrypt(parsed.get_secret_value())
    else:
        setting.value, setting.secret = parsed, None
    _record_option(session, tenant_id, "setting.change", option, {"before": before, "after": setting.value})
    _tell_follower(session, tenant_id, option, before, setting.value)


def reset_option(session: Session, tenant_id: UUID, key: str) -> None:
    """Let one of the settings follow the default again; does nothing where the tenant gave no value."""
    option = option_for(key)
    setting = session.get(TenantSetting, (tenant_id, key))
    if setting is None:
        return
    session.delete(setting)
    _record_option(session, tenant_id, "setting.reset", option, {"before": setting.value})
    _tell_follower(session, tenant_id, option, setting.value, None)


def _app() -> Flask:
    return current_app._get_current_object()  # type: ignore[attr-defined, no-any-return]


def _free_place(session: Session, app: Flask, url: str) -> Place:
    place = check_root(app, url)
    taken = sa.select(TenantRoot.id).where(
        TenantRoot.host == place.host,
        TenantRoot.port.is_not_distinct_from(place.port),
        TenantRoot.prefix == place.prefix,
    )
    if session.scalar(taken):
        raise InvalidInput({"roots": f"{url} belongs to another tenant."})
    return place


def _root(tenant: TenantRecord, position: int, place: Place, session: Session) -> TenantRoot:
    return TenantRoot(
        tenant_id=tenant.id,
        scheme=place.scheme,
        host=place.host,
        port=place.port,
        prefix=place.prefix,
        position=position,
        verified_at=database_now(session),
    )


def _tenant(session: Session, tenant_id: UUID) -> TenantRecord:
    tenant = session.get(TenantRecord, tenant_id, with_for_update=True)
    if tenant is None:
        raise Refused("This tenant has been deleted.")
    return tenant


def _recorded(session: Session, tenant: TenantRecord, action: str, details: dict[str, Any]) -> None:
    record(session, action, subject=("tenant", tenant.id, tenant.name), tenant_id=tenant.id, details=details)
    forget_after_commit(session)


def _record_option(
    session: Session, tenant_id: UUID, action: str, option: TenantOption, details: dict[str, Any]
) -> None:
    record(
        session,
        action,
        subject=("setting", None, option.key),
        tenant_id=tenant_id,
        details={} if option.secret else details,
    )
    forget_after_commit(session)


def _tell_follower(session: Session, tenant_id: UUID, option: TenantOption, before: object, after: object) -> None:
    if option.key in _followers:
        values = (option.default if value is None else value for value in (before, after))
        _followers[option.key](session, tenant_id, *values)


def forget_after_commit(session: Session) -> None:
    """Make this process see the change at once; the others see it when their cached record is stale."""
    app = _app()
    event.listen(session, "after_commit", lambda _: forget_cached(app), once=True)
