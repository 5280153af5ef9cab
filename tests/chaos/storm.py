"""Kills what it meets while runs are worked off, and counts what became of them."""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from uuid import UUID

import redis
import sqlalchemy as sa

from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.load import reconcile
from dashboard.runs.models import Process, Run, RunEvent, TenantLoad
from dashboard.runs.states import ACTIVE_STATES, ADMITTED, INTERRUPTED, PROBLEM_STATES, RUNNING, SUCCEEDED
from tests.chaos.clicker import Clicker
from tests.chaos.site import PLUGINS, Site
from tests.chaos.witness import Testimony, what_was_seen, witness
from tests.factories.ledger import broken_timelines, enqueue_runs
from tests.processes import BEAT_READY, RunningProcess, beat_process, wait_until, worker_process
from tests.worker.ledger_probes import job

PATIENCE_SECONDS = 60.0
"""How long nothing may end before what has not ended counts as lost."""

JOB_SECONDS = 0.2
WORKERS = 2
SLOTS = 4
"""How many runs each worker does at once."""

HONCHO_SECONDS = 5.0
"""How long honcho lets what it stops end by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a storm left.

    A run is lost if it neither ended nor waits nor is listed for a person; if it is said to have succeeded and the
    witness saw no effect; or if a click for it was answered and it is not there. Doubled are effects of runs that may
    not run twice, and successes. A counter has drifted also if one of the beats, which look each minute, has set it
    right since. A timeline is broken if it has a hole, or a move that the table of moves has not.
    """

    kills: int
    runs: int
    succeeded: int
    listed: int
    lost: int
    completed_twice: int
    started_twice: int
    worst_recovery_s: float
    counter_drift: int
    broken_timelines: int

    @property
    def is_sound(self) -> bool:
        return not (self.lost or self.completed_twice or self.counter_drift or self.broken_timelines)


@dataclass(slots=True)
class Fleet:
    """The processes that die, two of a kind so that the work goes on."""

    site: Site
    chance: random.Random
    plugins: tuple[str, ...] = ()
    beats: list[RunningProcess] = field(default_factory=list)
    workers: list[RunningProcess] = field(default_factory=list)
    webs: list[RunningProcess] = field(default_factory=list)

    def start(self) -> None:
        """Start what is missing, and return once one of each kind is ready: the other one may still be on its way."""
        start, environment = self.site.stack.enter_context, self.site.environment
        plugins = (*PLUGINS, *self.plugins)
        while len(self.webs) < 1:
            self.webs.append(self.site.start_web())
        while len(self.beats) < 2:
            self.beats.append(start(beat_process(environment, plugins=plugins, ready="")))
        while len(self.workers) < WORKERS:
            self.workers.append(start(worker_process(environment, plugins=plugins, concurrency=SLOTS, ready="")))
        self.workers[0].wait_for("ready.")
        self.beats[0].wait_for(BEAT_READY)

    @property
    def everybody(self) -> list[RunningProcess]:
        return [*self.webs, *self.beats, *self.workers]

    @property
    def weapons(self) -> tuple[Callable[[], None], ...]:
        return (
            self.kill_worker,
            self.kill_child,
            self.kill_beat,
            self.kill_web,
            self.kill_valkey,
            self.flush_valkey,
            self.kill_postgres,
            self.stop_worker,
            self.freeze_worker,
            self.restart_as_honcho_does,
            self.kill_everything,
        )

    def kill_worker(self) -> None:
        self._take(self.workers).kill_group()

    def kill_child(self) -> None:
        with suppress(ProcessLookupError, IndexError):
            os.kill(self.chance.choice(self.chance.choice(self.workers).children()), signal.SIGKILL)

    def kill_beat(self) -> None:
        self._take(self.beats).kill_group()

    def kill_web(self) -> None:
        self._take(self.webs).kill_group()

    def kill_valkey(self) -> None:
        """It writes nothing to disk, and so forgets all messages."""
        self.site.valkey.kill()
        self.site.valkey.start()

    def flush_valkey(self) -> None:
        with redis.Redis.from_url(self.site.valkey.url()) as client:
            client.flushall()

    def kill_postgres(self) -> None:
        self.site.postgres.kill()
        self.site.postgres.start()

    def stop_worker(self) -> None:
        """Ask a whole process group to stop, its children too."""
        worker = self._take(self.workers)
        os.killpg(worker.pid, signal.SIGTERM)
        worker.stop()

    def freeze_worker(self) -> None:
        """Let a worker lose its leases without noticing, as a machine that is moved or swaps."""
        with held([self.chance.choice(self.workers)]):
            time.sleep(float(self.site.environment["LEASE_SECONDS"]) + 2)

    def restart_as_honcho_does(self) -> None:
        """Ask all at once, and kill after five seconds what has not ended."""
        for process in self.everybody:
            os.killpg(process.pid, signal.SIGTERM)
        end = time.monotonic() + HONCHO_SECONDS
        for process in self.everybody:
            process.stop(deadline=max(0.1, end - time.monotonic()))
        self._forget_all()

    def kill_everything(self) -> None:
        """Let the power fail for all but the disk."""
        for process in self.everybody:
            process.kill_group()
        self._forget_all()
        self.kill_valkey()
        self.kill_postgres()

    def _take(self, kind: list[RunningProcess]) -> RunningProcess:
        return kind.pop(self.chance.randrange(len(kind)))

    def _forget_all(self) -> None:
        for kind in (self.webs, self.beats, self.workers):
            kind.clear()


