"""Say who may look through the gateway at Flower, which knows no tenants, and who may act there."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal

import sqlalchemy as sa
from flask import abort, current_app, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from dashboard.accounts.access import GRANTS, Action
from dashboard.accounts.models import Membership
from dashboard.core.mounting import host_and_port
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import current_binding, resolver_of
from dashboard.tenants.models import TenantRecord

Audience = Literal["platform", "operators"]
View = Callable[..., ResponseReturnValue]

ROLES = [role for role, actions in GRANTS.items() if Action.VIEW_FLOWER in actions]


def sees_flower() -> bool:
    """Whether the signed-in person belongs to FLOWER_AUDIENCE at the host of this request.

    `platform`: platform owners. `operators`: also whoever may view Flower in an active tenant mounted at this host.
    """
    if current_app.config["FLOWER_URL"] is None or not current_user.is_authenticated:
        return False
    if current_user.is_platform_owner:
        return True
    return current_app.config["FLOWER_AUDIENCE"] == "operators" and _operates_here()


def _operates_here() -> bool:
    """A host-level mount binds no tenant, so every tenant at the host counts, as one sign-in serves them all."""
    roots = resolver_of(current_app).at_host(*host_and_port(request.environ))
    tenants = {tenant_id for _, tenant_id in roots}
    if not tenants:
        return False
    with system_scope("Flower's audience") as session:
        found = session.scalar(
            sa.select(Membership.user_id)
            .join(TenantRecord, TenantRecord.id == Membership.tenant_id)
            .where(
                Membership.user_id == current_user.id,
                Membership.tenant_id.in_(tenants),
                Membership.role.in_(ROLES),
                TenantRecord.suspended_at.is_(None),
            )
            .limit(1)
        )
    return found is not None


def flower_audience(view: View) -> View:
    """Guard a page of the gateway: 404 inside a tenant's prefix and for everyone outside the audience."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> ResponseReturnValue:
        if current_binding() is not None or not sees_flower():
            abort(404)
        return view(*args, **kwargs)

    guarded.policy = "flower_audience"  # type: ignore[attr-defined]
    return guarded
