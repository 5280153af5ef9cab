"""What the peers on Celery have in common: how their jobs are pushed, and how one notes when it began."""

from __future__ import annotations

import time
from typing import Any

import redis
from celery import Celery, current_app

from tests.benchmarks.programs.contest import Task, answer, asked
from tests.benchmarks.programs.context_contest import Carrier, context
from tests.benchmarks.programs.work_contest import CONCURRENCY, STAGES, Workshop

ENDED = "bench:ended"
BEGAN = "bench:began"
QUEUE = "celery"


def empty(is_last: bool) -> None:
    """Do nothing; the last one says that it was done."""
    if is_last:
        redis.Redis.from_url(current_app.conf.broker_url).set(ENDED, 1)


def note() -> None:
    """Note when it began."""
    began = time.time()
    redis.Redis.from_url(current_app.conf.broker_url).rpush(BEGAN, began)


class CeleryWorkshop(Workshop):
    """A worker of Celery's with two processes. `task.variant` names what else it does: `results`, `events`."""

    def __init__(self, task: Task, module: str, celery: Celery) -> None:
        super().__init__(task)
        self.module = module
        self.tasks: Any = celery.tasks
        self.redis: Any = redis.Redis.from_url(task.redis_url)
        celery.conf.update(broker_url=task.redis_url, result_backend=self._backend)

    def prepare(self) -> None:
        """There is nothing to make."""

    def commands(self) -> list[list[str]]:
        urls = ["-b", self.task.redis_url, *(["--result-backend", self._backend] if self._backend else [])]
        events = ["-E"] if "events" in self.task.variant else []
        worker = ["worker", "-P", "prefork", "-c", str(CONCURRENCY), "-l", "WARNING", *events]
        return [["-m", "celery", "-A", self.module, *urls, *worker]]

    def push(self, count: int) -> None:
        self.redis.delete(ENDED)
        for number in range(1, count + 1):
            self.tasks["empty"].delay(number == count)

    def are_done(self) -> bool:
        return bool(self.redis.exists(ENDED))

    def ping(self) -> float:
        self.tasks["note"].delay()
        return time.time()

    def began_at(self) -> float:
        _, began = self.redis.blpop([BEGAN], timeout=30)
        return float(began)

    @property
    def _backend(self) -> str | None:
        return self.task.redis_url if "results" in self.task.variant else None


class CeleryCarrier(Carrier):
    """The same task, published and traced in one process."""

    queue = QUEUE

    def __init__(self, task: Task, celery: Celery) -> None:
        super().__init__(task)
        self.celery = celery
        celery.conf.update(broker_url=task.redis_url)

    def publish(self, number: int) -> None:
        self.celery.tasks["empty"].delay(False)


def register(celery: Celery) -> None:
    """Make tasks of the two functions."""
    celery.task(name="empty")(empty)
    celery.task(name="note")(note)


def compete(module: str, celery: Celery) -> None:
    """Do the stage that the command line names and print the answer; `module` is the one that makes `celery`."""
    stage, task = asked()
    if stage == "context":
        answer(context(CeleryCarrier(task, celery)))
    else:
        answer(STAGES[stage](CeleryWorkshop(task, module, celery)))
