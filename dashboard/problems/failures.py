"""Group failed runs by what went wrong, newest first, at a cost that does not grow with how many they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import load_only

from dashboard.core.orm import db
from dashboard.core.tenancy import current_tenant
from dashboard.runs.board import COUNT_CAP
from dashboard.runs.models import PROBLEM, Run
from dashboard.schedules.models import Schedule

MOST_GROUPS = 1000
"""More kinds of failures than this are not looked at: nobody reads them."""

SCHEDULES_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Failures of one kind, with the newest of them; `count` stops at COUNT_CAP + 1.

    `schedules` are some of those whose runs they are, among the last thousand.
    """

    fingerprint: str
    newest: Run
    count: int
    first_at: datetime
    last_at: datetime
    schedules: Sequence[Schedule]
    schedule_count: int
    dismissed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """A page of groups; `older` is the newest run of the last one, where more follow."""

    rows: Sequence[Group]
    older: UUID | None


def failure_groups(page: int, *, before: UUID | None = None, dismissed: bool = False) -> Groups:
    """Return a page of the bound tenant's failures that need somebody, or of those that somebody dismissed.

    A group that was dismissed needs somebody again as soon as one more run of it fails.
    """
    asked = {"tenant": current_tenant().id, "most": MOST_GROUPS, "dismissed": dismissed}
    rows = db.session.execute(_GROUPS, {**asked, "before": before, "page": page + 1, "cap": COUNT_CAP}).all()
    shown = rows[:page]
    runs = _runs([row.id for row in shown])
    schedules = _schedules({each for row in shown for each in row.schedules[:SCHEDULES_SHOWN]})
    groups = [
        Group(
            fingerprint=row.fingerprint,
            newest=runs[row.id],
            count=row.runs,
            first_at=row.first_at,
            last_at=row.finished_at,
            schedules=[schedules[each] for each in row.schedules[:SCHEDULES_SHOWN]],
            schedule_count=len(row.schedules),
            dismissed_at=row.dismissed_at,
        )
        for row in shown
    ]
    return Groups(rows=groups, older=shown[-1].id if len(rows) > page else None)


def count_groups() -> int:
    """Return how many kinds of failures need somebody, up to MOST_GROUPS."""
    asked = {"tenant": current_tenant().id, "most": MOST_GROUPS, "dismissed": False}
    return int(db.session.execute(_COUNT, asked).scalar_one())


def newest_of(fingerprint: str) -> Run | None:
    """Return the bound tenant's last failure of this kind, or None if there is none."""
    query = sa.select(Run).where(Run.fingerprint == fingerprint, sa.text(PROBLEM))
    return db.session.scalars(query.order_by(Run.finished_at.desc()).limit(1)).one_or_none()


def _runs(ids: Sequence[UUID]) -> Mapping[UUID, Run]:
    columns = (Run.name, Run.job_type, Run.state, Run.reason, Run.error_type, Run.error_message, Run.tenant_id)
    query = sa.select(Run).options(load_only(*columns)).where(Run.id.in_(ids))
    return {run.id: run for run in db.session.scalars(query)}


def _schedules(ids: set[UUID]) -> Mapping[UUID, Schedule]:
    if not ids:
        return {}
    query = sa.select(Schedule).options(load_only(Schedule.name, Schedule.tenant_id)).where(Schedule.id.in_(ids))
    return {schedule.id: schedule for schedule in db.session.scalars(query)}


# One step into the index for each kind of failure, however many runs it has (a loose index scan: PostgreSQL wiki).
_KINDS = f"""
WITH RECURSIVE kind AS (
    (SELECT id, fingerprint, finished_at FROM run
     WHERE tenant_id = :tenant AND {PROBLEM} ORDER BY fingerprint, finished_at DESC LIMIT 1)
    UNION ALL
    SELECT following.* FROM kind CROSS JOIN LATERAL (
        SELECT id, fingerprint, finished_at FROM run
        WHERE tenant_id = :tenant AND {PROBLEM} AND fingerprint > kind.fingerprint
        ORDER BY fingerprint, finished_at DESC LIMIT 1) AS following),
wanted AS (
    SELECT kind.*, dismissal.at AS dismissed_at
    FROM (SELECT * FROM kind LIMIT :most) AS kind
    LEFT JOIN dismissal ON dismissal.tenant_id = :tenant AND dismissal.fingerprint = kind.fingerprint
    WHERE coalesce(dismissal.at >= kind.finished_at, false) = :dismissed)
"""
_COUNT = sa.text(f"{_KINDS} SELECT count(*) FROM wanted")
_GROUPS = sa.text(f"""{_KINDS},
listed AS (
    SELECT * FROM wanted
    WHERE CAST(:before AS uuid) IS NULL
        OR (finished_at, id) < (SELECT finished_at, id FROM run WHERE tenant_id = :tenant AND id = :before)
    ORDER BY finished_at DESC, id DESC LIMIT :page)
SELECT listed.*, counted.runs, earliest.first_at, coalesce(concerned.schedules, '{{}}') AS schedules
FROM listed
CROSS JOIN LATERAL (
    SELECT count(*) AS runs FROM (
        SELECT FROM run WHERE tenant_id = :tenant AND {PROBLEM} AND fingerprint = listed.fingerprint
        LIMIT :cap + 1) AS alike) AS counted
CROSS JOIN LATERAL (
    SELECT finished_at AS first_at FROM run
    WHERE tenant_id = :tenant AND {PROBLEM} AND fingerprint = listed.fingerprint
    ORDER BY finished_at LIMIT 1) AS earliest
CROSS JOIN LATERAL (
    SELECT array_agg(DISTINCT schedule_id) AS schedules FROM (
        SELECT schedule_id FROM run WHERE tenant_id = :tenant AND {PROBLEM} AND fingerprint = listed.fingerprint
        ORDER BY finished_at DESC LIMIT :cap) AS last WHERE schedule_id IS NOT NULL) AS concerned
ORDER BY listed.finished_at DESC, listed.id DESC
""")
