"""Say which runs are admitted next: stride scheduling over tenants, in plain Python.

Each tenant has a virtual time that moves on by 1/weight for each run it gets while others wait for the same slot, and
whoever is furthest behind comes first (Waldspurger and Weihl, "Stride Scheduling", 1995). Caps bound what a tenant may
hold at once, token buckets how often it may start. The dispatcher reads from the tables what can come into question,
and asks `pick`.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How many runs may be admitted now: in all, from the bulk lane, and from each queue.

    `share` is how many runs a tenant may have at once that has no cap of its own, `most` how many any tenant may have.
    """

    queues: tuple[str, ...]
    rooms: tuple[int, ...]
    free: int
    bulk: int
    share: int
    most: int


def share_of(slots: int) -> int:
    """Return how many runs at once a tenant may have that has no cap of its own: half of all slots, at least one."""
    return max(1, slots // 2)


def most_of(slots: int) -> int:
    """Return how many runs at once any tenant may have: never all slots where there are two or more."""
    return max(1, slots - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """`size` starts are in it when it is full, and it refills evenly in `period`; `full_at` is when it is full again.

    A moment instead of a count needs no refilling, and a change of the size keeps how full it is.
    """

    size: int
    period: timedelta
    full_at: datetime | None = None

    @property
    def interval(self) -> timedelta:
        """How long one start takes to come back, rounded up: a rate is never exceeded."""
        return -(-self.period // self.size // MICROSECOND) * MICROSECOND

    def tokens(self, now: datetime) -> int:
        """Return how many starts are in it."""
        missing = -((now - self.full_at) // self.interval) if self.full_at else 0
        return max(0, self.size - max(0, missing))

    def next_at(self, now: datetime) -> datetime:
        """Return when there is a start in it: now, or later."""
        return max(now, self.full_at - (self.size - 1) * self.interval) if self.full_at else now

    def spent(self, count: int, now: datetime) -> datetime:
        """Return when it will be full again after `count` starts more."""
        return max(now, self.full_at or now) + count * self.interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A ready run. No two with the same `key` may be admitted or running at once."""

    id: UUID
    queue: str = "default"
    is_bulk: bool = True
    priority: int = 0
    key: str | None = None

    @property
    def rank(self) -> tuple[bool, int, UUID]:
        """Its place among its tenant's: interactive before bulk, then priority, then age (ids sort by time)."""
        return (self.is_bulk, -self.priority, self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """A tenant that waits: its share and its ready runs. `busy` are the keys of its admitted and running ones."""

    tenant_id: UUID
    waiting: tuple[Waiting, ...]
    weight: float = 1.0
    max_running: int | None = None
    running: int = 0
    vtime: float = 0.0
    busy: frozenset[str] = frozenset()
    buckets: tuple[Bucket, ...] = ()
    is_paused: bool = False

    def room(self, window: Window) -> int:
        """Return how many runs more its cap allows; never all slots, whatever the cap."""
        cap = window.share if self.max_running is None else self.max_running
        return min(cap, window.most) - self.running


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A run that is admitted, and the virtual time its tenant comes to by that.

    `tag` is None where it keeps no other tenant waiting: then it costs nothing, and neither its tenant nor who comes
    next is placed behind those who wait elsewhere. Where it is bulk, what its tenant was charged before is forgotten.
    """

    run: Waiting
    tenant_id: UUID
    tag: float | None


def charge(seconds: float, unit: float, weight: float) -> float:
    """Return what a run that held a slot for `seconds` adds to its tenant's virtual time when it ends.

    One unit was charged at its admission already; a shorter run gets nothing back, for a refund would starve newcomers.
    """
    return max(0.0, seconds / unit - 1) / weight


@dataclass(slots=True)
class _Turns:
    """What is left of one tenant's waiting runs and of what it may start."""

    backlog: Backlog
    runs: list[Waiting]
    left: int
    taken: int = 0
    charged: int = 0
    keys: set[str] = field(default_factory=set)

    @property
    def turn(self) -> tuple[float, UUID]:
        """Whose is the smallest comes next."""
        return (self._vtime_after(self.taken + 1), self.backlog.tenant_id)

    def next_run(self, doors: _Doors) -> Waiting | None:
        """Take its first run that still gets in."""
        if self.taken < self.left:
            for index, run in enumerate(self.runs):
                if doors.room(run) > 0 and run.key not in self.keys:
                    return self.runs.pop(index)
        return None

    def lanes(self) -> set[tuple[str, bool]]:
        """Return the queue and lane (whether it is bulk) of each of its runs that it may still start."""
        if self.taken >= self.left:
            return set()
        return {(run.queue, run.is_bulk) for run in self.runs if run.key not in self.keys}

    def take(self, run: Waiting) -> None:
        self.taken += 1
        if run.key is not None:
            self.keys.add(run.key)

    def charge(self) -> float:
        """Charge one of the runs that were taken, and return the tag that it gets."""
        self.charged += 1
        return self._vtime_after(self.charged)

    def _vtime_after(self, runs: int) -> float:
        return self.backlog.vtime + runs / self.backlog.weight


class _Doors:
    """What is left of a window."""

    def __init__(self, window: Window) -> None:
        self.free = window.free
        self._bulk = window.bulk
        self._rooms = dict(zip(window.queues, window.rooms, strict=True))

    def room(self, run: Waiting) -> int:
        """Return how many runs of its queue and lane still get in."""
        room = min(self.free, self._rooms.get(run.queue, 0))
        return min(room, self._bulk) if run.is_bulk else room

    def would_let_in(self, queue: str, is_bulk: bool, instead_of: Waiting) -> bool:
        """Whether a run would still have got in had that one not been admitted."""
        has_room = self._rooms.get(queue, 0) + (queue == instead_of.queue) > 0
        return has_room and (not is_bulk or self._bulk + instead_of.is_bulk > 0)

    def admit(self, run: Waiting) -> None:
        self.free -= 1
        self._bulk -= run.is_bulk
        self._rooms[run.queue] -= 1


def pick(backlogs: Iterable[Backlog], window: Window, now: datetime) -> list[Pick]:
    """Return the runs to admit, in their order: each time the first run of whoever is furthest behind that gets in."""
    doors = _Doors(window)
    tenants = [turns for backlog in backlogs if (turns := _turns(backlog, window, now))]
    queue = [(turns.turn, turns) for turns in tenants]
    heapq.heapify(queue)
    taken = list(_in_turn(queue, doors))
    left: defaultdict[tuple[str, bool], set[UUID]] = defaultdict(set)
    for turns in tenants:
        for lane in turns.lanes():
            left[lane].add(turns.backlog.tenant_id)
    return [
        Pick(
            run=run,
            tenant_id=turns.backlog.tenant_id,
            tag=turns.charge() if _keeps_waiting(turns.backlog.tenant_id, run, left, doors) else None,
        )
        for turns, run in taken
    ]


def _keeps_waiting(tenant_id: UUID, run: Waiting, left: Mapping[tuple[str, bool], set[UUID]], doors: _Doors) -> bool:
    """Whether a run of another tenant could have had the slot; `left` says who has runs left, by queue and lane."""
    return any(tenants != {tenant_id} and doors.would_let_in(*lane, instead_of=run) for lane, tenants in left.items())


def _in_turn(queue: list[tuple[tuple[float, UUID], _Turns]], doors: _Doors) -> Iterator[tuple[_Turns, Waiting]]:
    while queue and doors.free > 0:
        _, turns = queue[0]
        run = turns.next_run(doors)
        if run is None:
            heapq.heappop(queue)
            continue
        doors.admit(run)
        turns.take(run)
        yield turns, run
        heapq.heapreplace(queue, (turns.turn, turns))


def _turns(backlog: Backlog, window: Window, now: datetime) -> _Turns | None:
    """Return what one tenant may start, or None."""
    left = min((backlog.room(window), *(bucket.tokens(now) for bucket in backlog.buckets)))
    if backlog.is_paused or left <= 0:
        return None
    runs = sorted((run for run in backlog.waiting if run.key not in backlog.busy), key=lambda run: run.rank)
    return _Turns(backlog=backlog, runs=runs, left=left)
