"""Keep a tenant's schedules within what the platform allows it: how many there are, and how often each fires."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import sqlalchemy as sa

from dashboard.core.formats import duration, plural
from dashboard.core.orm import db
from dashboard.runs.models import TenantLoad
from dashboard.schedules.models import Schedule
from dashboard.schedules.recurrence import Recurrence

LEAST_PERIOD = timedelta(minutes=1)
"""Between two fires of an interval where the platform said nothing else; cron knows no less."""

FIRES_COMPARED = 100
"""How many fires ahead are looked at for two that are too close."""


def too_many() -> str:
    """Return why the bound tenant may not have one schedule more; empty if it may.

    Others that add one wait until this transaction ends, so that two at once do not exceed the limit.
    """
    most = db.session.scalar(sa.select(TenantLoad.max_schedules))
    if most is None:
        return ""
    db.session.execute(sa.select(TenantLoad.tenant_id).with_for_update(key_share=True))
    there_are = sa.select(sa.func.count()).select_from(Schedule).where(Schedule.archived_at.is_(None))
    if (db.session.scalar(there_are) or 0) < most:
        return ""
    return f"The platform allows {plural(most, 'schedule')}. Archive one that is no longer needed, or ask for more."


def too_often(recurrence: Recurrence, now: datetime) -> str:
    """Return why the platform does not let the bound tenant's schedule fire so often; empty if it does."""
    seconds = db.session.scalar(sa.select(TenantLoad.least_period_seconds))
    if seconds is None:
        is_closer = isinstance(recurrence.every, timedelta) and recurrence.every < LEAST_PERIOD
        return "Give a period of at least one minute." if is_closer else ""
    least = timedelta(seconds=seconds)
    if not _is_closer(recurrence, now, least):
        return ""
    words = duration(least) if least >= LEAST_PERIOD else plural(seconds, "second")
    return f"The platform allows a fire every {words} at most. Let it fire less often."


def _is_closer(recurrence: Recurrence, now: datetime, least: timedelta) -> bool:
    if isinstance(recurrence.every, timedelta):
        return recurrence.every < least
    fires = recurrence.preview(now, FIRES_COMPARED)
    return any(second.at - first.at < least for first, second in pairwise(fires))
