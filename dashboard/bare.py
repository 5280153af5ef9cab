"""Build the application without its pages: the database, tenants and job types, which is all that beat needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Request
from werkzeug.routing import MapAdapter

from config import logging, reporting
from config.flask import flask_config
from config.settings import Settings
from dashboard import features
from dashboard.core import mounting, secrets, trips
from dashboard.core.adapters import adapter_of
from dashboard.core.tenancy import TenantConfig, current_binding
from dashboard.database import db


class Dashboard(Flask):
    """The Flask application; its configuration is the bound tenant's."""

    config_class = TenantConfig

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return a browser's own adapter; whatever else is done for a tenant has that of its root."""
        binding = current_binding()
        if binding is None or (request is not None and mounting.TASK not in request.environ):
            return super().create_url_adapter(request)
        return adapter_of(self.url_map, binding.root)

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
