"""Show the fleet from our own records: to the platform all of it, to a tenant the workers and what they do for it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, cast

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.orm import Session

from config.settings import Settings
from dashboard.core.clock import database_now
from dashboard.core.ids import earliest_id
from dashboard.runs.models import Process, Run
from dashboard.runs.states import PROBLEM_STATES, READY, RUNNING

Presence = Literal["online", "late", "offline"]

WINDOW = timedelta(hours=1)
STEP = timedelta(minutes=5)
STEPS = WINDOW // STEP
TOLERATED_SKEW_MS = 500

REMEMBERED = timedelta(hours=1)
"""How long a process that was lost is still shown."""

REACH = timedelta(days=2)
"""Runs made longer ago are left out of waits and throughput: an index finds the newer ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetProcess:
    """A worker or beat as its own reports tell; `slots` is what a worker can do at once.

    `tick_ms` is how long beat's last look for due schedules took, `skew_ms` how far the machine's clock is ahead of the
    database's; None until it is known.
    """

    kind: str
    name: str
    presence: Presence
    slots: int
    busy: int
    queues: tuple[str, ...]
    started_at: datetime
    seen_at: datetime
    tzdata: str
    tick_ms: float | None = None
    skew_ms: float | None = None

    @property
    def is_off(self) -> bool:
        """Whether the machine's clock is so far off that somebody should set it."""
        return self.skew_ms is not None and abs(self.skew_ms) > TOLERATED_SKEW_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The processes that were heard of lately, workers first."""

    processes: tuple[FleetProcess, ...]

    @property
    def alive(self) -> list[FleetProcess]:
        return [process for process in self.processes if process.presence != "offline"]

    @property
    def workers(self) -> list[FleetProcess]:
        return [process for process in self.alive if process.kind == "worker"]

    @property
    def beats(self) -> list[FleetProcess]:
        return [process for process in self.alive if process.kind == "beat"]


def load_fleet(session: Session) -> Fleet:
    """Return the processes; a process is `late` after two missed heartbeats and `offline` when its leases end."""
    now = database_now(session)
    rows = session.scalars(
        sa.select(Process)
        .where(Process.stopped_at.is_(None), Process.seen_at > now - REMEMBERED)
        .order_by(Process.kind.desc(), Process.name)
    )
    return Fleet(processes=tuple(_process(row, now) for row in rows))


def _process(row: Process, now: datetime) -> FleetProcess:
    return FleetProcess(
        kind=row.kind,
        name=row.name,
        presence=_presence(now - row.seen_at),
        slots=row.slots,
        busy=row.busy,
        queues=tuple(row.queues),
        started_at=row.started_at,
        seen_at=row.seen_at,
        tzdata=row.tzdata,
        tick_ms=row.tick_ms,
        skew_ms=row.skew_ms,
    )


def _presence(silence: timedelta) -> Presence:
    settings = cast(Settings, current_app.extensions["settings"])
    if silence > settings.lease:
        return "offline"
    return "late" if silence.total_seconds() > 2 * settings.heartbeat_seconds else "online"


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantFleet:
    """The fleet as one tenant may see it: nothing in it tells of another tenant's work.

    `yours` counts the tenant's running runs by worker. Waits are seconds, over the last hour; `finished` and `failed`
    are counts per five minutes of it, oldest first.
    """

    processes: tuple[FleetProcess, ...]
    yours: dict[str, int]
    ready: int
    running: int
    wait_p50: float | None
    wait_p95: float | None
    finished: Sequence[int]
    failed: Sequence[int]
    steps: Sequence[datetime]

    @property
    def alive(self) -> int:
        return sum(process.presence != "offline" for process in self.workers)

    @property
    def workers(self) -> list[FleetProcess]:
        return [process for process in self.processes if process.kind == "worker"]

    @property
    def beats(self) -> list[FleetProcess]:
        return [process for process in self.processes if process.kind == "beat"]

    @property
    def slots(self) -> int:
        return sum(process.slots for process in self.workers if process.presence != "offline")

    @property
    def tag(self) -> str:
        """Changes whenever something here does that no run of the tenant's explains."""
        present = [
            (process.name, process.presence, process.slots, round(process.tick_ms or 0), process.is_off)
            for process in self.processes
        ]
        return f"{zlib.crc32(repr((present, self.steps[0])).encode()):x}"


def load_tenant_fleet(session: Session) -> TenantFleet:
    """Return the fleet for the bound tenant."""
    now = database_now(session)
    by_worker = session.execute(
        sa.select(Run.worker, sa.func.count()).where(Run.state == RUNNING).group_by(Run.worker)
    ).all()
    p50, p95 = _waits(session, now)
    steps, finished, failed = _throughput(session, now)
    yours = {worker: int(count) for worker, count in by_worker}
    return TenantFleet(
        processes=load_fleet(session).processes,
        yours=yours,
        ready=session.scalar(sa.select(sa.func.count()).where(Run.state == READY)) or 0,
        running=sum(yours.values()),
        wait_p50=p50,
        wait_p95=p95,
        finished=finished,
        failed=failed,
        steps=steps,
    )


def _waits(session: Session, now: datetime) -> tuple[float | None, float | None]:
    """Return how many seconds the runs that started in the last hour had waited: the median, and 95 in 100."""
    seconds = sa.extract("epoch", Run.started_at - Run.ready_at)
    quantiles = [sa.func.percentile_cont(share).within_group(seconds) for share in (0.5, 0.95)]
    p50, p95 = session.execute(
        sa.select(*quantiles).where(Run.id > earliest_id(now - REACH), Run.started_at > now - WINDOW)
    ).one()
    return p50, p95


def _throughput(session: Session, now: datetime) -> tuple[list[datetime], list[int], list[int]]:
    """Return the starts of twelve steps of five minutes, and how many runs ended and failed in each."""
    current = datetime.fromtimestamp(now.timestamp() // STEP.total_seconds() * STEP.total_seconds(), now.tzinfo)
    steps = [current - STEP * back for back in reversed(range(STEPS))]
    step = sa.func.date_bin(STEP, Run.finished_at, steps[0])
    rows = session.execute(
        sa.select(step, sa.func.count(), sa.func.count().filter(Run.state.in_(PROBLEM_STATES)))
        .where(Run.id > earliest_id(now - REACH), Run.finished_at >= steps[0])
        .group_by(step)
    ).all()
    counts = {start: (ended, failed) for start, ended, failed in rows}
    finished = [counts.get(start, (0, 0))[0] for start in steps]
    return steps, finished, [counts.get(start, (0, 0))[1] for start in steps]
