"""Say who may do what: one permission word guards the button and the handler."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from typing import Any, cast

import sqlalchemy as sa
from flask import abort, current_app, g
from flask.typing import ResponseReturnValue
from flask_login import current_user

from dashboard.accounts.models import Membership
from dashboard.core.orm import db
from dashboard.core.tenancy import current_binding, require_binding

View = Callable[..., ResponseReturnValue]
SUSPENDED = "This organisation is suspended: its pages are closed and nothing of it runs. Ask the platform's owner why."


class Role(StrEnum):
    """What a member is in a tenant; each may do what the one before may, and more."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Action(StrEnum):
    """The permission words."""

    VIEW = "view"  # read every page of the tenant
    EDIT_SCHEDULE = "edit_schedule"  # create and change schedules
    PAUSE_SCHEDULE = "pause_schedule"  # pause, resume and archive schedules
    START_RUN = "start_run"  # run now, send now
    CANCEL_RUN = "cancel_run"
    RETRY_RUN = "retry_run"
    RELEASE_KEY = "release_key"  # take a concurrency key from the run that holds it
    RESOLVE_PROBLEM = "resolve_problem"  # dismiss failures, mark an interrupted run as done
    RESOLVE_DELIVERY = "resolve_delivery"  # resend an uncertain mail, or mark it sent
    VIEW_FLOWER = "view_flower"  # see the embedded Flower, where FLOWER_AUDIENCE says operators
    EDIT_SETTINGS = "edit_settings"
    EDIT_MEMBERS = "edit_members"
    VIEW_AUDIT = "view_audit"


_VIEWER = frozenset({Action.VIEW})
_OPERATOR = _VIEWER | {
    Action.EDIT_SCHEDULE,
    Action.PAUSE_SCHEDULE,
    Action.START_RUN,
    Action.CANCEL_RUN,
    Action.RETRY_RUN,
    Action.RELEASE_KEY,
    Action.RESOLVE_PROBLEM,
    Action.RESOLVE_DELIVERY,
    Action.VIEW_FLOWER,
}
GRANTS: dict[Role, frozenset[Action]] = {
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: _OPERATOR,
    Role.ADMIN: frozenset(Action),
}


def current_role() -> Role | None:
    """Return the signed-in person's role in the bound tenant, or None for a stranger to it."""
    if "role" not in g:
        g.role = _load_role()
    return cast("Role | None", g.role)


def _load_role() -> Role | None:
    if current_binding() is None or not current_user.is_authenticated:
        return None
    role = db.session.scalar(sa.select(Membership.role).where(Membership.user_id == current_user.id))
    return Role(role) if role else None


def can(action: Action | str) -> bool:
    """Whether the signed-in person may do this in the bound tenant."""
    role = current_role()
    return role is not None and Action(action) in GRANTS[role]


def requires(action: Action) -> Callable[[View], View]:
    """Guard a tenant's page: 404 on the platform and for strangers to the tenant, 403 for too small a role."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> ResponseReturnValue:
            if current_binding() is None:
                abort(404)
            if not current_user.is_authenticated:
                return cast(ResponseReturnValue, current_app.login_manager.unauthorized())  # type: ignore[attr-defined]
            if current_role() is None:
                abort(404)
            if not require_binding().tenant.active:
                abort(403, SUSPENDED)
            if not can(action):
                abort(403)
            return view(*args, **kwargs)

        return _declare(guarded, action.value)

    return decorate


def platform_owner(view: View) -> View:
    """Guard a platform page: 404 inside a tenant and for everyone but platform owners."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> ResponseReturnValue:
        if current_binding() is not None:
            abort(404)
        if not current_user.is_authenticated:
            return cast(ResponseReturnValue, current_app.login_manager.unauthorized())  # type: ignore[attr-defined]
        if not current_user.is_platform_owner:
            abort(404)
        return view(*args, **kwargs)

    return _declare(guarded, "platform_owner")


def signed_in(view: View) -> View:
    """Guard a page that belongs to the person: the chooser, their own sessions. 404 for strangers to a tenant."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> ResponseReturnValue:
        if not current_user.is_authenticated:
            return cast(ResponseReturnValue, current_app.login_manager.unauthorized())  # type: ignore[attr-defined]
        if current_binding() is not None and current_role() is None:
            abort(404)
        return view(*args, **kwargs)

    return _declare(guarded, "signed_in")


def public(view: View) -> View:
    """Mark a page as open to everyone; each one is a decision."""
    return _declare(view, "public")


def _declare(view: View, policy: str) -> View:
    view.policy = policy  # type: ignore[attr-defined]
    return view


def policy_of(view: object) -> str | None:
    """Return the declared policy of a view, or None where nobody decided."""
    return cast("str | None", getattr(view, "policy", None))
