"""Build the application: one line per concern."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from config import logging, reporting
from config.flask import flask_config
from config.settings import Settings
from dashboard import extensions, features
from dashboard.core import error_pages, links, mounting, secrets, security, sending, templating
from dashboard.core.compression import Compression
from dashboard.core.tenancy import TenantConfig


class Dashboard(Flask):
    """The Flask application; its configuration is the bound tenant's."""

    config_class = TenantConfig

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function itself: none of ours is async, and to ask it each time costs each request and task."""
        return func


def create_app(settings: Settings | None = None) -> Dashboard:
    """Return the application for `settings` (the environment's by default), with every feature registered."""
    settings = settings or Settings.from_env()
    logging.configure(settings, mounting.name_origin)
    reporting.configure(settings)
    app = Dashboard("dashboard", static_folder=None)
    app.config.update(flask_config(settings))
    app.extensions["settings"] = settings
    extensions.db.init_app(app)
    extensions.csrf.init_app(app)
    extensions.limiter.init_app(app)
    secrets.init_app(app, settings.encryption_keys)
    security.init_app(app)
    links.init_app(app)
    templating.register(app)
    error_pages.init_app(app)
    sending.init_app(app, settings)
    features.init_app(app, settings)
    mounting.init_app(app)
    app.wsgi_app = Compression(features.static_files(app.wsgi_app))  # type: ignore[method-assign]
    if settings.proxy_hops:
        hops = settings.proxy_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    return app
