"""The rules that all job systems are measured by: empty jobs on two processes, and how soon one starts.

It is run by the Python of each contestant's own environment, so it imports nothing of ours.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.programs.contest import Task

CONCURRENCY = 2
WARM_UP_JOBS = 200
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.005
BETWEEN_PINGS_SECONDS = 0.05
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Workshop(ABC):
    """A job system, as the stages see it."""

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def prepare(self) -> None:
        """Make what the processes need, before they start."""

    @abstractmethod
    def commands(self) -> list[list[str]]:
        """Return the processes that do the work: arguments for this Python."""

    @abstractmethod
    def push(self, count: int) -> None:
        """Commit `count` empty jobs."""

    @abstractmethod
    def are_done(self) -> bool:
        """Return whether all that was pushed is done."""

    @abstractmethod
    def ping(self) -> float:
        """Commit a job that notes when it began; return when it was committed, in seconds of the system's clock."""

    @abstractmethod
    def began_at(self) -> float:
        """Wait for the last ping's job and return when it began."""


def throughput(workshop: Workshop) -> dict[str, float]:
    """Push jobs while the processes are halted, then let them work. Seconds of both, and the CPU time of the second."""
    with at_work(workshop) as pids:
        _push_and_wait(workshop, WARM_UP_JOBS)
        with _halted(pids):
            began = time.perf_counter()
            workshop.push(workshop.task.jobs)
            pushed = time.perf_counter() - began
        cpu, began = _cpu_seconds(pids), time.perf_counter()
        _wait(workshop)
        worked = time.perf_counter() - began
        used = _cpu_seconds(pids) - cpu
    jobs = workshop.task.jobs
    return {"drained": jobs / worked, "whole": jobs / (pushed + worked), "cpu_us": used * 1e6 / jobs}


def latency(workshop: Workshop) -> dict[str, float]:
    """Return how long a job waits from its commit to its start when there is little to do, in ms."""
    waits = []
    with at_work(workshop):
        _push_and_wait(workshop, WARM_UP_JOBS)
        for _ in range(workshop.task.pings):
            time.sleep(BETWEEN_PINGS_SECONDS)
            committed = workshop.ping()
            waits.append((workshop.began_at() - committed) * 1000)
    cuts = statistics.quantiles(waits, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98]}


@contextmanager
def at_work(workshop: Workshop) -> Iterator[list[int]]:
    """Let the processes work, and yield the ids of them and their children once they have done something."""
    workshop.prepare()
    folder = Path(workshop.task.folder)
    processes = []
    try:
        for number, command in enumerate(workshop.commands()):
            with (folder / f"{number}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen([sys.executable, *command], stdout=log, stderr=log, start_new_session=True)
                )
        _push_and_wait(workshop, CONCURRENCY)
        yield [pid for process in processes for pid in _family(process.pid)]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _family(int(child)))]


@contextmanager
def _halted(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)


def _push_and_wait(workshop: Workshop, count: int) -> None:
    workshop.push(count)
    _wait(workshop)


def _wait(workshop: Workshop) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not workshop.are_done():
        if time.monotonic() > deadline:
            raise SystemExit("The jobs did not end in time.")
        time.sleep(POLL_SECONDS)


def _cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU time that these processes have used; /proc/PID/stat counts it in ticks, fields 14 and 15."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / TICKS_PER_SECOND


STAGES = {"throughput": throughput, "latency": latency}
