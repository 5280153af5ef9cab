"""Simulates tenants of different sizes on a few slots, admitted by the dispatcher's rule, and draws what each gets."""

from __future__ import annotations

import argparse
import heapq
import math
import random
import signal
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from dashboard.runs.dispatcher import KEPT_FOR_INTERACTIVE_FROM
from dashboard.runs.fairness import Backlog, Pick, Waiting, Window, charge, most_of, pick, share_of

SHORT_SECONDS, LONG_SECONDS = 0.3, 20.0
COST_UNIT_SECONDS = 1.0
QUEUE = "default"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
BAR_CELLS = 40
CLASSES = ("large", "middle", "small")
"""The largest tenth of the tenants, the smaller half, and those between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is simulated. `load` is how much work arrives, as a multiple of what the slots can do.

    `long_runs` is the part of the runs that are long, `interactive` the part of the others that a person waits for;
    `weights` and `caps` (runs at once) are by the tenant's number, from 1.
    """

    tenants: int = 20
    slots: int = 10
    seconds: float = 900.0
    load: float = 1.2
    zipf: float = 1.2
    long_runs: float = 0.1
    interactive: float = 0.1
    heavy_every: int = 0
    weights: Mapping[int, float] = field(default_factory=dict)
    caps: Mapping[int, int] = field(default_factory=dict)
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A run that gets ready `at` a second, for the tenant of this number, and works for `seconds`."""

    id: UUID
    at: float
    tenant: int
    seconds: float
    is_bulk: bool


@dataclass(slots=True, kw_only=True)
class Tenant:
    """One tenant, its backlog, and what it got: slot seconds, and how long its runs waited.

    Backlog and waits are by lane: whether a run is bulk.
    """

    number: int
    size: str
    weight: float
    max_running: int
    ready: dict[bool, deque[Arrival]] = field(default_factory=lambda: {False: deque(), True: deque()})
    running: int = 0
    vtime: float = 0.0
    asked: float = 0.0
    got: float = 0.0
    waits: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})


class Policy(Protocol):
    """Chooses among the ready runs, and hears of what becomes of them."""

    def arrived(self, run: Arrival) -> None: ...

    def admit(self, free: int) -> list[Arrival]: ...

    def ended(self, run: Arrival) -> None: ...


class Fair:
    """What the dispatcher does: stride scheduling, a cap for each tenant, a slot kept from the bulk lane."""

    def __init__(self, tenants: Sequence[Tenant], slots: int) -> None:
        self.tenants = tenants
        self.slots = slots
        self.clock = 0.0
        self.bulk_slots = slots - (slots >= KEPT_FOR_INTERACTIVE_FROM)
        self.busy_bulk = 0

    def arrived(self, run: Arrival) -> None:
        tenant = self.tenants[run.tenant]
        if not any(tenant.ready.values()):
            tenant.vtime = max(tenant.vtime, self.clock)
        tenant.ready[run.is_bulk].append(run)

    def admit(self, free: int) -> list[Arrival]:
        bulk = max(0, min(free, self.bulk_slots - self.busy_bulk))
        share, most = share_of(self.slots), most_of(self.slots)
        window = Window(queues=(QUEUE,), rooms=(free,), free=free, bulk=bulk, share=share, most=most)
        picks = pick(self._backlogs({False: free, True: bulk}), window, EPOCH)
        self.clock = max([self.clock, *(each.tag for each in picks if each.tag is not None)])
        return [self._start(each) for each in picks]

    def _backlogs(self, rooms: Mapping[bool, int]) -> Iterable[Backlog]:
        for tenant in self.tenants:
            waiting = tuple(
                Waiting(id=run.id, is_bulk=is_bulk)
                for is_bulk, runs in tenant.ready.items()
                for run in islice(runs, rooms[is_bulk])
            )
            if waiting:
                yield Backlog(
                    tenant_id=UUID(int=tenant.number),
                    waiting=waiting,
                    weight=tenant.weight,
                    max_running=tenant.max_running,
                    running=tenant.running,
                    vtime=tenant.vtime,
                )

    def _start(self, picked: Pick) -> Arrival:
        """Take the oldest of the lane, which is the one that was picked."""
        tenant = self.tenants[picked.tenant_id.int]
        if picked.tag is not None:
            tenant.vtime = picked.tag
        elif picked.run.is_bulk:
            tenant.vtime = self.clock
        tenant.running += 1
        self.busy_bulk += picked.run.is_bulk
        return tenant.ready[picked.run.is_bulk].popleft()

    def ended(self, run: Arrival) -> None:
        tenant = self.tenants[run.tenant]
        tenant.running -= 1
        self.busy_bulk -= run.is_bulk
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
    share, most = share_of(setup.slots), most_of(setup.slots)
    return [
        Tenant(
            number=number,
            size=_size(number, setup.tenants),
            weight=setup.weights.get(number + 1, 2.0 if _is_heavy(number, setup) else 1.0),
            max_running=min(most, setup.caps.get(number + 1, share)),
        )
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
        is_long = dice.random() < setup.long_runs
        length = (LONG_SECONDS if is_long else SHORT_SECONDS) * dice.uniform(0.5, 1.5)
        is_bulk = is_long or dice.random() >= setup.interactive
        runs.append(Arrival(id=UUID(int=len(runs)), at=at, tenant=tenant, seconds=length, is_bulk=is_bulk))
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
            tenants[started.tenant].waits[started.is_bulk].append(now - started.at)
            tenants[started.tenant].got += min(started.seconds, setup.seconds - now)
            heapq.heappush(events, (now + started.seconds, next(order), False, started))


def entitled(tenants: Sequence[Tenant], capacity: float, seconds: float) -> list[float]:
    """Return what each would get of `capacity` if it were divided by weight, and what one leaves among the others.

    None gets more than it asked for, or than its runs at once can do in `seconds`.
    """
    wanted = [min(each.asked, each.max_running * seconds) for each in tenants]
    share = [0.0] * len(tenants)
    hungry = set(range(len(tenants)))
    while hungry and capacity > 0:
        unit = capacity / sum(tenants[each].weight for each in hungry)
        sated = {each for each in hungry if wanted[each] <= unit * tenants[each].weight}
        for each in sated or hungry:
            share[each] = wanted[each] if sated else unit * tenants[each].weight
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What came of a simulation: for classes of tenants, for each tenant, and for each lane."""

    classes: list[Outcome]
    tenants: list[Outcome]
    lanes: list[Outcome]


