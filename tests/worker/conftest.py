"""Gives the worker's tests a sending Celery and what tasks noted down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from config.celery import celery_config
from config.settings import Settings
from dashboard.app import Dashboard
from dashboard.core.sending import SendingCelery
from tests.processes import wait_until
from tests.worker.expectations import SECONDS, Notes


@pytest.fixture
def celery(app: Dashboard, settings: Settings) -> Iterator[Celery]:
    """A Celery that only sends, as the web process has it."""
    with closing(SendingCelery(settings)) as celery:
        celery.set_default()
        yield celery
    app.extensions["celery"].set_default()


@pytest.fixture
def stranger(settings: Settings) -> Iterator[Celery]:
    """Somebody who can write to the broker, but knows nothing of our headers."""
    with closing(Celery("stranger", set_as_current=False)) as celery:
        celery.config_from_object(celery_config(settings))
        yield celery


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The file that a job waits for which is told so; `gate.touch()` lets it go on."""
    return tmp_path / "gate"


@contextmanager
def closing(celery: Celery) -> Iterator[Celery]:
    """A Celery whose results are forgotten at the end, while there is a broker to tell so."""
    yield celery
    backend: Any = celery.backend
    backend.result_consumer.stop()
    backend.result_consumer.subscribed_to.clear()
    backend.client.connection_pool.disconnect()
    celery.close()


@pytest.fixture
def notes(redis_url: str) -> Iterator[Notes]:
    """Waits for what tasks noted down under a name, in the order of their writing."""
    with redis.Redis.from_url(redis_url) as client:
        _forget_notes(client)

        def wait(name: str, count: int) -> list[dict[str, Any]]:
            key = f"notes:{name}"
            wait_until(lambda: client.llen(key) >= count, SECONDS, lambda: f"{client.lrange(key, 0, -1)!r}")
            return [json.loads(line) for line in client.lrange(key, 0, -1)]

        yield wait
        _forget_notes(client)


def _forget_notes(client: redis.Redis) -> None:
    """Also before a test: the worker of an earlier one may have noted something down after its end."""
    for key in client.scan_iter("notes:*"):
        client.delete(key)
