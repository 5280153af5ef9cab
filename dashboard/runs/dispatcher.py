"""Admit ready runs to the workers' free slots, fairly among tenants: what waits is read, and `fairness.pick` chooses.

Any number of dispatchers may work at once: a lock that lives as long as the transaction makes them take turns, and so
there is no leader to lose. Messages are sent by the caller, after the commit.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dashboard.core.trips import Line
from dashboard.runs.fairness import Backlog, Bucket, Pick, Waiting, Window, most_of, pick, share_of
from dashboard.runs.ledger import Move, move_all
from dashboard.runs.load import FROZEN_AFTER
from dashboard.runs.states import ADMITTED, READY

ADMISSION_LOCK = 0x5741474F4E
"""The key of the advisory lock that makes dispatchers take turns."""

LOOKAHEAD_SECONDS = 0.05
"""How much work may lie in the broker beyond the free slots, so that a worker with short runs never waits for us."""

MOST_AHEAD = 16
"""Times the slots: no more lies in the broker ahead of a free slot, however short the runs are.

So many, because an admission of 8 runs takes 5 ms of CPU time, the database's included, and one of 31 takes 8.
"""

KEPT_FOR_INTERACTIVE_FROM = 3
"""With as many slots or more, one is kept from the bulk lane."""

MOST_AT_ONCE = 100
"""Runs admitted in one transaction, so that none is long."""

FEW_TENANTS = 8
"""A queue's lane in which fewer tenants wait is read from those tenants; else from all, whoever is furthest behind."""

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


class Admitted(NamedTuple):
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


def window_of(island: Fleet, held: Held, ahead: int, slots: int) -> Window:
    """Return the window of workers that share queues; `ahead` runs may lie in the broker beyond their slots.

    Of all `slots` of the fleet a tenant gets half if nobody said, and never all. What lies ahead does not count: one
    tenant's short runs must not let another's long ones have every slot.
    """
    depth = island.slots + ahead
    mine = {key: count for key, count in held.items() if key[0] in island.queues}
    busy_bulk = sum(count for (_, lane), count in mine.items() if lane == "bulk")
    kept = 1 if island.slots >= KEPT_FOR_INTERACTIVE_FROM else 0
    free = min(MOST_AT_ONCE, max(0, depth - sum(mine.values())))
    return Window(
        queues=island.queues,
        rooms=tuple(
            max(0, island.reach(queue) + ahead - sum(count for key, count in mine.items() if key[0] == queue))
            for queue in island.queues
        ),
        free=free,
        bulk=max(0, min(free, depth - kept - busy_bulk)),
        share=share_of(slots),
        most=most_of(slots),
    )


@dataclass(slots=True)
class Pace:
    """How many runs a second end, measured between two looks: admitted ones minus those that are still held.

    `in_flight` are held now, with those of the last admission.
    """

    clock: Callable[[], float] = time.monotonic
    rate: float = 0.0
    in_flight: int = 0
    _last: tuple[float, int] | None = field(default=None, init=False)
    _turn: int = field(default=0, init=False)

    def observe(self, admitted_ever: int, held: int) -> None:
        now, ended = self.clock(), admitted_ever - held
        if self._last is None:
            self._last = (now, ended)
        elif now - self._last[0] >= LOOKAHEAD_SECONDS:
            seconds, count = now - self._last[0], ended - self._last[1]
            self.rate = (self.rate + max(0.0, count / seconds)) / 2
            self._last = (now, ended)

    def in_turn(self, islands: Iterable[Fleet]) -> list[Fleet]:
        """Return the islands, each time with another one first."""
        known = sorted(islands, key=lambda island: island.queues)
        self._turn = (self._turn + 1) % max(1, len(known))
        return known[self._turn :] + known[: self._turn]

    def lasts(self) -> float:
        """Return how long the workers are busy with what is in flight, in seconds."""
        return self.in_flight / self.rate if self.rate else math.inf

    def ahead(self, island: Fleet, slots: int) -> int:
        """Return how many runs may lie in the broker for these workers, beyond their slots.

        None while runs last a second or longer; else as many as there are slots, so that a worker finds its next one
        there, and more where LOOKAHEAD_SECONDS of work are more.
        """
        if not slots or self.rate < slots:
            return 0
        work = int(self.rate * LOOKAHEAD_SECONDS * island.slots / slots)
        return min(max(island.slots, work), MOST_AHEAD * island.slots)