def outcomes(setup: Setup) -> Picture:
    """Simulate, and return what each class of tenants and each tenant got, beside one plain queue."""
    runs = arrivals(setup)
    tenants, plain = make_tenants(setup), make_tenants(setup)
    simulate(setup, runs, tenants, Fair(tenants, setup.slots))
    simulate(setup, runs, plain, FirstCome())
    members = {size: [each.number for each in tenants if each.size == size] for size in CLASSES}
    asked, done = (sum(getattr(each, name) for each in tenants) or 1.0 for name in ("asked", "got"))
    fair = entitled(tenants, done, setup.seconds)

    def outcome(name: str, numbers: Sequence[int], lanes: Sequence[bool] = (False, True)) -> Outcome:
        waits = [wait for number in numbers for lane in lanes for wait in tenants[number].waits[lane]]
        plain_waits = [wait for number in numbers for lane in lanes for wait in plain[number].waits[lane]]
        return Outcome(
            name=name,
            tenants=len(numbers),
            asked=sum(tenants[number].asked for number in numbers) / asked,
            got=sum(tenants[number].got for number in numbers) / done,
            fair=sum(fair[number] for number in numbers) / (sum(fair) or 1.0),
            p50=_quantile(waits, 50),
            p95=_quantile(waits, 95),
            plain_p50=_quantile(plain_waits, 50),
            plain_p95=_quantile(plain_waits, 95),
        )

    everybody = [each.number for each in tenants]
    return Picture(
        classes=[outcome(size, numbers) for size, numbers in members.items() if numbers],
        tenants=[outcome(_named(setup, each), [each.number]) for each in tenants],
        lanes=[outcome(lane, everybody, [lane == "bulk"]) for lane in ("interactive", "bulk")],
    )


def _named(setup: Setup, tenant: Tenant) -> str:
    """Name a tenant, its weight where it is not 1, and its cap where one was given."""
    number = tenant.number + 1
    weight = f" ×{tenant.weight:g}" if tenant.weight != 1 else ""
    return f"tenant {number}{weight}" + (f" ≤{tenant.max_running}" if number in setup.caps else "")


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


def lanes_table(lanes: Iterable[Outcome]) -> str:
    """Return how long the runs of each lane waited, below the columns of `table`."""
    return "\n".join(
        f"{row.name:<39}{row.p50:>10.1f} s{row.p95:>8.1f} s{row.plain_p50:>15.1f} s{row.plain_p95:>8.1f} s"
        for row in lanes
    )


