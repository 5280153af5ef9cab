"""Report unexpected errors to Sentry where SENTRY_DSN is set, with nothing in the report that a tenant confided."""

from __future__ import annotations

import importlib

from config.settings import Settings


def configure(settings: Settings) -> None:
    """Send what is logged as an error, with its traceback, to `sentry_dsn`; without one do nothing at all.

    Reports come from the log alone: the integrations for Flask, SQLAlchemy and Redis would send requests, statements
    and keys along, and the one for Celery would write headers into our messages.
    """
    if settings.sentry_dsn is None:
        return
    # Imported only where it is used: it takes memory in every process.
    importlib.import_module("sentry_sdk").init(
        dsn=settings.sentry_dsn,
        environment="development" if settings.development else "production",
        auto_enabling_integrations=False,
        include_local_variables=False,
        send_default_pii=False,
        max_breadcrumbs=0,
        max_request_body_size="never",
        server_name="",
    )
