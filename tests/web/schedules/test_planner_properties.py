"""Whatever operators and planners do in whatever order, each instant is decided on once, and none is forgotten.

The database's clock is stopped and set by the tests, so that hours pass at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from dashboard.app import Dashboard
from dashboard.core.clock import database_now
from dashboard.core.errors import Refused
from dashboard.core.orm import db, system_scope
from dashboard.core.tenancy import Binding, Tenant, bound, resolver_of
from dashboard.runs.load import reconcile
from dashboard.runs.models import Run
from dashboard.runs.states import ACTIVE_STATES
from dashboard.schedules import actions, planner
from dashboard.schedules.actions import ScheduleDraft
from dashboard.schedules.catchup import ON_TIME
from dashboard.schedules.models import Occurrence, Schedule
from dashboard.schedules.recurrence import Recurrence
from dashboard.schedules.timing import recurrence_of
from dashboard.tenants.actions import set_option
from tests.application import PLATFORM, empty
from tests.factories import make_tenant
from tests.factories.job_types import Echo
from tests.factories.schedules import make_schedule, planned
from tests.servers import PostgresAddress
from tests.stopped_clock import StoppedClock, stopped_clock

START = datetime(2027, 3, 14, 5, 30, tzinfo=UTC)
"""Half an hour before New York's clock goes forward."""

ZONES = ("UTC", "America/New_York", "Asia/Kolkata")
RULES: tuple[dict[str, Any], ...] = (
    {"kind": "interval", "every_seconds": 60},
    {"kind": "interval", "every_seconds": 420},
    {"kind": "cron", "crons": ["*/5 * * * *"]},
    {"kind": "cron", "crons": ["30 2 * * *", "15 * * * *"]},
    {"kind": "cron", "crons": ["7 * * * *"], "timezone": "Asia/Tokyo"},
)
UNBOTHERED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
WINDOW = timedelta(hours=1)


@dataclass(slots=True)
class Known:
    """What the test knows of a schedule: its rules, each from a moment on, and its policies."""

    id: UUID
    draft: ScheduleDraft
    epochs: list[tuple[datetime, Recurrence]] = field(default_factory=list)
    paused: bool = False

    def expected(self, until: datetime) -> list[datetime]:
        """Return the instants that have to be decided on by `until`."""
        ends = [start for start, _ in self.epochs[1:]] + [until]
        return [
            at
            for (start, recurrence), end in zip(self.epochs, ends, strict=True)
            for at in recurrence.between(start, min(end, until))
        ]


def draft_of(fields: dict[str, Any]) -> ScheduleDraft:
    return ScheduleDraft(**{"name": "S", "job_type": Echo.key, "params": {"word": "hi"}, "crons": [], **fields})


COUNT = 3
NUMBERS = st.integers(0, COUNT - 1)
WAITS = st.one_of(st.integers(1, 90), st.integers(60, 1200), st.integers(3600, 7200))
DRAFTS = st.builds(
    lambda timing, overlap, catchup, limit: draft_of(
        {**timing, "overlap": overlap, "catchup": catchup, "runs_left": limit}
    ),
    st.sampled_from(RULES),
    st.sampled_from(["skip", "queue_one", "queue_all", "cancel_running", "allow"]),
    st.sampled_from(["none", "latest", "all"]),
    st.sampled_from([None, None, 3]),
)


