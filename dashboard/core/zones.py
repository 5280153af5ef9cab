"""Choose the time zone in which times are shown, in a request and in a task alike."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

from flask import Flask, current_app, has_request_context, request

from dashboard.core.clock import zone_names
from dashboard.core.tenancy import current_binding

ZONE_COOKIE = "zone"
"""This browser's choice of zone, written by theme.js; empty or absent means none."""

ORGANISATION = "organisation"
"""What the cookie says of the zone of whichever tenant is bound: browsers may know several tenants by one cookie."""

BROWSER_ZONE_COOKIE = "browser-zone"
"""The zone that the viewer's machine is set to, written by theme.js; absent without JavaScript."""


def display_zone() -> ZoneInfo:
    """Return the zone that times are shown in: this browser's choice, else `home_zone`; a task has no browser.

    Outside of both, in a command, it is the tenant's.
    """
    if not has_request_context():
        return tenant_zone()
    return browser_choice() or home_zone()


def browser_choice() -> ZoneInfo | None:
    """Return the zone that was chosen in the menu of this browser, or None. The platform is no organisation."""
    chosen = request.cookies.get(ZONE_COOKIE, "")
    return tenant_zone() if chosen == ORGANISATION and current_binding() else _named(chosen)


def home_zone() -> ZoneInfo:
    """Return the zone of who acts in this request or task: the person's own, else the tenant's, else UTC."""
    return _named(current_app.extensions["own_zone"]()) or tenant_zone()


def tenant_zone() -> ZoneInfo:
    """Return the time zone of the bound tenant, or UTC where none is bound."""
    return ZoneInfo(current_app.config.get("TIMEZONE", "UTC"))


def browser_zone() -> ZoneInfo | None:
    """Return the zone that the viewer's machine is set to, or None if the browser does not say."""
    return _named(request.cookies.get(BROWSER_ZONE_COOKIE, ""))


def register_own_zone(app: Flask, own_zone: Callable[[], str]) -> None:
    """Give the app its way to ask, in a request or a task, for the acting person's own zone; empty for none.

    The accounts feature registers one, so that core knows no person.
    """
    app.extensions["own_zone"] = own_zone


def _named(name: str) -> ZoneInfo | None:
    """Return the zone; a name that is none, or is none any more in today's tzdata, counts for nothing."""
    return ZoneInfo(name) if name and name in zone_names() else None
