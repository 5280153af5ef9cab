"""What the overview shows: the last 24 hours in numbers, recent runs, next fires, and what needs a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from dashboard.core.clock import utc_now
from dashboard.core.orm import db
from dashboard.core.tenancy import current_tenant
from dashboard.emails.models import Delivery
from dashboard.emails.states import BOUNCED, SENT
from dashboard.problems.failures import Group, failure_groups
from dashboard.problems.station import Alert
from dashboard.runs.board import RunFilter, RunsBoard, runs_board
from dashboard.runs.limits import Usage, usage
from dashboard.runs.models import Run
from dashboard.runs.states import PROBLEM_STATES, SUCCEEDED
from dashboard.schedules.board import Upcoming, needing_attention, next_fires
from dashboard.schedules.models import Schedule

HOURS = 24
DAY = timedelta(hours=HOURS)
RECENT = 12
UPCOMING = 8
NEEDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """What happened in one hour; `wait` is the 95th percentile of the queue wait in seconds."""

    runs: int = 0
    succeeded: int = 0
    failed: int = 0
    wait: float = 0.0
    sent: int = 0
    bounced: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The page's content; `hours` are the last 24, oldest first."""

    hours: Sequence[Hour]
    wait: float | None
    recent: RunsBoard
    upcoming: Sequence[Upcoming]
    alerts: Sequence[Alert]
    groups: Sequence[Group]
    attention: Sequence[Schedule]
    usage: Usage

    @property
    def runs(self) -> int:
        return sum(hour.runs for hour in self.hours)

    @property
    def succeeded(self) -> int:
        return sum(hour.succeeded for hour in self.hours)

    @property
    def failures(self) -> int:
        return sum(hour.failed for hour in self.hours)

    @property
    def success_rate(self) -> float | None:
        ended = self.succeeded + self.failures
        return self.succeeded / ended if ended else None

    @property
    def sent(self) -> int:
        return sum(hour.sent for hour in self.hours)

    @property
    def bounced(self) -> int:
        return sum(hour.bounced for hour in self.hours)

    @property
    def failed_now(self) -> int:
        return sum(self.recent.counts[state] for state in PROBLEM_STATES)


def overview(alerts: Sequence[Alert]) -> Overview:
    """Load the overview of the bound tenant, whose `alerts` are known already."""
    since = (utc_now() - DAY + timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
    hours = _run_hours(since)
    mail = _mail_hours(since)
    return Overview(
        hours=[_hour(hours, mail, since + timedelta(hours=index)) for index in range(HOURS)],
        wait=_wait_p95(since),
        recent=runs_board(RunFilter(), page=RECENT),
        upcoming=next_fires(DAY, UPCOMING),
        alerts=alerts,
        groups=failure_groups(NEEDS).rows,
        attention=needing_attention(NEEDS),
        usage=usage(),
    )


_WAIT = sa.extract("epoch", Run.started_at - Run.ready_at)
_P95 = sa.func.percentile_cont(0.95).within_group(_WAIT)


def _run_hours(since: datetime) -> dict[datetime, sa.Row[tuple[datetime, int, int, int, float]]]:
    hour = sa.func.date_trunc("hour", Run.created_at).label("hour")
    query = (
        sa.select(
            hour,
            sa.func.count().label("runs"),
            sa.func.count().filter(Run.state == SUCCEEDED).label("succeeded"),
            sa.func.count().filter(Run.state.in_(PROBLEM_STATES)).label("failed"),
            sa.func.coalesce(_P95, 0.0).label("wait"),
        )
        .where(Run.tenant_id == current_tenant().id, Run.created_at >= since)
        .group_by(hour)
    )
    return {row.hour: row for row in db.session.execute(query)}


def _mail_hours(since: datetime) -> dict[datetime, sa.Row[tuple[datetime, int, int]]]:
    hour = sa.func.date_trunc("hour", Delivery.created_at).label("hour")
    query = (
        sa.select(
            hour,
            sa.func.count().filter(Delivery.state == SENT).label("sent"),
            sa.func.count().filter(Delivery.state == BOUNCED).label("bounced"),
        )
        .where(Delivery.tenant_id == current_tenant().id, Delivery.created_at >= since)
        .group_by(hour)
    )
    return {row.hour: row for row in db.session.execute(query)}


def _hour(
    runs: dict[datetime, sa.Row[tuple[datetime, int, int, int, float]]],
    mail: dict[datetime, sa.Row[tuple[datetime, int, int]]],
    at: datetime,
) -> Hour:
    worked, mailed = runs.get(at), mail.get(at)
    return Hour(
        runs=worked.runs if worked else 0,
        succeeded=worked.succeeded if worked else 0,
        failed=worked.failed if worked else 0,
        wait=worked.wait if worked else 0.0,
        sent=mailed.sent if mailed else 0,
        bounced=mailed.bounced if mailed else 0,
    )


def _wait_p95(since: datetime) -> float | None:
    wait = db.session.scalar(sa.select(_P95).where(Run.tenant_id == current_tenant().id, Run.created_at >= since))
    return None if wait is None else float(wait)
