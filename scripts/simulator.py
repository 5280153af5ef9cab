"""Simulates tenants of very different sizes on a few slots, admitted by `fairness.pick`, and draws what each gets."""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path
from typing import Protocol
from uuid import UUID

from dashboard.runs.fairness import Backlog, Waiting, Window, charge, pick

SHORT_SECONDS, LONG_SECONDS = 0.3, 20.0
COST_UNIT_SECONDS = 1.0
QUEUE = "default"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
BAR_CELLS = 40
CLASSES = ("large", "middle", "small")
"""The largest tenth of the tenants, the smaller half, and those between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is simulated. `load` is how much work arrives, as a multiple of what the slots can do."""

    tenants: int = 20
    slots: int = 10
    seconds: float = 900.0
    load: float = 1.3
    zipf: float = 1.2
    long_runs: float = 0.1
    heavy_every: int = 0
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A run that gets ready `at` a second, for the tenant of this number, and works for `seconds`."""

    id: UUID
    at: float
    tenant: int
    seconds: float


@dataclass(slots=True, kw_only=True)
class Tenant:
    """One tenant, its backlog, and what it got: slot seconds, and how long its runs waited."""

    number: int
    size: str
    weight: float
    ready: deque[Arrival] = field(default_factory=deque)
    running: int = 0
    vtime: float = 0.0
    asked: float = 0.0
    got: float = 0.0
    waits: list[float] = field(default_factory=list)


class Policy(Protocol):
    """Chooses among the ready runs, and hears of what becomes of them."""

    def arrived(self, run: Arrival) -> None: ...

    def admit(self, free: int) -> list[Arrival]: ...

    def ended(self, run: Arrival) -> None: ...


class Fair:
    """What the dispatcher does: stride scheduling, at most half of the slots for one tenant."""

    def __init__(self, tenants: Sequence[Tenant], slots: int) -> None:
        self.tenants = tenants
        self.slots = slots
        self.clock = 0.0

    def arrived(self, run: Arrival) -> None:
        tenant = self.tenants[run.tenant]
        if not tenant.ready:
            tenant.vtime = max(tenant.vtime, self.clock)
        tenant.ready.append(run)

    def admit(self, free: int) -> list[Arrival]:
        half = max(1, self.slots // 2)
        most = max(1, self.slots - 1)
        window = Window(queues=(QUEUE,), rooms=(free,), free=free, bulk=free, share=half, most=most)
        return [self._start(each.tenant_id.int, each.tag) for each in pick(self._backlogs(free), window, EPOCH)]

    def _backlogs(self, free: int) -> Iterable[Backlog]:
        for tenant in self.tenants:
            if tenant.ready:
                yield Backlog(
                    tenant_id=UUID(int=tenant.number),
                    waiting=tuple(Waiting(id=run.id) for run in islice(tenant.ready, free)),
                    weight=tenant.weight,
                    running=tenant.running,
                    vtime=tenant.vtime,
                )

    def _start(self, number: int, tag: float) -> Arrival:
        tenant = self.tenants[number]
        tenant.vtime = tag
        tenant.running += 1
        self.clock = max(self.clock, tag)
        return tenant.ready.popleft()

    def ended(self, run: Arrival) -> None:
        tenant = self.tenants[run.tenant]
        tenant.running -= 1
        tenant.vtime += charge(run.seconds, COST_UNIT_SECONDS, tenant.weight)


class FirstCome:
    """What one plain queue does."""

    def __init__(self) -> None:
        self.queue: deque[Arrival] = deque()

    def arrived(self, run: Arrival) -> None:
        self.queue.append(run)

    def admit(self, free: int) -> list[Arrival]:
        return [self.queue.popleft() for _ in range(min(free, len(self.queue)))]

    def ended(self, run: Arrival) -> None:
        """It keeps no account."""


def make_tenants(setup: Setup) -> list[Tenant]:
    """Return the tenants, the largest first; one in `heavy_every` has twice the weight."""
    return [
        Tenant(number=number, size=_size(number, setup.tenants), weight=2.0 if _is_heavy(number, setup) else 1.0)
        for number in range(setup.tenants)
    ]


def _size(number: int, tenants: int) -> str:
    if number < max(1, tenants // 10):
        return CLASSES[0]
    return CLASSES[2] if number >= tenants - tenants // 2 else CLASSES[1]


def _is_heavy(number: int, setup: Setup) -> bool:
    return setup.heavy_every > 0 and (number + 1) % setup.heavy_every == 0


def arrivals(setup: Setup) -> list[Arrival]:
    """Return the runs in the order of their arrival; the nth tenant sends 1/n**zipf of what the first one sends."""
    dice = random.Random(setup.seed)  # noqa: S311 - a simulation
    mean = setup.long_runs * LONG_SECONDS + (1 - setup.long_runs) * SHORT_SECONDS
    rate = setup.load * setup.slots / mean
    sizes = [1 / (number + 1) ** setup.zipf for number in range(setup.tenants)]
    runs: list[Arrival] = []
    at = dice.expovariate(rate)
    while at < setup.seconds:
        (tenant,) = dice.choices(range(setup.tenants), sizes)
        seconds = LONG_SECONDS if dice.random() < setup.long_runs else SHORT_SECONDS
        length = seconds * dice.uniform(0.5, 1.5)
        runs.append(Arrival(id=UUID(int=len(runs)), at=at, tenant=tenant, seconds=length))
        at += dice.expovariate(rate)
    return runs


def simulate(setup: Setup, runs: Sequence[Arrival], tenants: Sequence[Tenant], policy: Policy) -> None:
    """Let the runs come, start and end, and write on the tenants what they asked for and what they got."""
    free = setup.slots
    order = count()
    events: list[tuple[float, int, bool, Arrival]] = [(run.at, next(order), True, run) for run in runs]
    heapq.heapify(events)
    while events and events[0][0] < setup.seconds:
        now, _, is_new, run = heapq.heappop(events)
        if is_new:
            policy.arrived(run)
            tenants[run.tenant].asked += run.seconds
        else:
            policy.ended(run)
            free += 1
        for started in policy.admit(free) if free else ():
            free -= 1
            tenants[started.tenant].waits.append(now - started.at)
            tenants[started.tenant].got += min(started.seconds, setup.seconds - now)
            heapq.heappush(events, (now + started.seconds, next(order), False, started))


def entitled(tenants: Sequence[Tenant], capacity: float) -> list[float]:
    """Return what each would get of `capacity` if it were divided by weight, and what one leaves among the others."""
    share = [0.0] * len(tenants)
    hungry = set(range(len(tenants)))
    while hungry and capacity > 0:
        unit = capacity / sum(tenants[each].weight for each in hungry)
        sated = {each for each in hungry if tenants[each].asked <= unit * tenants[each].weight}
        for each in sated or hungry:
            share[each] = tenants[each].asked if sated else unit * tenants[each].weight
            capacity -= share[each]
        hungry = hungry - sated if sated else set()
    return share


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one tenant, or a class of them, got: shares of all work done, and waits in seconds."""

    name: str
    tenants: int
    asked: float
    got: float
    fair: float
    p50: float
    p95: float
    plain_p50: float
    plain_p95: float