def admit(line: Line, *, lease: timedelta, pace: Pace) -> list[Admitted]:
    """Admit what the free slots of an island can take, and return it. `line` is a system line, in its own transaction.

    A worker counts as long as its heartbeat is younger than `lease`. The next island is the next call's: each admission
    locks its tenants in one order, and two would deadlock with whoever moves runs of the same tenants.
    """
    look = take_turn(line, lease)
    if look is None:
        return []
    pace.observe(look.admitted_ever, sum(look.held.values()))
    fleet = look.fleet
    admitted: list[Admitted] = []
    for island in pace.in_turn(fleet.islands()):
        window = window_of(island, look.held, pace.ahead(island, fleet.slots), fleet.slots)
        chosen = pick(backlogs(line, window, look.now), window, look.now) if window.free else []
        admitted = _carry_out(line, chosen, lease)
        if admitted:
            break
    pace.in_flight = sum(look.held.values()) + len(admitted)
    return admitted


# Planning the statements below takes longer than doing them, so they are planned once; and PostgreSQL, which takes the
# policies of row-level security to leave almost no row, must be kept from sorting all tenants to find the first few.
# Its statistics may be of a quiet night: then any index that has the rows seems as good as the one that leads to them.
# What can't be sorted leaves one index by its ORDER BY, even where a single row is looked for.
# Nothing is lost with the last of these transactions in a power cut: their messages find no run that is admitted, or
# the same fence again, and only one of two messages can claim it. So the disk need not be waited for.
SET_UP: Final = """
SELECT set_config('idle_in_transaction_session_timeout', %(frozen_after)s, true),
    set_config('synchronous_commit', 'off', true),
    set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_sort', 'off', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('enable_hashjoin', 'off', true)
"""
# LOOK is asked even where nothing waits, and its plan is kept: it needs what SET_UP sets then, too.
TAKE_TURN: Final = "SELECT pg_advisory_xact_lock(%(key)s) WHERE EXISTS (SELECT FROM tenant_load WHERE ready > 0)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The workers that live, what they hold, how many runs were ever admitted, and the database's time."""

    fleet: Fleet
    held: Held
    admitted_ever: int
    now: datetime


def take_turn(line: Line, lease: timedelta) -> Look | None:
    """Wait until no other dispatcher admits, then look; None if no run is ready.

    A worker lives if its heartbeat is younger than `lease`.
    """
    _, turn, looks = line.ask_all(
        (SET_UP, {"frozen_after": FROZEN_AFTER}), (TAKE_TURN, {"key": ADMISSION_LOCK}), (LOOK, {"lease": lease})
    )
    if not turn:
        return None
    ((workers, held, admitted_ever, now),) = looks
    return Look(
        fleet=Fleet(workers=tuple((frozenset(each["queues"]), each["slots"]) for each in workers if each["queues"])),
        held={(each["queue"], each["lane"]): each["count"] for each in held},
        admitted_ever=admitted_ever,
        now=now,
    )


LOOK: Final = """
SELECT
    (SELECT coalesce(json_agg(worker), '[]') FROM (
        SELECT queues, slots FROM process
        WHERE kind = 'worker' AND stopped_at IS NULL AND slots > 0 AND seen_at > now() - CAST(%(lease)s AS interval)
    ) AS worker),
    (SELECT coalesce(json_agg(held), '[]') FROM (
        SELECT queue, lane, count(*) FROM (
            SELECT queue, lane FROM run WHERE state IN ('admitted', 'running') ORDER BY lease_until OFFSET 0) AS run
        GROUP BY queue, lane
    ) AS held),
    (SELECT sequence FROM dispatch_clock),
    now()
"""


