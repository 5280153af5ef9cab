"""The suite of fairness: what an admission takes where many tenants wait, and how soon one starts under a flood."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import sqlalchemy as sa

from tests.benchmarks.arena import Arena, Failed
from tests.benchmarks.peers import OURS
from tests.benchmarks.rows import Case, Row
from tests.factories.backlog import pile_up

SUITE = "fairness"
PEERS = ("celery+queue-per-tenant", "celery+one-queue")
FLOODS = {"short": ("empty runs", 150.0), "long": ("runs of a second", 250.0)}
NO_PEER = "has no tenants"

Figures = dict[str, list[float]]


def measure(arena: Arena) -> Iterator[Row]:
    """Yield the rows of admissions, then those of the floods."""
    yield from _admissions(arena)
    for stage, (kind, bar) in FLOODS.items():
        yield from _flood(arena, stage, kind, bar)


def _admissions(arena: Arena) -> Iterator[Row]:
    """No peer knows tenants, so none competes."""
    sizes = arena.sizes
    figures: Figures = defaultdict(list)
    with arena.place(OURS, program="fair_ledger") as place:
        place.ask("tables")
        url = arena.postgres.url("admin", place.database).replace("postgresql://", "postgresql+psycopg://")
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            pile_up(connection, sizes.backlogged, sizes.waiting)
        for _ in range(sizes.rounds):
            for key, value in place.ask("admission").items():
                figures[key].append(value)
    what = f"admission into 10 slots, {sizes.backlogged:,} tenants, {sizes.backlogged * sizes.waiting:,} ready runs"
    for key, name, unit, bar in (
        ("p50", ", p50", "ms", None),
        ("p95", ", p95", "ms", 5.0),
        ("cpu", ", own process", "ms CPU", None),
    ):
        case = Case(name=f"{what}{name}", unit=unit, better="lower", bar=bar)
        yield case.row(SUITE, figures[key], {name: arena.why_not(name) or NO_PEER for name in PEERS})


def _flood(arena: Arena, stage: str, kind: str, bar: float) -> Iterator[Row]:
    """Let all compete in turn. A peer that fails says so, and so does one whose single run did not start."""
    figures: dict[str, Figures] = {name: defaultdict(list) for name in (OURS, *PEERS)}
    problems = {name: arena.why_not(name) for name in PEERS}
    for _ in range(arena.sizes.rounds):
        for name in (OURS, *PEERS):
            if not problems.get(name):
                problems[name] = _once(arena, name, stage, figures[name])
    for share, limit in (("p50", None), ("p95", bar)):
        case = Case(
            name=f"one run beside another tenant's {arena.sizes.flood:,} {kind}, starts, {share}",
            unit="ms",
            better="lower",
            bar=limit,
        )
        peers = {name: problems[name] or figures[name][share] for name in PEERS}
        yield case.row(SUITE, figures[OURS][share], peers)


def _once(arena: Arena, name: str, stage: str, figures: Figures) -> str:
    """Add one round's figures, or return why there are none; we may not fail."""
    program = "fair_ledger" if name == OURS else "flooded_celery"
    try:
        with arena.place(name, program=program) as place:
            found = place.ask(stage)
    except Failed as failure:
        if name == OURS:
            raise
        return f"failed: {failure}"
    if "gave_up_after_s" in found:
        if name == OURS:
            raise Failed("The single run did not start.")
        return f"did not start within {found['gave_up_after_s']:g} s"
    for key, value in found.items():
        figures[key].append(value)
    return ""
