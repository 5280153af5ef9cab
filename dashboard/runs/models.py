"""The ledger's tables: runs, their events and log lines, each tenant's load, and the processes that work."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from dashboard.core.orm import Base, Created, Identified, TenantOwned, timestamp
from dashboard.runs.states import ACTIVE_STATES, PROBLEM_STATES, RUN_STATES

_STATES = ", ".join(f"'{state}'" for state in RUN_STATES)
_ACTIVE = ", ".join(f"'{state}'" for state in sorted(ACTIVE_STATES))

PROBLEM = f"state IN ({', '.join(repr(state) for state in sorted(PROBLEM_STATES))})"
"""Which runs ask for a person, in SQL; the index by fingerprint holds these alone."""


class Run(Identified, Created, TenantOwned, Base):
    """One execution of a job type, from its cause to its end.

    `fence` rises at every admission and is what a message carries; `attempt` rises at every claim and is the retry
    budget. `context_*` is what a request at the tenant's address needs to be rebuilt.
    """

    __tablename__ = "run"
    __table_args__ = (
        sa.UniqueConstraint("tenant_id", "id"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "schedule_id"], ["schedule.tenant_id", "schedule.id"], name="fk_run_schedule"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "occurrence_id"], ["occurrence.tenant_id", "occurrence.id"], name="fk_run_occurrence"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "parent_id"],
            ["run.tenant_id", "run.id"],
            name="fk_run_parent",
            ondelete="SET NULL (parent_id)",  # children may be kept for longer than their parent
        ),
        sa.UniqueConstraint("occurrence_id"),
        sa.CheckConstraint(f"state IN ({_STATES})", name="state"),
        sa.CheckConstraint("lane IN ('interactive', 'bulk')", name="lane"),
        sa.Index("ix_run_tenant_id_state_id", "tenant_id", "state", sa.text("id DESC")),
        sa.Index("ix_run_schedule_id", "schedule_id", sa.text("id DESC")),
        sa.Index("ix_run_parent_id", "parent_id", "id", postgresql_where=sa.text("parent_id IS NOT NULL")),
        sa.Index(
            "ix_run_schedule_id_active",
            "schedule_id",
            "concurrency_key",
            postgresql_where=sa.text(f"state IN ({_ACTIVE})"),
        ),
        sa.Index(
            "ix_run_ready",
            "queue",
            sa.text("(lane = 'bulk')"),
            "tenant_id",
            sa.text("priority DESC"),
            "id",
            postgresql_where=sa.text("state = 'ready'"),
        ),
        sa.Index("ix_run_due", "not_before", postgresql_where=sa.text("state IN ('scheduled', 'retrying')")),
        sa.Index("ix_run_lease", "lease_until", postgresql_where=sa.text("state IN ('admitted', 'running')")),
        sa.Index(
            "ix_run_expiry",
            "expires_at",
            postgresql_where=sa.text("state IN ('scheduled', 'ready', 'retrying') AND expires_at IS NOT NULL"),
        ),
        sa.Index(
            "uq_run_concurrency_key",
            "tenant_id",
            "concurrency_key",
            unique=True,
            postgresql_where=sa.text("state IN ('admitted', 'running') AND concurrency_key IS NOT NULL"),
        ),
        sa.Index(
            "uq_run_form_id", "tenant_id", "form_id", unique=True, postgresql_where=sa.text("form_id IS NOT NULL")
        ),
        sa.Index(
            "ix_run_fingerprint",
            "tenant_id",
            "fingerprint",
            sa.text("finished_at DESC"),
            postgresql_include=["schedule_id"],
            postgresql_where=sa.text(PROBLEM),
        ),
        sa.Index("ix_run_active", "tenant_id", "id", postgresql_where=sa.text(f"state IN ({_ACTIVE})")),
    )

    schedule_id: Mapped[UUID | None] = mapped_column(sa.Uuid)
    occurrence_id: Mapped[UUID | None] = mapped_column(sa.Uuid)
    parent_id: Mapped[UUID | None] = mapped_column(sa.Uuid)
    form_id: Mapped[UUID | None] = mapped_column(sa.Uuid)
    name: Mapped[str]
    job_type: Mapped[str]
    job_version: Mapped[int] = mapped_column(server_default="1")
    params: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=sa.text("'{}'"))
    queue: Mapped[str] = mapped_column(server_default="default")
    lane: Mapped[str] = mapped_column(server_default="bulk")
    priority: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    concurrency_key: Mapped[str | None]
    idempotent: Mapped[bool] = mapped_column(server_default=sa.false())
    max_attempts: Mapped[int] = mapped_column(server_default="1")
    backoff: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=sa.text("'{}'"))
    timeout_seconds: Mapped[int] = mapped_column(server_default="900")

    state: Mapped[str]
    reason: Mapped[str] = mapped_column(server_default="")
    fence: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    attempt: Mapped[int] = mapped_column(server_default="0")
    lease_until: Mapped[datetime | None] = mapped_column(timestamp)
    worker: Mapped[str] = mapped_column(server_default="")
    not_before: Mapped[datetime | None] = mapped_column(timestamp)
    expires_at: Mapped[datetime | None] = mapped_column(timestamp)
    ready_at: Mapped[datetime | None] = mapped_column(timestamp)
    admitted_at: Mapped[datetime | None] = mapped_column(timestamp)
    started_at: Mapped[datetime | None] = mapped_column(timestamp)
    finished_at: Mapped[datetime | None] = mapped_column(timestamp)
    cancel_requested_at: Mapped[datetime | None] = mapped_column(timestamp)

    progress_done: Mapped[int | None] = mapped_column(sa.BigInteger)
    progress_total: Mapped[int | None] = mapped_column(sa.BigInteger)
    progress_note: Mapped[str] = mapped_column(server_default="")
    result: Mapped[Any] = mapped_column(JSONB, nullable=True)
    error_type: Mapped[str] = mapped_column(server_default="")
    error_message: Mapped[str] = mapped_column(server_default="")
    error_traceback: Mapped[str] = mapped_column(server_default="")
    fingerprint: Mapped[str] = mapped_column(server_default="")

    context_root_id: Mapped[UUID | None]
    context_locale: Mapped[str | None]
    context_request_id: Mapped[UUID | None]
    actor_kind: Mapped[str] = mapped_column(server_default="system")
    actor_id: Mapped[UUID | None]


class RunEvent(TenantOwned, Base):
    """One move of a run from a state to another, as its timeline shows it."""

    __tablename__ = "run_event"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["run.tenant_id", "run.id"], name="fk_run_event_run", ondelete="CASCADE"
        ),
        sa.Index("ix_run_event_run_id", "run_id", "id"),
    )

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column()  # the run's, whose key covers it: a check of its own would cost
    run_id: Mapped[UUID]
    at: Mapped[datetime] = mapped_column(timestamp, server_default=sa.func.now())
    state: Mapped[str]
    attempt: Mapped[int] = mapped_column(server_default="0")
    note: Mapped[str] = mapped_column(server_default="")
    actor_kind: Mapped[str] = mapped_column(server_default="system")
    actor_id: Mapped[UUID | None]


class RunLog(TenantOwned, Base):
    """One line that a job wrote about its work."""

    __tablename__ = "run_log"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["run.tenant_id", "run.id"], name="fk_run_log_run", ondelete="CASCADE"
        ),
        sa.CheckConstraint("level IN ('debug', 'info', 'warning', 'error')", name="level"),
        sa.Index("ix_run_log_run_id", "run_id", "id"),
    )

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column()  # the run's, whose key covers it: a check of its own would cost
    run_id: Mapped[UUID]
    at: Mapped[datetime] = mapped_column(timestamp, server_default=sa.func.now())
    attempt: Mapped[int] = mapped_column(server_default="0")
    level: Mapped[str]
    text: Mapped[str]


class BulkAction(Identified, Created, TenantOwned, Base):
    """Something that is being done to all runs that `filter` (a `bulk.Wanted` as JSON) matched when it was asked for.

    `done` of about `estimate` runs are through; beat goes on with it, batch by batch, until `finished_at`.
    """

    __tablename__ = "bulk_action"
    __table_args__ = (
        sa.CheckConstraint("action IN ('retry', 'cancel')", name="action"),
        sa.Index("ix_bulk_action_open", "id", postgresql_where=sa.text("finished_at IS NULL")),
    )

    action: Mapped[str]
    filter: Mapped[dict[str, Any]] = mapped_column(JSONB)
    estimate: Mapped[int]
    done: Mapped[int] = mapped_column(server_default="0")
    actor_kind: Mapped[str] = mapped_column(server_default="system")
    actor_id: Mapped[UUID | None]
    stopped_at: Mapped[datetime | None] = mapped_column(timestamp)
    finished_at: Mapped[datetime | None] = mapped_column(timestamp)


class Artifact(Identified, Created, TenantOwned, Base):
    """A file that a run made. Its content is in chunks, so that neither writing nor reading it takes it whole."""

    __tablename__ = "artifact"
    __table_args__ = (
        sa.UniqueConstraint("run_id", "name"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["run.tenant_id", "run.id"], name="fk_artifact_run", ondelete="CASCADE"
        ),
    )

    run_id: Mapped[UUID]
    name: Mapped[str]
    media_type: Mapped[str]
    size: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")


class ArtifactChunk(TenantOwned, Base):
    """A piece of an artifact; `position` counts from 0."""

    __tablename__ = "artifact_chunk"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["run.tenant_id", "run.id"], name="fk_artifact_chunk_run", ondelete="CASCADE"
        ),
        sa.Index("ix_artifact_chunk_run_id", "run_id"),
    )

    artifact_id: Mapped[UUID] = mapped_column(sa.ForeignKey("artifact.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[UUID] = mapped_column()  # the run's, whose key covers it: a check of its own would cost
    run_id: Mapped[UUID]
    data: Mapped[bytes]


class Purge(TenantOwned, Base):
    """When a tenant's old runs were last looked for, and how many were deleted since the beginning."""

    __tablename__ = "purge"

    tenant_id: Mapped[UUID] = mapped_column(sa.ForeignKey("tenant.id", ondelete="CASCADE"), primary_key=True)
    looked_at: Mapped[datetime] = mapped_column(timestamp)
    deleted_at: Mapped[datetime | None] = mapped_column(timestamp)
    deleted: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")


