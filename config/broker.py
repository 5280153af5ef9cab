"""Connect to Redis or Valkey past Celery, as the settings say."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.settings import Settings


def broker_client(settings: Settings, *, connect_timeout: float, timeout: float) -> redis.Redis:
    """Return a client that connects when first used, and tries nothing twice; its timeouts are in seconds."""
    url = settings.redis_url.get_secret_value()
    tls = {"ssl_cert_reqs": "none"} if url.startswith("rediss://") and not settings.redis_tls_verify else {}
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=connect_timeout,
        socket_timeout=timeout,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        **tls,
    )
