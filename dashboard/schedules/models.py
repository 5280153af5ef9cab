"""Schedules, and the occurrences that were decided on."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from dashboard.core.orm import Base, Created, Identified, TenantOwned, timestamp

ENABLED = "next_at IS NOT NULL AND paused_at IS NULL AND archived_at IS NULL AND problem = ''"
"""Which schedules the planner looks at, in SQL; the indexes by `next_at` hold these alone."""

ASLEEP = "paused_until IS NOT NULL AND paused_at IS NOT NULL AND archived_at IS NULL"
"""Which schedules resume by themselves, in SQL."""


NEEDS_ATTENTION = "(problem <> '' OR is_failing) AND archived_at IS NULL"
"""Which schedules stopped by themselves, in SQL: they cannot run as they stand, or failed as often as they may."""

MISSED = "reason IN ('missed_window', 'coalesced', 'invalid') OR lateness_ms >= 60000"
"""Which occurrences did not run though they should have, or a minute too late or more, in SQL."""


class Schedule(Identified, Created, TenantOwned, Base):
    """A rule: a job type, its parameters, when it fires, and what to do when that goes wrong.

    `next_at` is the next nominal instant and `cursor` the last one handled, both UTC. Durations are seconds. `days_off`
    is what its holiday calendars say (see `holidays`): a copy, so that when it fires stays a function of its row.
    It pauses after `pause_after_failures` failures in a row of runs that were made since `failures_from`; `is_failing`
    says that it did.
    """

    __tablename__ = "schedule"
    __table_args__ = (
        sa.UniqueConstraint("tenant_id", "id"),
        sa.CheckConstraint("kind IN ('once', 'interval', 'cron')", name="kind"),
        sa.CheckConstraint("dst_gap IN ('after', 'shift', 'skip')", name="dst_gap"),
        sa.CheckConstraint("dst_overlap IN ('first', 'second', 'both')", name="dst_overlap"),
        sa.CheckConstraint("catchup IN ('none', 'latest', 'all')", name="catchup"),
        sa.CheckConstraint("overlap IN ('skip', 'queue_one', 'queue_all', 'cancel_running', 'allow')", name="overlap"),
        sa.CheckConstraint("runs_left >= 0", name="runs_left"),
        sa.Index("ix_schedule_next_at", "next_at", postgresql_where=sa.text(ENABLED)),
        sa.Index("ix_schedule_tenant_id_next_at", "tenant_id", "next_at", "id", postgresql_where=sa.text(ENABLED)),
        sa.Index("ix_schedule_paused_until", "paused_until", postgresql_where=sa.text(ASLEEP)),
        sa.Index("ix_schedule_attention", "tenant_id", sa.text("id DESC"), postgresql_where=sa.text(NEEDS_ATTENTION)),
    )

    rev: Mapped[int] = mapped_column(server_default="1")
    name: Mapped[str]
    note: Mapped[str] = mapped_column(server_default="")
    tags: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), server_default="{}")
    owner_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("user_account.id", ondelete="SET NULL"))

    kind: Mapped[str]
    crons: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), server_default="{}")
    every_seconds: Mapped[int | None]
    anchor: Mapped[datetime | None] = mapped_column(timestamp)
    once_local: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=False))
    timezone: Mapped[str] = mapped_column(server_default="")
    dst_gap: Mapped[str] = mapped_column(server_default="after")
    dst_overlap: Mapped[str] = mapped_column(server_default="first")
    start_at: Mapped[datetime | None] = mapped_column(timestamp)
    end_at: Mapped[datetime | None] = mapped_column(timestamp)
    skip_dates: Mapped[list[date]] = mapped_column(ARRAY(sa.Date), server_default="{}")
    extra_dates: Mapped[list[date]] = mapped_column(ARRAY(sa.Date), server_default="{}")
    holiday_calendars: Mapped[list[UUID]] = mapped_column(ARRAY(sa.Uuid), server_default="{}")
    days_off: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), server_default="{}")
    runs_left: Mapped[int | None]
    jitter_seconds: Mapped[int] = mapped_column(server_default="0")

    catchup: Mapped[str] = mapped_column(server_default="latest")
    catchup_window_seconds: Mapped[int] = mapped_column(server_default="3600")
    catchup_cap: Mapped[int] = mapped_column(server_default="100")
    overlap: Mapped[str] = mapped_column(server_default="skip")
    concurrency_key: Mapped[str | None]
    priority: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    max_attempts: Mapped[int | None]
    backoff: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=sa.text("'{}'"))
    timeout_seconds: Mapped[int | None]
    expires_after_seconds: Mapped[int | None]

    job_type: Mapped[str]
    job_version: Mapped[int] = mapped_column(server_default="1")
    params: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=sa.text("'{}'"))
    context_root_id: Mapped[UUID | None]
    context_locale: Mapped[str | None]

    paused_at: Mapped[datetime | None] = mapped_column(timestamp)
    paused_reason: Mapped[str] = mapped_column(server_default="")
    paused_by_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("user_account.id", ondelete="SET NULL"))
    paused_until: Mapped[datetime | None] = mapped_column(timestamp)
    pause_after_failures: Mapped[int | None]
    failures_from: Mapped[datetime | None] = mapped_column(timestamp)
    is_failing: Mapped[bool] = mapped_column(server_default=sa.false())
    archived_at: Mapped[datetime | None] = mapped_column(timestamp)

    next_at: Mapped[datetime | None] = mapped_column(timestamp)
    cursor: Mapped[datetime | None] = mapped_column(timestamp)
    tz_version: Mapped[str] = mapped_column(server_default="")
    problem: Mapped[str] = mapped_column(server_default="")
    updated_at: Mapped[datetime] = mapped_column(timestamp, server_default=sa.func.now(), onupdate=sa.func.now())

    @property
    def state(self) -> str:
        """One word for the page: archived, paused, needs_attention, completed or active."""
        if self.archived_at is not None:
            return "archived"
        if self.problem:
            return "needs_attention"
        if self.paused_at is not None:
            return "paused"
        return "active" if self.next_at is not None else "completed"


class Occurrence(Identified, Created, TenantOwned, Base):
    """One instant of a schedule and what was decided about it; never decided twice.

    `occurrence` is the nominal UTC instant in ISO 8601, or `manual:<uuid>`, or `backfill:<id>:<nominal>`.
    Skips in a row for one reason are one row with a count and the last nominal instant in `until`.
    """

    __tablename__ = "occurrence"
    __table_args__ = (
        sa.UniqueConstraint("schedule_id", "occurrence"),
        sa.UniqueConstraint("tenant_id", "id"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "schedule_id"],
            ["schedule.tenant_id", "schedule.id"],
            name="fk_occurrence_schedule",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("decision IN ('run', 'skip')", name="decision"),
        sa.Index("ix_occurrence_missed", "tenant_id", sa.text("id DESC"), postgresql_where=sa.text(MISSED)),
        sa.Index(
            "ix_occurrence_skipped",
            "schedule_id",
            sa.text("id DESC"),
            postgresql_where=sa.text("decision = 'skip'"),
        ),
    )

    tenant_id: Mapped[UUID] = mapped_column()  # the schedule's, whose key covers it: a check of its own would cost
    schedule_id: Mapped[UUID]
    occurrence: Mapped[str]
    nominal: Mapped[datetime | None] = mapped_column(timestamp)
    nominal_local: Mapped[str] = mapped_column(server_default="")
    decision: Mapped[str]
    reason: Mapped[str] = mapped_column(server_default="")
    note: Mapped[str] = mapped_column(server_default="")
    rev: Mapped[int]
    count: Mapped[int] = mapped_column(server_default="1")
    until: Mapped[datetime | None] = mapped_column(timestamp)
    lateness_ms: Mapped[int | None] = mapped_column(sa.BigInteger)


class ScheduleRevision(Created, TenantOwned, Base):
    """A schedule as somebody saved it: the fields that a save may change."""

    __tablename__ = "schedule_revision"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["tenant_id", "schedule_id"],
            ["schedule.tenant_id", "schedule.id"],
            name="fk_schedule_revision_schedule",
            ondelete="CASCADE",
        ),
    )

    tenant_id: Mapped[UUID] = mapped_column(sa.ForeignKey("tenant.id", ondelete="CASCADE"))
    schedule_id: Mapped[UUID] = mapped_column(primary_key=True)
    rev: Mapped[int] = mapped_column(primary_key=True)
    actor_kind: Mapped[str]
    actor_id: Mapped[UUID | None]
    fields: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Backfill(Identified, Created, TenantOwned, Base):
    """A range of the past that somebody wanted made up for; its occurrences begin with `backfill:<id>:`."""

    __tablename__ = "backfill"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["tenant_id", "schedule_id"],
            ["schedule.tenant_id", "schedule.id"],
            name="fk_backfill_schedule",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("mode IN ('missing', 'rerun')", name="mode"),
        sa.Index("ix_backfill_schedule_id", "schedule_id", sa.text("id DESC")),
    )

    schedule_id: Mapped[UUID]
    start_at: Mapped[datetime] = mapped_column(timestamp)
    end_at: Mapped[datetime] = mapped_column(timestamp)
    mode: Mapped[str]
    total: Mapped[int]
    created_by_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("user_account.id", ondelete="SET NULL"))
    stopped_at: Mapped[datetime | None] = mapped_column(timestamp)


class HolidayCalendar(Identified, Created, TenantOwned, Base):
    """Days on which the schedules that name it do not fire: a country's (`place`: "DE-BY") and own ones (`days`)."""

    __tablename__ = "holiday_calendar"
    __table_args__ = (sa.UniqueConstraint("tenant_id", "name"),)

    name: Mapped[str]
    rev: Mapped[int] = mapped_column(server_default="1")
    place: Mapped[str] = mapped_column(server_default="")
    days: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), server_default="{}")
    updated_at: Mapped[datetime] = mapped_column(timestamp, server_default=sa.func.now(), onupdate=sa.func.now())

    @property
    def days_off(self) -> list[str]:
        """All it says, as `holidays.DaysOff` reads it."""
        return [*([self.place] if self.place else []), *self.days]


class Blackout(Identified, Created, TenantOwned, Base):
    """A window of time, [start_at, end_at), in which nothing of the tenant is planned."""

    __tablename__ = "blackout"
    __table_args__ = (
        sa.CheckConstraint("end_at > start_at", name="ends_after_it_starts"),
        sa.Index("ix_blackout_tenant_id_end_at", "tenant_id", "end_at"),
    )

    name: Mapped[str]
    rev: Mapped[int] = mapped_column(server_default="1")
    start_at: Mapped[datetime] = mapped_column(timestamp)
    end_at: Mapped[datetime] = mapped_column(timestamp)
