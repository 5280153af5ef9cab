"""List the features: their models, blueprints and commands, and their places in the navigation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Blueprint, Flask
from flask.cli import AppGroup
from whitenoise import WhiteNoise

from config.settings import Settings
from dashboard.accounts import models as _accounts
from dashboard.accounts.access import Action
from dashboard.audit import models as _audit
from dashboard.core import links
from dashboard.emails import models as _emails
from dashboard.gallery import views as gallery
from dashboard.jobs import registry as job_types
from dashboard.runs import models as _runs
from dashboard.schedules import models as _schedules
from dashboard.tenants import models as _tenants
from dashboard.tenants import options, registry

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

MIGRATIONS = Path(__file__).parent.parent / "migrations"
MODELS = (_tenants, _accounts, _audit, _runs, _schedules, _emails)
"""Every module with tables, so that they are all known before the first query."""

BLUEPRINTS: tuple[Blueprint, ...] = ()
COMMANDS: tuple[AppGroup, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NavItem:
    """A place in a tenant's side navigation; `key` is the letter after `g`."""

    section: str | None
    label: str
    endpoint: str
    action: Action
    key: str


NAVIGATION: tuple[NavItem, ...] = (
    NavItem(section=None, label="Overview", endpoint="overview.index", action=Action.VIEW, key="o"),
    NavItem(section=None, label="Runs", endpoint="runs.index", action=Action.VIEW, key="r"),
    NavItem(section=None, label="Schedules", endpoint="schedules.index", action=Action.VIEW, key="s"),
    NavItem(section="Operate", label="Monitor", endpoint="monitor.index", action=Action.VIEW, key="m"),
    NavItem(section="Operate", label="Settings", endpoint="settings.index", action=Action.EDIT_SETTINGS, key="e"),
)


def init_app(app: Flask, settings: Settings) -> None:
    """Register every feature with the app."""
    options.init_app(app)
    registry.init_app(app, settings)
    job_types.load_plugins(settings.plugins)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    if settings.development:
        app.register_blueprint(gallery.blueprint)
    for group in COMMANDS:
        app.cli.add_command(group)


def static_files(wsgi_app: WSGIApplication) -> WSGIApplication:
    """Serve `/static/` of every host, before tenants are looked up; fingerprinted links may be kept for ever."""
    return WhiteNoise(wsgi_app, root=links.STATIC, prefix="static/", max_age=31_536_000, allow_all_origins=False)
