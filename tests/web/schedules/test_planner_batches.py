"""A batch of the planner: fair among tenants, unhurt by one bad schedule, cheap to ask for, brief in its history."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, field_validator

from dashboard.app import Dashboard
from dashboard.core.clock import database_now
from dashboard.core.orm import db, system_scope
from dashboard.core.tenancy import Actor, Binding, Tenant, bound
from dashboard.jobs.context import RunContext
from dashboard.jobs.registry import JobType, register
from dashboard.runs.load import reconcile
from dashboard.runs.models import Run
from dashboard.schedules import actions, planner, single_fires
from dashboard.schedules.claiming import FAIR, GLANCE
from dashboard.schedules.models import Blackout, Schedule
from dashboard.schedules.rezoning import rezone
from dashboard.schedules.timing import recurrence_of
from dashboard.tenants.models import TenantRecord
from tests.application import on_database_of_its_own
from tests.factories import make_tenant
from tests.factories.schedules import let_pass, make_schedule, occurrences, planned, runs, stored
from tests.servers import PostgresAddress


@register
class Unwritable(JobType):
    """A job type with a mistake that only the database refuses: its key holds NUL, which no text of PostgreSQL does."""

    key = "test.unwritable"
    label = "Unwritable"
    concurrency_key = "nul:\0"

    class Params(BaseModel):
        """Nothing."""

    def run(self, ctx: RunContext, params: Any) -> None:
        """Do nothing: it never runs here."""


@register
class Moody(JobType):
    """A job type whose own code fails over one of the values that it took when the schedule was saved."""

    key = "test.moody"
    label = "Moody"
    concurrency_key = "{word}"

    class Params(BaseModel):
        """A word."""

        word: str

        @field_validator("word")
        @classmethod
        def look_up(cls, word: str) -> str:
            """Fail as a look-up in a table of the plugin's own does."""
            return {"known": word}[word]

    def run(self, ctx: RunContext, params: Any) -> None:
        """Do nothing: it never runs here."""


def now_of(app: Dashboard) -> datetime:
    with app.app_context(), system_scope("test") as session:
        return database_now(session)


def skip_by_hand(app: Dashboard, tenant: Tenant, schedule: Schedule, nominal: datetime) -> None:
    with app.app_context(), bound(Binding.of(tenant, actor=Actor(kind="system"))):
        single_fires.skip(db.session.get_one(Schedule, schedule.id), nominal)


def make_many(app: Dashboard, tenant: Tenant, count: int, **values: Any) -> None:
    for number in range(count):
        make_schedule(app, tenant, name=f"{tenant.slug} {number}", due_for=timedelta(seconds=20), **values)


def test_tenants_take_turns_when_more_than_a_batch_is_due(
    app: Dashboard, acme: Tenant, globex: Tenant, initech: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "BATCH", 9)
    make_many(app, acme, 30)
    for tenant in (globex, initech):
        for number in range(4):
            make_schedule(app, tenant, name=f"{tenant.slug} {number}", due_for=timedelta(seconds=number))
    result = planned(app)
    assert result.full
    assert Counter(run.tenant_id for run in runs(app)) == {acme.id: 3, globex.id: 3, initech.id: 3}
    while planned(app).schedules:
        pass
    assert Counter(run.tenant_id for run in runs(app)) == {acme.id: 30, globex.id: 4, initech.id: 4}