class Operations(RuleBasedStateMachine):
    """Operators and planners at work on one tenant's schedules, while time goes by."""

    app: Dashboard
    clock: StoppedClock
    clear: Callable[[], None]

    @initialize(drafts=st.lists(DRAFTS, min_size=COUNT, max_size=COUNT))
    def begin(self, drafts: list[ScheduleDraft]) -> None:
        self.clear()
        self.clock.set(START)
        self.tenant = make_tenant(self.app, "acme", f"{PLATFORM}/acme")
        self.known = [self.created(draft) for draft in drafts]

    def created(self, draft: ScheduleDraft) -> Known:
        with self.at_work():
            schedule = actions.create(draft)
            return Known(schedule.id, draft, [(self.clock.now, self.recurrence(schedule))])

    def teardown(self) -> None:
        if hasattr(self, "known"):
            self.plan(3600)
            self.every_instant_is_decided_on_once()

    @rule(wait=WAITS)
    def plan(self, wait: int) -> None:
        self.clock.go_on(timedelta(seconds=wait))
        before = self.run_ids()
        for _ in range(100):
            if not planned(self.app).schedules:
                break
        else:
            raise AssertionError("The planner does not come to an end.")
        self.late_runs_keep_to_their_policy(self.run_ids() - before)

    @rule(wait=WAITS)
    def all_runs_end(self, wait: int) -> None:
        self.plan(wait)
        with self.clock.engine.begin() as connection:
            connection.execute(sa.text("UPDATE run SET state = 'succeeded', finished_at = now()"))
            connection.execute(sa.text("UPDATE tenant_load SET ready = 0, running = 0"))

    @rule(number=NUMBERS, wait=WAITS)
    def pause(self, number: int, wait: int) -> None:
        known = self.after(wait, number)
        with self.nothing_fires(), suppress(Refused):
            actions.pause(self.stored(known), reason="")
            known.paused = True

    @rule(number=NUMBERS, wait=WAITS)
    def resume(self, number: int, wait: int) -> None:
        known = self.after(wait, number)
        with self.nothing_fires(), suppress(Refused):
            actions.resume(self.stored(known))
            known.paused = False

    @rule(number=NUMBERS, wait=WAITS, timing=st.sampled_from(RULES))
    def edit(self, number: int, wait: int, timing: dict[str, Any]) -> None:
        known = self.after(wait, number)
        if known.draft.runs_left is not None:
            return
        fields = {**timing, "overlap": known.draft.overlap, "catchup": known.draft.catchup}
        draft = draft_of(fields)
        with self.nothing_fires():
            schedule = self.stored(known)
            is_new_timing = any(getattr(schedule, name) != getattr(draft, name) for name in actions.TIMING)
            actions.update(schedule, draft, rev=schedule.rev)
            if is_new_timing:
                known.epochs.append((self.clock.now, self.recurrence(schedule)))
            known.draft = draft

    @rule(zone=st.sampled_from(ZONES), wait=WAITS)
    def change_zone(self, zone: str, wait: int) -> None:
        self.after(wait)
        with self.nothing_fires():
            moved = zone != self.tenant.values["TIMEZONE"]
            with system_scope("test") as session:
                set_option(session, self.tenant.id, "TIMEZONE", zone)
            self.tenant = resolver_of(self.app).by_slug("acme") or self.tenant
        for known in self.known if moved else ():
            with self.at_work():
                schedule = self.stored(known)
                if not known.draft.timezone and schedule.next_at is not None:
                    start = schedule.cursor if known.paused and schedule.cursor else self.clock.now
                    known.epochs.append((start, self.recurrence(schedule)))

    @rule(number=NUMBERS, wait=WAITS)
    def run_now(self, number: int, wait: int) -> None:
        known = self.after(wait, number)
        with self.at_work(), suppress(actions.Skipped):
            actions.run_now(self.stored(known))

    def after(self, wait: int, number: int = 0) -> Known:
        """Let seconds go by without a planner, and return schedule `number`."""
        self.clock.go_on(timedelta(seconds=wait))
        return self.known[number]

    @invariant()
    def overlap_is_never_exceeded(self) -> None:
        """P15, for what the planner makes; what the dispatcher adds is a key that only one run holds."""
        for known in self.known:
            with self.at_work():
                active = sa.select(Run).where(Run.schedule_id == known.id, Run.state.in_(ACTIVE_STATES))
                runs = db.session.scalars(active).all()
                by_time = [run for run in runs if run.actor_kind == "schedule"]
            if known.draft.overlap in {"skip", "queue_one", "cancel_running"}:
                assert len(by_time) <= 1
            keys = {run.concurrency_key for run in runs}
            assert keys <= ({None} if known.draft.overlap == "allow" else {f"schedule:{known.id}"})

    @invariant()
    def limits_of_runs_hold(self) -> None:
        """P16."""
        for known in self.known:
            if known.draft.runs_left is not None:
                with self.at_work():
                    by_time = sa.select(sa.func.count()).where(
                        Run.schedule_id == known.id, Run.actor_kind == "schedule"
                    )
                    runs = db.session.scalar(by_time) or 0
                    left = self.stored(known).runs_left
                assert left is not None
                assert 0 <= left == known.draft.runs_left - runs

    def every_instant_is_decided_on_once(self) -> None:
        """P10, P13: no hole and nothing twice."""
        for known in self.known:
            with self.at_work():
                schedule = self.stored(known)
                by_time = sa.select(Occurrence).where(
                    Occurrence.schedule_id == known.id, Occurrence.occurrence.not_like("manual:%")
                )
                rows = db.session.scalars(by_time.order_by(Occurrence.nominal)).all()
            assert schedule.problem == ""
            assert schedule.cursor is not None
            expected = known.expected(schedule.cursor)
            ran = [row.nominal for row in rows if row.decision == "run"]
            assert len(ran) == len(set(ran))
            assert set(ran) <= set(expected)
            count = sum(row.count for row in rows)
            if schedule.runs_left == 0:  # it has ended, and what the rule names after that concerns nobody
                assert count <= len(expected)
            else:
                assert count == len(expected)
        with self.app.app_context(), system_scope("test") as session:
            assert reconcile(session) == []

    def late_runs_keep_to_their_policy(self, run_ids: set[UUID]) -> None:
        """P14."""
        for known in self.known:
            with self.at_work():
                query = (
                    sa.select(Occurrence.nominal)
                    .join(Run, Run.occurrence_id == Occurrence.id)
                    .where(Run.schedule_id == known.id, Run.id.in_(run_ids))
                )
                ages = [self.clock.now - nominal for nominal in db.session.scalars(query) if nominal]
            late = [age for age in ages if age > ON_TIME]
            assert all(age <= WINDOW for age in late)
            assert len(late) <= {"none": 0, "latest": 1, "all": 100}[known.draft.catchup]

    def run_ids(self) -> set[UUID]:
        with self.at_work():
            return set(db.session.scalars(sa.select(Run.id)))

    def stored(self, known: Known) -> Schedule:
        return db.session.get_one(Schedule, known.id)

    def recurrence(self, schedule: Schedule) -> Recurrence:
        return recurrence_of(schedule, self.tenant.values["TIMEZONE"])

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with self.app.app_context(), bound(Binding.of(self.tenant)):
            yield

    @contextmanager
    def nothing_fires(self) -> Iterator[None]:
        """P13: what an operator changes fires nothing by itself."""
        before = self.run_ids()
        with self.at_work():
            yield
        assert self.run_ids() == before


