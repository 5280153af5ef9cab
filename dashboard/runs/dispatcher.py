"""Admit ready runs to the workers' free slots, fairly among tenants: stride scheduling with caps.

Any number of dispatchers may work at once: a lock that lives as long as the transaction makes them take turns, and so
there is no leader to lose. Messages are sent by the caller, after the commit.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dashboard.runs.fairness import Window
from dashboard.runs.ledger import Move, move_all
from dashboard.runs.states import ADMITTED, READY

ADMISSION_LOCK = 0x5741474F4E
"""The key of the advisory lock that makes dispatchers take turns."""

LOOKAHEAD_SECONDS = 0.05
"""How much work may lie in the broker beyond the free slots, so that a worker with short runs never waits for us."""

MOST_AHEAD = 3
"""Times the slots: no more lies in the broker ahead of a free slot, however short the runs are."""

KEPT_FOR_INTERACTIVE_FROM = 3
"""With as many slots or more, one is kept from the bulk lane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A run whose message has to be sent now, with the context that it will run in."""

    id: UUID
    fence: int
    tenant_id: UUID
    attempt: int
    queue: str
    lane: str
    job_type: str
    timeout_seconds: int
    context_root_id: UUID | None
    context_locale: str | None
    context_request_id: UUID | None
    actor_kind: str
    actor_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The workers that live: for each, the queues it takes from and how many runs it does at once."""

    workers: tuple[tuple[frozenset[str], int], ...]

    @property
    def slots(self) -> int:
        return sum(slots for _, slots in self.workers)

    def reach(self, queue: str) -> int:
        """Return how many slots may take runs from `queue`."""
        return sum(slots for queues, slots in self.workers if queue in queues)

    def islands(self) -> list[Fleet]:
        """Part the fleet into groups of workers that share no queue: one's free slots are no use to another."""
        islands: list[list[tuple[frozenset[str], int]]] = []
        for worker in self.workers:
            near = [island for island in islands if any(worker[0] & queues for queues, _ in island)]
            islands = [island for island in islands if island not in near]
            islands.append([worker, *(each for island in near for each in island)])
        return [Fleet(workers=tuple(island)) for island in islands]

    @property
    def queues(self) -> tuple[str, ...]:
        return tuple(sorted(frozenset().union(*(queues for queues, _ in self.workers))))


Held = dict[tuple[str, str], int]
"""How many runs are admitted or running, by (queue, lane)."""


def window_of(island: Fleet, held: Held, ahead: int) -> Window:
    """Return the window of workers that share queues; `ahead` runs may lie in the broker beyond their slots."""
    depth = island.slots + ahead
    mine = {key: count for key, count in held.items() if key[0] in island.queues}
    busy_bulk = sum(count for (_, lane), count in mine.items() if lane == "bulk")
    kept = 1 if island.slots >= KEPT_FOR_INTERACTIVE_FROM else 0
    free = max(0, depth - sum(mine.values()))
    return Window(
        queues=island.queues,
        rooms=tuple(
            max(0, island.reach(queue) + ahead - sum(count for key, count in mine.items() if key[0] == queue))
            for queue in island.queues
        ),
        free=free,
        bulk=max(0, min(free, depth - kept - busy_bulk)),
    )


