"""Derive Flask's configuration, and its extensions', from the settings."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from config import pooling
from config.settings import Settings

CONNECT_TIMEOUT_SECONDS = 5
UNANSWERED_MS = 15_000
"""After so long a network that swallows everything counts as gone; the kernel would try for a quarter of an hour."""

WATCHES_CLIENT = "client_connection_check_interval=5s"
"""Lets PostgreSQL end what it does for a process that is gone; it would go on waiting, and then do it all the same."""


def flask_config(settings: Settings) -> dict[str, Any]:
    """Return what `app.config` holds for every tenant; what a tenant may change is laid over it."""
    return {
        "SECRET_KEY": settings.secret_key.get_secret_value(),
        "PLATFORM_ROOT": settings.platform_root,
        "ONE_CREDENTIAL": settings.one_credential,
        "DEVELOPMENT": settings.development,
        "MAIL_PAGE_URL": settings.mail_page_url,
        "FLOWER_URL": settings.flower_url,
        "FLOWER_AUDIENCE": settings.flower_audience,
        "ARTIFACT_MB": settings.artifact_mb,
        "ARTIFACTS_MB_PER_RUN": settings.artifacts_mb_per_run,
        "ALLOW_PRIVATE_NETWORKS": settings.allow_private_networks,
        "PERMANENT_SESSION_LIFETIME": timedelta(days=settings.session_days),
        "SESSION_COOKIE_PATH": "/",
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "MAX_CONTENT_LENGTH": 2 * 1024 * 1024,
        "MAX_FORM_MEMORY_SIZE": 1024 * 1024,
        "WTF_CSRF_TIME_LIMIT": None,  # as long as the session: a form left open over lunch must still save
        "SQLALCHEMY_DATABASE_URI": settings.database_url.get_secret_value(),
        "SQLALCHEMY_BINDS": {"system": {"url": settings.system_url.get_secret_value(), **_engine_options(settings)}},
        "SQLALCHEMY_ENGINE_OPTIONS": _engine_options(settings),
        "RATELIMIT_STORAGE_URI": settings.redis_url.get_secret_value(),
        "RATELIMIT_STORAGE_OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1},
        "RATELIMIT_IN_MEMORY_FALLBACK_ENABLED": True,
        "RATELIMIT_HEADERS_ENABLED": True,
        "RATELIMIT_KEY_PREFIX": "stationmaster",
    }


def _engine_options(settings: Settings) -> dict[str, Any]:
    pooled = settings.direct_database_url is not None  # a pooler knows neither prepared statements nor that setting
    return {
        "pool_size": settings.database_pool_size,
        "max_overflow": settings.database_pool_size,
        "pool_timeout": CONNECT_TIMEOUT_SECONDS,
        "pool_use_lifo": True,  # the connection that worked last has its statements prepared
        "hide_parameters": True,  # errors are logged, and what people confided is not
        "pool_events": [(pooling.check, "checkout")],  # a database that restarted is met by a new one, not by an error
        "connect_args": {
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": "stationmaster",
            "options": "-c timezone=UTC" if pooled else f"-c timezone=UTC -c {WATCHES_CLIENT}",
            "keepalives_idle": 30,
            "keepalives_interval": 5,  # the user timeout then decides how many of them may stay unanswered
            "tcp_user_timeout": UNANSWERED_MS,
            "prepare_threshold": None if pooled else 5,
        },
    }
