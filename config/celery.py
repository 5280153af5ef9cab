"""Derive Celery's configuration from the settings; no tenant's values, because Flower shows it."""

from __future__ import annotations

import ssl
from typing import Any

from config.queues import DEFAULT_QUEUE, QUEUES
from config.settings import Settings

KEY_PREFIX = "stationmaster:"
VISIBILITY_SECONDS = 12 * 60 * 60
"""Longer than any run: a message that comes back claims nothing, but it costs a claim."""


def celery_config(settings: Settings) -> dict[str, Any]:
    """Return the settings of every Celery app here. Messages are hints: PostgreSQL knows what is to be done."""
    return {
        "broker_url": settings.redis_url.get_secret_value(),
        "result_backend": settings.redis_url.get_secret_value(),
        "broker_use_ssl": _tls(settings),
        "redis_backend_use_ssl": _tls(settings),
        "broker_transport_options": {
            "global_keyprefix": KEY_PREFIX,
            "visibility_timeout": VISIBILITY_SECONDS,
            "socket_connect_timeout": 3,
            "socket_timeout": 10,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "queue_order_strategy": "round_robin",
        },
        "result_backend_transport_options": {"global_keyprefix": KEY_PREFIX},
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 3,
        "broker_pool_limit": 10,
        "redis_socket_connect_timeout": 3,
        "redis_socket_timeout": 10,
        "task_default_queue": DEFAULT_QUEUE,
        "task_queues": {name: {"exchange": name, "routing_key": name} for name in QUEUES},
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_acks_late": False,
        "task_send_sent_event": False,
        "task_publish_retry": False,
        "worker_consumer": "worker.consuming:Consumer",
        "worker_prefetch_multiplier": 1,
        # Greenlets are served by a loop that, once told to take no more, looks again only after two seconds.
        "worker_disable_prefetch": settings.worker_pool != "gevent",
        "worker_send_task_events": settings.celery_events,
        "worker_max_memory_per_child": settings.worker_max_memory_mb * 1024 or None,  # KiB
        "worker_soft_shutdown_timeout": settings.soft_shutdown_seconds,
        "worker_enable_soft_shutdown_on_idle": False,
        "worker_hijack_root_logger": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_pool": settings.worker_pool,  # the Procfile names it too: gevent must be known at once
        "worker_concurrency": settings.worker_concurrency,
        "worker_proc_alive_timeout": 30,
        "beat_scheduler": "worker.celery_beat:DatabaseScheduler",
        "beat_max_loop_interval": 1,
        "enable_utc": True,
        "timezone": "UTC",
    }


def _tls(settings: Settings) -> dict[str, Any] | bool:
    if not settings.redis_url.get_secret_value().startswith("rediss://"):
        return False
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED if settings.redis_tls_verify else ssl.CERT_NONE}