def outcomes(setup: Setup) -> tuple[list[Outcome], list[Outcome]]:
    """Simulate, and return what each class of tenants and each tenant got, beside one plain queue."""
    runs = arrivals(setup)
    tenants, plain = make_tenants(setup), make_tenants(setup)
    simulate(setup, runs, tenants, Fair(tenants, setup.slots))
    simulate(setup, runs, plain, FirstCome())
    fair = entitled(tenants, setup.slots * setup.seconds)
    members = {size: [each.number for each in tenants if each.size == size] for size in CLASSES}

    def outcome(name: str, numbers: Sequence[int]) -> Outcome:
        done = sum(each.got for each in tenants) or 1.0
        waits = [wait for number in numbers for wait in tenants[number].waits]
        plain_waits = [wait for number in numbers for wait in plain[number].waits]
        return Outcome(
            name=name,
            tenants=len(numbers),
            asked=sum(tenants[number].asked for number in numbers) / (sum(each.asked for each in tenants) or 1.0),
            got=sum(tenants[number].got for number in numbers) / done,
            fair=sum(fair[number] for number in numbers) / (sum(fair) or 1.0),
            p50=_quantile(waits, 50),
            p95=_quantile(waits, 95),
            plain_p50=_quantile(plain_waits, 50),
            plain_p95=_quantile(plain_waits, 95),
        )

    each = [outcome(f"tenant {one.number + 1}{' ×2' if one.weight > 1 else ''}", [one.number]) for one in tenants]
    return [outcome(size, numbers) for size, numbers in members.items() if numbers], each


