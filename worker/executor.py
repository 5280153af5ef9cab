"""Execute a run: claim it, let its job type do the work, and write how it ended.

The context is the task's: the tenant is bound and a request at its root is open.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from tempfile import SpooledTemporaryFile
from typing import Any, cast
from uuid import UUID

import psycopg
import sqlalchemy as sa
import structlog
from celery.exceptions import SoftTimeLimitExceeded
from flask import Flask, current_app

from config.settings import Settings
from dashboard.core.errors import InvalidInput
from dashboard.core.orm import db, tenant_session
from dashboard.core.tenancy import require_binding
from dashboard.jobs.actions import start_children
from dashboard.jobs.artifacts import new_artifact
from dashboard.jobs.context import LogLevel, RunContext
from dashboard.jobs.outcomes import PermanentError, RetryLater, RunStopped, as_json
from dashboard.jobs.registry import UnknownJobType, job_type
from dashboard.runs import leases, reaper
from dashboard.runs.backoff import Backoff
from dashboard.runs.leases import Claim, Fault, Outcome, Progress
from dashboard.runs.models import Run
from dashboard.runs.states import CANCELLED, DEAD, FAILED, RETRYING, RUNNING, SUCCEEDED, TIMED_OUT
from worker.exits import EXITS, process_ends
from worker.faults import fault_of, redacted, secrets_of
from worker.heartbeat import Heartbeat, HeldRun
from worker.outages import DATABASE_AWAY, first_line
from worker.overtime import limited

PROGRESS_SECONDS = 0.5
"""How often a job's progress is written at most; what comes between goes with the next heartbeat."""

FINISH_RETRY_SECONDS = 1.0
LONGEST_LINE = 10_000
LONGEST_NOTE = 200
TIME_LIMIT = "time_limit"
STOPPED = "Its worker was stopped."
SUSPENDED = "The organisation was suspended."

UNWRITABLE = Outcome(
    state=FAILED,
    fault=Fault(type="UnwritableOutcome", message="The database refused what was to be written about its end."),
)
"""What is written where PostgreSQL refuses an outcome, whatever the reason: a run that has ended must not run again."""

log = structlog.get_logger(__name__)


class LeaseLost(Exception):
    """Another worker holds the run now, so nothing this one did may stand."""


class Executor:
    """Executes runs in this process; `worker` is the name under which it holds them."""

    def __init__(self, heartbeat: Heartbeat, worker: str) -> None:
        self.heartbeat = heartbeat
        self.worker = worker

    def execute(self, run_id: UUID, fence: int) -> None:
        """Do everything that a message `(run_id, fence)` asks for; a message that came too late asks for nothing."""
        claim = leases.claim(run_id, fence, lease=self.heartbeat.lease, worker=self.worker)
        if claim is None:
            log.info("message_is_stale", run_id=str(run_id), fence=fence)
            return
        held = HeldRun(claim=claim, binding=require_binding())
        with self.heartbeat.holding(held), limited(held):
            outcome = self._attempt(held)
            if outcome is not None:
                _finish(claim, outcome)

    def refuse(self, run_id: UUID, fence: int, refusal: Exception) -> None:
        """Fail a run that must not be executed at all, such as for an actor who is gone."""
        claim = leases.claim(run_id, fence, lease=self.heartbeat.lease, worker=self.worker)
        if claim is not None:
            leases.finish(run_id, fence, Outcome(state=FAILED, reason="refused", fault=fault_of(refusal)))

    def time_out(self, run_id: UUID, fence: int) -> None:
        """End a run that was killed at its time limit."""
        fault = Fault(type="TimeLimit", message="It was killed, because it went on after its time limit.")
        leases.finish(run_id, fence, Outcome(state=TIMED_OUT, reason=TIME_LIMIT, fault=fault))

    def give_back(self, run_id: UUID, fence: int) -> None:
        """Give back a run whose process is lost; if the database is away, the lease runs out."""
        try:
            with tenant_session() as session:
                reaper.release(session, run_id, fence, "The process that executed it was lost.", counts=True)
        except DATABASE_AWAY as error:
            log.warning("run_not_given_back", run_id=str(run_id), reason=first_line(error))

    def _attempt(self, held: HeldRun) -> Outcome | None:
        """Run the job and return how it ended; None if the run is not this worker's any more."""
        job = _Job(held, Reporter(held, self.heartbeat))
        try:
            return job.run()
        except (Exception, *EXITS) as error:
            held.has_ended = True
            if process_ends(error):
                _hand_back(held)
                raise SystemExit from error
            return _verdict(held, error, job.reporter.secrets)
        finally:
            _forget_work()


