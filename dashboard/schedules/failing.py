"""Pause schedules whose last runs all failed, before they fire again."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from dashboard.core.formats import plural
from dashboard.runs.states import PROBLEM_STATES, SUCCEEDED
from dashboard.schedules.claiming import DueSchedule

log = structlog.get_logger(__name__)


def pause_failing(session: Session, schedules: Sequence[DueSchedule]) -> set[UUID]:
    """Pause those of the locked schedules that failed as often in a row as they allow, and return their ids.

    Runs that were cancelled or skipped count neither way. Resuming a schedule, or saving it, starts the count anew.
    """
    limits = {each.id: each.pause_after_failures for each in schedules if each.pause_after_failures}
    if not limits:
        return set()
    asked = {"ids": list(limits), "failed": list(PROBLEM_STATES), "judged": [*PROBLEM_STATES, SUCCEEDED]}
    failing = set(session.scalars(_FAILING, asked))
    for schedule_id in failing:
        reason = f"Its last {plural(limits[schedule_id] or 0, 'run')} failed."
        session.execute(_PAUSE, {"id": schedule_id, "reason": reason})
        log.warning("schedule_paused", schedule_id=str(schedule_id), reason=reason)
    return failing


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
