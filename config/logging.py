"""Configure structured logs: JSON for machines, console for people, and no secret in either."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

from config.settings import Settings

SECRET_NAME = re.compile(r"password|secret|token|authorization|cookie|encryption_key", re.IGNORECASE)
URL_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):[^@/\s]+@")
NOISY = ("kombu", "amqp", "celery.utils.functional", "urllib3")


def configure(settings: Settings, *processors: Processor) -> None:
    """Send every log line, the standard library's included, through one redacting formatter to stderr.

    `processors` add what the application knows of where a line comes from.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        *processors,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact_message, renderer],
        )
    )
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank out values whose name says that they are secret."""
    for name in event:
        if SECRET_NAME.search(name):
            event[name] = "[redacted]"
    return event


def redact_message(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank out passwords inside addresses like `postgresql://user:password@host`, wherever they stand."""
    for name, value in event.items():
        if isinstance(value, str) and "@" in value:
            event[name] = URL_PASSWORD.sub(r"\1:[redacted]@", value)
    return event
