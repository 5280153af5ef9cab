"""Keep the leases of the runs that this process executes, and learn whether they are to stop.

One thread per process, started with its first run: a child of the prefork pool has its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from typing import Literal

import structlog
from flask import Flask

from config.settings import Settings
from dashboard.core.tenancy import Binding, bound
from dashboard.runs import leases
from dashboard.runs.leases import Claim, Outcome, Progress, Renewal
from dashboard.runs.states import TIMED_OUT
from worker.outages import DATABASE_AWAY, first_line

Stop = Literal["cancelled", "lost", "stopping", "suspended"]

HARD_LIMIT_AFTER = timedelta(seconds=10)
"""How long after its timeout a job that did not end is killed, where the pool can kill."""

GIVEN_UP_AFTER = HARD_LIMIT_AFTER * 2
"""How long after its timeout a job counts as timed out, where the pool could not kill it."""

RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class HeldRun:
    """A run that this process executes; `stop` says why it should no longer, once somebody said so.

    `has_ended`: its job has, and its work is about to be committed, or how it ended to be written.
    """

    claim: Claim
    binding: Binding
    stop: Stop | None = None
    progress: Progress | None = None
    unsaved: bool = False
    has_ended: bool = False
    since: float = field(default_factory=time.monotonic)

    @property
    def is_overdue(self) -> bool:
        return time.monotonic() - self.since > self.claim.timeout_seconds

    @property
    def is_given_up(self) -> bool:
        return (
            not self.has_ended
            and time.monotonic() - self.since > self.claim.timeout_seconds + GIVEN_UP_AFTER.total_seconds()
        )

    @property
    def should_stop(self) -> bool:
        return self.stop is not None or self.is_overdue

    def heard(self, renewal: Renewal) -> None:
        """Take notice of what a renewal answered."""
        if not renewal.kept:
            self.stop = "lost"
        elif self.stop is None and renewal.cancelled:
            self.stop = "cancelled"
        elif self.stop is None and renewal.suspended:
            self.stop = "suspended"


class Heartbeat:
    """Renews the leases of all runs in flight in this process, every `every` seconds."""

    def __init__(self, flask_app: Flask, settings: Settings) -> None:
        self.flask_app = flask_app
        self.every = float(settings.heartbeat_seconds)
        self.lease = settings.lease
        self._held: set[HeldRun] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def holding(self, run: HeldRun) -> Iterator[None]:
        """Renew the lease of `run` inside the block."""
        with self._lock:
            self._held.add(run)
            if self._thread is None or not self._thread.is_alive():  # a forked child has only its main thread
                self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._held.discard(run)

    def in_flight(self) -> list[HeldRun]:
        with self._lock:
            return list(self._held)

    def stop_all(self) -> None:
        """Tell every job here to stop, because the process does."""
        for run in self.in_flight():
            run.stop = run.stop or "stopping"

    def save_progress(self, run: HeldRun) -> None:
        """Show how far the run is, renew its lease, and take notice of the answer."""
        progress, run.unsaved = run.progress, False
        if progress is not None:
            run.heard(leases.report(run.claim.run_id, run.claim.fence, progress, lease=self.lease))

    def _beat(self) -> None:
        wait = self.every
        while True:
            time.sleep(wait)
            wait = self.every if self._renew_all() else RETRY_SECONDS

    def _renew_all(self) -> bool:
        """Renew every lease; False if the database did not answer, and it has to be tried again soon."""
        try:
            with self.flask_app.app_context():
                for binding, runs in _by_tenant(self.in_flight()):
                    with bound(binding):
                        self._renew(runs)
        except DATABASE_AWAY as error:
            log.warning("leases_not_renewed", reason=first_line(error))
            return False
        except Exception:
            log.exception("heartbeat_failed")
            return False
        return True

    def _renew(self, runs: list[HeldRun]) -> None:
        renewals = leases.renew([(run.claim.run_id, run.claim.fence) for run in runs], lease=self.lease)
        for run in runs:
            run.heard(renewals[run.claim.run_id])
            if run.is_given_up:
                _give_up(run)
            elif run.unsaved and run.stop is None:
                self.save_progress(run)


def _by_tenant(runs: Iterable[HeldRun]) -> Iterator[tuple[Binding, list[HeldRun]]]:
    for _, group in groupby(sorted(runs, key=lambda run: run.claim.tenant_id), key=lambda run: run.claim.tenant_id):
        same = list(group)
        yield same[0].binding, same


def _give_up(run: HeldRun) -> None:
    """End a run in the ledger whose job neither listens nor can be killed; what it still does counts for nothing."""
    note = "It did not stop after its time limit, and this kind of worker cannot kill it."
    if leases.finish(run.claim.run_id, run.claim.fence, Outcome(state=TIMED_OUT, reason="time_limit", note=note)):
        log.error("run_given_up", run_id=str(run.claim.run_id))
    run.stop = "lost"
