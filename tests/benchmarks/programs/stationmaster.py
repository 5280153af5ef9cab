"""Our own scheduler: beat's planner over PostgreSQL, from what is due to committed occurrences and ready runs."""

from __future__ import annotations

import os
import sys

import sqlalchemy as sa
from flask_migrate import upgrade

import migrations
from dashboard.core.ids import new_id
from dashboard.core.orm import system_scope
from dashboard.runs.load import SCHEDULES, notify
from dashboard.schedules.timing import rules_version
from dashboard.tenants.models import TenantRecord
from tests.benchmarks.programs.contest import Contestant, Task, compete
from worker import main
from worker.beat import DatabaseScheduler

TENANTS = 10

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
        self.flask_app = main.flask_app

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
        self.scheduler = DatabaseScheduler(main.app)

    def tick(self) -> None:
        self.scheduler._planner.once()  # what `tick` does after it has slept

    def make_due(self) -> None:
        with self.flask_app.app_context(), system_scope("benchmark") as session:
            session.execute(sa.text(MAKE_DUE), {"due": self.task.due})
        self._settle_down()

    def dispatched(self) -> int:
        with self.flask_app.app_context(), system_scope("benchmark") as session:
            return int(session.execute(sa.text("SELECT count(*) FROM run")).scalar_one())

    def serve(self) -> None:
        words = ["-A", "worker.main", "beat", "-S", "worker.beat:DatabaseScheduler"]
        os.execv(sys.executable, [sys.executable, "-m", "celery", *words])  # noqa: S606 - beat itself, in our place

    def edit(self, number: int) -> None:
        with self.flask_app.app_context(), system_scope("benchmark") as session:
            session.execute(sa.text(EDIT), {"name": f"schedule {number}"})
            notify(session, SCHEDULES)

    def _settle_down(self) -> None:
        """Let autovacuum's work be done, as it would be between two busy times."""
        engine = sa.create_engine(self.task.database_url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM ANALYZE schedule"))
        engine.dispose()


if __name__ == "__main__":
    compete(Stationmaster)
