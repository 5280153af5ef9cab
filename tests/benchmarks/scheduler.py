"""The scheduler's suite: idle ticks, dispatching what is due, starting, memory, and how soon an edit takes effect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks.arena import Arena, Failed
from tests.benchmarks.peers import OURS
from tests.benchmarks.rows import Case, Row

SUITE = "scheduler"
PEERS = ("django-celery-beat", "celery-redbeat", "rq-scheduler", "apscheduler", "celery-beat")
UNTOLD = {
    "apscheduler": "sees edits of its own process only",
    "celery-beat": "reads its configuration at the start only",
}
"""Peers that no other process can tell of an edit."""

Figures = dict[str, list[float]]


def cases(arena: Arena) -> dict[str, Case]:
    """Return the cases by the key of their figure."""
    schedules, due, edited = arena.sizes.schedules, arena.sizes.due, arena.sizes.edited
    return {
        "idle_ms": Case(name=f"idle tick at {schedules:,} schedules", unit="ms CPU", better="lower", bar=0.1),
        "per_second": Case(name=f"{due:,} due of {schedules:,}", unit="per second", better="higher", bar=5000),
        "cpu_us": Case(name=f"{due:,} due of {schedules:,}, own process", unit="µs CPU each", better="lower"),
        "start_s": Case(name=f"start at {schedules:,} schedules", unit="s", better="lower", bar=1),
        "start_cpu_s": Case(name=f"start at {schedules:,} schedules", unit="s CPU", better="lower", bar=1),
        "memory_mb": Case(name=f"memory at {schedules:,} schedules", unit="MB", better="lower", bar=100),
        "edit_ms": Case(name=f"an edit takes effect at {edited:,} schedules", unit="ms", better="lower", bar=100),
    }


def measure(arena: Arena) -> Iterator[Row]:
    """Let all contestants compete in turn, round after round, and return the rows of medians."""
    figures: dict[str, Figures] = {name: defaultdict(list) for name in (OURS, *PEERS)}
    problems = {name: arena.why_not(name) for name in PEERS}
    for _ in range(arena.sizes.rounds):
        for name in (OURS, *PEERS):
            if not problems.get(name):
                with _excused(name, problems):
                    _compete(arena, name, figures[name])
    yield from _many(arena)
    for key, case in cases(arena).items():
        peers = {name: figures[name][key] or problems[name] or _why_none(key, name) for name in PEERS}
        yield case.row(SUITE, figures[OURS][key], peers)


def _many(arena: Arena) -> Iterator[Row]:
    """Measure idle ticks of ours over more schedules than any peer stores in reasonable time."""
    many = arena.sizes.many
    with arena.place(OURS, many) as place:
        figures = place.ask("idle")
    for key, unit in (("idle_ms", "ms CPU"), ("idle_wall_ms", "ms")):
        case = Case(name=f"idle tick at {many:,} schedules", unit=unit, better="lower", bar=5)
        yield case.row(SUITE, [figures[key]], dict.fromkeys(PEERS, "left out"))


@contextmanager
def _excused(name: str, problems: dict[str, str]) -> Iterator[None]:
    """A peer that fails says so in its rows, and competes no more; we may not fail."""
    try:
        yield
    except Failed as failure:
        if name == OURS:
            raise
        problems[name] = f"failed: {failure}"


def _why_none(key: str, name: str) -> str:
    return UNTOLD.get(name, "") if key == "edit_ms" else ""


def _compete(arena: Arena, name: str, figures: Figures) -> None:
    with arena.place(name, arena.sizes.schedules) as place:
        for key, value in place.ask("run").items():
            figures[key].append(value)
        started = place.ask("start")
        figures["start_s"].append(started["ready_at"] - started["began_at"])
        figures["start_cpu_s"].append(started["cpu_s"])
        figures["memory_mb"].append(started["memory_mb"])
    if name in UNTOLD:
        return
    with arena.place(name, arena.sizes.edited) as place:
        place.ask("seed")
        with place.serving():
            figures["edit_ms"].append(place.ask("edits")["edit_ms"])
