"""Say which runs are admitted next: stride scheduling over tenants, in plain Python.

The dispatcher does the same in SQL, next to the rows; a test holds the two against each other. Each tenant has a
virtual time that moves on by 1/weight for each run it gets, and whoever is furthest behind comes first (Waldspurger
and Weihl, "Stride Scheduling", 1995). Caps bound what one tenant may hold at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How many runs may be admitted now: in all, from the bulk lane, and from each queue."""

    queues: tuple[str, ...]
    rooms: tuple[int, ...]
    free: int
    bulk: int


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
    last_admitted: int = 0
    busy: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A run that is admitted, and the virtual time its tenant comes to by that."""

    run: Waiting
    tenant_id: UUID
    tag: float
    running: int
    last_admitted: int

    @property
    def turn(self) -> tuple[float, int, int, UUID]:
        return (self.tag, self.running, self.last_admitted, self.run.id)


def pick(backlogs: Iterable[Backlog], window: Window, share: int) -> list[Pick]:
    """Return the runs to admit, in their order; `share` caps a tenant that has no cap of its own."""
    turns = sorted((each for backlog in backlogs for each in _wanted(backlog, window, share)), key=lambda it: it.turn)
    bulk = islice((each for each in turns if each.run.is_bulk), window.bulk)
    allowed = {id(each) for each in bulk} | {id(each) for each in turns if not each.run.is_bulk}
    return _within_queues([each for each in turns if id(each) in allowed], window)[: window.free]


def _wanted(backlog: Backlog, window: Window, share: int) -> Iterator[Pick]:
    """Return what one tenant could get if it were alone, its cap respected."""
    room = (share if backlog.max_running is None else backlog.max_running) - backlog.running
    if room <= 0:
        return
    candidates = _one_per_key(sorted(_near(backlog, window, room), key=lambda run: run.rank))
    for place, run in enumerate(islice(candidates, room), 1):
        yield Pick(
            run=run,
            tenant_id=backlog.tenant_id,
            tag=backlog.vtime + place / backlog.weight,
            running=backlog.running,
            last_admitted=backlog.last_admitted,
        )


def _near(backlog: Backlog, window: Window, room: int) -> Iterator[Waiting]:
    """Return the first runs of each queue that could come into question at all."""
    for queue, door in zip(window.queues, window.rooms, strict=True):
        mine = (run for run in backlog.waiting if run.queue == queue and run.key not in backlog.busy)
        yield from islice(sorted(mine, key=lambda run: run.rank), min(room, door, window.free))


def _one_per_key(runs: Iterable[Waiting]) -> Iterator[Waiting]:
    seen: set[str] = set()
    for run in runs:
        if run.key is None:
            yield run
        elif run.key not in seen:
            seen.add(run.key)
            yield run


def _within_queues(turns: Sequence[Pick], window: Window) -> list[Pick]:
    rooms = dict(zip(window.queues, window.rooms, strict=True))
    taken: list[Pick] = []
    for each in turns:
        if rooms[each.run.queue] > 0:
            rooms[each.run.queue] -= 1
            taken.append(each)
    return taken