class Reporter:
    """Carries what a job says into the ledger. Losing a line of it must not fail the job.

    `params` are the job's, once they are read: what is secret in them must not be said.
    """

    def __init__(self, held: HeldRun, heartbeat: Heartbeat) -> None:
        self.held = held
        self.heartbeat = heartbeat
        self.params: object = None
        self._saved_at = -PROGRESS_SECONDS

    @property
    def secrets(self) -> list[str]:
        return secrets_of(self.held.binding.settings, self.params)

    def log(self, level: LogLevel, text: str) -> None:
        claim = self.held.claim
        line = redacted(text, self.secrets)[:LONGEST_LINE]
        try:
            leases.write_log(claim.run_id, claim.attempt, level, line)
        except DATABASE_AWAY as error:
            log.warning("log_line_lost", run_id=str(claim.run_id), reason=first_line(error))

    def progress(self, done: int, total: int | None, note: str) -> None:
        note = redacted(note, self.secrets)[:LONGEST_NOTE]
        self.held.progress = Progress(done=int(done), total=None if total is None else int(total), note=note)
        self.held.unsaved = True
        if time.monotonic() - self._saved_at < PROGRESS_SECONDS:
            return
        self._saved_at = time.monotonic()
        try:
            self.heartbeat.save_progress(self.held)
        except DATABASE_AWAY as error:
            log.warning("progress_not_saved", run_id=str(self.held.claim.run_id), reason=first_line(error))

    def artifact(self, name: str, media_type: str) -> SpooledTemporaryFile[bytes]:
        return new_artifact(self.held.claim.run_id, name, media_type)

    def children(self, job_type: str, params_list: Sequence[Mapping[str, Any]]) -> list[UUID]:
        claim = self.held.claim
        return start_children(db.session(), (claim.run_id, claim.name), job_type, params_list)

    def should_stop(self) -> bool:
        return self.held.should_stop


@dataclass(frozen=True, slots=True)
class _Job:
    """One attempt at the work itself."""

    held: HeldRun
    reporter: Reporter

    def run(self) -> Outcome:
        claim = self.held.claim
        job = job_type(claim.job_type)
        params = job.load_params(claim.params, claim.job_version)
        self.reporter.params = params
        result = as_json(job.run(self._context(), params))
        self.held.has_ended = True
        _commit(claim)
        return Outcome(state=SUCCEEDED, result=result, progress=self.held.progress)

    def _context(self) -> RunContext:
        claim, binding = self.held.claim, self.held.binding
        return RunContext(
            tenant=binding.tenant,
            config=current_app.config,
            actor=binding.actor,
            run_id=claim.run_id,
            name=claim.name,
            schedule_id=claim.schedule_id,
            nominal=claim.nominal,
            fence=claim.fence,
            attempt=claim.attempt,
            reporter=self.reporter,
        )


def _commit(claim: Claim) -> None:
    """Commit the job's own work if the run is still this worker's. Raises LeaseLost if it is not."""
    if not _has_worked():
        return
    session = db.session()
    held = sa.select(Run.id).where(Run.id == claim.run_id, Run.fence == claim.fence, Run.state == RUNNING)
    if session.scalar(held.with_for_update(read=True)) is None:
        raise LeaseLost
    session.commit()


def _has_worked() -> bool:
    """Return whether the job left a transaction open. To make a session only to look costs as much as a context."""
    return db.session.registry.has() and db.session().in_transaction()


def _forget_work() -> None:
    """Roll back what the job did not commit; a connection that broke is thrown away."""
    if not _has_worked():
        return
    try:
        db.session.rollback()
    except DATABASE_AWAY:
        db.session().invalidate()


