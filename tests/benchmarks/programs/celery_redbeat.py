"""RedBeat: schedules are hashes in Redis, and a sorted set says which is next."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from celery import Celery
from celery.beat import Service
from celery.schedules import schedule
from redbeat import RedBeatScheduler, RedBeatSchedulerEntry
from redbeat.decoder import RedBeatJSONEncoder

from tests.benchmarks.programs.contest import Contestant, Task, compete

BATCH = 2000


class RedBeat(Contestant):
    """Each schedule is an entry, every day. Its lock, for one beat at a time, is off: that is faster."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.app: Any = Celery("bench", broker=task.redis_url)
        self.app.conf.update(redbeat_redis_url=task.redis_url, redbeat_lock_key=None, beat_max_loop_interval=1)
        self.redis = redis.Redis.from_url(task.redis_url)

    def entry(self, number: int, ran_ago: timedelta) -> Any:
        ran_at = datetime.now(UTC) - ran_ago
        every = schedule(timedelta(days=1), app=self.app)
        return RedBeatSchedulerEntry(f"schedule {number}", "noop", every, last_run_at=ran_at, app=self.app)

    def store(self, numbers: range, ran_ago: timedelta) -> None:
        pipe = self.redis.pipeline(transaction=False)
        for number in numbers:
            entry = self.entry(number, ran_ago)
            definition = {
                "name": entry.name,
                "task": entry.task,
                "args": entry.args,
                "kwargs": entry.kwargs,
                "options": entry.options,
                "schedule": entry.schedule,
                "enabled": True,
            }
            meta = {"last_run_at": entry.last_run_at}
            pipe.hset(entry.key, "definition", json.dumps(definition, cls=RedBeatJSONEncoder))
            pipe.hset(entry.key, "meta", json.dumps(meta, cls=RedBeatJSONEncoder))
            pipe.zadd(self.app.redbeat_conf.schedule_key, {entry.key: entry.score})
            if number % BATCH == 0:
                pipe.execute()
        pipe.execute()

    def seed(self) -> None:
        self.store(range(self.task.schedules), timedelta())

    def open(self) -> None:
        self.scheduler = RedBeatScheduler(app=self.app)

    def tick(self) -> None:
        self.scheduler.tick()

    def make_due(self) -> None:
        self.store(range(self.task.due), timedelta(days=2))

    def dispatched(self) -> int:
        return int(self.redis.llen("celery"))

    def serve(self) -> None:
        Service(self.app, max_interval=1, scheduler_cls=RedBeatScheduler).start()

    def edit(self, number: int) -> None:
        entry = self.entry(number, timedelta(days=2))
        entry.reschedule(entry.last_run_at)


if __name__ == "__main__":
    compete(RedBeat)