@pytest.fixture
def clock(app: Dashboard, postgres: PostgresAddress, database: str) -> Iterator[StoppedClock]:
    with stopped_clock(app, postgres, database) as stopped:
        yield stopped


@pytest.fixture
def clear(app: Dashboard, postgres: PostgresAddress, database: str) -> Callable[[], None]:
    return lambda: empty(app, postgres, database)


def test_each_instant_is_decided_on_once_whatever_operators_do(
    app: Dashboard, clock: StoppedClock, clear: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "BATCH", 2)
    machine = type("Machine", (Operations,), {"app": app, "clock": clock, "clear": staticmethod(clear)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


class Died(Exception):
    """A planner was killed."""


@settings(max_examples=8, deadline=None, suppress_health_check=UNBOTHERED)
@given(seed=st.integers(0, 2**32), minutes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_planners_that_die_at_any_moment_leave_no_hole_and_double_nothing(
    app: Dashboard, clock: StoppedClock, clear: Callable[[], None], seed: int, minutes: list[int]
) -> None:
    """P10: three planners on the same schedules, some killed before their commit and some after it."""
    clear()
    clock.set(START)
    tenant = make_tenant(app, "acme", f"{PLATFORM}/acme")
    schedules = [
        make_schedule(app, tenant, overlap="allow", catchup="all", catchup_window_seconds=86_400) for _ in range(6)
    ]
    for each in minutes:
        clock.go_on(timedelta(minutes=each))
        plan_with_deaths(app, seed)
    while planned(app).schedules:
        pass
    first, now = START + timedelta(minutes=1), clock.now
    expected = {first + timedelta(minutes=n) for n in range(sum(minutes))}
    assert max(expected) <= now
    with app.app_context(), system_scope("test") as session:
        for schedule in schedules:
            query = sa.select(Occurrence.nominal).join(Run, Run.occurrence_id == Occurrence.id)
            ran = session.scalars(query.where(Run.schedule_id == schedule.id)).all()
            assert sorted(filter(None, ran)) == sorted(expected)
        assert reconcile(session) == []


def plan_with_deaths(app: Dashboard, seed: int) -> None:
    start = Barrier(3)

    def work(number: int) -> None:
        chance = random.Random(seed + number)
        start.wait()
        for _ in range(3):
            with suppress(Died), app.app_context(), system_scope("test") as session:
                planner.plan(session, database_now(session))
                if chance.random() < 0.5:
                    raise Died

    with ThreadPoolExecutor(3) as pool:
        for each in [pool.submit(work, number) for number in range(3)]:
            each.result()


@settings(max_examples=10, deadline=None, suppress_health_check=UNBOTHERED)
@given(jumps=st.lists(st.sampled_from([-86_400, -3600, 60, 300, 3600, 86_400]), min_size=2, max_size=8))
def test_a_clock_that_jumps_neither_stops_planning_nor_doubles_a_run(
    app: Dashboard, clock: StoppedClock, clear: Callable[[], None], jumps: list[int]
) -> None:
    """P18, N10."""
    clear()
    clock.set(START)
    tenant = make_tenant(app, "acme", f"{PLATFORM}/acme")
    schedule = make_schedule(app, tenant, overlap="allow", catchup="all")
    latest = START
    for jump in jumps:
        clock.go_on(timedelta(seconds=jump))
        latest = max(latest, clock.now)
        for _ in range(10):
            if not planned(app).schedules:
                break
        else:
            raise AssertionError("The planner does not come to an end.")
    clock.set(latest + timedelta(minutes=2))
    assert planned(app).runs == 2
    assert occurrences_of(app, tenant, schedule) == (latest + timedelta(minutes=2) - START) // timedelta(minutes=1)


def occurrences_of(app: Dashboard, tenant: Tenant, schedule: Schedule) -> int:
    """Return how many instants were decided on; no instant has two rows."""
    with app.app_context(), bound(Binding.of(tenant)):
        query = sa.select(sa.func.sum(Occurrence.count)).where(Occurrence.schedule_id == schedule.id)
        return int(db.session.scalar(query) or 0)
