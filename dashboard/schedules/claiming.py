"""Claim schedules for planning: lock what is due, oldest first, tenant by tenant when that is more than a batch.

What another planner holds is passed over, so that any number of them share the work and none waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dashboard.schedules.blackouts import Window, apart
from dashboard.schedules.models import ASLEEP, ENABLED, NEEDS_ATTENTION, Schedule
from dashboard.tenants.options import option_for

GLANCE = f"""
SELECT CAST(extract(epoch FROM least(
    (SELECT next_at FROM schedule WHERE {ENABLED} ORDER BY next_at LIMIT 1),
    (SELECT paused_until FROM schedule WHERE {ASLEEP} ORDER BY paused_until LIMIT 1)) - now()) AS float8)
"""
"""Asks in how many seconds a schedule is due or a pause runs out: 0 or less if one is, NULL if nothing is planned.

Two index entries, however many schedules there are.
"""


class DueSchedule(NamedTuple):
    """What planning needs of a schedule, as plain values; the fields are as in `models.Schedule`."""

    id: UUID
    tenant_id: UUID
    rev: int
    name: str
    kind: str
    crons: Sequence[str]
    every_seconds: int | None
    anchor: datetime | None
    once_local: datetime | None
    timezone: str
    dst_gap: str
    dst_overlap: str
    start_at: datetime | None
    end_at: datetime | None
    skip_dates: Sequence[date]
    extra_dates: Sequence[date]
    days_off: Sequence[str]
    runs_left: int | None
    jitter_seconds: int
    pause_after_failures: int | None
    failures_from: datetime | None
    catchup: str
    catchup_window_seconds: int
    catchup_cap: int
    overlap: str
    concurrency_key: str | None
    priority: int
    max_attempts: int | None
    backoff: dict[str, Any]
    timeout_seconds: int | None
    expires_after_seconds: int | None
    job_type: str
    job_version: int
    params: dict[str, Any]
    context_root_id: UUID | None
    context_locale: str | None
    created_at: datetime
    next_at: datetime | None
    cursor: datetime | None

    @classmethod
    def of(cls, schedule: Schedule) -> DueSchedule:
        """Return the values of a schedule whose row the caller holds locked."""
        return cls(*(getattr(schedule, name) for name in cls._fields))


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """Locked schedules; `more` says that others may be due."""

    schedules: Sequence[DueSchedule]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantNow:
    """What planning needs of a tenant."""

    zone: str
    is_suspended: bool
    blackouts: Sequence[Window] = ()


def claim_due(session: Session, now: datetime, batch: int) -> Claimed:
    """Lock at most about `batch` schedules that are due at `now`."""
    waiting = session.execute(_WAITING, {"now": now, "most": batch + 1}).scalar_one()
    if not waiting:
        return Claimed(schedules=(), more=False)
    query = FAIR if waiting > batch else _OLDEST
    rows = session.execute(query, {"now": now, "batch": batch}).all()
    return Claimed(schedules=[DueSchedule._make(row) for row in rows], more=waiting > batch)


def claim_awaking(session: Session, now: datetime, batch: int) -> list[DueSchedule]:
    """Lock the paused schedules whose pause ran out at `now`."""
    return [DueSchedule._make(row) for row in session.execute(_AWAKING, {"now": now, "batch": batch}).all()]


def claim_of_tenant(session: Session, tenant_id: UUID, *, lock: bool = False) -> list[DueSchedule]:
    """Return the tenant's schedules that are to fire and have no time zone of their own, locked if asked."""
    rows = session.execute(_OF_TENANT_LOCKED if lock else _OF_TENANT, {"tenant_id": tenant_id}).all()
    return [DueSchedule._make(row) for row in rows]


def claim_outdated(session: Session, rules: str, after: UUID | None, batch: int) -> list[DueSchedule]:
    """Lock schedules, by id from `after` on, whose next fire was computed by rules older than the version `rules`."""
    parameters = {"rules": rules, "after": after or UUID(int=0), "batch": batch}
    return [DueSchedule._make(row) for row in session.execute(_OUTDATED, parameters).all()]


def claim_held(session: Session, beginning: str, after: UUID | None, batch: int) -> list[DueSchedule]:
    """Lock schedules, by id from `after` on, that are held for a problem that begins like this."""
    parameters = {"beginning": beginning, "after": after or UUID(int=0), "batch": batch}
    return [DueSchedule._make(row) for row in session.execute(_HELD, parameters).all()]


def tenants_now(session: Session, tenant_ids: Iterable[UUID]) -> dict[UUID, TenantNow]:
    """Return these tenants as they are now; asked after their schedules are locked, it cannot be out of date."""
    rows = session.execute(_TENANTS, {"ids": list(set(tenant_ids))})
    default = option_for("TIMEZONE").default
    return {
        tenant_id: TenantNow(zone=zone or default, is_suspended=held, blackouts=_windows(windows or ()))
        for tenant_id, held, zone, windows in rows
    }