def backlogs(line: Line, window: Window, now: datetime) -> list[Backlog]:
    """Return of each tenant what can come into question: `fairness.pick` chooses the same from these as from all.

    For each queue and lane with room that is a tenant for each free slot, those furthest behind: each of them gets a
    run before any other tenant does, and before one of them gets what would be due after the first of all the others.
    And one more, so that it is seen whether somebody is kept waiting. They are found by jumps through indexes, however
    many tenants and runs wait. (Of runs that share a key one is enough, so they may keep others out of sight until it
    is admitted.)
    """
    tenants: defaultdict[UUID, list[_Near]] = defaultdict(list)
    for each in line.ask(NEAREST, limits_of(window, now)):
        row = _Near._make(each)
        tenants[row.tenant_id].append(row)
    return [_backlog(rows) for rows in tenants.values()]


def limits_of(window: Window, now: datetime) -> dict[str, Any]:
    """Return the parameters of NEAREST: each queue and lane with room, and what bounds all of them."""
    doors = [
        (queue, is_bulk, min(room, window.bulk if is_bulk else room, window.free))
        for queue, room in zip(window.queues, window.rooms, strict=True)
        for is_bulk in (False, True)
    ]
    ajar = [door for door in doors if door[2] > 0]
    return {
        "queues": [queue for queue, _, _ in ajar],
        "lanes": [is_bulk for _, is_bulk, _ in ajar],
        "rooms": [room for _, _, room in ajar],
        "tenants": window.free + 1,
        "share": window.share,
        "most": window.most,
        "few": FEW_TENANTS,
        "now": now,
    }


class _Near(NamedTuple):
    """A run that may be admitted, with what its tenant's row says: what NEAREST answers."""

    tenant_id: UUID
    weight: float
    max_running: int | None
    running: int
    vtime: float
    rate_per_minute: int | None
    minute_full_at: datetime | None
    runs_per_day: int | None
    day_full_at: datetime | None
    queue: str
    is_bulk: bool
    id: UUID
    priority: int
    concurrency_key: str | None


def _backlog(rows: Sequence[_Near]) -> Backlog:
    load = rows[0]
    return Backlog(
        tenant_id=load.tenant_id,
        waiting=tuple(
            Waiting(id=row.id, queue=row.queue, is_bulk=row.is_bulk, priority=row.priority, key=row.concurrency_key)
            for row in rows
        ),
        weight=load.weight,
        max_running=load.max_running,
        running=load.running,
        vtime=load.vtime,
        buckets=tuple(buckets_of(load)),
    )


def buckets_of(load: Any) -> Iterable[Bucket]:
    """Return the buckets of starts that limit a tenant; `load` has the columns of its tenant_load."""
    if load.rate_per_minute is not None:
        yield Bucket(size=load.rate_per_minute, period=MINUTE, full_at=load.minute_full_at)
    if load.runs_per_day is not None:
        yield Bucket(size=load.runs_per_day, period=DAY, full_at=load.day_full_at)


# How long a start takes to come back into a bucket: the same as fairness.Bucket.interval.
_PER_START = "ceil({period} / {size}) * interval '1 microsecond'"
_MINUTE_START = _PER_START.format(period="60000000.0", size="load.rate_per_minute")
_DAY_START = _PER_START.format(period="86400000000.0", size="load.runs_per_day")

