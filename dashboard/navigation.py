"""Give every page its frame: whose dashboard it is, where one can go, and who is signed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

from flask import Flask, current_app, request, url_for
from flask_login import current_user

from dashboard.accounts.access import Action, can
from dashboard.core.links import platform_url
from dashboard.core.tenancy import Tenant, current_binding
from dashboard.core.zones import home_zone
from dashboard.problems.station import Alert, urgent_alerts

PLATFORM_NAME = "Stationmaster"


@dataclass(frozen=True, slots=True, kw_only=True)
class NavItem:
    """A place in a tenant's side navigation; `key` is the letter after `g`; `also` are blueprints that belong to it.

    `count` says how much there waits for a person.
    """

    section: str | None
    label: str
    endpoint: str
    action: Action
    key: str
    also: tuple[str, ...] = ()
    count: Callable[[], int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NavLink:
    """A link in the side navigation."""

    label: str
    url: str
    active: bool
    key: str
    count: int | None = None
    tone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NavSection:
    """Links under one heading; the first section has none."""

    title: str | None
    items: Sequence[NavLink]


class Shell:
    """What the frame around a page shows. Each answer is worked out when the frame asks, and only then:

    an error page has no frame, and must come out when the database is what failed.
    """

    impersonation: str | None = None

    def __init__(self, navigation: Sequence[NavItem]) -> None:
        self._navigation = navigation

    @property
    def tenant(self) -> Tenant | None:
        binding = current_binding()
        return binding.tenant if binding else None

    @property
    def brand(self) -> str:
        return str(current_app.config["BRAND_NAME"]) if self.tenant else PLATFORM_NAME

    @property
    def accent_hue(self) -> int:
        return int(current_app.config["ACCENT_HUE"])

    @property
    def zone(self) -> str:
        return str(current_app.config["TIMEZONE"])

    @property
    def home_zone(self) -> str:
        return str(home_zone())

    @property
    def other_zone(self) -> str | None:
        """The organisation's zone, for a person who has another one of their own."""
        return self.zone if self.tenant and self.zone != self.home_zone else None

    @property
    def environment(self) -> str | None:
        return "development" if current_app.config["DEVELOPMENT"] else None

    @property
    def user(self) -> Any | None:
        return current_user if current_user.is_authenticated else None

    @property
    def chooser_url(self) -> str:
        return platform_url("chooser.index")

    @property
    def sessions_url(self) -> str:
        return url_for("sessions.index")

    @property
    def sign_out_url(self) -> str:
        return url_for("sessions.destroy")

    @cached_property
    def alerts(self) -> list[Alert]:
        """What everybody should know of the station itself, who may look at the tenant's pages at all."""
        return urgent_alerts() if self.tenant and can(Action.VIEW) else []

    @cached_property
    def sections(self) -> list[NavSection]:
        if self.tenant is None:
            return [NavSection(title=None, items=_platform_links())]
        allowed = [item for item in self._navigation if can(item.action)]
        return [
            NavSection(title=title, items=[_item_link(item) for item in items])
            for title, items in groupby(allowed, key=lambda item: item.section)
        ]


def init_app(app: Flask, navigation: Sequence[NavItem]) -> None:
    """Give templates `shell` and `can`."""
    app.context_processor(lambda: {"shell": Shell(navigation)})
    app.add_template_global(can)


def _platform_links() -> list[NavLink]:
    if not current_user.is_authenticated:
        return []
    links = [_link("Tenants", "chooser.index", "t")]
    if current_user.is_platform_owner:
        links.append(_link("Back office", "back_office.index", "b", is_here=_is_in_back_office))
    return links


def _item_link(item: NavItem) -> NavLink:
    count = item.count() if item.count else 0
    return replace(_link(item.label, item.endpoint, item.key, _is_in(item)), count=count or None, tone="bad")


def _link(label: str, endpoint: str, key: str, is_here: Callable[[str], bool] | None = None) -> NavLink:
    return NavLink(label=label, url=url_for(endpoint), key=key, active=(is_here or _is_of_blueprint)(endpoint))


def _is_in(item: NavItem) -> Callable[[str], bool]:
    return lambda endpoint: _is_of_blueprint(endpoint) or request.blueprint in item.also


def _is_of_blueprint(endpoint: str) -> bool:
    return request.blueprint == endpoint.partition(".")[0]


def _is_in_back_office(_: str) -> bool:
    return (request.blueprint or "").startswith("back_office")
