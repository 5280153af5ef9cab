"""Write runs into the ledger, and move them: each move with a line on the run's timeline and its tenant's counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dashboard.core.clock import database_now
from dashboard.core.ids import new_id
from dashboard.core.orm import record_of, rows_as_json
from dashboard.core.tenancy import SYSTEM, Actor
from dashboard.runs.fingerprint import likeness, of_run
from dashboard.runs.load import moved
from dashboard.runs.models import Run, RunEvent
from dashboard.runs.states import PROBLEM_STATES, READY, RUNNING, SCHEDULED, WAITING_STATES, can_move

Lane = Literal["interactive", "bulk"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What somebody wants to be run. The run waits for `not_before` and never starts after `expires_at`.

    `params` are JSON, already validated by the job type. Runs of a tenant with the same `concurrency_key` never run
    at once; with the same `form_id` there is one at most. `root_id`, `locale`, `request_id` and `actor` are the context
    it will run in.
    """

    tenant_id: UUID
    name: str
    job_type: str
    job_version: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)
    queue: str = "default"
    lane: Lane = "bulk"
    priority: int = 0
    idempotent: bool = False
    max_attempts: int = 1
    backoff: Mapping[str, Any] = field(default_factory=dict)
    timeout_seconds: int = 900
    not_before: datetime | None = None
    expires_at: datetime | None = None
    schedule_id: UUID | None = None
    occurrence_id: UUID | None = None
    parent_id: UUID | None = None
    form_id: UUID | None = None
    concurrency_key: str | None = None
    root_id: UUID | None = None
    locale: str | None = None
    request_id: UUID | None = None
    actor: Actor = SYSTEM


def enqueue(session: Session, request: RunRequest) -> Run:
    """Insert a run in the caller's transaction: it exists if and only if its cause is committed.

    `session` is a tenant's or the system's.
    """
    (run_id,) = enqueue_all(session, [request])
    return session.get_one(Run, run_id)


def enqueue_all(session: Session, requests: Sequence[RunRequest], now: datetime | None = None) -> list[UUID]:
    """Insert runs in one go, and return their ids in order. `now` is the database's, if it is known already."""
    if not requests:
        return []
    now = now or database_now(session)
    ids = [new_id() for _ in requests]
    rows = [_row(run_id, request, now) for run_id, request in zip(ids, requests, strict=True)]
    session.execute(_INSERT, {"rows": rows_as_json(rows)})
    for run_id in ids:
        moved(session, run_id, None)
    return ids


def _row(run_id: UUID, request: RunRequest, now: datetime) -> dict[str, Any]:
    waits = request.not_before is not None and request.not_before > now
    return {
        "id": run_id,
        "tenant_id": request.tenant_id,
        "schedule_id": request.schedule_id,
        "occurrence_id": request.occurrence_id,
        "parent_id": request.parent_id,
        "form_id": request.form_id,
        "name": request.name,
        "job_type": request.job_type,
        "job_version": request.job_version,
        "params": dict(request.params),
        "queue": request.queue,
        "lane": request.lane,
        "priority": request.priority,
        "concurrency_key": request.concurrency_key,
        "idempotent": request.idempotent,
        "max_attempts": request.max_attempts,
        "backoff": dict(request.backoff),
        "timeout_seconds": request.timeout_seconds,
        "state": SCHEDULED if waits else READY,
        "ready_at": None if waits else now,
        "not_before": request.not_before,
        "expires_at": request.expires_at,
        "context_root_id": request.root_id,
        "context_locale": request.locale,
        "context_request_id": request.request_id,
        "actor_kind": request.actor.kind,
        "actor_id": request.actor.id,
    }


_COLUMNS = (
    "id",
    "tenant_id",
    "schedule_id",
    "occurrence_id",
    "parent_id",
    "form_id",
    "name",
    "job_type",
    "job_version",
    "params",
    "queue",
    "lane",
    "priority",
    "concurrency_key",
    "idempotent",
    "max_attempts",
    "backoff",
    "timeout_seconds",
    "state",
    "ready_at",
    "not_before",
    "expires_at",
    "context_root_id",
    "context_locale",
    "context_request_id",
    "actor_kind",
    "actor_id",
)

_INSERT = sa.text(f"""
WITH inserted AS (
    INSERT INTO run ({", ".join(_COLUMNS)})
    SELECT {", ".join(_COLUMNS)} FROM json_to_recordset(CAST(:rows AS json)) AS new({record_of(Run, _COLUMNS)})
    RETURNING tenant_id, id, state, actor_kind, actor_id)
INSERT INTO run_event (tenant_id, run_id, state, actor_kind, actor_id) SELECT * FROM inserted
""")