def test_two_planners_at_once_share_what_is_due(
    app: Dashboard, acme: Tenant, globex: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first holds, the second passes over, and takes as much of what comes next."""
    monkeypatch.setattr(planner, "BATCH", 8)
    make_many(app, acme, 12)
    make_many(app, globex, 12)
    with app.app_context(), system_scope("test") as session:
        first = planner.plan(session, database_now(session))
        second = planned(app)
        assert Counter(run.tenant_id for run in runs(app)) == {acme.id: 4, globex.id: 4}
    assert (first.schedules, second.schedules) == (8, 8)
    while planned(app).schedules:
        pass
    assert Counter(run.tenant_id for run in runs(app)) == {acme.id: 12, globex.id: 12}
    assert len({run.occurrence_id for run in runs(app)}) == 24


def test_every_run_of_a_batch_is_counted(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    make_many(app, acme, 5)
    make_many(app, globex, 3)
    planned(app)
    with app.app_context(), system_scope("test") as session:
        assert reconcile(session) == []
    assert Counter(run.tenant_id for run in runs(app)) == {acme.id: 5, globex.id: 3}


NESTED: Any = json.loads("[" * 400 + "]" * 400)
"""More lists in one another than are written for the database."""


@pytest.mark.parametrize(
    "values",
    [
        {"job_type": Unwritable.key},
        {"params": {"word": NESTED}},
        {"job_type": Moody.key, "params": {"word": "forgotten"}},
    ],
    ids=["nul", "nested", "plugin's own code"],
)
def test_one_schedule_that_cannot_be_written_is_held_alone(
    app: Dashboard, acme: Tenant, values: dict[str, Any]
) -> None:
    make_many(app, acme, 3)
    bad = make_schedule(app, acme, due_for=timedelta(seconds=5), **values)
    assert planned(app).runs == 3
    assert stored(app, bad).state == "needs_attention"
    assert "Save it again" in stored(app, bad).problem
    assert planned(app).schedules == 0


def test_one_schedule_that_breaks_the_engine_is_held_alone(
    app: Dashboard, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_many(app, acme, 2)
    bad = make_schedule(app, acme, due_for=timedelta(seconds=5), timezone="Europe/Berlin")

    def broken(schedule: Schedule, zone: str) -> Any:
        if schedule.timezone:
            raise ZeroDivisionError
        return recurrence_of(schedule, zone)

    monkeypatch.setattr("dashboard.schedules.planner.recurrence_of", broken)
    assert planned(app).runs == 2
    assert stored(app, bad).state == "needs_attention"


def test_a_pause_that_cannot_be_ended_stops_nobody_else(app: Dashboard, acme: Tenant) -> None:
    bad = make_schedule(
        app, acme, kind="cron", crons=["99 * * * *"], paused_at=sa.func.now(), paused_until=sa.func.now()
    )
    make_many(app, acme, 2)
    assert planned(app).runs == 2
    assert (stored(app, bad).state, stored(app, bad).paused_until) == ("needs_attention", None)


def test_long_pauses_that_run_out_together_end_over_several_batches(
    app: Dashboard, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL ends a planner that computes for a minute without a word, and it would never come to an end."""
    monkeypatch.setattr(planner, "MOST_IN_BATCH", 10)
    for _ in range(3):
        make_schedule(app, acme, due_for=timedelta(hours=1), paused_at=sa.func.now(), paused_until=sa.func.now())
    at = now_of(app)
    asleep: list[int | None] = []
    while not asleep or asleep[-1]:
        planned(app, at=at)
        with app.app_context(), system_scope("test") as session:
            asleep.append(session.scalar(sa.select(sa.func.count()).where(Schedule.paused_at.is_not(None))))
    assert asleep == [2, 1, 0]
    assert [each.reason for each in occurrences(app)] == ["paused"] * 3


def test_what_a_missing_plugin_made_it_miss_is_listed(app: Dashboard, acme: Tenant) -> None:
    make_schedule(app, acme, due_for=timedelta(seconds=130), job_type="gone.plugin")
    planned(app)
    (skip,) = occurrences(app)
    assert (skip.reason, skip.count) == ("invalid", 3)
    assert "gone.plugin" in skip.note


def test_skips_in_a_row_for_one_reason_are_one_row_whenever_they_were_decided(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5))
    start = now_of(app)
    for minute in range(4):
        planned(app, at=start + timedelta(minutes=minute))
    run, skip = occurrences(app)
    assert (run.decision, skip.decision, skip.reason, skip.count) == ("run", "skip", "overlap", 3)
    assert schedule.next_at is not None
    assert (skip.nominal, skip.until) == (
        schedule.next_at + timedelta(minutes=1),
        schedule.next_at + timedelta(minutes=3),
    )


