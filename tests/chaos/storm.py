"""Kills what it meets while runs are worked off, and counts what became of them."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice, pairwise
from uuid import UUID

import sqlalchemy as sa

from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.load import reconcile
from dashboard.runs.models import Run, RunEvent, RunLog
from dashboard.runs.states import ACTIVE_STATES, INTERRUPTED, PROBLEM_STATES, READY, RUNNING, SUCCEEDED
from tests.chaos.site import Site
from tests.factories.ledger import enqueue_runs
from tests.processes import wait_until
from tests.worker.job_types_for_tests import EFFECT
from tests.worker.ledger_probes import job

PATIENCE_SECONDS = 60.0
JOB_SECONDS = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a storm left. A run is `listed` if it waits for a person, and `lost` if it neither ended nor is listed."""

    kills: int
    runs: int
    succeeded: int
    listed: int
    lost: int
    completed_twice: int
    started_twice: int
    worst_recovery_s: float
    counter_drift: int


class Storm:
    """Two beats and two workers at work on two tenants' runs, half of them idempotent, while something dies."""

    def __init__(self, site: Site, chance: random.Random) -> None:
        self.site = site
        self.chance = chance
        self.tenants: list[Tenant] = [site.tenant("acme"), site.tenant("globex")]
        self.beats = [site.start_beat(), site.start_beat()]
        self.workers = [site.start_worker(), site.start_worker()]
        self.killed_at: list[datetime] = []

    def blow(self, kills: int, runs: int) -> Report:
        """Kill `kills` times while `runs` runs are worked off; return what became of them."""
        wanted = self._enqueue(runs)
        for kill in islice(cycle(self._weapons()), kills):
            time.sleep(self.chance.uniform(0.5, 1.5))  # the work has to go on a while between two blows
            self.killed_at.append(datetime.now(UTC))
            kill()
        with suppress(AssertionError):  # what never ends is counted as lost
            wait_until(lambda: not self._unfinished(wanted), PATIENCE_SECONDS)
        return self._report(wanted)

    def _enqueue(self, runs: int) -> list[UUID]:
        half = runs // 4
        again = {**job("sleep_again", seconds=JOB_SECONDS), "idempotent": True, "max_attempts": 100}
        once = job("sleep_once", seconds=JOB_SECONDS)
        return [
            run_id
            for tenant in self.tenants
            for fields in (again, once)
            for run_id in enqueue_runs(self.site.app, tenant, half, **fields)
        ]

    def _weapons(self) -> list[Callable[[], None]]:
        return [self._kill_worker, self._kill_child, self._kill_beat, self._kill_valkey, self._kill_postgres]

    def _kill_worker(self) -> None:
        victim = self.workers.pop(self.chance.randrange(2))
        victim.kill_group()
        self.workers.append(self.site.start_worker())

    def _kill_child(self) -> None:
        worker = self.chance.choice(self.workers)
        with suppress(ProcessLookupError):
            os.kill(self.chance.choice(worker.children()), signal.SIGKILL)

    def _kill_beat(self) -> None:
        victim = self.beats.pop(self.chance.randrange(2))
        victim.kill_group()
        self.beats.append(self.site.start_beat())

    def _kill_valkey(self) -> None:
        self.site.valkey.kill()
        self.site.valkey.start()

    def _kill_postgres(self) -> None:
        self.site.postgres.kill()
        self.site.postgres.start()

    def _unfinished(self, runs: list[UUID]) -> int:
        with self.site.app.app_context(), system_scope("test") as session:
            active = sa.select(sa.func.count()).where(Run.id.in_(runs), Run.state.in_(ACTIVE_STATES))
            return session.scalar(active) or 0

    def said(self) -> str:
        """Return what the processes said last."""
        return "\n".join(process.output()[-5000:] for process in [*self.beats, *self.workers])

    def _report(self, runs: list[UUID]) -> Report:
        with self.site.app.app_context(), system_scope("test") as session:
            found = session.execute(_FATES.where(Run.id.in_(runs))).all()
            return Report(
                kills=len(self.killed_at),
                runs=len(runs),
                succeeded=sum(fate.state == SUCCEEDED for fate in found),
                listed=sum(fate.state in PROBLEM_STATES for fate in found),
                lost=len(runs) - sum(fate.state not in ACTIVE_STATES for fate in found),
                completed_twice=sum(fate.successes > 1 or (not fate.idempotent and fate.effects > 1) for fate in found),
                started_twice=sum(max(0, fate.starts - 1) for fate in found),
                worst_recovery_s=max(self._recoveries(session, runs), default=timedelta()).total_seconds(),
                counter_drift=len(reconcile(session)),
            )

    def _recoveries(self, session: sa.orm.Session, runs: list[UUID]) -> Iterator[timedelta]:
        """Yield, for each run that was taken back from a dead worker, how long after the kill that was."""
        events = session.execute(
            sa.select(RunEvent.run_id, RunEvent.state, RunEvent.at)
            .where(RunEvent.run_id.in_(runs))
            .order_by(RunEvent.run_id, RunEvent.id)
        ).all()
        for before, after in pairwise(events):
            taken_back = before.run_id == after.run_id and before.state == RUNNING
            if taken_back and after.state in {READY, INTERRUPTED}:
                yield after.at - max(at for at in self.killed_at if at <= after.at)


def _count(where: sa.ColumnElement[bool], of: type[RunEvent] | type[RunLog]) -> sa.ScalarSelect[int]:
    return sa.select(sa.func.count()).where(of.run_id == Run.id, where).scalar_subquery()


_FATES = sa.select(
    Run.state,
    Run.idempotent,
    _count(RunEvent.state == RUNNING, RunEvent).label("starts"),
    _count(RunEvent.state == SUCCEEDED, RunEvent).label("successes"),
    _count(RunLog.text == EFFECT, RunLog).label("effects"),
)
