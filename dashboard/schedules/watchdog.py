"""Watch the scheduler itself: which schedules should have been planned by now and were not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from dashboard.schedules.models import ENABLED

PATIENCE = timedelta(seconds=60)
"""How long an instant may be due before somebody should know."""

LISTED = 100

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """A schedule that was due at `next_at`, `late` ago, and that no planner has looked at since."""

    schedule_id: UUID
    tenant_id: UUID
    name: str
    next_at: datetime
    late: timedelta


def overdue(session: Session) -> list[Overdue]:
    """Return what is overdue, the oldest first, 100 at most: the bound tenant's, or in a system session everybody's.

    None, while a planner works. A page that gets any says that schedules do not fire and that beat needs a look.
    """
    rows = session.execute(_OVERDUE, {"patience": PATIENCE, "listed": LISTED}).mappings()
    return [Overdue(**row) for row in rows]


def bark(session: Session) -> None:
    """Log what is overdue, for all tenants, as one line that an alert can be made of."""
    found = overdue(session)
    if found:
        first = found[0]
        log.error(
            "schedules_overdue",
            count=len(found),
            late_seconds=int(first.late.total_seconds()),
            schedule_id=str(first.schedule_id),
            tenant_id=str(first.tenant_id),
        )


_OVERDUE = sa.text(f"""
SELECT id AS schedule_id, tenant_id, name, next_at, now() - next_at AS late FROM schedule
WHERE {ENABLED} AND next_at < now() - CAST(:patience AS interval) ORDER BY next_at LIMIT :listed
""")
