"""Find tenants by host, slug or id, from what this process remembers of their records.

A change of any tenant is seen by every process within `FRESH_FOR`: one look at a counter, however many tenants are
remembered. While the database is away, what is remembered stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog
from flask import Flask
from pydantic import SecretStr
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, selectinload

from config.settings import Settings
from dashboard.core.orm import system_scope
from dashboard.core.secrets import SealedSecret
from dashboard.core.tenancy import PER_TENANT, Root, Tenant, register_resolver, resolver_of
from dashboard.tenants.models import TenantChange, TenantRecord, TenantRoot, TenantSetting
from dashboard.tenants.options import OPTION_BY_KEY, OPTIONS

FRESH_FOR = 2.0
"""Seconds for which what is remembered is used without a look at the database."""

OWN_MAIL_SERVER: Mapping[str, Any] = {
    "SMTP_HOST": "",
    "SMTP_PORT": 587,
    "SMTP_TLS": "starttls",
    "SMTP_USER": "",
    "SMTP_PASSWORD": SecretStr(""),
}
"""What a mail server of the tenant's own is taken to be where the tenant does not say."""

log = structlog.get_logger(__name__)


class TenantRegistry:
    """The resolver of tenants for one process; see `core.tenancy.Resolver`."""

    def __init__(self, app: Flask, fallback: dict[str, Any]) -> None:
        self.app = app
        self.fallback = fallback
        self._remembered: dict[Hashable, Any] = {}
        self._change: int | None = None
        self._looked_at = -FRESH_FOR

    def by_id(self, tenant_id: UUID) -> Tenant | None:
        tenant: Tenant | None = self._find(
            ("id", tenant_id), lambda session: self._load(session, TenantRecord.id == tenant_id)
        )
        return tenant

    def by_slug(self, slug: str) -> Tenant | None:
        tenant: Tenant | None = self._find(
            ("slug", slug), lambda session: self._load(session, TenantRecord.slug == slug)
        )
        return tenant

    def at_host(self, host: str, port: int | None) -> list[tuple[Root, UUID]]:
        roots: list[tuple[Root, UUID]] = self._find(
            ("host", host, port), lambda session: _roots_at(session, host, port)
        )
        return roots

    def forget(self) -> None:
        """Look everything up afresh: this process just changed a tenant."""
        self._remembered = {}

    def _find(self, key: Hashable, load: Callable[[Session], Any]) -> Any:
        if time.monotonic() - self._looked_at >= FRESH_FOR:
            self._freshen()
        remembered = self._remembered
        found = remembered.get(key)
        if not found:  # what is not there is not remembered: strangers' hosts must not fill the memory
            with self.app.app_context(), system_scope("tenant lookup") as session:
                found = load(session)
            if found:
                remembered[key] = found
        return found

    def _freshen(self) -> None:
        """Forget everything if anything has changed. What is loaded after this look is as new as it, or newer."""
        self._looked_at = time.monotonic()
        try:
            with self.app.app_context(), system_scope("tenant lookup") as session:
                change = session.scalars(sa.select(TenantChange.number)).one()
        except OperationalError:
            if not self._remembered:
                raise
            log.warning("tenant_records_may_be_stale")
            return
        if change != self._change:
            self._change = change
            self.forget()

    def _load(self, session: Session, where: sa.ColumnElement[bool]) -> Tenant | None:
        record = session.scalars(
            sa.select(TenantRecord)
            .where(where)
            .options(selectinload(TenantRecord.roots), selectinload(TenantRecord.settings))
        ).one_or_none()
        if record is None or not record.verified_roots:
            return None
        given = {setting.key: _value(setting) for setting in record.settings if setting.key in OPTION_BY_KEY}
        defaults = {option.key: option.default for option in OPTIONS if option.default is not PER_TENANT}
        values = {**defaults, **self.fallback, **given, **_mail_server(self.fallback, given)}
        return Tenant(
            id=record.id,
            slug=record.slug,
            name=record.name,
            active=record.is_active,
            paused_for=record.runs_paused_reason,
            roots=tuple(root.snapshot() for root in record.verified_roots),
            values={**values, "BRAND_NAME": values.get("BRAND_NAME") or record.name},
        )


def _mail_server(platform: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return one mail server's settings, never a mixture: the platform's password must not reach a tenant's host."""
    if given.get("SMTP_HOST"):
        return {key: given.get(key, unset) for key, unset in OWN_MAIL_SERVER.items()}
    return {key: platform[key] for key in OWN_MAIL_SERVER}


def _roots_at(session: Session, host: str, port: int | None) -> list[tuple[Root, UUID]]:
    roots = session.scalars(
        sa.select(TenantRoot)
        .where(TenantRoot.host == host, TenantRoot.port.is_not_distinct_from(port), TenantRoot.verified_at.is_not(None))
        .order_by(sa.func.length(TenantRoot.prefix).desc())
    )
    return [(root.snapshot(), root.tenant_id) for root in roots]


def _value(setting: TenantSetting) -> Any:
    return SealedSecret(setting.secret) if setting.secret is not None else setting.value


def init_app(app: Flask, settings: Settings) -> None:
    """Register the registry; a tenant without mail settings of its own uses the platform's."""
    fallback = {
        "SMTP_HOST": settings.smtp_host,
        "SMTP_PORT": settings.smtp_port,
        "SMTP_USER": settings.smtp_user,
        "SMTP_PASSWORD": settings.smtp_password or SecretStr(""),
        "SMTP_TLS": settings.smtp_tls,
        "MAIL_SENDER": settings.mail_sender,
    }
    register_resolver(app, TenantRegistry(app, fallback))


def forget_cached(app: Flask) -> None:
    """Make this process see a tenant's change at once."""
    registry = resolver_of(app)
    if isinstance(registry, TenantRegistry):
        registry.forget()
