"""Audit what the system does with a schedule that nobody asked for."""

from __future__ import annotations

from sqlalchemy.orm import Session

from dashboard.audit.actions import record
from dashboard.core.tenancy import SYSTEM
from dashboard.schedules.claiming import DueSchedule


def record_unasked(session: Session, action: str, schedule: DueSchedule, reason: str) -> None:
    """Add a row to the trail of the schedule's tenant: the system did `action`, like `schedule.pause`, for `reason`."""
    record(
        session,
        action,
        subject=("schedule", schedule.id, schedule.name),
        tenant_id=schedule.tenant_id,
        actor=SYSTEM,
        details={"reason": reason},
    )
