"""Consume messages as Celery does, but send the events that Flower shows in bundles."""

from __future__ import annotations

import time
from typing import Any

from celery.app.events import Events
from celery.events import EventDispatcher
from celery.worker import consumer

EVENTS_SECONDS = 0.2
"""How long events are gathered, if they do not fill a bundle before. Sending each at once costs as much as the task."""

EVENTS_AT_ONCE = 500
"""How many events fill a bundle; Celery's own 24 are sent more often than all else together where runs are short."""


class BundlingDispatcher(EventDispatcher):
    """Celery's dispatcher of events, with larger bundles."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"buffer_limit": EVENTS_AT_ONCE, **options})


class BundledEvents(Events):
    """What makes the dispatchers of an app."""

    dispatcher_cls = "worker.consuming:BundlingDispatcher"


class Consumer(consumer.Consumer):
    """Celery's consumer, which would send the events of each turn of its loop in a message of their own."""

    hub: Any
    _flush_events: Any
    _next_bundle_at = 0.0

    def on_send_event_buffered(self) -> None:  # type: ignore[override]
        now = time.monotonic()
        if self.hub and now >= self._next_bundle_at:
            self._next_bundle_at = now + EVENTS_SECONDS
            self.hub.call_later(EVENTS_SECONDS, self._flush_events)