def test_a_run_or_another_reason_ends_a_row_of_skips(app: Dashboard, acme: Tenant) -> None:
    make_schedule(app, acme, due_for=timedelta(seconds=5))
    start = now_of(app)
    for minute in range(3):
        planned(app, at=start + timedelta(minutes=minute))
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text("UPDATE run SET state = 'succeeded'"))
    for minute in (3, 4):
        planned(app, at=start + timedelta(minutes=minute))
    planned(app, at=start + timedelta(hours=3))
    found = [(each.decision, each.reason, each.count) for each in occurrences(app)]
    assert found[:5] == [
        ("run", "", 1),
        ("skip", "overlap", 2),
        ("run", "", 1),
        ("skip", "overlap", 1),
        ("skip", "missed_window", 116),
    ]


def test_a_row_of_skips_ends_with_an_edit(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5))
    start = now_of(app)
    planned(app, at=start)
    planned(app, at=start + timedelta(minutes=1))
    with app.app_context(), system_scope("test") as session:
        session.get_one(Schedule, schedule.id).rev = 2
    planned(app, at=start + timedelta(minutes=2))
    assert [(each.reason, each.rev, each.count) for each in occurrences(app)] == [
        ("", 1, 1),
        ("overlap", 1, 1),
        ("overlap", 2, 1),
    ]


def test_a_suspended_tenants_fires_are_listed_and_never_made_up_for(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5))
    start = now_of(app)
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(TenantRecord).values(suspended_at=sa.func.now()))
    planned(app, at=start)
    planned(app, at=start + timedelta(minutes=1))
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(TenantRecord).values(suspended_at=None))
    assert planned(app, at=start + timedelta(minutes=1, seconds=1)).runs == 0
    (skip,) = occurrences(app)
    assert (skip.reason, skip.note, skip.count) == ("paused", "The organisation is suspended.", 2)
    assert planned(app, at=start + timedelta(minutes=2)).runs == 1
    assert stored(app, schedule).state == "active"


def test_a_fire_that_somebody_decided_on_keeps_no_other_from_running(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, catchup="all", runs_left=5)
    assert schedule.next_at is not None
    skip_by_hand(app, acme, schedule, schedule.next_at)
    planned(app, at=schedule.next_at + timedelta(seconds=90))
    first, second = occurrences(app)
    assert (first.reason, second.decision) == ("by_hand", "run")
    assert stored(app, schedule).runs_left == 4


def suspend(app: Dashboard) -> None:
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(TenantRecord).values(suspended_at=sa.func.now()))


def black_out(app: Dashboard) -> None:
    day = timedelta(days=1)
    with app.app_context(), system_scope("test") as session:
        now = database_now(session)
        for tenant in session.scalars(sa.select(TenantRecord)):
            session.add(Blackout(tenant_id=tenant.id, name="Move", start_at=now - day, end_at=now + day))


def lose_job_type(app: Dashboard) -> None:
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Schedule).values(job_type="gone.plugin"))