class TenantLoad(TenantOwned, Base):
    """A tenant's share of the workers and its counters, kept in the same transactions as the runs they count.

    `ready` counts ready runs, `running` admitted and running ones. `vtime` is the stride scheduler's virtual time:
    raised to the system's once, when the tenant goes from empty to backlogged. `version` rises with every change that
    a live panel shows. `drifts` counts how often the counters were not what the runs said, the last time `drifted_at`.
    `max_running`, `rate_per_minute` and `runs_per_day` limit what the tenant may start; `*_full_at` is when the bucket
    of starts is full again. `max_schedules` and `least_period_seconds` limit what it may plan. The tenant's own role
    can change counters only.
    """

    __tablename__ = "tenant_load"
    __table_args__ = (
        sa.Index(
            "ix_tenant_load_turn", sa.text("(vtime + 1 / weight)"), "tenant_id", postgresql_where=sa.text("ready > 0")
        ),
        sa.CheckConstraint("weight > 0", name="weight"),
        sa.CheckConstraint("max_running > 0", name="max_running"),
        sa.CheckConstraint("rate_per_minute > 0", name="rate_per_minute"),
        sa.CheckConstraint("runs_per_day > 0", name="runs_per_day"),
        sa.CheckConstraint("max_schedules > 0", name="max_schedules"),
        sa.CheckConstraint("least_period_seconds > 0", name="least_period_seconds"),
        sa.CheckConstraint("ready >= 0", name="ready"),
        sa.CheckConstraint("running >= 0", name="running"),
    )

    tenant_id: Mapped[UUID] = mapped_column(sa.ForeignKey("tenant.id", ondelete="CASCADE"), primary_key=True)
    weight: Mapped[float] = mapped_column(server_default="1")
    max_running: Mapped[int | None]
    rate_per_minute: Mapped[int | None]
    runs_per_day: Mapped[int | None]
    max_schedules: Mapped[int | None]
    least_period_seconds: Mapped[int | None]
    minute_full_at: Mapped[datetime | None] = mapped_column(timestamp)
    day_full_at: Mapped[datetime | None] = mapped_column(timestamp)
    vtime: Mapped[float] = mapped_column(server_default="0")
    ready: Mapped[int] = mapped_column(server_default="0")
    running: Mapped[int] = mapped_column(server_default="0")
    version: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    drifts: Mapped[int] = mapped_column(server_default="0")
    drifted_at: Mapped[datetime | None] = mapped_column(timestamp)


class DispatchClock(Base):
    """The stride scheduler's system virtual time and admission counter; one row."""

    __tablename__ = "dispatch_clock"
    __table_args__ = (sa.CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, server_default="1", autoincrement=False)
    vtime: Mapped[float] = mapped_column(server_default="0")
    sequence: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")


class Process(Identified, Base):
    """A worker or beat that reports that it lives; `slots` and `busy` count what a worker can do at once."""

    __tablename__ = "process"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('worker', 'beat')", name="kind"),
        sa.Index("ix_process_seen_at", "seen_at"),
    )

    kind: Mapped[str]
    name: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(timestamp, server_default=sa.func.now())
    seen_at: Mapped[datetime] = mapped_column(timestamp, server_default=sa.func.now())
    stopped_at: Mapped[datetime | None] = mapped_column(timestamp)
    slots: Mapped[int] = mapped_column(server_default="0")
    busy: Mapped[int] = mapped_column(server_default="0")
    queues: Mapped[list[str]] = mapped_column(JSONB, server_default=sa.text("'[]'"))
    tick_ms: Mapped[float | None]
    skew_ms: Mapped[float | None]
    tzdata: Mapped[str] = mapped_column(server_default="")
