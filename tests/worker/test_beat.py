"""A real beat looks after itself: it follows new time zone rules, tells how it is, and says what it could not plan."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.clock import tzdata_version
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.models import Process
from dashboard.schedules.models import Schedule
from dashboard.schedules.timing import rules_version
from tests.factories.schedules import make_schedule, runs, stored
from tests.processes import RunningProcess, beat_process, wait_until
from tests.worker.ledger_probes import PLUGIN

pytestmark = pytest.mark.xdist_group("beat")


@pytest.fixture
def beat(environment: dict[str, str]) -> Iterator[RunningProcess]:
    """Started after what the test has prepared, if that is asked for before it."""
    with beat_process(environment, plugins=[PLUGIN]) as process:
        yield process


@pytest.fixture
def planned_by_older_rules(app: Dashboard, acme: Tenant) -> Schedule:
    return make_schedule(
        app,
        acme,
        kind="cron",
        crons=["0 9 * * *"],
        every_seconds=None,
        anchor=None,
        timezone="UTC",
        tz_version="2020.1",
    )


def test_a_beat_that_starts_follows_new_rules_of_time_zones(
    app: Dashboard, planned_by_older_rules: Schedule, beat: RunningProcess
) -> None:
    wait_until(lambda: stored(app, planned_by_older_rules).tz_version == rules_version(), explain=beat.output)
    followed = stored(app, planned_by_older_rules).next_at
    assert followed is not None
    assert (followed.hour, followed.minute) == (9, 0)


def test_a_beat_tells_how_long_it_looks_and_how_right_its_clock_is(app: Dashboard, beat: RunningProcess) -> None:
    def row() -> Process | None:
        with app.app_context(), system_scope("test") as session:
            told = sa.select(Process).where(Process.kind == "beat", Process.pid == beat.pid, Process.tick_ms > 0)
            return session.scalars(told).one_or_none()

    told = wait_until(row, explain=beat.output)
    assert told is not None
    assert told.tzdata == tzdata_version()
    assert told.skew_ms is not None


def test_what_a_beat_cannot_plan_is_said_and_planned_when_it_can(
    app: Dashboard, acme: Tenant, environment: dict[str, str]
) -> None:
    """N11: somebody holds the schedule's row, and no planner waits for that."""
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=90), job_type="test.empty", params={})
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.select(Schedule.id).where(Schedule.id == schedule.id).with_for_update())
        with beat_process(environment, plugins=[PLUGIN]) as process:
            process.wait_for("schedules_overdue")
            assert runs(app) == []
            session.rollback()
            wait_until(lambda: runs(app), explain=process.output)
