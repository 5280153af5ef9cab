"""Give a running job what it may know and say: its tenant, its run, its log, its progress, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from tempfile import SpooledTemporaryFile
from typing import Any, Literal, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

from dashboard.core.tenancy import Actor, Tenant
from dashboard.core.zones import display_zone
from dashboard.jobs.outcomes import RunStopped

LogLevel = Literal["debug", "info", "warning", "error"]
LONGEST_NAP_SECONDS = 0.5
"""How long a waiting job may overlook that it was stopped."""


class RunReporter(Protocol):
    """Where a job's words go; the worker's executor is one."""

    def log(self, level: LogLevel, text: str) -> None:
        """Keep a line of the run's log."""

    def progress(self, done: int, total: int | None, note: str) -> None:
        """Keep how far the run is."""

    def artifact(self, name: str, media_type: str) -> SpooledTemporaryFile[bytes]:
        """Return a file that is kept with the run."""

    def children(self, job_type: str, params_list: Sequence[Mapping[str, Any]]) -> list[UUID]:
        """Put runs of the job type into the ledger as children of this one."""

    def should_stop(self) -> bool:
        """Whether the run was cancelled or its lease is lost. Asked often: it must be cheap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What a job is given beside its parameters. `config` is the tenant's, like `current_app.config`.

    `name` is the run's (a planned run has its schedule's), `nominal` the instant it was planned for (None where a
    person started it), `attempt` counts from 1, and `fence` is the number that tells this execution of the run from
    every other.
    """

    tenant: Tenant
    config: Mapping[str, Any]
    actor: Actor
    run_id: UUID
    name: str
    schedule_id: UUID | None = None
    nominal: datetime | None = None
    fence: int
    attempt: int
    reporter: RunReporter

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of who asked: their own where a person started the run and has one, else the tenant's.

        For what that person reads, as `local_time` in a template shows it. What goes to others belongs into the
        tenant's, which is `config["TIMEZONE"]`.
        """
        return display_zone()

    def log(self, level: LogLevel, text: str) -> None:
        """Write a line that the run's page shows."""
        self.reporter.log(level, text)

    def progress(self, done: int, total: int | None = None, note: str = "") -> None:
        """Tell how many of how many are done; the run's page shows it while the job goes on."""
        self.reporter.progress(done, total, note)

    def artifact(self, name: str, media_type: str) -> SpooledTemporaryFile[bytes]:
        """Return a binary file to write to: `with ctx.artifact("totals.csv", "text/csv") as file: …`.

        Once the run has succeeded it can be downloaded from the run's page. Raises BadArtifact for a name with a slash
        or the like, ArtifactTooLarge for more than the installation allows; both end the run for good.
        """
        return self.reporter.artifact(name, media_type)

    def children(self, job_type: str, params_list: Sequence[Mapping[str, Any]]) -> list[UUID]:
        """Start a run of the job type for each of `params_list`, and return their ids.

        They begin once this run has succeeded, and not at all if it does not: they are part of its own work. Raises
        UnknownJobType, InvalidInput and TooManyChildren, which all end the run for good.
        """
        return self.reporter.children(job_type, params_list)

    def check_cancelled(self) -> None:
        """Call before each effect. Raises RunStopped if the run was cancelled or is no longer this worker's."""
        if self.reporter.should_stop():
            raise RunStopped

    def wait(self, duration: timedelta) -> None:
        """Sleep for `duration`, as an effect that can be cancelled. Raises RunStopped."""
        end = time.monotonic() + duration.total_seconds()
        self.check_cancelled()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, LONGEST_NAP_SECONDS))
            self.check_cancelled()
