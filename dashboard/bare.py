"""Build the application without its pages: the database, tenants and job types, which is all that beat needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask

from config import logging, reporting
from config.flask import flask_config
from config.settings import Settings
from dashboard import features
from dashboard.core import mounting, secrets, trips
from dashboard.core.tenancy import TenantConfig
from dashboard.database import db


class Dashboard(Flask):
    """The Flask application; its configuration is the bound tenant's."""

    config_class = TenantConfig

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function itself: none of ours is async, and to ask it each time costs each request and task."""
        return func


def new_app(settings: Settings) -> Dashboard:
    """Return an application for `settings` with its log, its configuration and its database, and no feature."""
    logging.configure(settings, mounting.name_origin)
    reporting.configure(settings)
    app = Dashboard("dashboard", static_folder=None)
    app.config.update(flask_config(settings))
    app.extensions["settings"] = settings
    db.init_app(app)
    secrets.init_app(app, settings.encryption_keys)
    trips.init_app(app, settings)
    return app


def create_bare_app(settings: Settings) -> Dashboard:
    """Return the application for `settings` as it plans and admits runs: with no page, no command and no Celery."""
    app = new_app(settings)
    features.init_app(app, settings)
    return app
