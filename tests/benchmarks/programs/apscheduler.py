"""APScheduler 3 with its job store on PostgreSQL; it runs what is due in threads of its own."""

from __future__ import annotations

import pickle
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger
from apscheduler.util import datetime_to_utc_timestamp

from tests.benchmarks.programs.contest import Contestant, Task, compete

done = 0


def noop() -> None:
    """Count that it ran."""
    global done  # noqa: PLW0603 - the job store keeps the name of a function of a module
    done += 1


class ApScheduler(Contestant):
    """Each schedule is an interval job, every day. Its own thread sleeps: the stages call what it would."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        url = task.database_url.replace("postgresql://", "postgresql+psycopg://")
        self.store = SQLAlchemyJobStore(url=url)
        self.scheduler = BackgroundScheduler(
            jobstores={"default": self.store}, timezone="UTC", job_defaults={"misfire_grace_time": None}
        )
        self.scheduler.start(paused=True)

    def rows(self, numbers: range, next_at: datetime) -> list[dict[str, Any]]:
        job = self.scheduler.add_job(noop, IntervalTrigger(days=1, timezone="UTC"), id="model", next_run_time=next_at)
        state = job.__getstate__()
        job.remove()
        return [
            {
                "id": f"schedule {number}",
                "next_run_time": datetime_to_utc_timestamp(next_at),
                "job_state": pickle.dumps({**state, "id": f"schedule {number}", "next_run_time": next_at}),
            }
            for number in numbers
        ]

    def seed(self) -> None:
        rows = self.rows(range(self.task.schedules), datetime.now(UTC) + timedelta(days=1))
        with self.store.engine.begin() as connection:
            connection.execute(self.store.jobs_t.insert(), rows)

    def open(self) -> None:
        self.scheduler.state = 1  # runs, as far as the stages' calls are concerned

    def tick(self) -> None:
        self.scheduler._process_jobs()

    def make_due(self) -> None:
        rows = self.rows(range(self.task.due), datetime.now(UTC) - timedelta(seconds=5))
        table = self.store.jobs_t
        with self.store.engine.begin() as connection:
            connection.execute(table.delete().where(table.c.id.in_([row["id"] for row in rows])))
            connection.execute(table.insert(), rows)

    def dispatched(self) -> int:
        time.sleep(0)  # its threads share this process
        return done

    def serve(self) -> None:
        raise SystemExit("It sees edits of its own process only.")

    def edit(self, number: int) -> None:
        raise SystemExit("It sees edits of its own process only.")


if __name__ == "__main__":
    compete(ApScheduler)
