"""The planner on a real database: each occurrence once, with its reason when it does not run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.clock import database_now
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.models import Run
from dashboard.schedules.models import Schedule
from dashboard.tenants.models import TenantRecord
from tests.factories.job_types import Echo
from tests.factories.schedules import make_schedule, occurrences, planned, runs, stored


def test_a_due_schedule_becomes_one_run_that_acts_as_it(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5), params={"word": "hi"}, job_type=Echo.key)
    assert planned(app).runs == 1
    (run,) = runs(app)
    assert (run.tenant_id, run.schedule_id, run.params, run.state) == (acme.id, schedule.id, {"word": "hi"}, "ready")
    assert (run.actor_kind, run.actor_id) == ("schedule", schedule.id)


def test_planning_again_plans_nothing_twice(app: Dashboard, acme: Tenant) -> None:
    make_schedule(app, acme, due_for=timedelta(seconds=5))
    planned(app)
    assert planned(app).runs == 0
    assert len(runs(app)) == 1


def test_the_next_fire_lies_ahead_and_on_the_grid(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5))
    planned(app)
    after = stored(app, schedule)
    assert schedule.next_at is not None
    assert after.next_at == schedule.next_at + timedelta(seconds=60)


def test_several_planners_at_once_plan_each_occurrence_once(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    """N1, N2: no lock decides who fires, and two beats are no two runs."""
    for number in range(60):
        make_schedule(app, acme if number % 2 else globex, due_for=timedelta(seconds=5), name=f"S{number}")
    start = Barrier(4)

    def work() -> None:
        start.wait()
        while planned(app).schedules:
            pass

    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(work) for _ in range(4)]:
            each.result()
    assert len(runs(app)) == 60
    assert len({run.occurrence_id for run in runs(app)}) == 60


def test_an_occurrence_that_was_decided_is_not_decided_again(app: Dashboard, acme: Tenant) -> None:
    """A planner that died after its commit, or a restored cursor, makes no second run."""
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5))
    planned(app)
    with app.app_context(), system_scope("test") as session:
        row = session.get_one(Schedule, schedule.id)
        row.next_at, row.cursor = schedule.next_at, schedule.cursor
        session.execute(sa.update(Run).values(state="succeeded"))
    planned(app)
    assert len(runs(app)) == 1
    assert stored(app, schedule).state == "active"


def test_a_once_schedule_runs_once_and_is_completed_for_ever(app: Dashboard, acme: Tenant) -> None:
    """N3: a one-off does not run again after a restart."""
    with app.app_context(), system_scope("test") as session:
        now = database_now(session).replace(microsecond=0) - timedelta(seconds=2)
    local = now.astimezone(ZoneInfo("UTC")).replace(tzinfo=None)
    schedule = make_schedule(
        app,
        acme,
        kind="once",
        every_seconds=None,
        anchor=None,
        once_local=local,
        next_at=now,
        cursor=now - timedelta(1),
    )
    planned(app)
    planned(app)
    assert len(runs(app)) == 1
    assert stored(app, schedule).state == "completed"


def test_two_one_offs_at_the_same_second_both_run(app: Dashboard, acme: Tenant) -> None:
    """N4."""
    for name in ("first", "second"):
        make_schedule(app, acme, due_for=timedelta(seconds=2), name=name)
    assert planned(app).runs == 2


def test_a_long_standstill_runs_the_latest_and_lists_the_rest(app: Dashboard, acme: Tenant) -> None:
    make_schedule(app, acme, due_for=timedelta(hours=3, seconds=-90))
    planned(app)
    found = [(each.decision, each.reason, each.count) for each in occurrences(app)]
    assert found[0][:2] == ("skip", "missed_window")
    assert found[1][:2] == ("skip", "coalesced")
    assert found[2] == ("run", "", 1)
    assert sum(count for *_, count in found) == 179


def test_a_run_that_still_goes_on_makes_the_next_a_skip(app: Dashboard, acme: Tenant) -> None:
    make_schedule(app, acme, due_for=timedelta(seconds=61))
    planned(app)
    assert [(each.decision, each.reason) for each in occurrences(app)] == [("skip", "coalesced"), ("run", "")]
    with app.app_context(), system_scope("test") as session:
        later = database_now(session) + timedelta(seconds=60)
    planned(app, at=later)
    assert occurrences(app)[-1].reason == "overlap"
    assert len(runs(app)) == 1


@pytest.mark.parametrize(("overlap", "expected"), [("allow", 2), ("queue_one", 1), ("queue_all", 2)])
def test_other_overlap_policies_let_it_wait_or_run(app: Dashboard, acme: Tenant, overlap: str, expected: int) -> None:
    make_schedule(app, acme, due_for=timedelta(seconds=5), overlap=overlap)
    planned(app)
    with app.app_context(), system_scope("test") as session:
        later = database_now(session) + timedelta(seconds=60)
    planned(app, at=later)
    assert len(runs(app)) == expected


def test_cancel_running_cancels_the_one_before(app: Dashboard, acme: Tenant) -> None:
    make_schedule(app, acme, due_for=timedelta(seconds=5), overlap="cancel_running")
    planned(app)
    with app.app_context(), system_scope("test") as session:
        later = database_now(session) + timedelta(seconds=60)
    planned(app, at=later)
    assert [run.state for run in runs(app)] == ["cancelled", "scheduled"]


def test_a_limit_of_runs_is_never_passed(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5), runs_left=1, overlap="allow")
    planned(app)
    assert stored(app, schedule).runs_left == 0
    assert stored(app, schedule).next_at is None


def test_what_is_due_beyond_the_limit_is_listed_as_such(app: Dashboard, acme: Tenant) -> None:
    """P16: five instants are due, and three runs are left."""
    schedule = make_schedule(
        app, acme, due_for=timedelta(minutes=4, seconds=5), runs_left=3, overlap="allow", catchup="all"
    )
    planned(app)
    assert [(each.decision, each.reason, each.count) for each in occurrences(app)] == [
        *[("run", "", 1)] * 3,
        ("skip", "limit", 2),
    ]
    after = stored(app, schedule)
    assert (after.runs_left, after.next_at, after.problem) == (0, None, "")


def test_a_paused_schedule_fires_nothing(app: Dashboard, acme: Tenant) -> None:
    make_schedule(app, acme, due_for=timedelta(seconds=5), paused_at=sa.func.now())
    assert planned(app).runs == 0


def test_a_pause_that_runs_out_lists_what_was_missed_and_fires_nothing(app: Dashboard, acme: Tenant) -> None:
    """N5: resuming does not fire at once."""
    schedule = make_schedule(
        app, acme, due_for=timedelta(minutes=5), paused_at=sa.func.now(), paused_until=sa.func.now()
    )
    assert planned(app).runs == 0
    (skip,) = occurrences(app)
    assert (skip.reason, skip.count) == ("paused", 6)
    after = stored(app, schedule)
    assert after.state == "active"
    assert after.next_at is not None
    assert after.cursor is not None
    assert after.next_at > after.cursor


def test_a_suspended_tenants_schedules_wait(app: Dashboard, acme: Tenant) -> None:
    make_schedule(app, acme, due_for=timedelta(seconds=5))
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(TenantRecord).values(suspended_at=sa.func.now()))
    assert planned(app).runs == 0


def test_a_schedule_that_cannot_run_is_held_and_the_others_go_on(app: Dashboard, acme: Tenant) -> None:
    broken = make_schedule(app, acme, due_for=timedelta(seconds=9), job_type="gone.plugin")
    bad_rule = make_schedule(app, acme, due_for=timedelta(seconds=8), kind="cron", crons=["99 * * * *"])
    make_schedule(app, acme, due_for=timedelta(seconds=5))
    assert planned(app).runs == 1
    assert "no job type 'gone.plugin'" in stored(app, broken).problem
    assert stored(app, bad_rule).state == "needs_attention"


def test_jitter_delays_the_run_and_not_the_occurrence(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5), jitter_seconds=59)
    planned(app)
    (run,), (occurrence,) = runs(app), occurrences(app)
    assert occurrence.nominal == schedule.next_at
    assert run.not_before is not None
    assert occurrence.nominal is not None
    assert timedelta(0) <= run.not_before - occurrence.nominal < timedelta(seconds=59)


def test_a_schedule_without_a_zone_follows_its_tenants(app: Dashboard, globex: Tenant) -> None:
    """N9. Globex lives in Tokyo."""
    make_schedule(app, globex, due_for=timedelta(seconds=5))
    planned(app)
    assert occurrences(app)[0].nominal_local.endswith("JST")
