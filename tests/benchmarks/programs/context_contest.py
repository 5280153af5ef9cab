"""The rules that all contexts are measured by: what publishing and an empty task cost more than plain Celery's.

It is run by the Python of each contestant's own environment, so it imports nothing of ours.
"""

from __future__ import annotations

import base64
import json
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import redis
from celery import Celery
from celery.app.trace import build_tracer

from tests.benchmarks.programs.contest import Task

SLICES = 100
"""Plain Celery and the contestant take turns so often; the median of the differences counts. A slice takes a few
milliseconds, so that what else the machine does falls into few of them."""

WARM_UP_MESSAGES = 100
PLAIN_QUEUE = "plain"


class Carrier(ABC):
    """A Celery app with the task `empty`, as the stages see it."""

    queue: str
    celery: Any

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def publish(self, number: int) -> None:
        """Send a message of the empty task."""

    def publish_as_somebody(self, number: int) -> None:
        """Send it with a context that no other message has, where messages have one."""
        self.publish(number)

    def header_bytes(self, _message: dict[str, Any]) -> int:
        """Return how long the context is in the message; 0 where there is none."""
        return 0


class Plain(Carrier):
    """Celery alone, in the same process, with the same broker and what is said of it: a key prefix costs, too."""

    def __init__(self, task: Task, options: Mapping[str, Any]) -> None:
        super().__init__(task)
        self.queue = f"{options.get('global_keyprefix', '')}{PLAIN_QUEUE}"
        self.celery = Celery("plain", broker=task.redis_url, set_as_current=False)
        self.celery.conf.broker_transport_options = dict(options)
        self.celery.conf.task_default_queue = PLAIN_QUEUE
        self.celery.conf.task_ignore_result = True
        self.empty: Any = self.celery.task(name="empty")(_empty)

    def publish(self, number: int) -> None:
        self.empty.delay(False)


def _empty(is_last: bool) -> None:
    """Do nothing."""


def context(carrier: Carrier) -> dict[str, float]:
    """Return µs of CPU time over plain Celery's for publishing a message and for tracing a task; and the header."""
    plain = Plain(carrier.task, carrier.celery.conf.broker_transport_options)
    client: Any = redis.Redis.from_url(carrier.task.redis_url)
    count = max(1, carrier.task.messages // SLICES)
    figures = {
        "publish": _over(plain.publish, carrier.publish, count),
        "publish_distinct": _over(plain.publish, carrier.publish_as_somebody, count),
        "task": _over(_traced(plain, client), _traced(carrier, client), count),
    }
    newest = json.loads(client.lrange(carrier.queue, 0, 0)[0])
    return {**figures, "header": carrier.header_bytes(newest)}


def _traced(carrier: Carrier, client: Any) -> Callable[[int], None]:
    """Return what does the task of a message as a child of the pool does it."""
    newest = client.lrange(carrier.queue, 0, carrier.task.messages)
    messages = [json.loads(each) for each in newest]
    task = carrier.celery.tasks["empty"]
    trace = build_tracer(task.name, task, carrier.celery.loader, "bench@localhost", app=carrier.celery)

    def do(number: int) -> None:
        message = messages[number % len(messages)]
        args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
        request = {**message["headers"], **message["properties"], "args": args, "kwargs": kwargs, "is_eager": False}
        trace(request["id"], args, kwargs, request)

    return do


def _over(plain: Callable[[int], None], ours: Callable[[int], None], count: int) -> float:
    """Return how much more CPU time, in µs, a call of `ours` takes than one of `plain`."""
    for number in range(WARM_UP_MESSAGES):
        plain(number)
        ours(number)
    differences = []
    for first in range(0, SLICES * count, count):
        numbers = range(first, first + count)
        differences.append(-_cpu_us(plain, numbers) + _cpu_us(ours, numbers))
    return statistics.median(differences)


def _cpu_us(work: Callable[[int], None], numbers: range) -> float:
    began = time.process_time()
    for number in numbers:
        work(number)
    return (time.process_time() - began) * 1e6 / len(numbers)
