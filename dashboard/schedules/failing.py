"""Pause schedules whose last runs all failed, before they fire again."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from dashboard.runs.load import shown
from dashboard.runs.states import PROBLEM_STATES, SUCCEEDED
from dashboard.schedules.claiming import DueSchedule
from dashboard.schedules.unasked import record_unasked

log = structlog.get_logger(__name__)


def pause_failing(session: Session, schedules: Sequence[DueSchedule]) -> set[UUID]:
    """Pause those of the locked schedules that failed as often in a row as they allow, and return their ids.

    Runs that were cancelled or skipped count neither way. Resuming a schedule, or saving it, starts the count anew.
    Each pause is audited in its tenant's trail, with the system as its actor.
    """
    ids = [each.id for each in schedules if each.pause_after_failures]
    if not ids:
        return set()
    asked = {"ids": ids, "failed": list(PROBLEM_STATES), "judged": [*PROBLEM_STATES, SUCCEEDED]}
    failing = set(session.scalars(_FAILING, asked))
    for schedule in schedules:
        if schedule.id in failing:
            _pause(session, schedule)
    return failing


def _pause(session: Session, schedule: DueSchedule) -> None:
    count = schedule.pause_after_failures or 0
    reason = "Its last run failed." if count == 1 else f"Its last {count:,} runs failed."
    session.execute(_PAUSE, {"id": schedule.id, "reason": reason})
    shown(session, schedule.tenant_id)
    record_unasked(session, "schedule.pause", schedule, reason)
    log.warning("schedule_paused", schedule_id=str(schedule.id), reason=reason)


_FAILING = sa.text("""
SELECT schedule.id FROM schedule CROSS JOIN LATERAL (
    SELECT count(*) AS number, bool_and(last.state = ANY(:failed)) AS all_failed FROM (
        SELECT run.state FROM run
        WHERE run.schedule_id = schedule.id AND run.state = ANY(:judged)
            AND run.created_at >= coalesce(schedule.failures_from, '-infinity')
        ORDER BY run.id DESC LIMIT schedule.pause_after_failures) AS last) AS seen
WHERE schedule.id = ANY(:ids) AND seen.number = schedule.pause_after_failures AND seen.all_failed
""")
_PAUSE = sa.text("""
UPDATE schedule
SET paused_at = now(), paused_reason = :reason, paused_by_id = NULL, paused_until = NULL, is_failing = true
WHERE id = :id
""")
