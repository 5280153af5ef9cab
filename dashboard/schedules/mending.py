"""Let schedules go on that were held for their job, once it can be run: its plugin is back, or takes what they hold."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from dashboard.runs.load import SCHEDULES, announce
from dashboard.schedules.claiming import DueSchedule, claim_held
from dashboard.schedules.launching import CANNOT_RUN, misfit
from dashboard.schedules.unasked import record_unasked

BATCH = 500
REASON = "Its job can be run again."

log = structlog.get_logger(__name__)


def let_go_on(session: Session, after: UUID | None = None) -> UUID | None:
    """Look at a batch of the held schedules, in a system session, and let those go on whose job can be run by now.

    What fell due meanwhile is theirs to make up for, as each one's policy after a standstill says. `after` is what the
    call before returned: where to go on; None at the end. Each is audited in its tenant's trail.
    """
    held = claim_held(session, CANNOT_RUN, after, BATCH)
    mended = [schedule for schedule in held if _can_run(schedule)]
    session.execute(_LET_GO, {"ids": [schedule.id for schedule in mended]})
    for schedule in mended:
        record_unasked(session, "schedule.mend", schedule, REASON)
    for tenant_id in {schedule.tenant_id for schedule in mended}:
        announce(session, tenant_id, SCHEDULES)
    if mended:
        log.info("schedules_go_on", count=len(mended), reason=REASON)
    return held[-1].id if held else None


def _can_run(schedule: DueSchedule) -> bool:
    """Whatever is wrong with one of them, it alone stays held."""
    try:
        return not misfit(schedule)
    except Exception:
        log.exception("schedule_is_poisoned", schedule_id=str(schedule.id))
        return False


_LET_GO = sa.text("UPDATE schedule SET problem = '' WHERE id = ANY(:ids)")