@pytest.mark.parametrize(
    ("happens", "values", "late", "reason"),
    [
        (suspend, {}, timedelta(), "paused"),
        (black_out, {}, timedelta(), "blackout"),
        (lose_job_type, {}, timedelta(), "invalid"),
        (None, {"catchup": "none"}, timedelta(minutes=2), "missed_window"),
        (None, {"catchup_window_seconds": 61}, timedelta(hours=1), "missed_window"),
    ],
    ids=["suspended", "blackout", "job type gone", "not made up for", "too late"],
)
def test_skips_in_a_row_leave_out_the_fire_that_somebody_decided_on(
    app: Dashboard,
    acme: Tenant,
    happens: Callable[[Dashboard], None] | None,
    values: dict[str, Any],
    late: timedelta,
    reason: str,
) -> None:
    schedule = make_schedule(app, acme, **values)
    assert schedule.next_at is not None
    first = schedule.next_at
    skip_by_hand(app, acme, schedule, first)
    skip_by_hand(app, acme, schedule, first + timedelta(minutes=2))
    if happens:
        happens(app)
    planned(app, at=first + timedelta(minutes=4, seconds=1) + late)
    found = occurrences(app)
    assert [each.reason for each in found[:2]] == ["by_hand", reason]
    assert found[1].nominal == first + timedelta(minutes=1)
    assert sum(each.count for each in found) == (late + timedelta(minutes=5)) // timedelta(minutes=1)


def keep_busy(app: Dashboard) -> None:
    """Let something of each schedule run, so that its overlap policy keeps the next from it."""
    with app.app_context(), system_scope("test") as session:
        for schedule in session.scalars(sa.select(Schedule)):
            row = {"name": "Long", "job_type": "test.echo", "concurrency_key": f"schedule:{schedule.id}"}
            session.add(Run(tenant_id=schedule.tenant_id, schedule_id=schedule.id, state="running", **row))


@pytest.mark.parametrize(
    ("happens", "values", "late", "reason"),
    [
        (suspend, {}, timedelta(), "paused"),
        (black_out, {}, timedelta(), "blackout"),
        (keep_busy, {}, timedelta(), "overlap"),
        (None, {"catchup": "none"}, timedelta(minutes=2), "missed_window"),
        (None, {"runs_left": 0}, timedelta(), "limit"),
    ],
    ids=["suspended", "blackout", "overlap", "too late", "no run left"],
)
def test_a_row_of_skips_that_goes_on_leaves_out_the_fire_that_somebody_decided_on(
    app: Dashboard,
    acme: Tenant,
    happens: Callable[[Dashboard], None] | None,
    values: dict[str, Any],
    late: timedelta,
    reason: str,
) -> None:
    """Each is planned when it alone is due."""
    schedule = make_schedule(app, acme, every_seconds=300, **values)
    assert schedule.next_at is not None
    skip_by_hand(app, acme, schedule, schedule.next_at + timedelta(minutes=5))
    if happens:
        happens(app)
    for number in range(3):
        with app.app_context(), system_scope("test") as session:
            at = schedule.next_at + number * timedelta(minutes=5)
            session.get_one(Schedule, schedule.id).next_at = at
        planned(app, at=at + late)
    assert [(each.reason, each.count) for each in occurrences(app)] == [(reason, 1), ("by_hand", 1), (reason, 1)]


def test_a_pause_that_ends_leaves_out_the_one_fire_that_somebody_decided_on(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme)
    assert schedule.next_at is not None
    skip_by_hand(app, acme, schedule, schedule.next_at + timedelta(minutes=1))
    for minute in range(3):
        with app.app_context(), system_scope("test") as session:
            row, at = session.get_one(Schedule, schedule.id), schedule.next_at + timedelta(minutes=minute, seconds=10)
            row.paused_at, row.paused_until = at - timedelta(seconds=20), at
        planned(app, at=at)
    assert [(each.reason, each.count) for each in occurrences(app)] == [("paused", 1), ("by_hand", 1), ("paused", 1)]


