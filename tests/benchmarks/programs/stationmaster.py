"""Our own scheduler: beat's planner over PostgreSQL, from what is due to committed occurrences and ready runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import sqlalchemy as sa
from flask_migrate import upgrade

import migrations
from config.settings import Settings
from dashboard.bare import create_bare_app
from dashboard.core.ids import new_id
from dashboard.core.orm import system_scope
from dashboard.runs.load import SCHEDULES, notify
from dashboard.schedules.timing import rules_version
from dashboard.tenants.models import TenantRecord
from tests.benchmarks.programs.contest import (
    ARRIVAL_SECONDS,
    WARM_UP_TICKS,
    Contestant,
    Task,
    compete,
    resident_mb,
)
from worker.scheduler import Scheduler

BEAT = (sys.executable, "-m", "worker.beat")
"""The words that start beat, as the Procfile has them."""

TENANTS = 10

GLANCE_SECONDS = 0.01
"""How often it is asked whether beat has planned: seldom enough to leave beat a core."""

SEED = """
INSERT INTO schedule (id, tenant_id, name, kind, crons, every_seconds, anchor, job_type, params, next_at, cursor,
    tz_version)
SELECT gen_random_uuid(), (CAST(:tenants AS uuid[]))[1 + n % :count], 'schedule ' || n,
    CASE WHEN n % 2 = 0 THEN 'cron' ELSE 'interval' END,
    CASE WHEN n % 2 = 0 THEN ARRAY[n % 60 || ' ' || n % 24 || ' * * *'] ELSE '{}' END,
    CASE WHEN n % 2 = 1 THEN 86400 END, now(), 'bench.noop', '{"report": "nightly"}',
    now() + interval '20 hours', now(), :rules
FROM generate_series(0, :schedules - 1) AS n
"""

# Half of them every five minutes from a second of their own, half by a cron expression that names this minute.
MAKE_DUE = """
UPDATE schedule SET
    anchor = moment.at - n % 50 * interval '1 second', every_seconds = 300,
    crons = CASE WHEN kind = 'cron'
        THEN ARRAY[to_char(moment.at, 'FMMI') || ',' || n % 60 || to_char(moment.at, ' FMHH24 * * *')] ELSE '{}' END,
    next_at = moment.at - CASE WHEN kind = 'cron' THEN interval '0' ELSE n % 50 * interval '1 second' END,
    cursor = moment.at - CASE WHEN kind = 'cron' THEN interval '0' ELSE n % 50 * interval '1 second' END
        - interval '1 second'
FROM (SELECT id, row_number() OVER (ORDER BY name) AS n FROM schedule ORDER BY name LIMIT :due) AS chosen,
    (SELECT date_trunc('minute', now()) AS at) AS moment
WHERE schedule.id = chosen.id
"""

EDIT = """
UPDATE schedule SET anchor = date_trunc('second', now()), every_seconds = 86400, kind = 'interval',
    next_at = date_trunc('second', now()), cursor = date_trunc('second', now()) - interval '1 second'
WHERE name = :name
"""


class Stationmaster(Contestant):
    """Ten tenants; half of the schedules are intervals, half cron expressions."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.flask_app = create_bare_app(Settings.from_env())

    def seed(self) -> None:
        migrations.attach(self.flask_app)
        with self.flask_app.app_context():
            upgrade()
            with system_scope("benchmark") as session:
                tenants = [TenantRecord(id=new_id(), slug=f"t{number}", name="T") for number in range(TENANTS)]
                session.add_all(tenants)
                session.flush()
                parameters = {
                    "tenants": [tenant.id for tenant in tenants],
                    "count": TENANTS,
                    "schedules": self.task.schedules,
                    "rules": rules_version(),
                }
                session.execute(sa.text(SEED), parameters)
        self._settle_down()

    def open(self) -> None:
        self.scheduler = Scheduler(self.flask_app)
        self.scheduler.start()

    def tick(self) -> None:
        self.scheduler._planner.once()  # what `tick` does after it has slept

    def make_due(self) -> None:
        with self.flask_app.app_context(), system_scope("benchmark") as session:
            session.execute(sa.text(MAKE_DUE), {"due": self.task.due})
        self._settle_down()

    def dispatched(self) -> int:
        with self.flask_app.app_context(), system_scope("benchmark") as session:
            return int(session.execute(sa.text("SELECT count(*) FROM run")).scalar_one())

    def start(self) -> dict[str, float]:
        """Start beat itself; it has looked once when it has planned what is due."""
        last = self.task.schedules - 1  # it was not due before, so that nothing overlaps
        planned = self.dispatched()
        self.edit(last)
        began = time.time()
        with subprocess.Popen(BEAT) as beat:
            try:
                self._until_planned(planned + 1)
                ready, cpu = time.time(), cpu_seconds(beat.pid)
                for number in range(1, WARM_UP_TICKS + 1):
                    self.edit(last - number)
                    self._until_planned(planned + 1 + number)
                return {"began_at": began, "ready_at": ready, "cpu_s": cpu, "memory_mb": resident_mb(beat.pid)}
            finally:
                beat.terminate()

    def serve(self) -> None:
        os.execv(sys.executable, BEAT)  # noqa: S606 - beat itself, in our place

    def edit(self, number: int) -> None:
        with self.flask_app.app_context(), system_scope("benchmark") as session:
            session.execute(sa.text(EDIT), {"name": f"schedule {number}"})
            notify(session, SCHEDULES)

    def _until_planned(self, runs: int) -> None:
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while self.dispatched() < runs:
            if time.monotonic() > deadline:
                raise SystemExit("What was due was not planned.")
            time.sleep(GLANCE_SECONDS)

    def _settle_down(self) -> None:
        """Let autovacuum's work be done, as it would be between two busy times."""
        engine = sa.create_engine(self.task.database_url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM ANALYZE schedule"))
        engine.dispose()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used since it began."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    compete(Stationmaster)
