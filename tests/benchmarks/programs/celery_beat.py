"""Celery's own beat with its default scheduler, which keeps every entry in memory and in a file."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from celery.beat import PersistentScheduler, Service

from tests.benchmarks.programs.contest import Contestant, compete

EVERY = timedelta(days=1)


class CeleryBeat(Contestant):
    """An entry of the configuration for each schedule; the file holds when each ran."""

    def seed(self) -> None:
        """There is nothing to store: the entries are in the configuration."""

    def open(self) -> None:
        self.app = Celery("bench", broker=self.task.redis_url)
        self.app.conf.beat_schedule = {
            f"schedule {number}": {"task": "noop", "schedule": EVERY} for number in range(self.task.schedules)
        }
        self.redis = redis.Redis.from_url(self.task.redis_url)
        self.scheduler: Any = PersistentScheduler(
            self.app, schedule_filename=str(Path(self.task.folder) / "celerybeat-schedule")
        )

    def tick(self) -> None:
        self.scheduler.tick()

    def make_due(self) -> None:
        for number in range(self.task.due):
            self.scheduler.schedule[f"schedule {number}"].last_run_at -= EVERY * 2
        self.scheduler._heap = None

    def dispatched(self) -> int:
        return int(self.redis.llen("celery"))

    def serve(self) -> None:
        self.open()
        Service(self.app, max_interval=1).start()
        time.sleep(0)

    def edit(self, number: int) -> None:
        raise SystemExit("Celery's beat reads its configuration at the start only.")


if __name__ == "__main__":
    compete(CeleryBeat)
