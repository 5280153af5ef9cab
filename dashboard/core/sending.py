"""Send Celery messages with the tenant's context on them: the two roads out.

The web process only sends; `worker.context` adds the two roads in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery, Task
from celery._state import get_current_task
from celery.backends.redis import RedisBackend
from flask import Flask, has_request_context, request

from config.celery import celery_config
from config.settings import Settings
from dashboard.core.carriage import HEADER, header_key, pack
from dashboard.core.errors import NoTenant, StationmasterError
from dashboard.core.mounting import TASK
from dashboard.core.tenancy import current_binding

CELERY_OWN = frozenset({"celery.backend_cleanup", "celery.chord_unlock"})
"""Celery's own housekeeping needs no tenant; its other tasks (map, starmap, chunks …) run tenants' code."""


class WouldBlock(StationmasterError):
    """A page must not wait for a task. Ask `ready()`, or let the page look again."""


class PromptBackend(RedisBackend):
    """Celery's results, for which no request can wait: what is there is returned, for anything else WouldBlock raised.

    All ways to wait end here: `get`, `wait` and `join`, of one result and of several, of whatever class.
    """

    def _wait_for_pending(self, result: Any, **options: Any) -> Any:
        if has_request_context() and TASK not in request.environ and not result.ready():
            raise WouldBlock
        return super()._wait_for_pending(result, **options)  # type: ignore[misc]


class SendingTask(Task[Any, Any]):
    """A task as processes know it that only send: it is never run in a live request, where it would share its state."""

    abstract = True

    def apply(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError(f"{self.name} can only be sent from here; a worker runs it.")


class SendingCelery(Celery):
    """A Celery app that writes the context header on every message, and refuses to send one without a tenant."""

    task_cls = SendingTask  # type: ignore[assignment]

    def __init__(self, settings: Settings, **options: Any) -> None:
        super().__init__("stationmaster", set_as_current=False, **options)
        self.header_key = header_key(settings.secret_key.get_secret_value())
        self.loader.override_backends = dict.fromkeys(("redis", "rediss"), f"{__name__}:PromptBackend")
        self.config_from_object(celery_config(settings))

    def send_task(self, name: str, *args: Any, **options: Any) -> Any:
        task = options.get("task_type") or self.tasks.get(name)
        options["headers"] = self.with_context(options.get("headers"), name, getattr(task, "tenantless", False))
        return super().send_task(name, *args, **options)

    def with_context(self, headers: Mapping[str, Any] | None, name: str, tenantless: bool) -> dict[str, Any]:
        """Return `headers` with the context: an explicit one stands, else what is bound, else the running task's.

        A tenantless task's stay as they are. Raises NoTenant if there is no context for another.
        """
        headers = dict(headers or {})
        if tenantless or HEADER in headers:
            return headers
        carried = self._context_here()
        if carried is not None:
            return {**headers, HEADER: carried}
        if name in CELERY_OWN:
            return headers
        raise NoTenant(f"{name} was sent with no tenant bound and no tenant header.")

    def _context_here(self) -> Any:
        binding = current_binding()
        if binding is not None:
            return pack(binding, self.header_key)
        running: Any = get_current_task()
        return None if running is None else (running.request.headers or {}).get(HEADER)


def init_app(app: Flask, settings: Settings) -> None:
    """Give the app a sending-only Celery, the default for every thread's shared tasks; the worker replaces it."""
    celery = SendingCelery(settings)
    celery.set_default()
    app.extensions["celery"] = celery
