"""Our own dispatcher: what an admission takes where many wait, and how soon a single run starts under a flood."""

from __future__ import annotations

import statistics
import time
from datetime import timedelta

import sqlalchemy as sa
from flask_migrate import upgrade

import migrations
from dashboard.core.ids import new_id
from dashboard.core.orm import system_scope
from dashboard.core.trips import system_line
from dashboard.runs.dispatcher import Pace, admit
from dashboard.runs.ledger import enqueue_all
from dashboard.runs.models import Process
from tests.benchmarks.programs.contest import Task, answer, asked
from tests.benchmarks.programs.flood_contest import FLOODS, SLOTS, Flooded
from tests.benchmarks.programs.ledger import BATCH, Ledger
from worker import main

LEASE = timedelta(hours=1)
QUEUES = ["default", "email", "bulk"]
WARM_UP_LOOKS = 20
FREE_EACH_LOOK = 10

END = """
WITH ended AS (
    UPDATE run SET state = 'succeeded', lease_until = NULL, finished_at = now()
    WHERE id IN (SELECT id FROM run WHERE state = 'admitted' LIMIT :count)
    RETURNING tenant_id),
counted AS (SELECT tenant_id, count(*) AS count FROM ended GROUP BY tenant_id)
UPDATE tenant_load AS load SET running = running - counted.count FROM counted WHERE counted.tenant_id = load.tenant_id
"""


def tables(_: Task) -> dict[str, float]:
    """Make the tables, and a worker that has ten slots."""
    migrations.attach(main.flask_app)
    with main.flask_app.app_context():
        upgrade()
        with system_scope("benchmark") as session:
            slots = FREE_EACH_LOOK
            session.add(Process(id=new_id(), kind="worker", name="w", host="h", pid=1, slots=slots, queues=QUEUES))
    return {}


def admission(task: Task) -> dict[str, float]:
    """Admit ten runs again and again, as ten end; return what an admission takes, in ms, its commit included."""
    times: list[float] = []
    used = 0.0
    pace = Pace()
    with main.flask_app.app_context():
        for look in range(WARM_UP_LOOKS + task.looks):
            began, cpu = time.perf_counter(), time.process_time()
            with system_line("dispatcher") as line:
                admitted = admit(line, lease=LEASE, pace=pace)
            if look >= WARM_UP_LOOKS and admitted:  # none where the window has just become smaller
                times.append((time.perf_counter() - began) * 1000)
                used += (time.process_time() - cpu) * 1000
            with system_scope("benchmark") as session:
                session.execute(sa.text(END), {"count": FREE_EACH_LOOK})
                session.execute(sa.text("UPDATE process SET seen_at = now()"))
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "cpu": used / len(times)}


class FloodedLedger(Ledger, Flooded):
    """A beat, and a worker with four processes; the first tenant floods, the second one visits."""

    def commands(self) -> list[list[str]]:
        words = ["-m", "celery", "-A", "worker.main"]
        return [
            [*words, "worker", "-P", "prefork", "-c", str(SLOTS), "-l", "WARNING"],
            ["-m", "worker.beat", "-l", "WARNING"],
        ]

    def flood(self, count: int, long: bool) -> None:
        request = self._request(0, "bench.nap" if long else "bench.noop", {} if long else {"report": "nightly"})
        with main.flask_app.app_context():
            for first in range(0, count, BATCH):
                with system_scope("benchmark") as session:
                    enqueue_all(session, [request] * min(BATCH, count - first))

    def visit(self) -> float:
        with main.flask_app.app_context():
            with system_scope("benchmark") as session:
                enqueue_all(session, [self._request(1, "bench.note", {})])
            return time.time()


def main_program() -> None:
    """Do the stage that the command line names and print the answer."""
    stage, task = asked()
    stages = {"tables": tables, "admission": admission}
    answer(stages[stage](task) if stage in stages else FLOODS[stage](FloodedLedger(task)))


if __name__ == "__main__":
    main_program()