@pytest.mark.parametrize("act", ["skipped", "moved", "restored"])
def test_a_fire_that_somebody_decided_on_is_not_planned_when_it_alone_is_due(
    app: Dashboard, acme: Tenant, act: str
) -> None:
    schedule = make_schedule(app, acme, overlap="allow", runs_left=3)
    assert schedule.next_at is not None
    with app.app_context(), bound(Binding.of(acme, actor=Actor(kind="system"))):
        chosen = db.session.get_one(Schedule, schedule.id)
        if act == "moved":
            single_fires.move(chosen, schedule.next_at, schedule.next_at + timedelta(seconds=30))
        else:
            single_fires.skip(chosen, schedule.next_at)
        if act == "restored":
            single_fires.restore(chosen, schedule.next_at)
    (before,) = occurrences(app)
    by_hand = [run.id for run in runs(app)]
    assert planned(app, at=schedule.next_at).runs == 0
    (after,) = occurrences(app)
    assert (after.decision, after.reason, after.note) == (before.decision, before.reason, before.note)
    assert [run.id for run in runs(app)] == by_hand
    assert stored(app, schedule).runs_left == 3 - len(by_hand)
    assert stored(app, schedule).next_at == schedule.next_at + timedelta(minutes=1)


def test_what_was_decided_by_hand_is_asked_only_of_schedules_with_several_due_fires(
    app: Dashboard, acme: Tenant
) -> None:
    make_many(app, acme, 20, overlap="allow")
    assert asked_about_occurrences(app) == []
    late = make_schedule(app, acme, due_for=timedelta(seconds=90), overlap="allow", catchup="all")
    make_schedule(app, acme, due_for=timedelta(seconds=20), overlap="allow")
    assert asked_about_occurrences(app) == [[late.id]]
    assert len(runs(app)) == 23


def asked_about_occurrences(app: Dashboard) -> list[list[UUID]]:
    """Plan a batch; return of which schedules it read what was decided before, question by question."""
    asked: list[list[UUID]] = []

    def note(*event: Any) -> None:
        if event[2].lstrip().startswith("SELECT") and "FROM occurrence" in event[2]:
            asked.append(event[3]["schedules"])

    with app.app_context(), system_scope("test") as session:
        engine = session.get_bind()
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        planned(app)
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    return asked


def test_the_latest_that_nobody_decided_on_runs_after_a_standstill(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme)
    assert schedule.next_at is not None
    skip_by_hand(app, acme, schedule, schedule.next_at + timedelta(minutes=2))
    planned(app, at=schedule.next_at + timedelta(minutes=2, seconds=59))
    found = [(each.decision, each.reason, each.count) for each in occurrences(app)]
    assert found == [("skip", "coalesced", 1), ("run", "", 1), ("skip", "by_hand", 1)]


def test_a_fire_that_was_moved_ahead_does_not_count_as_the_run_before(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme)
    assert schedule.next_at is not None
    with app.app_context(), bound(Binding.of(acme, actor=Actor(kind="system"))):
        moved = db.session.get_one(Schedule, schedule.id)
        single_fires.move(moved, schedule.next_at, schedule.next_at + timedelta(hours=5))
    planned(app, at=schedule.next_at + timedelta(seconds=61))
    assert [each.decision for each in occurrences(app)] == ["run", "run"]


def test_runs_of_a_backfill_do_not_count_as_the_run_before(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5))
    with app.app_context(), system_scope("test") as session:
        session.execute(
            sa.text(
                "INSERT INTO run (id, tenant_id, schedule_id, name, job_type, state, concurrency_key)"
                " VALUES (gen_random_uuid(), :tenant, :schedule, 'Old', 'test.echo', 'running', 'backfill:1')"
            ),
            {"tenant": acme.id, "schedule": schedule.id},
        )
    assert planned(app).runs == 1


def test_a_run_by_hand_and_a_planned_one_never_run_at_once(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5), overlap="queue_all")
    planned(app)
    with app.app_context(), bound(Binding.of(acme, actor=Actor(kind="system"))):
        actions.run_now(db.session.get_one(Schedule, schedule.id))
    keys = {run.concurrency_key for run in runs(app)}
    assert len(runs(app)) == 2
    assert keys == {f"schedule:{schedule.id}"}


