"""List the features' pages and commands, and their places in the navigation: all that beat does without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from flask import Blueprint, Flask
from whitenoise import WhiteNoise

from dashboard import navigation
from dashboard.accounts import sessions, signing_in
from dashboard.accounts import settings as settings_pages
from dashboard.accounts import views as accounts
from dashboard.accounts.access import Action
from dashboard.accounts.commands import members, users
from dashboard.admin import views as back_office
from dashboard.core import links
from dashboard.demo.commands import demo
from dashboard.emails import views as deliveries
from dashboard.gallery import views as gallery
from dashboard.health import views as health
from dashboard.health.commands import doctor
from dashboard.jobs import display as job_display
from dashboard.keys.commands import secrets as secret_commands
from dashboard.monitor import gateway
from dashboard.monitor import views as monitor
from dashboard.navigation import NavItem
from dashboard.overview import views as overview
from dashboard.problems import views as problems
from dashboard.problems.board import needing_somebody
from dashboard.runs import views as runs
from dashboard.runs import wording
from dashboard.runs.commands import runs as run_commands
from dashboard.schedules import blackout_pages, calendar, holiday_pages, moves, rezoning, spreads
from dashboard.schedules import views as schedules
from dashboard.schedules.blackout_commands import blackouts as blackout_commands
from dashboard.schedules.commands import schedules as schedule_commands
from dashboard.schedules.holiday_commands import holidays as holiday_commands
from dashboard.tenants.actions import follow_option, follow_suspension, foresee_option
from dashboard.tenants.commands import tenants
from dashboard.trail import views as trail

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

BLUEPRINTS: tuple[Blueprint, ...] = (
    accounts.bp,
    accounts.chooser,
    deliveries.bp,
    settings_pages.bp,
    monitor.bp,
    gateway.bp,
    health.bp,
    overview.bp,
    problems.bp,
    runs.bp,
    schedules.bp,
    calendar.bp,
    spreads.bp,
    holiday_pages.bp,
    blackout_pages.bp,
    moves.bp,
    trail.bp,
)
COMMANDS: tuple[click.Command, ...] = (
    doctor,
    demo,
    tenants,
    users,
    members,
    schedule_commands,
    holiday_commands,
    blackout_commands,
    run_commands,
    secret_commands,
)

CALENDAR = tuple(bp.name for bp in (holiday_pages.bp, blackout_pages.bp, moves.bp, spreads.bp))
NAVIGATION: tuple[NavItem, ...] = (
    NavItem(section=None, label="Overview", endpoint="overview.index", action=Action.VIEW, key="o"),
    NavItem(section=None, label="Runs", endpoint="runs.index", action=Action.VIEW, key="r"),
    NavItem(section=None, label="Schedules", endpoint="schedules.index", action=Action.VIEW, key="s"),
    NavItem(section=None, label="Calendar", endpoint="calendar.index", action=Action.VIEW, key="c", also=CALENDAR),
    NavItem(section="Operate", label="Monitor", endpoint="monitor.index", action=Action.VIEW, key="m"),
    NavItem(
        section="Operate",
        label="Problems",
        endpoint="problems.index",
        action=Action.VIEW,
        key="p",
        count=needing_somebody,
    ),
    NavItem(section="Operate", label="Audit", endpoint="audit.index", action=Action.VIEW_AUDIT, key="a"),
    NavItem(section="Operate", label="Settings", endpoint="settings.index", action=Action.EDIT_SETTINGS, key="e"),
)


def init_app(app: Flask) -> None:
    """Register every feature's pages and commands with the app."""
    follow_option("TIMEZONE", rezoning.rezone)
    foresee_option("TIMEZONE", rezoning.foresee)
    follow_suspension(sessions.end_where_suspended)
    signing_in.init_app(app)
    navigation.init_app(app, NAVIGATION)
    wording.init_app(app)
    job_display.init_app(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    if app.config["DEVELOPMENT"]:
        app.register_blueprint(gallery.blueprint)
    back_office.init_app(app)
    for group in COMMANDS:
        app.cli.add_command(group)


def static_files(wsgi_app: WSGIApplication) -> WSGIApplication:
    """Serve `/static/` of every host, before tenants are looked up; fingerprinted links may be kept for ever."""
    served: WSGIApplication = WhiteNoise(
        wsgi_app, root=links.STATIC, prefix="static/", max_age=31_536_000, allow_all_origins=False
    )
    return served
