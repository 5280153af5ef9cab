"""The rules that all schedulers are measured by: the same stages, the same clocks, one line of JSON as the answer.

It is run by the Python of each contestant's own environment, so it imports nothing of ours.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ANSWER = "answer: "
WARM_UP_TICKS = 3
POLL_SECONDS = 0.001
ARRIVAL_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to do: `schedules` in all, of which `due` become due; seconds of `budget` for each measure.

    `jobs`, `pings` and `messages` are the work of job systems, `looks`, `flood` and `visits` that of the fairness
    suite; `variant` says how a contestant is set up.
    """

    schedules: int
    due: int
    ticks: int
    edits: int
    budget: float
    jobs: int
    pings: int
    messages: int
    looks: int
    flood: int
    visits: int
    variant: str
    database_url: str
    redis_url: str
    folder: str


class Contestant(ABC):
    """A scheduler, as the stages see it."""

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def seed(self) -> None:
        """Store the schedules, enabled and not due for a long time."""

    @abstractmethod
    def open(self) -> None:
        """Make the scheduler, as its process would."""

    @abstractmethod
    def tick(self) -> None:
        """Let it look once, and do what is due."""

    @abstractmethod
    def make_due(self) -> None:
        """Make `due` of the schedules due."""

    @abstractmethod
    def dispatched(self) -> int:
        """Return how many it has dispatched since `make_due`, or since the start."""

    def start(self) -> dict[str, float]:
        """Start over what is stored; say when it had looked once, and how big it is when it has looked again."""
        self.open()
        self.tick()
        ready, cpu = time.time(), time.process_time()
        for _ in range(WARM_UP_TICKS):
            self.tick()
        return {"ready_at": ready, "cpu_s": cpu, "memory_mb": resident_mb("self")}

    @abstractmethod
    def serve(self) -> None:
        """Work until the process is ended."""

    @abstractmethod
    def edit(self, number: int) -> None:
        """From another process, change schedule `number` so that it is due now."""


def run(contestant: Contestant) -> dict[str, float]:
    """Seed, then measure idle ticks and dispatching."""
    contestant.seed()
    contestant.open()
    for _ in range(WARM_UP_TICKS):
        contestant.tick()
    cpu, _ = _idle(contestant)
    contestant.make_due()
    return {"idle_ms": cpu, **_dispatching(contestant)}


def idle(contestant: Contestant) -> dict[str, float]:
    """Seed, then measure idle ticks alone: our own CPU time, and the clock's, which holds the database's work, too."""
    contestant.seed()
    contestant.open()
    for _ in range(WARM_UP_TICKS):
        contestant.tick()
    cpu, wall = _idle(contestant)
    return {"idle_ms": cpu, "idle_wall_ms": wall}


def _idle(contestant: Contestant) -> tuple[float, float]:
    """Return the CPU time and the time of a tick that finds nothing due, in ms."""
    ticks = 0
    began, cpu = time.perf_counter(), time.process_time()
    while ticks < contestant.task.ticks and time.perf_counter() - began < contestant.task.budget:
        contestant.tick()
        ticks += 1
    return (time.process_time() - cpu) * 1000 / ticks, (time.perf_counter() - began) * 1000 / ticks


def _dispatching(contestant: Contestant) -> dict[str, float]:
    began, cpu = time.perf_counter(), time.process_time()
    done = 0
    while done < contestant.task.due and time.perf_counter() - began < contestant.task.budget:
        contestant.tick()
        done = contestant.dispatched()
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    return {"dispatched": done, "per_second": done / wall, "cpu_us": used * 1e6 / max(done, 1)}


def start(contestant: Contestant) -> dict[str, float]:
    """Measure how long the scheduler takes to start over what `run` or `seed` stored, and how big it is then."""
    return contestant.start()


def edits(contestant: Contestant) -> dict[str, float]:
    """Make edits while another process serves, and return the median of how long each took to take effect, in ms."""
    _edit(contestant, 0)  # not counted: the other process may still be starting
    return {"edit_ms": statistics.median(_edit(contestant, 1 + number) for number in range(contestant.task.edits))}


def _edit(contestant: Contestant, number: int) -> float:
    before = contestant.dispatched()
    began = time.perf_counter()
    contestant.edit(number)
    while contestant.dispatched() == before:
        if time.perf_counter() - began > ARRIVAL_SECONDS:
            raise SystemExit("An edit took no effect.")
        time.sleep(POLL_SECONDS)
    return (time.perf_counter() - began) * 1000


def resident_mb(pid: int | str) -> float:
    """Return the memory that a process has in RAM, in MB, shared libraries included."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1000


def seed(contestant: Contestant) -> dict[str, float]:
    """Only store the schedules."""
    contestant.seed()
    return {}


def serve(contestant: Contestant) -> dict[str, float]:
    """Work until the process is ended."""
    contestant.serve()
    return {}


def compete(kind: type[Contestant]) -> None:
    """Do the stage that the command line names and print the answer."""
    stages = {"seed": seed, "idle": idle, "run": run, "start": start, "serve": serve, "edits": edits}
    stage, task = asked()
    answer(stages[stage](kind(task)))


def asked() -> tuple[str, Task]:
    """Return the stage that the command line names, and what to do in it."""
    stage, task = sys.argv[1:]
    return stage, Task(**json.loads(task))


def answer(figures: Mapping[str, float]) -> None:
    """Print the figures as the arena reads them."""
    print(ANSWER + json.dumps(figures), flush=True)