def _verdict(held: HeldRun, error: BaseException, secrets: Sequence[str]) -> Outcome | None:
    """Return how the attempt ended, given what the job raised; None if that is not for this worker to say."""
    claim = held.claim
    match error:
        case LeaseLost():
            return _lost(held)
        case RunStopped() if held.should_stop:
            return _stopped(held)
        case SoftTimeLimitExceeded():
            return _timed_out(held)
        case PermanentError() | InvalidInput() | UnknownJobType():
            return Outcome(state=FAILED, progress=held.progress, fault=fault_of(error, secrets))
        case RetryLater():
            return _again(held, error.after, fault_of(error, secrets))
        case _:
            return _again(held, Backoff.from_json(claim.backoff).delay(claim.attempt), fault_of(error, secrets))


def _again(held: HeldRun, delay: timedelta, fault: Fault) -> Outcome:
    """Try once more after `delay` if an attempt is left; a run with a single attempt has simply failed."""
    claim = held.claim
    if claim.attempt < claim.max_attempts:
        state, note = RETRYING, f"Attempt {claim.attempt} of {claim.max_attempts} failed."
    elif claim.max_attempts > 1:
        state, note = DEAD, f"All {claim.max_attempts} attempts failed."
    else:
        state, note = FAILED, ""
    return Outcome(state=state, note=note, delay=delay, progress=held.progress, fault=fault)


def _stopped(held: HeldRun) -> Outcome | None:
    match held.stop:
        case "cancelled":
            return Outcome(state=CANCELLED, note="It stopped where it was.", progress=held.progress)
        case "stopping":
            return _hand_back(held)
        case "suspended":
            return _hand_back(held, SUSPENDED)
        case "lost":
            return _lost(held)
        case None:
            return _timed_out(held)


def _timed_out(held: HeldRun) -> Outcome:
    message = f"It took longer than its time limit of {held.claim.timeout_seconds} seconds."
    fault = Fault(type="TimeLimit", message=message)
    return Outcome(state=TIMED_OUT, reason=TIME_LIMIT, progress=held.progress, fault=fault)


def _lost(held: HeldRun) -> Outcome | None:
    log.warning("lease_lost", run_id=str(held.claim.run_id), fence=held.claim.fence)
    return None


def _hand_back(held: HeldRun, cause: str = STOPPED) -> Outcome | None:
    """Give the run back at once, because its worker or its tenant stops; if that fails, the lease runs out."""
    try:
        with tenant_session() as session:
            reaper.release(session, held.claim.run_id, held.claim.fence, cause, counts=False)
    except DATABASE_AWAY as error:
        log.warning("run_not_handed_back", run_id=str(held.claim.run_id), reason=first_line(error))
    return None


def _finish(claim: Claim, outcome: Outcome) -> None:
    """Write how the attempt ended, however long the database is away."""
    while not _written(claim, outcome):
        time.sleep(FINISH_RETRY_SECONDS)


def _written(claim: Claim, outcome: Outcome) -> bool:
    try:
        if not leases.finish(claim.run_id, claim.fence, outcome):
            log.warning("outcome_came_too_late", run_id=str(claim.run_id), fence=claim.fence, state=outcome.state)
    except DATABASE_AWAY as error:
        log.warning("outcome_not_written_yet", run_id=str(claim.run_id), reason=first_line(error))
        return False
    except (psycopg.Error, UnicodeError) as error:
        if outcome is UNWRITABLE:
            raise
        log.exception("outcome_refused", run_id=str(claim.run_id), state=outcome.state, reason=first_line(error))
        return _written(claim, UNWRITABLE)
    return True


def init_app(app: Flask, settings: Settings) -> None:
    """Give the app the executor of this process; the worker names itself when it starts, before it forks."""
    app.extensions["executor"] = Executor(Heartbeat(app, settings), f"{socket.gethostname()} {os.getpid()}")


def executor_of(app: Flask) -> Executor:
    """Return the executor of this process."""
    return cast(Executor, app.extensions["executor"])
