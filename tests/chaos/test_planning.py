"""Beats that plan together are killed, or lose the broker or their clock: each instant runs once, and none is left out.

The schedules fire every second, so that something is always on its way.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.load import reconcile
from dashboard.runs.models import Run, RunEvent
from dashboard.runs.states import ACTIVE_STATES, SUCCEEDED
from dashboard.schedules.models import Occurrence, Schedule
from scripts.embedded import DATABASE
from tests.chaos.holding import POINTS
from tests.chaos.site import Site
from tests.factories.schedules import make_schedule, stored
from tests.processes import RunningProcess, wait_until
from tests.stopped_clock import stopped_clock

pytestmark = pytest.mark.xdist_group("chaos")

SCHEDULES = 4
SECOND = timedelta(seconds=1)


def make_secondly(site: Site, tenant: Tenant) -> list[Schedule]:
    """Return schedules that fire every second and run each of their fires, however late."""
    fields: dict[str, Any] = {
        "kind": "interval",
        "every_seconds": 1,
        "overlap": "allow",
        "catchup": "all",
        "params": {},
    }
    return [
        make_schedule(site.app, tenant, name=f"S{number}", job_type="test.empty", due_for=SECOND, **fields)
        for number in range(SCHEDULES)
    ]


def stop_firing(site: Site, schedules: Sequence[Schedule]) -> None:
    """Let nothing be planned beyond now, also by a planner that is at work: it is waited for before one asks."""
    ids = [schedule.id for schedule in schedules]
    with site.app.app_context(), system_scope("test") as session:
        session.execute(sa.select(Schedule.id).where(Schedule.id.in_(ids)).order_by(Schedule.id).with_for_update())
        end = session.scalar(sa.select(sa.func.clock_timestamp()))
        session.execute(sa.update(Schedule).where(Schedule.id.in_(ids)).values(end_at=end))


def until_all_has_run(site: Site, schedules: Sequence[Schedule], *processes: RunningProcess) -> None:
    """Wait until nothing is due any more and every run has ended."""
    ids = [schedule.id for schedule in schedules]

    def rest() -> int:
        with site.app.app_context(), system_scope("test") as session:
            due = sa.select(sa.func.count()).where(Schedule.id.in_(ids), Schedule.next_at.is_not(None))
            active = sa.select(sa.func.count()).where(Run.schedule_id.in_(ids), Run.state.in_(ACTIVE_STATES))
            return (session.scalar(due) or 0) + (session.scalar(active) or 0)

    def explain() -> str:
        return f"{rest()} are left.\n" + "\n".join(process.output()[-5000:] for process in processes)

    wait_until(lambda: rest() == 0, explain=explain)


def assert_each_second_ran_once(site: Site, schedule: Schedule) -> None:
    """No instant is missing between the first and the last, each has one run, and each run succeeded once."""
    with site.app.app_context(), system_scope("test") as session:
        succeeded = sa.select(sa.func.count()).where(RunEvent.run_id == Run.id, RunEvent.state == SUCCEEDED)
        rows = session.execute(
            sa.select(Occurrence.nominal, Occurrence.decision, Run.state, succeeded.scalar_subquery())
            .outerjoin(Run, Run.occurrence_id == Occurrence.id)
            .where(Occurrence.schedule_id == schedule.id)
            .order_by(Occurrence.nominal)
        ).all()
        assert reconcile(session) == []
    first, last = schedule.next_at, stored(site.app, schedule).end_at
    assert first is not None
    assert isinstance(last, datetime)
    seconds = int((last - first) / SECOND) + 1
    assert [row[0] for row in rows] == [first + number * SECOND for number in range(seconds)]
    assert {tuple(row[1:]) for row in rows} == {("run", "succeeded", 1)}


def test_beats_that_are_killed_between_a_commit_and_what_follows_leave_no_hole_and_double_nothing(site: Site) -> None:
    """P10, N1, N2, N13: killed alone and all together, with a plan half written, not admitted, or not published."""
    chance = random.Random(1010)
    worker = site.start_worker()
    beats = [site.start_beat(), site.start_beat()]
    schedules = make_secondly(site, site.tenant("acme"))
    blows = [(hold, victims) for hold in POINTS for victims in (1, 2)]
    chance.shuffle(blows)
    for hold, victims in blows:
        with hold(site):
            for victim in chance.sample(beats, victims):
                victim.kill_group()
                beats.remove(victim)
        beats += [site.start_beat() for _ in range(victims)]
    stop_firing(site, schedules)
    until_all_has_run(site, schedules, worker, *beats)
    for schedule in schedules:
        assert_each_second_ran_once(site, schedule)


def test_planning_goes_on_while_the_broker_is_away_and_all_of_it_runs_when_it_is_back(site: Site) -> None:
    """P12, N13: ten seconds of planned runs are there before the broker is."""
    worker, beat = site.start_worker(), site.start_beat()
    schedules = make_secondly(site, site.tenant("acme"))
    site.valkey.kill()
    beat.wait_for("broker_is_away")
    wait_until(lambda: all(planned_runs(site, schedule) > 10 for schedule in schedules), explain=beat.output)
    site.valkey.start()
    stop_firing(site, schedules)
    until_all_has_run(site, schedules, worker, beat)
    for schedule in schedules:
        assert_each_second_ran_once(site, schedule)


def planned_runs(site: Site, schedule: Schedule) -> int:
    with site.app.app_context(), system_scope("test") as session:
        query = sa.select(sa.func.count()).where(Run.schedule_id == schedule.id)
        return session.scalar(query) or 0


def test_a_beat_whose_clock_jumps_a_day_neither_hangs_nor_doubles(site: Site) -> None:
    """P18, N10: the database's clock decides; it is set a day ahead, two days back, and ahead again."""
    tenant = site.tenant("acme")
    with stopped_clock(site.app, site.postgres.address, DATABASE) as clock:
        beat = site.start_beat()
        start = clock.now.replace(microsecond=0)
        fields: dict[str, Any] = {"job_type": "test.empty", "params": {}, "overlap": "allow", "catchup": "all"}
        hourly = make_schedule(site.app, tenant, every_seconds=3600, **fields)
        for hours in (24, -24, 36):
            clock.set(start + timedelta(hours=hours))
            fresh = make_schedule(site.app, tenant, due_for=SECOND, every_seconds=86_400 * 9, **fields)
            wait_until(partial(planned_runs, site, fresh), explain=beat.output)
        decided = occurrences_of(site, hourly)
    assert sum(row.count for row in decided) == 36
    assert len({row.nominal for row in decided}) == len(decided)


def occurrences_of(site: Site, schedule: Schedule) -> Sequence[Occurrence]:
    with site.app.app_context(), system_scope("test") as session:
        return session.scalars(sa.select(Occurrence).where(Occurrence.schedule_id == schedule.id)).all()
