"""Build the application: one line per concern."""

from __future__ import annotations

from werkzeug.middleware.proxy_fix import ProxyFix

from config.settings import Settings
from dashboard import extensions, features, pages
from dashboard.bare import Dashboard as Dashboard
from dashboard.bare import new_app
from dashboard.core import error_pages, links, mounting, security, sending, templating
from dashboard.core.compression import Compression


def create_app(settings: Settings | None = None) -> Dashboard:
    """Return the application for `settings` (the environment's by default), with every feature registered."""
    settings = settings or Settings.from_env()
    app = new_app(settings)
    extensions.csrf.init_app(app)
    extensions.limiter.init_app(app)
    security.init_app(app)
    links.init_app(app)
    templating.register(app)
    error_pages.init_app(app)
    sending.init_app(app, settings)
    features.init_app(app, settings)
    pages.init_app(app)
    mounting.init_app(app)
    app.wsgi_app = Compression(pages.static_files(app.wsgi_app))  # type: ignore[method-assign]
    if settings.proxy_hops:
        hops = settings.proxy_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    return app