class IllegalMove(Exception):
    """The table of moves has no such move: a mistake in the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A run's step from the state `old`, in which the caller holds its row locked, to `new`.

    `reason` stays on the run as a word, `note` on its timeline as a sentence.
    """

    run_id: UUID
    tenant_id: UUID
    attempt: int
    old: str
    new: str
    reason: str = ""
    note: str = ""
    actor: Actor = SYSTEM


def move_all(session: Session, moves: Sequence[Move]) -> None:
    """Make the moves. Raises IllegalMove for one that is not in the table."""
    if not moves:
        return
    for move in moves:
        if not can_move(move.old, move.new, move.actor.kind):
            raise IllegalMove(f"{move.old} → {move.new} by {move.actor.kind}")
        moved(session, move.run_id, move.old)
    session.execute(
        _MOVE,
        {
            "ids": [move.run_id for move in moves],
            "states": [move.new for move in moves],
            "reasons": [move.reason for move in moves],
            "likenesses": [likeness(move.reason, "") if move.new in PROBLEM_STATES else "" for move in moves],
        },
    )
    session.execute(sa.insert(RunEvent), [_event(move) for move in moves])


# A run that only comes back from its way to a worker has been ready all the time. One that ended keeps the name of the
# worker that was at it: there one looks for what happened.
_MOVE = sa.text(f"""
UPDATE run
SET state = move.state, reason = move.reason, lease_until = NULL,
    worker = CASE WHEN move.state = 'ready' THEN '' ELSE run.worker END,
    ready_at = CASE WHEN move.state = 'ready' AND run.state <> 'admitted' THEN now() ELSE run.ready_at END,
    finished_at = CASE WHEN move.state = 'ready' THEN NULL ELSE now() END,
    fingerprint = {of_run("move.likeness")}
FROM unnest(CAST(:ids AS uuid[]), CAST(:states AS text[]), CAST(:reasons AS text[]), CAST(:likenesses AS text[]))
    AS move(id, state, reason, likeness)
WHERE run.id = move.id
""")


def run_again(session: Session, moves: Sequence[Move]) -> None:
    """Make ended runs ready, with all their attempts before them and no limit on how late they start."""
    session.execute(_FORGET, {"ids": [move.run_id for move in moves]})
    move_all(session, moves)


_FORGET = sa.text("""
UPDATE run SET attempt = 0, not_before = NULL, expires_at = NULL, started_at = NULL, cancel_requested_at = NULL,
    result = NULL, error_type = '', error_message = '', error_traceback = '',
    progress_done = NULL, progress_total = NULL, progress_note = ''
WHERE id = ANY(:ids)
""")


def ask_to_stop(session: Session, running: Sequence[Move], now: datetime) -> None:
    """Tell the workers of locked runs to stop; the moves go from running to running, with a note for the timeline."""
    if not running:
        return
    ids = [move.run_id for move in running]
    session.execute(sa.update(Run).where(Run.id.in_(ids)).values(cancel_requested_at=now))
    session.execute(sa.insert(RunEvent), [_event(move) for move in running])
    for run_id in ids:
        moved(session, run_id, RUNNING)


def _event(move: Move) -> dict[str, Any]:
    return {
        "tenant_id": move.tenant_id,
        "run_id": move.run_id,
        "state": move.new,
        "attempt": move.attempt,
        "note": move.note,
        "actor_kind": move.actor.kind,
        "actor_id": move.actor.id,
    }


def lock(session: Session, run_id: UUID) -> Run | None:
    """Return the run as it is now, with its row locked until the transaction ends.

    Its key stays free: a job's open transaction with rows of the run shares it, and nobody may wait for a job.
    """
    query = sa.select(Run).where(Run.id == run_id).with_for_update(key_share=True)
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def move(session: Session, run: Run, new: str, *, reason: str = "", note: str = "", actor: Actor = SYSTEM) -> None:
    """Make one move of a locked run, and show it on the object."""
    move_all(session, [step(run, new, reason=reason, note=note, actor=actor)])
    session.refresh(run)


def step(run: Run, new: str, *, reason: str = "", note: str = "", actor: Actor = SYSTEM) -> Move:
    """Return the move of a locked run to `new`."""
    return Move(
        run_id=run.id,
        tenant_id=run.tenant_id,
        attempt=run.attempt,
        old=run.state,
        new=new,
        reason=reason,
        note=note,
        actor=actor,
    )


def cancel(session: Session, run: Run, *, note: str, actor: Actor = SYSTEM) -> bool:
    """Stop a locked run: at once if it waits, else its worker is told. False if it has ended, or was told before."""
    if run.state in WAITING_STATES:
        move(session, run, "cancelled", note=note, actor=actor)
        return True
    if run.state != RUNNING or run.cancel_requested_at is not None:
        return False
    ask_to_stop(session, [step(run, RUNNING, note=note, actor=actor)], database_now(session))
    session.refresh(run)
    return True