# Whether a tenant may start anything, by its own row; and by its record, which is looked at last. OFFSET 0 and LIMIT 1
# keep PostgreSQL from turning one tenant's look into a join over all tenants and all runs.
_NOW = "CAST(%(now)s AS timestamptz)"
_RIPE = f"""
    load.ready > 0 AND load.running < least(coalesce(load.max_running, %(share)s), %(most)s)
    AND coalesce(load.minute_full_at <= {_NOW} + (load.rate_per_minute - 1) * {_MINUTE_START}, true)
    AND coalesce(load.day_full_at <= {_NOW} + (load.runs_per_day - 1) * {_DAY_START}, true)
"""
_ALLOWED = """
    SELECT FROM tenant WHERE tenant.id = load.tenant_id AND suspended_at IS NULL AND runs_paused_at IS NULL
        AND EXISTS (SELECT FROM tenant_root AS root WHERE root.tenant_id = tenant.id AND verified_at IS NOT NULL)
    LIMIT 1
"""
_IN_CLASS = "run.state = 'ready' AND run.queue = {door}.queue AND (run.lane = 'bulk') = {door}.is_bulk"
_FREE_TO_START = f"""
    {_IN_CLASS.format(door="door")} AND run.tenant_id = load.tenant_id
    AND (run.expires_at IS NULL OR run.expires_at > now())
    AND (run.concurrency_key IS NULL OR NOT EXISTS (
        SELECT FROM run AS other
        WHERE other.tenant_id = run.tenant_id AND other.state IN ('admitted', 'running')
            AND other.concurrency_key BETWEEN run.concurrency_key AND run.concurrency_key
        ORDER BY other.concurrency_key OFFSET 0))
"""
_TURN = "turn, tenant_id"

# The plan has to use ix_run_ready: now() is stable, and clock_timestamp() would scan.
NEAREST: Final = f"""
WITH RECURSIVE door AS (
    SELECT * FROM unnest(CAST(%(queues)s AS text[]), CAST(%(lanes)s AS bool[]), CAST(%(rooms)s AS int[]))
        AS door(queue, is_bulk, room)),
present AS (
    SELECT door.*, first.tenant_id, 1 AS number FROM door CROSS JOIN LATERAL (
        SELECT run.tenant_id FROM run WHERE {_IN_CLASS.format(door="door")}
        ORDER BY run.tenant_id LIMIT 1) AS first
    UNION ALL
    SELECT before.queue, before.is_bulk, before.room, next.tenant_id, before.number + 1
    FROM present AS before CROSS JOIN LATERAL (
        SELECT run.tenant_id FROM run WHERE {_IN_CLASS.format(door="before")} AND run.tenant_id > before.tenant_id
        ORDER BY run.tenant_id LIMIT 1) AS next
    WHERE before.number < %(few)s),
crowded AS (SELECT queue, is_bulk, room FROM present WHERE number = %(few)s),
nearest AS (
    SELECT present.queue, present.is_bulk, present.room, present.tenant_id, NULL AS last_turn
    FROM present WHERE NOT EXISTS (
        SELECT FROM crowded WHERE crowded.queue = present.queue AND crowded.is_bulk = present.is_bulk)
    UNION ALL
    SELECT door.*, load.tenant_id,
        CASE WHEN count(*) OVER (PARTITION BY queue, is_bulk) = %(tenants)s
            THEN max(turn) OVER (PARTITION BY queue, is_bulk) END AS last_turn
    FROM crowded AS door CROSS JOIN LATERAL (
        SELECT load.tenant_id, load.turn
        FROM (SELECT load.*, vtime + 1 / weight AS turn FROM tenant_load AS load WHERE {_RIPE}
            ORDER BY {_TURN} OFFSET 0) AS load
        CROSS JOIN LATERAL ({_ALLOWED}) AS allowed
        CROSS JOIN LATERAL (SELECT FROM run WHERE {_FREE_TO_START} LIMIT 1) AS one
        ORDER BY {_TURN} LIMIT %(tenants)s) AS load)
SELECT load.tenant_id, load.weight, load.max_running, load.running, load.vtime, load.rate_per_minute,
    load.minute_full_at, load.runs_per_day, load.day_full_at, door.queue, door.is_bulk, run.*
FROM nearest AS door
CROSS JOIN LATERAL (SELECT * FROM tenant_load AS load WHERE load.tenant_id = door.tenant_id AND {_RIPE} LIMIT 1) AS load
CROSS JOIN LATERAL ({_ALLOWED}) AS allowed
CROSS JOIN LATERAL (
    SELECT run.id, run.priority, run.concurrency_key FROM run WHERE {_FREE_TO_START}
    ORDER BY run.priority DESC, run.id
    LIMIT least(door.room, least(coalesce(load.max_running, %(share)s), %(most)s) - load.running,
        2 + floor((door.last_turn - load.vtime - 1 / load.weight) * load.weight))) AS run
"""


