"""The suites of job systems: throughput and latency of empty jobs, and what the tenant's context costs."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tests.benchmarks.arena import Arena, Failed
from tests.benchmarks.peers import OURS
from tests.benchmarks.rows import Case, Row

THROUGHPUT = "throughput"
LATENCY = "latency"
CONTEXT = "context"

PLAIN = "celery"
WITH_HISTORY = "celery+results+events"
"""What keeps about as much of a job as the ledger does: the one to be no slower than."""

FLASK = ("flask-docs", "flask-celeryext")
PROGRAMS = {OURS: "ledger", PLAIN: "plain_celery", WITH_HISTORY: "plain_celery"}
"""Those whose program has another name than they."""

Figures = Mapping[str, Sequence[float] | str]


def throughput(arena: Arena) -> Iterator[Row]:
    """Yield rows of how many empty jobs two processes get through, with and without the time it took to push them."""
    answers = _compete(arena, THROUGHPUT, (PLAIN, WITH_HISTORY, *FLASK))
    jobs = f"{arena.sizes.jobs:,} empty jobs on 2 processes"
    cases = {
        "whole": Case(name=f"{jobs}, whole road", unit="per second", better="higher"),
        "drained": Case(name=f"{jobs}, drained", unit="per second", better="higher"),
        "cpu_us": Case(name=f"{jobs}, all but the servers", unit="µs CPU each", better="lower"),
    }
    for key, case in cases.items():
        figures = _figures(answers, key)
        history = figures[WITH_HISTORY]
        bar = None if isinstance(history, str) else statistics.median(history)
        yield _row(replace(case, bar=bar), THROUGHPUT, figures)


def latency(arena: Arena) -> Iterator[Row]:
    """Yield rows of how long a job waits from its commit to its start at low load."""
    answers = _compete(arena, LATENCY, (PLAIN, *FLASK))
    for share, bar in (("p50", 30.0), ("p99", 100.0)):
        case = Case(name=f"commit to start at low load, {share}", unit="ms", better="lower", bar=bar)
        yield _row(case, LATENCY, _figures(answers, share))


def context(arena: Arena) -> Iterator[Row]:
    """Yield rows of what the context costs over plain Celery's, in CPU time and in bytes of each message."""
    answers = _compete(arena, CONTEXT, FLASK)
    cases = {
        "task": Case(name="a task, over plain Celery's", unit="µs CPU", better="lower", bar=100),
        "publish": Case(name="publishing, over plain Celery's", unit="µs CPU", better="lower", bar=10),
        "publish_distinct": Case(name="publishing for requests of their own", unit="µs CPU", better="lower", bar=10),
        "header": Case(name="header", unit="bytes", better="lower", bar=200),
    }
    for key, case in cases.items():
        yield _row(case, CONTEXT, _figures(answers, key))


Answers = Mapping[str, dict[str, list[float]] | str]
"""By contestant: all its figures by their keys, or why there are none."""


def _compete(arena: Arena, stage: str, peers: Sequence[str]) -> Answers:
    """Let all compete in turn, round after round. A peer that fails says so, and competes no more; we may not fail."""
    figures: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in (OURS, *peers)}
    problems = {name: arena.why_not(name) for name in peers}
    for _ in range(arena.sizes.rounds):
        for name in (OURS, *peers):
            if problems.get(name):
                continue
            try:
                _once(arena, stage, name, figures[name])
            except Failed as failure:
                if name == OURS:
                    raise
                problems[name] = f"failed: {failure}"
    return {name: problems.get(name) or figures[name] for name in figures}


def _once(arena: Arena, stage: str, name: str, figures: dict[str, list[float]]) -> None:
    with arena.place(name, program=PROGRAMS.get(name, "")) as place:
        for key, value in place.ask(stage).items():
            figures[key].append(value)


def _figures(answers: Answers, key: str) -> Figures:
    return {name: each if isinstance(each, str) else each[key] for name, each in answers.items()}


def _row(case: Case, suite: str, figures: Figures) -> Row:
    ours = figures[OURS]
    if isinstance(ours, str):
        raise Failed(ours)
    return case.row(suite, ours, {name: values for name, values in figures.items() if name != OURS})