def share_of(fleet: Fleet, ahead: int) -> int:
    """Return how many runs one tenant may have at once if nobody said: half of what there is, and one at least."""
    return max(1, (fleet.slots + ahead) // 2)


@dataclass(slots=True)
class Pace:
    """How many runs a second end, measured between two looks: admitted ones minus those that are still held."""

    clock: Callable[[], float] = time.monotonic
    rate: float = 0.0
    _last: tuple[float, int] | None = field(default=None, init=False)

    def observe(self, admitted_ever: int, held: int) -> None:
        now, ended = self.clock(), admitted_ever - held
        if self._last is None:
            self._last = (now, ended)
        elif now - self._last[0] >= LOOKAHEAD_SECONDS:
            seconds, count = now - self._last[0], ended - self._last[1]
            self.rate = (self.rate + max(0.0, count / seconds)) / 2
            self._last = (now, ended)

    def ahead(self, island: Fleet, slots: int) -> int:
        """Return how many runs may lie in the broker for these workers, beyond their slots.

        None while runs last a second or longer; else as many as there are slots, so that a worker finds its next one
        there, and more where LOOKAHEAD_SECONDS of work are more.
        """
        if not slots or self.rate < slots:
            return 0
        work = int(self.rate * LOOKAHEAD_SECONDS * island.slots / slots)
        return min(max(island.slots, work), MOST_AHEAD * island.slots)


def admit(session: Session, *, lease: timedelta, pace: Pace) -> list[Admitted]:
    """Admit what the free slots can take, and return it. `session` is a system session of its own.

    A worker counts as long as its heartbeat is younger than `lease`.
    """
    if not session.scalar(_ANY_READY):
        return []
    session.execute(_TAKE_TURN, {"key": ADMISSION_LOCK})
    fleet, held, tenants, admitted_ever = look(session, lease)
    pace.observe(admitted_ever, sum(held.values()))
    share = share_of(fleet, pace.ahead(fleet, fleet.slots))
    admitted: list[Admitted] = []
    for island in fleet.islands():
        window = window_of(island, held, pace.ahead(island, fleet.slots))
        admitted += _admit_in(session, window, share, lease, tenants)
    return admitted


_ANY_READY = sa.text("SELECT EXISTS (SELECT FROM tenant_load WHERE ready > 0)")
_TAKE_TURN = sa.text("SELECT pg_advisory_xact_lock(:key)")


def look(session: Session, lease: timedelta) -> tuple[Fleet, Held, int, int]:
    """Return the workers whose heartbeat is younger than `lease`, what is held, and two numbers.

    They are how many tenants wait, and how many runs were ever admitted.
    """
    workers, held, tenants, admitted_ever = session.execute(_LOOK, {"lease": lease}).one()
    fleet = Fleet(workers=tuple((frozenset(each["queues"]), each["slots"]) for each in workers if each["queues"]))
    return fleet, {(each["queue"], each["lane"]): each["count"] for each in held}, tenants, admitted_ever


_LOOK = sa.text("""
SELECT
    (SELECT coalesce(json_agg(worker), '[]') FROM (
        SELECT queues, slots FROM process
        WHERE kind = 'worker' AND stopped_at IS NULL AND slots > 0 AND seen_at > now() - CAST(:lease AS interval)
    ) AS worker),
    (SELECT coalesce(json_agg(held), '[]') FROM (
        SELECT queue, lane, count(*) FROM run WHERE state IN ('admitted', 'running') GROUP BY queue, lane
    ) AS held),
    (SELECT count(*) FROM tenant_load WHERE ready > 0),
    (SELECT sequence FROM dispatch_clock)
""")


def _admit_in(session: Session, window: Window, share: int, lease: timedelta, tenants: int) -> list[Admitted]:
    """Admit into one window; `tenants` wait in all.

    Among as many tenants as there are free slots, those furthest behind, are all that can be admitted, unless the
    limits of lanes and queues turn some away; only then are the others looked at.
    """
    if window.free == 0:
        return []
    admitted = _carry_out(session, window, share, lease, window.free)
    if len(admitted) < window.free < tenants:
        return admitted + _carry_out(session, _rest(window, admitted), share, lease, None)
    return admitted


def _rest(window: Window, admitted: Sequence[Admitted]) -> Window:
    """Return what is left of the window."""
    taken = Counter(run.queue for run in admitted)
    return Window(
        queues=window.queues,
        rooms=tuple(room - taken[queue] for queue, room in zip(window.queues, window.rooms, strict=True)),
        free=window.free - len(admitted),
        bulk=window.bulk - sum(run.lane == "bulk" for run in admitted),
    )


def _carry_out(session: Session, window: Window, share: int, lease: timedelta, tenants: int | None) -> list[Admitted]:
    rows = session.execute(
        ADMIT,
        {
            "queues": list(window.queues),
            "rooms": list(window.rooms),
            "free": window.free,
            "bulk": window.bulk,
            "share": share,
            "tenants": tenants,
            "lease": lease,
        },
    )
    return [Admitted(**row) for row in rows.mappings()]


# The same as fairness.pick, next to the rows. The plan has to use ix_run_ready: now() is stable, and clock_timestamp()
# would scan. A run that another transaction holds (somebody cancels it right now) is left for the next look.
ADMIT = sa.text("""
WITH door AS (SELECT * FROM unnest(CAST(:queues AS text[]), CAST(:rooms AS int[])) AS door(queue, room)),
load AS (
    SELECT load.*, coalesce(load.max_running, :share) - load.running AS room
    FROM tenant_load AS load
    WHERE load.ready > 0 AND load.running < coalesce(load.max_running, :share)
        AND NOT EXISTS (SELECT FROM tenant WHERE tenant.id = load.tenant_id AND tenant.suspended_at IS NOT NULL)
        AND EXISTS (SELECT FROM tenant_root WHERE tenant_id = load.tenant_id AND verified_at IS NOT NULL)
    ORDER BY load.vtime + 1 / load.weight, load.running, load.last_admitted, load.tenant_id
    LIMIT :tenants),
waiting AS (
    SELECT load.tenant_id, load.vtime, load.weight, load.room, load.running, load.last_admitted, door.queue, run.*
    FROM load CROSS JOIN door CROSS JOIN LATERAL (
        SELECT id, lane = 'bulk' AS is_bulk, priority, concurrency_key FROM run
        WHERE run.tenant_id = load.tenant_id AND run.queue = door.queue AND run.state = 'ready'
            AND (run.expires_at IS NULL OR run.expires_at > now())
            AND (run.concurrency_key IS NULL OR NOT EXISTS (
                SELECT FROM run AS other
                WHERE other.tenant_id = run.tenant_id AND other.concurrency_key = run.concurrency_key
                    AND other.state IN ('admitted', 'running')))
        ORDER BY lane = 'bulk', priority DESC, id
        LIMIT least(load.room, door.room, :free)) AS run),
keyed AS (
    SELECT *, row_number() OVER (
        PARTITION BY tenant_id, coalesce(concurrency_key, id::text) ORDER BY is_bulk, priority DESC, id) AS in_key
    FROM waiting),
placed AS (
    SELECT *, row_number() OVER (PARTITION BY tenant_id ORDER BY is_bulk, priority DESC, id) AS place
    FROM keyed WHERE in_key = 1),
tagged AS (SELECT *, vtime + place / weight AS tag FROM placed WHERE place <= room),
laned AS (
    SELECT *, row_number() OVER (PARTITION BY is_bulk ORDER BY tag, running, last_admitted, id) AS in_lane FROM tagged),
queued AS (
    SELECT *, row_number() OVER (PARTITION BY queue ORDER BY tag, running, last_admitted, id) AS in_queue
    FROM laned WHERE NOT is_bulk OR in_lane <= :bulk),
pick AS (
    SELECT queued.* FROM queued JOIN door USING (queue) WHERE in_queue <= door.room
    ORDER BY tag, running, last_admitted, id LIMIT :free),
caught AS (
    SELECT run.id FROM run JOIN pick ON pick.id = run.id WHERE run.state = 'ready'
    FOR NO KEY UPDATE OF run SKIP LOCKED),
admitted AS (
    UPDATE run SET state = 'admitted', fence = fence + 1, lease_until = now() + CAST(:lease AS interval),
        admitted_at = now()
    FROM caught JOIN pick USING (id) WHERE run.id = caught.id
    RETURNING run.*, pick.tag, pick.running, pick.last_admitted),
told AS (INSERT INTO run_event (tenant_id, run_id, state, attempt) SELECT tenant_id, id, state, attempt FROM admitted),
total AS (SELECT count(*) AS count, max(tag) AS tag FROM admitted HAVING count(*) > 0),
clock AS (
    UPDATE dispatch_clock AS clock SET vtime = greatest(clock.vtime, total.tag), sequence = clock.sequence + total.count
    FROM total RETURNING clock.sequence),
per_tenant AS (SELECT tenant_id, count(*) AS count, max(tag) AS tag FROM admitted GROUP BY tenant_id),
held AS MATERIALIZED (
    SELECT load.tenant_id FROM tenant_load AS load JOIN per_tenant USING (tenant_id)
    ORDER BY load.tenant_id FOR UPDATE OF load),
counted AS (
    UPDATE tenant_load AS load
    SET ready = load.ready - per_tenant.count, running = load.running + per_tenant.count,
        vtime = greatest(load.vtime, per_tenant.tag), last_admitted = clock.sequence, version = load.version + 1
    FROM per_tenant JOIN held USING (tenant_id), clock WHERE load.tenant_id = per_tenant.tenant_id)
SELECT id, fence, tenant_id, attempt, queue, lane, job_type, timeout_seconds, context_root_id, context_locale,
    context_request_id, actor_kind, actor_id
FROM admitted ORDER BY tag, running, last_admitted, id
""")


def hand_back(session: Session, unsent: Sequence[Admitted], note: str) -> None:
    """Make runs ready again whose message could not be sent. It costs them no attempt."""
    rows = session.execute(
        _STILL_ADMITTED, {"ids": [run.id for run in unsent], "fences": [run.fence for run in unsent]}
    )
    move_all(
        session,
        [
            Move(run_id=run_id, tenant_id=tenant_id, attempt=attempt, old=ADMITTED, new=READY, note=note)
            for run_id, tenant_id, attempt in rows
        ],
    )


_STILL_ADMITTED = sa.text("""
SELECT run.id, run.tenant_id, run.attempt
FROM run JOIN unnest(CAST(:ids AS uuid[]), CAST(:fences AS bigint[])) AS sent(id, fence) USING (id)
WHERE run.fence = sent.fence AND run.state = 'admitted' FOR NO KEY UPDATE OF run
""")
