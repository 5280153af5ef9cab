"""Makes the rows that tests stand on; a factory's name and arguments say the state."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from flask import Flask

from dashboard.accounts.models import Credential, Membership, User
from dashboard.core.mounting import normal_port
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import HTTP, HTTPS, Binding, Tenant, resolver_of
from dashboard.tenants.models import TenantRecord, TenantRoot, TenantSetting
from dashboard.tenants.registry import forget_cached


def make_tenant(app: Flask, slug: str, *roots: str, name: str = "", **values: Any) -> Tenant:
    """Return a new tenant mounted at `roots` (the first is canonical), with `values` for its settings."""
    with app.app_context(), system_scope("test") as session:
        record = TenantRecord(slug=slug, name=name or slug.title())
        session.add(record)
        session.flush()
        for position, root in enumerate(roots):
            parts = urlsplit(root)
            session.add(
                TenantRoot(
                    tenant_id=record.id,
                    scheme=HTTPS if parts.scheme == "https" else HTTP,
                    host=parts.hostname or "",
                    port=normal_port(parts.port),
                    prefix=parts.path.rstrip("/"),
                    position=position,
                    verified_at=datetime.now(UTC),
                )
            )
        session.add_all(TenantSetting(tenant_id=record.id, key=key, value=value) for key, value in values.items())
    forget_cached(app)
    tenant = resolver_of(app).by_slug(slug)
    assert tenant is not None
    return tenant


def make_user(
    app: Flask,
    email: str,
    *,
    password_hash: str = "",
    owner: bool = False,
    roles: dict[UUID, str] | None = None,
    timezone: str | None = None,
) -> UUID:
    """Return the id of a new person; `roles` maps tenant ids to viewer, operator or admin."""
    with app.app_context(), system_scope("test") as session:
        name = email.partition("@")[0].title()
        user = User(email=email, name=name, is_platform_owner=owner, timezone=timezone)
        session.add(user)
        session.flush()
        if password_hash:
            session.add(Credential(user_id=user.id, password_hash=password_hash))
        for tenant_id, role in (roles or {}).items():
            session.add(Membership(tenant_id=tenant_id, user_id=user.id, role=role))
        return user.id


def binding(tenant: Tenant) -> Binding:
    """Return the binding of `tenant` at its canonical root, for the system."""
    return Binding.of(tenant)
