"""Starts our real processes for tests, keeps what they said, and ends them by their own id."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
POLL_SECONDS = 0.02
DEADLINE_SECONDS = 60.0
"""Only what is broken takes so long, also on a slow machine."""

STOP_SECONDS = 15.0
BEAT = (sys.executable, "-m", "worker.beat")
"""The words that start beat with this interpreter."""

BEAT_READY = "beat_is_ready"
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningProcess:
    """A process of ours in a process group of its own; `log` is where its stdout and stderr go."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def is_running(self) -> bool:
        return self.popen.poll() is None

    def output(self) -> str:
        """Return all that it has said so far."""
        return self.log.read_text(errors="replace")

    def children(self) -> list[int]:
        """Return the ids of its child processes, as a pool has them."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def wait_for(self, text: str, deadline: float = DEADLINE_SECONDS) -> None:
        """Wait until it has said `text`. Fails with all that it said if it ends before, or after `deadline` seconds."""
        wait_until(lambda: text in self.output() or not self.is_running, deadline, lambda: self._silence(text))
        if text not in self.output():
            raise AssertionError(self._silence(text))

    def signal(self, number: Signals) -> None:
        if self.is_running:
            self.popen.send_signal(number)

    def stop(self, number: Signals = SIGTERM, deadline: float = STOP_SECONDS) -> None:
        """Ask it to end and wait; after `deadline` seconds end it as a crash does."""
        self.signal(number)
        try:
            self.popen.wait(deadline)
        except subprocess.TimeoutExpired:
            self.kill_group()

    def kill(self) -> None:
        """End it as a crash does (SIGKILL); its children are left to find out by themselves."""
        self.signal(SIGKILL)
        self.popen.wait()

    def kill_group(self) -> None:
        """End it and its children as a crash of the machine does."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, SIGKILL)
        self.popen.wait()

    def _silence(self, text: str) -> str:
        return f"{self.popen.args!r} did not say {text!r}, but:\n{self.output()}"


def start_process(args: Sequence[str], environment: Mapping[str, str]) -> RunningProcess:
    """Start a program in the project's folder, with `environment` and nothing else of ours that could matter."""
    handle, name = tempfile.mkstemp(prefix="stationmaster-", suffix=".log")
    inherited = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
    with os.fdopen(handle, "wb") as log:
        popen = subprocess.Popen(
            args,
            cwd=ROOT,
            env={**inherited, "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return RunningProcess(popen=popen, log=Path(name))


@contextmanager
def running(args: Sequence[str], environment: Mapping[str, str], *, ready: str = "") -> Iterator[RunningProcess]:
    """A started process that has said `ready`; at the end it is asked to go, and nothing of its group is left."""
    process = start_process(args, environment)
    try:
        if ready:
            process.wait_for(ready)
        yield process
    finally:
        process.stop()
        process.kill_group()
        process.log.unlink(missing_ok=True)


@contextmanager
def worker_process(
    environment: Mapping[str, str],
    *,
    pool: str = "prefork",
    plugins: Sequence[str] = (),
    concurrency: int = 2,
    ready: str = "ready.",
) -> Iterator[RunningProcess]:
    """A Celery worker with this pool that is ready to take messages; `plugins` are modules with tasks or job types."""
    settings = {
        **environment,
        "WORKER_POOL": pool,
        "WORKER_CONCURRENCY": str(concurrency),
        "PLUGINS": ",".join(plugins),
        "REMAP_SIGTERM": "SIGQUIT",
    }
    args = [*celery("worker"), f"--pool={pool}", "--loglevel=INFO", "--without-mingle", "--without-gossip"]
    with running(args, settings, ready=ready) as process:
        yield process


def celery(command: str) -> list[str]:
    """Return the words that start `celery -A worker.main <command>` with this interpreter."""
    return [sys.executable, "-m", "celery", "-A", "worker.main", command]


def wait_until(
    condition: Callable[[], T],
    deadline: float = DEADLINE_SECONDS,
    explain: Callable[[], str] = lambda: "It never came true.",
) -> T:
    """Return what `condition` answers once that is true. Fails with `explain()` after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not (answer := condition()):
        if time.monotonic() > end:
            raise AssertionError(explain())
        time.sleep(POLL_SECONDS)
    return answer


@contextmanager
def beat_process(
    environment: Mapping[str, str], *, plugins: Sequence[str] = (), ready: str = BEAT_READY
) -> Iterator[RunningProcess]:
    """A beat that plans, dispatches and reaps; `plugins` are modules with job types."""
    settings = {**environment, "PLUGINS": ",".join(plugins)}
    with running(BEAT, settings, ready=ready) as process:
        yield process