def _quantile(values: Sequence[float], percent: int) -> float:
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def table(classes: Iterable[Outcome]) -> str:
    """Return the classes of tenants as a table."""
    lines = [
        f"{'tenants':<12}{'asked':>9}{'fair':>9}{'got':>9}{'wait p50':>12}{'p95':>10}{'one queue p50':>17}{'p95':>10}"
    ]
    lines += [
        f"{row.tenants:>3} {row.name:<8}{row.asked:>9.1%}{row.fair:>9.1%}{row.got:>9.1%}"
        f"{row.p50:>10.1f} s{row.p95:>8.1f} s{row.plain_p50:>15.1f} s{row.plain_p95:>8.1f} s"
        for row in classes
    ]
    return "\n".join(lines)


def chart(rows: Sequence[Outcome], most: int = 20) -> str:
    """Return what the first tenants got as bars; the mark is what would be fair."""
    scale = max(max(row.got, row.fair) for row in rows) or 1.0
    return "\n".join(_bar(row, scale) for row in rows[:most])


def _bar(row: Outcome, scale: float) -> str:
    cells = ["█" if (index + 0.5) / BAR_CELLS * scale <= row.got else " " for index in range(BAR_CELLS)]
    mark = min(BAR_CELLS - 1, round(row.fair / scale * BAR_CELLS))
    cells[mark] = "┃"
    return f"{row.name:<14}│{''.join(cells)}│ {row.got:6.1%} of {row.fair:6.1%}   p95 {row.p95:7.1f} s"


ROW, LEFT, WIDTH = 22, 110, 520


def svg(rows: Sequence[Outcome], most: int = 40) -> str:
    """Return the same picture as a drawing, with each tenant's wait in it."""
    shown = rows[:most]
    scale = max(max(row.got, row.fair) for row in shown) or 1.0
    height = ROW * len(shown) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 190} {height}"'
        ' font-family="system-ui, sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{LEFT}" y="18">share of the slots; the line is the fair share</text>',
        *(_svg_row(row, 28 + index * ROW, scale) for index, row in enumerate(shown)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _svg_row(row: Outcome, top: float, scale: float) -> str:
    got, fair = row.got / scale * WIDTH, row.fair / scale * WIDTH
    return (
        f'<text x="{LEFT - 8}" y="{top + 13}" text-anchor="end">{row.name}</text>'
        f'<rect x="{LEFT}" y="{top + 2}" width="{got:.1f}" height="{ROW - 8}" fill="#5b6ee1"/>'
        f'<line x1="{LEFT + fair:.1f}" x2="{LEFT + fair:.1f}" y1="{top}" y2="{top + ROW - 4}" stroke="#c2410c"'
        ' stroke-width="2"/>'
        f'<text x="{LEFT + WIDTH + 10}" y="{top + 13}">{row.got:.1%}, wait p95 {row.p95:.1f} s</text>'
    )


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> None:
    """Simulate what the command line asks for, and print the table and the chart."""
    options = _options(arguments)
    names = ("tenants", "slots", "seconds", "load", "zipf", "long_runs", "heavy_every", "seed")
    setup = Setup(**{name: getattr(options, name) for name in names})
    classes, each = outcomes(setup)
    length = timedelta(seconds=setup.seconds)
    say(f"{setup.tenants} tenants on {setup.slots} slots for {length}, {setup.load:g} × what they can do")
    say(f"\n{table(classes)}\n\n{chart(each)}")
    if options.svg:
        options.svg.write_text(svg(each), encoding="utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fairsim", description=__doc__)
    usual = Setup()
    parser.add_argument("--tenants", type=int, default=usual.tenants, help="how many tenants")
    parser.add_argument("--slots", type=int, default=usual.slots, help="how many runs work at once")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="how much time is simulated")
    parser.add_argument("--load", type=float, default=usual.load, help="work that arrives, as a multiple of the slots'")
    parser.add_argument("--zipf", type=float, default=usual.zipf, help="how unequal the tenants are; 0 is equal")
    parser.add_argument("--long-runs", type=float, default=usual.long_runs, help="which part of the runs is long")
    parser.add_argument(
        "--heavy-every",
        type=int,
        default=usual.heavy_every,
        help="one in so many has weight 2",
    )
    parser.add_argument("--seed", type=int, default=usual.seed, help="the same seed, the same runs")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the chart there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