@contextmanager
def held(workers: Sequence[RunningProcess]) -> Iterator[None]:
    """Hold workers with their children, and let them go on at the end."""
    for worker in workers:
        os.killpg(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in workers:
            os.killpg(worker.pid, signal.SIGCONT)


class Storm:
    """Two beats, two workers and the web at work on two tenants' runs, half of them idempotent; and something dies."""

    def __init__(self, site: Site, chance: random.Random, plugins: tuple[str, ...] = ()) -> None:
        self.site = site
        self.chance = chance
        self.tenants: list[Tenant] = [site.tenant("acme"), site.tenant("globex")]
        self.fleet = Fleet(site, chance, plugins)

    def blow(self, kills: int, runs: int, minutes: float = math.inf) -> Report:
        """Kill `kills` times while `runs` runs and some clicks are worked off; return what became of them.

        After `minutes` nothing more is killed, and the report says how far it came.
        """
        end, killed = time.monotonic() + 60 * minutes, 0
        with witness() as port, ExitStack() as stack:
            self.fleet.start()
            clickers = [stack.enter_context(Clicker(self.site, tenant, port=port)) for tenant in self.tenants]
            wanted: list[UUID] = []
            for weapon in islice(self._weapons(), kills):
                wanted += self.enqueue(-(-runs // kills), port)
                time.sleep(self.chance.uniform(0.5, 1.5))  # the work has to go on a while between two blows
                weapon()
                killed += 1
                self.fleet.start()
                if time.monotonic() > end:
                    break
            stack.close()
            wanted += [run_id for clicker in clickers for run_id in clicker.promised]
            return self.report(wanted, killed, port)

    def enqueue(self, runs: int, port: int) -> list[UUID]:
        """Put about so many runs into the ledger, and return their ids."""
        part = max(1, runs // 4)
        again = {**job("witnessed_again", port=port, seconds=JOB_SECONDS), "idempotent": True, "max_attempts": 100}
        once = job("witnessed_once", port=port, seconds=JOB_SECONDS)
        return [
            run_id
            for tenant in self.tenants
            for fields in (again, once)
            for run_id in enqueue_runs(self.site.app, tenant, part, **fields)
        ]

    def report(self, wanted: list[UUID], kills: int, port: int, patience: float = PATIENCE_SECONDS) -> Report:
        """Wait until all is done, for a while, and return what became of the runs."""
        with suppress(AssertionError):  # what never ends is counted as lost
            while left := self._unfinished(wanted):
                wait_until(partial(self._has_shrunk, wanted, left), patience)
        with self.site.app.app_context(), system_scope("test") as session:
            fates = {fate.id: fate for fate in session.execute(_FATES.where(Run.id.in_(wanted)))}
            ends: dict[UUID, float] = dict(session.execute(_INTERRUPTIONS.where(RunEvent.run_id.in_(wanted))).all())
            reconcile(session)
            drifts = session.scalar(_DRIFTS) or 0
            broken = broken_timelines(session, wanted)
        seen = what_was_seen(port)
        return Report(
            kills=kills,
            runs=len(wanted),
            succeeded=sum(fate.state == SUCCEEDED for fate in fates.values()),
            listed=sum(fate.state in PROBLEM_STATES for fate in fates.values()),
            lost=sum(_is_lost(fates.get(run_id), seen) for run_id in wanted),
            completed_twice=sum(_is_doubled(fate, seen) for fate in fates.values()),
            started_twice=sum(seen.starts.get(str(run_id), 0) > 1 for run_id in wanted),
            worst_recovery_s=round(max([*seen.recoveries, *_waits(seen, ends)], default=0.0), 1),
            counter_drift=drifts,
            broken_timelines=len(broken),
        )

    def holding(self, runs: list[UUID]) -> set[tuple[UUID, int]]:
        """Return which of the runs a message or a worker holds, as (id, fence)."""
        with self.site.app.app_context(), system_scope("test") as session:
            query = sa.select(Run.id, Run.fence).where(Run.id.in_(runs), Run.state.in_((ADMITTED, RUNNING)))
            return {(run_id, fence) for run_id, fence in session.execute(query)}

    def is_attended(self) -> bool:
        """Whether a worker has told that it is there, so that runs are admitted to it."""
        with self.site.app.app_context(), system_scope("test") as session:
            return session.scalar(sa.select(sa.exists().where(Process.kind == "worker", Process.slots > 0))) or False

    def said(self) -> str:
        """Return what the processes said last."""
        return "\n".join(process.output()[-5000:] for process in self.fleet.everybody)

    def _weapons(self) -> Iterator[Callable[[], None]]:
        """Each weapon once, in an order of chance; and again."""
        while True:
            yield from self.chance.sample(self.fleet.weapons, len(self.fleet.weapons))

    def _has_shrunk(self, runs: list[UUID], left: int) -> bool:
        return self._unfinished(runs) < left

    def _unfinished(self, runs: list[UUID]) -> int:
        with self.site.app.app_context(), system_scope("test") as session:
            active = sa.select(sa.func.count()).where(Run.id.in_(runs), Run.state.in_(ACTIVE_STATES))
            return session.scalar(active) or 0


def _is_lost(fate: sa.Row[UUID, str, bool, int] | None, seen: Testimony) -> bool:
    if fate is None or fate.state in ACTIVE_STATES:
        return True
    return fate.state == SUCCEEDED and str(fate.id) not in seen.effects


def _is_doubled(fate: sa.Row[UUID, str, bool, int], seen: Testimony) -> bool:
    return fate.successes > 1 or (not fate.idempotent and seen.effects.get(str(fate.id), 0) > 1)


def _waits(seen: Testimony, interrupted: dict[UUID, float]) -> Iterator[float]:
    """Yield how long each killed run that may not run twice waited until a person could see it."""
    for run, since in seen.orphaned.items():
        if UUID(run) in interrupted:
            yield interrupted[UUID(run)] - since


_SUCCESSES = sa.select(sa.func.count()).where(RunEvent.run_id == Run.id, RunEvent.state == SUCCEEDED).scalar_subquery()
_FATES = sa.select(Run.id, Run.state, Run.idempotent, _SUCCESSES.label("successes"))
_DRIFTS = sa.select(sa.func.sum(TenantLoad.drifts))
_INTERRUPTIONS = (
    sa.select(RunEvent.run_id, sa.func.extract("epoch", sa.func.max(RunEvent.at)).cast(sa.Float))
    .where(RunEvent.state == INTERRUPTED)
    .group_by(RunEvent.run_id)
)
