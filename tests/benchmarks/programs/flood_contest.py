"""The rules of the flood: one tenant has pushed a mountain of jobs, another one pushes a single job again and again.

It is run by the Python of each contestant's own environment, so it imports nothing of ours.
"""

from __future__ import annotations

import statistics
import time
from abc import abstractmethod
from typing import Any

from tests.benchmarks.programs.work_contest import Workshop, at_work

SLOTS = 4
NAP_SECONDS = 1.0
"""How long each job of the flood takes, where they are long."""

BETWEEN_VISITS_SECONDS = 0.15
VISIT_SECONDS = 60.0
"""How long the single job may take to start before we give up on it."""


class Flooded(Workshop):
    """A job system with two tenants."""

    redis: Any

    @abstractmethod
    def flood(self, count: int, long: bool) -> None:
        """Commit `count` jobs of the first tenant."""

    @abstractmethod
    def visit(self) -> float:
        """Commit a job of the second tenant that notes when it began; return when it was committed."""

    def began_within(self, seconds: float) -> float | None:
        """Wait for the visit's job and return when it began, or None if it does not."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.redis.blpop(["bench:began"], timeout=1)  # shorter than the client's own patience
            if found:
                return float(found[1])
        return None


def short(workshop: Flooded) -> dict[str, float]:
    """Return how long the single job waits while the others are empty, in ms."""
    return _visits(workshop, long=False)


def long(workshop: Flooded) -> dict[str, float]:
    """Return how long the single job waits while the others take a second each, in ms."""
    return _visits(workshop, long=True)


def _visits(workshop: Flooded, *, long: bool) -> dict[str, float]:
    waits: list[float] = []
    with at_work(workshop):
        workshop.flood(workshop.task.flood, long)
        for _ in range(workshop.task.visits):
            time.sleep(BETWEEN_VISITS_SECONDS)
            committed = workshop.visit()
            began = workshop.began_within(VISIT_SECONDS)
            if began is None:
                return {"gave_up_after_s": VISIT_SECONDS}
            waits.append((began - committed) * 1000)
    cuts = statistics.quantiles(waits, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94]}


FLOODS = {"short": short, "long": long}