def _windows(rows: Sequence[Sequence[str]]) -> Sequence[Window]:
    """Return what the database said, without overlaps."""
    return apart(
        [Window(datetime.fromisoformat(start), datetime.fromisoformat(end), name) for start, end, name in rows]
    )


_FIELDS = ", ".join(f"due.{name}" for name in DueSchedule._fields)
_IS_DUE = f"{ENABLED} AND next_at <= :now"

_IS_TENANTS_DUE = f"""{ENABLED} AND (tenant_id, next_at) >= ({{0}}, '-infinity')
    AND (tenant_id, next_at) <= ({{0}}, CAST(:now AS timestamptz)) ORDER BY tenant_id, next_at"""

_WAITING = sa.text(f"""
SELECT count(*) FROM (SELECT FROM schedule WHERE {_IS_DUE} ORDER BY next_at LIMIT :most) AS waiting
""")
_OLDEST = sa.text(f"""
SELECT {_FIELDS} FROM schedule AS due WHERE {_IS_DUE} ORDER BY next_at LIMIT :batch FOR NO KEY UPDATE SKIP LOCKED
""")
# The tenants that wait longest take turns; what another planner holds is passed over, which is why there are twice as
# many candidates as a batch holds. The comparison of rows admits no index but the tenant's own: the one by time alone
# would walk through all the others'.
FAIR = sa.text(f"""
WITH waiting AS MATERIALIZED (
    SELECT tenant.id, first.next_at FROM tenant CROSS JOIN LATERAL (
        SELECT next_at FROM schedule WHERE {_IS_TENANTS_DUE.format("tenant.id")} LIMIT 1) AS first
    ORDER BY first.next_at LIMIT :batch),
turn AS MATERIALIZED (
    SELECT candidate.id, candidate.turn FROM waiting CROSS JOIN LATERAL (
        SELECT id, row_number() OVER (ORDER BY tenant_id, next_at) AS turn
        FROM schedule WHERE {_IS_TENANTS_DUE.format("waiting.id")}
        LIMIT (SELECT greatest(2, 2 * :batch / count(*)) FROM waiting)) AS candidate)
SELECT {_FIELDS} FROM turn JOIN schedule AS due USING (id)
WHERE ({_IS_DUE}) IS TRUE
ORDER BY turn.turn LIMIT :batch FOR NO KEY UPDATE OF due SKIP LOCKED
""")
_AWAKING = sa.text(f"""
SELECT {_FIELDS} FROM schedule AS due WHERE {ASLEEP} AND paused_until <= :now ORDER BY paused_until LIMIT :batch
FOR NO KEY UPDATE SKIP LOCKED
""")
_OF_TENANT = sa.text(f"""
SELECT {_FIELDS} FROM schedule AS due WHERE {ENABLED} AND tenant_id = :tenant_id AND timezone = '' ORDER BY id
""")
_OF_TENANT_LOCKED = sa.text(f"{_OF_TENANT.text} FOR NO KEY UPDATE")


def _numbers_of(version: str) -> str:
    """Return SQL for the numbers of a version, which compare as one expects: the tenth release is after the ninth."""
    numbers = f"SELECT array_agg(CAST(part[1] AS int)) FROM regexp_matches({version}, '\\d+', 'g') AS part"
    return f"coalesce(({numbers}), '{{}}')"


_OUTDATED = sa.text(f"""
SELECT {_FIELDS} FROM schedule AS due
WHERE {ENABLED} AND (kind <> 'interval' OR days_off <> '{{}}') AND id > :after
    AND tz_version <> :rules AND {_numbers_of("tz_version")} < {_numbers_of("CAST(:rules AS text)")}
ORDER BY id LIMIT :batch FOR NO KEY UPDATE SKIP LOCKED
""")
_HELD = sa.text(f"""
SELECT {_FIELDS} FROM schedule AS due
WHERE {NEEDS_ATTENTION} AND starts_with(problem, :beginning) AND id > :after
ORDER BY id LIMIT :batch FOR NO KEY UPDATE SKIP LOCKED
""")
_TENANTS = sa.text("""
SELECT tenant.id, tenant.suspended_at IS NOT NULL, setting.value #>> '{}', (
    SELECT json_agg(json_build_array(start_at, end_at, name) ORDER BY start_at) FROM blackout
    WHERE blackout.tenant_id = tenant.id AND end_at > now() - interval '366 days')
FROM tenant LEFT JOIN tenant_setting AS setting ON setting.tenant_id = tenant.id AND setting.key = 'TIMEZONE'
WHERE tenant.id = ANY(:ids)
""")
