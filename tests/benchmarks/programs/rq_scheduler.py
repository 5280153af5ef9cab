"""rq-scheduler: schedules are jobs of RQ in a sorted set of Redis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import redis
from rq_scheduler import Scheduler
from rq_scheduler.utils import to_unix

from tests.benchmarks.programs.contest import Contestant, Task, compete

BATCH = 2000
DAY = 86_400


def noop() -> None:
    """Do nothing."""


class RqScheduler(Contestant):
    """Each schedule repeats every day."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.redis = redis.Redis.from_url(task.redis_url)
        self.scheduler = Scheduler(connection=self.redis, interval=1)

    def seed(self) -> None:
        tomorrow = to_unix(datetime.now(UTC) + timedelta(days=1))
        pipe = self.redis.pipeline(transaction=False)
        for number in range(self.task.schedules):
            job = self.scheduler._create_job(noop, id=f"schedule-{number}", commit=False)
            job.meta["interval"] = DAY
            job.save(pipeline=pipe)
            pipe.zadd(self.scheduler.scheduled_jobs_key, {job.id: tomorrow})
            if number % BATCH == 0:
                pipe.execute()
        pipe.execute()

    def open(self) -> None:
        self.scheduler.acquire_lock()

    def tick(self) -> None:
        self.scheduler.enqueue_jobs()
        self.scheduler.heartbeat()

    def make_due(self) -> None:
        past = to_unix(datetime.now(UTC) - timedelta(seconds=5))
        due = {f"schedule-{number}": past for number in range(self.task.due)}
        self.redis.zadd(self.scheduler.scheduled_jobs_key, due)

    def dispatched(self) -> int:
        return int(self.redis.llen("rq:queue:default"))

    def serve(self) -> None:
        self.scheduler.run()

    def edit(self, number: int) -> None:
        job = self.scheduler.job_class.fetch(f"schedule-{number}", connection=self.redis)
        self.scheduler.change_execution_time(job, datetime.now(UTC) - timedelta(seconds=1))


if __name__ == "__main__":
    compete(RqScheduler)