def _carry_out(line: Line, chosen: Sequence[Pick], lease: timedelta) -> list[Admitted]:
    if not chosen:
        return []
    values = {"ids": [each.run.id for each in chosen], "tags": [each.tag for each in chosen], "lease": lease}
    return [Admitted._make(row) for row in line.ask(ADMIT, values)]


# A run that another transaction holds (somebody cancels it right now) is left for the next look. What is caught stays
# where it is, so the update goes there by ctid: joined by id, all runs might be read to meet those few.
ADMIT: Final = f"""
WITH pick AS (
    SELECT * FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(tags)s AS float8[])) WITH ORDINALITY AS pick(id, tag, place)),
caught AS (
    SELECT run.row, pick.tag, pick.place FROM pick CROSS JOIN LATERAL (
        SELECT run.ctid AS row, run.state FROM run WHERE run.id BETWEEN pick.id AND pick.id
        ORDER BY run.id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS run
    WHERE run.state = 'ready'),
admitted AS (
    UPDATE run SET state = 'admitted', fence = fence + 1, lease_until = now() + %(lease)s,
        admitted_at = now()
    FROM caught WHERE run.ctid = caught.row
    RETURNING run.*, caught.tag, caught.place),
told AS (INSERT INTO run_event (tenant_id, run_id, state, attempt) SELECT tenant_id, id, state, attempt FROM admitted),
total AS (SELECT count(*) AS count, max(tag) AS tag FROM admitted HAVING count(*) > 0),
clock AS (
    UPDATE dispatch_clock AS clock SET vtime = greatest(clock.vtime, total.tag), sequence = clock.sequence + total.count
    FROM total RETURNING clock.vtime),
per_tenant AS (
    SELECT tenant_id, count(*) AS count, max(tag) AS tag, bool_or(lane = 'bulk' AND tag IS NULL) AS is_alone
    FROM admitted GROUP BY tenant_id),
held AS MATERIALIZED (
    SELECT load.tenant_id FROM (SELECT tenant_id FROM per_tenant ORDER BY tenant_id OFFSET 0) AS turn
    CROSS JOIN LATERAL (
        SELECT load.tenant_id FROM tenant_load AS load WHERE load.tenant_id = turn.tenant_id
        LIMIT 1 FOR UPDATE) AS load),
counted AS (
    UPDATE tenant_load AS load
    SET ready = load.ready - per_tenant.count, running = load.running + per_tenant.count,
        vtime = CASE WHEN per_tenant.tag IS NULL AND is_alone THEN clock.vtime
            ELSE greatest(load.vtime, per_tenant.tag) END,
        version = load.version + 1,
        minute_full_at = greatest(load.minute_full_at, now()) + per_tenant.count * {_MINUTE_START},
        day_full_at = greatest(load.day_full_at, now()) + per_tenant.count * {_DAY_START}
    FROM per_tenant JOIN held USING (tenant_id), clock WHERE load.tenant_id = per_tenant.tenant_id)
SELECT {", ".join(Admitted._fields)} FROM admitted ORDER BY place
"""


def mend_buckets(session: Session) -> None:
    """Let buckets that a clock set back has left far in the future be empty now: they fill in their usual time."""
    session.execute(_MEND)


# A minute is left for transactions that waited: their now() is when they began.
_MEND = sa.text("""
UPDATE tenant_load
SET minute_full_at = least(minute_full_at, now() + interval '1 minute'),
    day_full_at = least(day_full_at, now() + interval '1 day')
WHERE minute_full_at > now() + interval '2 minutes' OR day_full_at > now() + interval '1 day 1 minute'
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
WHERE run.fence = sent.fence AND run.state = 'admitted' ORDER BY run.id FOR NO KEY UPDATE OF run
""")