def chart(rows: Sequence[Outcome], most: int = 20) -> str:
    """Return what the first tenants got as bars; the mark is what would be fair."""
    scale = max(max(row.got, row.fair) for row in rows) or 1.0
    rest = [f"… and {len(rows) - most:,} smaller ones"] if len(rows) > most else []
    return "\n".join([*(_bar(row, scale) for row in rows[:most]), *rest])


def _bar(row: Outcome, scale: float) -> str:
    cells = ["█" if (index + 0.5) / BAR_CELLS * scale <= row.got else " " for index in range(BAR_CELLS)]
    mark = min(BAR_CELLS - 1, round(row.fair / scale * BAR_CELLS))
    cells[mark] = "┃"
    return f"{row.name:<16}│{''.join(cells)}│ {row.got:6.1%} of {row.fair:6.1%}   p95 {row.p95:7.1f} s"


ROW, LEFT, WIDTH = 22, 130, 520


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
    """Simulate what the command line asks for, and print the tables and the chart."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    file = given.pop("svg", None)
    setup = Setup(**{**given, "weights": dict(given.get("weights", ())), "caps": dict(given.get("caps", ()))})
    if unknown := sorted(number for number in {*setup.weights, *setup.caps} if number > setup.tenants):
        parser.error(f"there is no tenant {unknown[0]}: they are numbered from 1, the largest, to {setup.tenants}")
    picture = outcomes(setup)
    length = timedelta(seconds=setup.seconds)
    say(f"{setup.tenants} tenants on {setup.slots} slots for {length}, {setup.load:g} × what they can do")
    say(f"\n{table(picture.classes)}\n\n{lanes_table(picture.lanes)}\n\n{chart(picture.tenants)}")
    if file:
        _draw(file, svg(picture.tenants), parser)


def _draw(file: Path, drawing: str, parser: argparse.ArgumentParser) -> None:
    try:
        file.write_text(drawing, encoding="utf-8")
    except OSError as error:
        parser.error(f"{file} cannot be written: {error.strerror}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/fairsim", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.set_defaults(**{each.name: each.default for each in fields(Setup) if each.default is not MISSING})
    whole, positive, part = _number(int, 1), _number(float, 0.01), _number(float, 0, 1)
    each_tenants: dict[str, Any] = {"action": "append", "metavar": "N=X", "default": argparse.SUPPRESS}
    add = partial(parser.add_argument, metavar="X")
    add("--tenants", type=whole, help="how many tenants; the first is the largest")
    add("--slots", type=whole, help="how many runs work at once")
    add("--seconds", type=positive, help="how much time is simulated")
    add("--load", type=positive, help="work that arrives, as a multiple of what the slots can do")
    add("--zipf", type=_number(float, 0), help="how unequal the tenants are; 0 is equal")
    add("--long-runs", type=part, help="which part of the runs is long, 0 to 1")
    add("--interactive", type=part, help="which part of the others a person waits for, 0 to 1")
    add("--heavy-every", type=_number(int, 0), help="one tenant in so many has weight 2; 0 is none")
    add(
        "--weight", type=_of_tenant(positive), dest="weights", help="weight of tenant N; again for more", **each_tenants
    )
    add("--cap", type=_of_tenant(whole), dest="caps", help="runs at once of tenant N; again for more", **each_tenants)
    add("--seed", type=int, help="the same seed, the same runs")
    add("--svg", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="draw the chart there")
    return parser


def _number(kind: type[int] | type[float], least: float, most: float = math.inf) -> Callable[[str], float]:
    """Return what reads a number of the command line that lies between these."""
    words = f"a {'whole number' if kind is int else 'number'}, {least:g} " + (
        "or more" if most == math.inf else f"to {most:g}"
    )

    def read(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = kind(least) - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not {words}")
        return number

    return read


def _of_tenant(value: Callable[[str], float]) -> Callable[[str], tuple[int, float]]:
    """Return what reads a tenant's number and a value for it, like 1=2."""

    def read(text: str) -> tuple[int, float]:
        number, equals, rest = text.partition("=")
        if not equals or not number.isdecimal() or not int(number):
            raise argparse.ArgumentTypeError(f"{text!r} is not like 1=2, the number of a tenant and its value")
        return int(number), value(rest)

    return read


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # piped into head, it ends like any other filter
    main()