def test_an_edit_lists_what_the_old_rule_made_due_and_fires_nothing(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(minutes=5), params={"word": "hi"})
    draft = actions.ScheduleDraft(
        name="Half-hourly", job_type="test.echo", params={"word": "hi"}, kind="interval", crons=[], every_seconds=1800
    )
    with app.app_context(), bound(Binding.of(acme, actor=Actor(kind="system"))):
        actions.update(db.session.get_one(Schedule, schedule.id), draft, rev=1)
    (skip,) = occurrences(app)
    assert (skip.reason, skip.count, runs(app)) == ("edited", 6, [])
    assert planned(app).runs == 0


def test_an_edit_and_another_zone_leave_out_the_fire_that_somebody_decided_on(app: Dashboard, acme: Tenant) -> None:
    edited = make_schedule(app, acme, params={"word": "hi"})
    moved = make_schedule(app, acme, kind="cron", crons=["* * * * *"])
    for schedule in (edited, moved):
        next_at = recurrence_of(schedule, "UTC").after(now_of(app))
        assert next_at is not None
        skip_by_hand(app, acme, schedule, next_at)
    let_pass(app, timedelta(minutes=4))
    with app.app_context(), bound(Binding.of(acme, actor=Actor(kind="system"))):
        schedule = db.session.get_one(Schedule, edited.id)
        actions.update(schedule, replace(actions.draft_of(schedule), every_seconds=1800), rev=schedule.rev)
        rezone(db.session(), acme.id, "UTC", "Asia/Tokyo")
        db.session.commit()
    for schedule in (edited, moved):
        found = [each for each in occurrences(app) if each.schedule_id == schedule.id]
        assert [each.reason for each in found] == ["by_hand", "edited"]
        assert found[0].nominal is not None
        assert found[1].nominal == found[0].nominal + timedelta(minutes=1)


@pytest.fixture
def untouched(postgres: PostgresAddress, database: str, environment: dict[str, str]) -> Iterator[Dashboard]:
    """The application on a database of its own: what other tests left in one decides what PostgreSQL finds cheap."""
    with on_database_of_its_own(postgres, environment, f"{database}_batches") as app:
        yield app


@pytest.mark.parametrize("schedules", [1, 200])
def test_looking_for_work_reads_index_entries_however_many_schedules_there_are(
    untouched: Dashboard, schedules: int
) -> None:
    """The plan, not the time: each branch stops at its first index entry."""
    acme = make_tenant(untouched, "acme", "https://acme.test")
    with untouched.app_context(), system_scope("test") as session:
        session.execute(
            sa.text(
                "INSERT INTO schedule (id, tenant_id, name, kind, job_type, next_at)"
                " SELECT gen_random_uuid(), :tenant, 'S', 'interval', 'test.echo', now() + interval '1 hour'"
                " FROM generate_series(1, :count)"
            ),
            {"tenant": acme.id, "count": schedules},
        )
        session.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(session.scalars(sa.text(f"EXPLAIN (COSTS OFF) {GLANCE}")))
    assert "ix_schedule_next_at" in plan
    assert "ix_schedule_paused_until" in plan
    assert plan.count("Limit") == 2
    assert "Sort" not in plan


def test_a_fair_batch_reads_each_tenants_own_part_of_the_index(untouched: Dashboard) -> None:
    acme, _ = (make_tenant(untouched, slug, f"https://{slug}.test") for slug in ("acme", "globex"))
    with untouched.app_context(), system_scope("test") as session:
        session.execute(
            sa.text(
                "INSERT INTO schedule (id, tenant_id, name, kind, job_type, next_at)"
                " SELECT gen_random_uuid(), :tenant, 'S', 'interval', 'test.echo', now() - n * interval '1 second'"
                " FROM generate_series(1, 3000) AS n"
            ),
            {"tenant": acme.id},
        )
        statement = FAIR.text.replace(":now", "now()").replace(":batch", "1000")
        plan = "\n".join(session.scalars(sa.text(f"EXPLAIN (COSTS OFF) {statement}")))
    assert plan.count("ix_schedule_tenant_id_next_at") == 2, plan
    assert "ix_schedule_next_at" not in plan
