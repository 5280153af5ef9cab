"""Nobody is starved: the rule, the same rule over the tables, and what they promise."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.app import Dashboard
from dashboard.core.clock import database_now
from dashboard.core.ids import new_id
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Binding, Tenant, bound
from dashboard.core.trips import Line, system_line
from dashboard.runs import dispatcher, leases
from dashboard.runs.dispatcher import Fleet, Pace, window_of
from dashboard.runs.fairness import Backlog, Bucket, Pick, Waiting, Window, charge, pick
from dashboard.runs.models import Run, TenantLoad
from dashboard.tenants.models import TenantRecord
from tests.application import PLATFORM
from tests.factories import make_tenant
from tests.factories.ledger import enqueue_runs, load_of, make_worker, run_of, set_load
from tests.processes import DEADLINE_SECONDS

QUEUES = ("default", "email", "bulk")
KEYS = (None, None, None, "nightly", "hourly")
UNBOTHERED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
LEASE = timedelta(minutes=10)
"""A worker counts as long as it was heard of within this, and ours say nothing more: a slow test must end before."""

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def waiting(queue: str, is_bulk: bool, priority: int, key: str | None) -> Waiting:
    return Waiting(id=new_id(), queue=queue, is_bulk=is_bulk, priority=priority, key=key)


def runs_with(keys: st.SearchStrategy[str | None]) -> st.SearchStrategy[Waiting]:
    return st.builds(waiting, st.sampled_from(QUEUES[:2]), st.booleans(), st.integers(-1, 1), keys)


def buckets(period: timedelta) -> st.SearchStrategy[Bucket | None]:
    """Buckets of any fullness, also ones that a clock which jumped left behind."""
    moments = st.none() | st.sampled_from([-2, -0.01, 0, 0.01, 0.5, 0.7, 0.99, 1, 3]).map(lambda n: NOON + n * period)
    return st.none() | st.builds(Bucket, size=st.sampled_from([1, 2, 7, 60]), period=st.just(period), full_at=moments)


def backlogs_of(runs: st.SearchStrategy[Waiting], size: int = 6) -> st.SearchStrategy[list[Backlog]]:
    limits = st.tuples(buckets(MINUTE), buckets(DAY)).map(lambda pair: tuple(each for each in pair if each))
    one = st.builds(
        Backlog,
        tenant_id=st.builds(new_id),
        waiting=st.lists(runs, max_size=size).map(tuple),
        weight=st.sampled_from([0.5, 1.0, 3.0]),
        max_running=st.none() | st.integers(1, 4),
        running=st.integers(0, 3),
        vtime=st.sampled_from([0.0, 1.0, 2.5]),
        buckets=limits,
        is_paused=st.sampled_from([False, False, False, True]),
        busy=st.sampled_from([frozenset(), frozenset({"nightly"})]),
    )
    return st.lists(one, max_size=4)


keyed = backlogs_of(runs_with(st.sampled_from(KEYS)))
windows = st.builds(
    Window,
    queues=st.just(QUEUES),
    rooms=st.tuples(*[st.integers(0, 6)] * 3),
    free=st.integers(0, 8),
    bulk=st.integers(0, 8),
    share=st.integers(1, 5),
    most=st.integers(1, 6),
)


@given(keyed, windows)
def test_no_cap_and_no_rate_is_ever_exceeded(waits: list[Backlog], window: Window) -> None:
    picks = pick(waits, window, NOON)
    assert len(picks) <= window.free
    assert sum(each.run.is_bulk for each in picks) <= window.bulk
    for queue, room in zip(window.queues, window.rooms, strict=True):
        assert sum(each.run.queue == queue for each in picks) <= room
    for backlog in waits:
        mine = [each.run for each in picks if each.tenant_id == backlog.tenant_id]
        assert not mine or backlog.running + len(mine) <= min(backlog.max_running or window.share, window.most)
        assert all(len(mine) <= bucket.tokens(NOON) for bucket in backlog.buckets)
        assert not (backlog.is_paused and mine)
        keys = [run.key for run in mine if run.key]
        assert len(keys) == len(set(keys))
        assert backlog.busy.isdisjoint(keys)


@given(keyed, windows)
def test_inside_a_tenant_interactive_comes_first_then_priority_then_age(waits: list[Backlog], window: Window) -> None:
    picks = pick(waits, replace(window, rooms=(9, 9, 9), bulk=9), NOON)
    for backlog in waits:
        mine = [each.run.rank for each in picks if each.tenant_id == backlog.tenant_id]
        assert mine == sorted(mine)


@given(keyed, windows)
def test_a_free_slot_stays_free_only_if_nobody_may_use_it(waits: list[Backlog], window: Window) -> None:
    picks = pick(waits, window, NOON)
    assert pick([after(backlog, picks) for backlog in waits], rest(window, picks), NOON) == []


@given(keyed, windows)
def test_a_run_costs_something_only_if_another_tenants_could_have_had_its_slot(
    waits: list[Backlog], window: Window
) -> None:
    picks = pick(waits, window, NOON)
    later = [after(backlog, picks) for backlog in waits]
    for each in picks:
        others = [backlog for backlog in later if backlog.tenant_id != each.tenant_id]
        without = rest(window, [other for other in picks if other is not each])
        assert (each.tag is not None) == bool(pick(others, without, NOON))


def test_a_run_that_costs_nothing_makes_none_beside_it_dearer() -> None:
    """A click through the kept slot, in the same admission as bulk runs for whose slots another tenant waits."""
    mine, another = (
        Backlog(tenant_id=UUID(int=number), waiting=tuple(Waiting(id=new_id()) for _ in range(4))) for number in (1, 2)
    )
    click = Waiting(id=new_id(), is_bulk=False)
    waits = [replace(mine, waiting=(click, *mine.waiting)), another]
    kept = Window(queues=("default",), rooms=(5,), free=5, bulk=4, share=9, most=9)
    tags = [each.tag for each in pick(waits, kept, NOON) if each.tenant_id == mine.tenant_id]
    assert tags[:2] == [None, 1.0]


def rest(window: Window, picks: list[Pick]) -> Window:
    """Return what is left of a window once these runs are admitted."""
    return replace(
        window,
        rooms=tuple(
            room - sum(each.run.queue == queue for each in picks)
            for queue, room in zip(window.queues, window.rooms, strict=True)
        ),
        free=window.free - len(picks),
        bulk=window.bulk - sum(each.run.is_bulk for each in picks),
    )


def after(backlog: Backlog, picks: list[Pick]) -> Backlog:
    """Return what is left of a tenant's backlog once its runs are admitted."""
    mine = [each for each in picks if each.tenant_id == backlog.tenant_id]
    taken = {each.run.id for each in mine}
    return replace(
        backlog,
        waiting=tuple(run for run in backlog.waiting if run.id not in taken),
        running=backlog.running + len(mine),
        vtime=max([backlog.vtime, *(each.tag for each in mine if each.tag is not None)]),
        busy=backlog.busy | {each.run.key for each in mine if each.run.key},
        buckets=tuple(replace(each, full_at=each.spent(len(mine), NOON)) for each in backlog.buckets if mine)
        or backlog.buckets,
    )


@dataclass(slots=True)
class Simulated:
    """A tenant whose runs are endless, each one admission long."""

    weight: float
    vtime: float = 0.0


def simulate(tenants: dict[UUID, Simulated], rounds: int) -> Counter[UUID]:
    """Return how often each tenant was admitted in `rounds` of one free slot each."""
    window = Window(queues=QUEUES, rooms=(1, 1, 1), free=1, bulk=1, share=1, most=1)
    admitted: Counter[UUID] = Counter()
    for _ in range(rounds):
        waits = [
            Backlog(tenant_id=tenant_id, waiting=(Waiting(id=tenant_id),), weight=each.weight, vtime=each.vtime)
            for tenant_id, each in tenants.items()
        ]
        (chosen,) = pick(waits, window, NOON)
        assert chosen.tag is not None
        tenants[chosen.tenant_id].vtime = chosen.tag
        admitted[chosen.tenant_id] += 1
    return admitted


@given(st.lists(st.sampled_from([1.0, 2.0, 5.0]), min_size=2, max_size=5))
@settings(max_examples=10, deadline=None)
def test_shares_follow_the_weights_within_five_percent(weights: list[float]) -> None:
    tenants = {new_id(): Simulated(weight) for weight in weights}
    admitted = simulate(tenants, 1000)
    for tenant_id, tenant in tenants.items():
        assert admitted[tenant_id] == pytest.approx(1000 * tenant.weight / sum(weights), rel=0.05)


@given(st.integers(1, 7000), st.sampled_from([MINUTE, DAY]), st.lists(st.floats(0, 2), max_size=30))
def test_a_bucket_lets_through_what_it_holds_and_what_comes_back(
    size: int, period: timedelta, steps: list[float]
) -> None:
    bucket, now, started = Bucket(size=size, period=period), NOON, 0
    for step in steps:
        now += step * period
        count = bucket.tokens(now)
        if count:
            started += count
            bucket = replace(bucket, full_at=bucket.spent(count, now))
        assert bucket.tokens(now) == 0
        assert bucket.tokens(bucket.next_at(now)) == 1
        assert bucket.tokens(bucket.next_at(now) - timedelta(microseconds=1)) == 0
        assert (started - size) * period <= size * (now - NOON)
    assert bucket.tokens(now + 2 * period) == size


def test_a_bucket_keeps_how_full_it_is_when_its_size_changes() -> None:
    half = Bucket(size=60, period=MINUTE, full_at=NOON + MINUTE / 2)
    assert (half.tokens(NOON), replace(half, size=10).tokens(NOON)) == (30, 5)


@pytest.mark.parametrize(("seconds", "charged"), [(0.2, 0), (1, 0), (5, 2), (61, 30)])
def test_a_long_run_is_charged_what_it_held_beyond_its_first_unit(seconds: float, charged: float) -> None:
    assert charge(seconds, 1.0, weight=2.0) == charged


@pytest.fixture
def tenants(app: Dashboard) -> list[Tenant]:
    return [make_tenant(app, f"tenant{number}", f"{PLATFORM}/tenant{number}") for number in range(4)]


@pytest.fixture(params=[1, 2, 32], ids=["every lane is crowded", "some are", "none is"])
def crowds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tables be read in one way, in the other, or in both at once."""
    monkeypatch.setattr(dispatcher, "FEW_TENANTS", request.param)


def picked_from_the_tables(app: Dashboard, waits: list[Backlog], window: Window) -> list[tuple[UUID, float | None]]:
    """Return what is admitted at which tag, in order, where the tables hold these backlogs and nothing else."""
    with app.app_context(), system_scope("test") as session:
        for backlog in waits:
            write(session, backlog)
        line = Line(cast("psycopg.Connection[Any]", session.connection().connection.driver_connection))
        chosen = pick(dispatcher.backlogs(line, window, NOON), window, NOON)
        session.rollback()
    return [(each.run.id, each.tag) for each in chosen]


@pytest.mark.usefixtures("crowds")
@given(waits=backlogs_of(runs_with(st.none() | st.builds(lambda: str(new_id())))), window=windows)
@settings(max_examples=60, deadline=None, suppress_health_check=UNBOTHERED)
def test_the_tables_lead_to_what_the_rule_picks(
    app: Dashboard, tenants: list[Tenant], waits: list[Backlog], window: Window
) -> None:
    waits = [replace(backlog, tenant_id=tenant.id) for backlog, tenant in zip(waits, tenants, strict=False)]
    expected = [(each.run.id, each.tag) for each in pick(waits, window, NOON)]
    assert picked_from_the_tables(app, waits, window) == expected


@pytest.mark.usefixtures("crowds")
@given(waits=keyed, window=windows)
@settings(max_examples=30, deadline=None, suppress_health_check=UNBOTHERED)
def test_of_runs_with_one_key_the_tables_lead_to_one(
    app: Dashboard, tenants: list[Tenant], waits: list[Backlog], window: Window
) -> None:
    waits = [replace(backlog, tenant_id=tenant.id) for backlog, tenant in zip(waits, tenants, strict=False)]
    chosen = [run_id for run_id, _ in picked_from_the_tables(app, waits, window)]
    runs = {run.id: (backlog, run) for backlog in waits for run in backlog.waiting}
    keys = [(runs[each][0].tenant_id, runs[each][1].key) for each in chosen if runs[each][1].key]
    assert len(keys) == len(set(keys))
    assert all(runs[each][1].key not in runs[each][0].busy for each in chosen)
    assert bool(chosen) == bool(pick(waits, window, NOON))


def write(session: sa.orm.Session, backlog: Backlog) -> None:
    """Put a backlog into the tables, as the dispatcher will find it."""
    sizes = {bucket.period: bucket for bucket in backlog.buckets}
    minute, day = sizes.get(MINUTE), sizes.get(DAY)
    session.execute(
        sa.update(TenantLoad)
        .where(TenantLoad.tenant_id == backlog.tenant_id)
        .values(
            weight=backlog.weight,
            max_running=backlog.max_running,
            ready=len(backlog.waiting),
            running=backlog.running,
            vtime=backlog.vtime,
            rate_per_minute=minute and minute.size,
            minute_full_at=minute and minute.full_at,
            runs_per_day=day and day.size,
            day_full_at=day and day.full_at,
        )
    )
    session.execute(
        sa.update(TenantRecord)
        .where(TenantRecord.id == backlog.tenant_id)
        .values(runs_paused_at=NOON if backlog.is_paused else None)
    )
    rows = [row_of(backlog.tenant_id, run) for run in backlog.waiting]
    busy = [Waiting(id=new_id(), key=key) for key in backlog.busy]
    rows += [{**row_of(backlog.tenant_id, run), "state": "running"} for run in busy]
    if rows:
        session.execute(sa.insert(Run), rows)


def row_of(tenant_id: UUID, run: Waiting) -> dict[str, object]:
    return {
        "id": run.id,
        "tenant_id": tenant_id,
        "name": "Report",
        "job_type": "test.report",
        "state": "ready",
        "queue": run.queue,
        "lane": "bulk" if run.is_bulk else "interactive",
        "priority": run.priority,
        "concurrency_key": run.key,
    }


def admit(app: Dashboard) -> list[dispatcher.Admitted]:
    with app.app_context(), system_line("test") as line:
        return dispatcher.admit(line, lease=LEASE, pace=Pace())


def test_one_run_of_a_quiet_tenant_overtakes_anothers_flood(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    make_worker(app, 2)
    enqueue_runs(app, acme, 200)
    assert {run.tenant_id for run in admit(app)} == {acme.id}
    (single,) = enqueue_runs(app, globex)
    assert [run.id for run in admit(app)] == [single]


@pytest.mark.parametrize("door", ["the kept slot", "workers of another queue"])
def test_what_goes_through_a_door_where_nobody_waits_puts_no_newcomer_behind(
    app: Dashboard, acme: Tenant, globex: Tenant, initech: Tenant, door: str
) -> None:
    """Two tenants wait for each slot in bulk, while a third one's short runs go past them."""
    make_worker(app, 4)
    past: dict[str, Any] = {"lane": "interactive"}
    if door != "the kept slot":
        make_worker(app, 4, ["exports"], name="exporter")
        past = {"queue": "exports"}
    for tenant in (acme, globex):
        enqueue_runs(app, tenant, 100)
    held = admit(app)
    assert {run.tenant_id for run in held} == {acme.id, globex.id}
    for _ in range(50):
        enqueue_runs(app, initech, **past)
        (short,) = admit(app)
        end(app, initech, short)
    newcomer = make_tenant(app, "newcomer", "https://newcomer.test")
    (first,) = enqueue_runs(app, newcomer)
    before = len(held)
    while first not in {run.id for run in held}:
        for run in held:
            end(app, acme if run.tenant_id == acme.id else globex, run)
        held = admit(app)
        before += len(held)
    assert before < 12  # two rounds, or three; fifty if it had to wait until they caught up
    assert load_of(app, initech).vtime <= load_of(app, acme).vtime  # nor is it behind them itself


def test_what_one_did_while_it_was_alone_is_not_held_against_it(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    make_worker(app, 2)
    enqueue_runs(app, acme, 100)
    set_load(app, acme, vtime=1000)  # for its long runs
    (alone,) = admit(app)
    enqueue_runs(app, globex, 100)
    end(app, acme, alone)
    shares: Counter[UUID] = Counter()
    while shares.total() < 8:
        for run in admit(app):
            shares[run.tenant_id] += 1
            end(app, acme if run.tenant_id == acme.id else globex, run)
    assert shares[acme.id] == shares[globex.id]


def test_a_run_of_the_kept_slot_does_not_wipe_out_what_its_tenant_was_charged(
    app: Dashboard, acme: Tenant, globex: Tenant
) -> None:
    make_worker(app, 4)
    set_load(app, acme, max_running=3)
    for tenant in (acme, globex):
        enqueue_runs(app, tenant, 10)
    assert Counter(run.tenant_id for run in admit(app)) == {acme.id: 2, globex.id: 1}
    set_load(app, acme, vtime=1000)
    enqueue_runs(app, acme, lane="interactive")
    (click,) = admit(app)
    assert (click.lane, load_of(app, acme).vtime) == ("interactive", 1000)


def end(app: Dashboard, tenant: Tenant, run: dispatcher.Admitted) -> None:
    """Let a worker do an admitted run."""
    with app.app_context(), bound(Binding.of(tenant)):
        assert leases.claim(run.id, run.fence, lease=LEASE, worker="here")
        assert leases.finish(run.id, run.fence, leases.Outcome(state="succeeded"))


def test_the_virtual_time_is_stamped_once_when_a_tenant_gets_its_first_backlog(
    app: Dashboard, acme: Tenant, globex: Tenant
) -> None:
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text("UPDATE dispatch_clock SET vtime = 100"))
    enqueue_runs(app, acme)
    assert load_of(app, acme).vtime == 100
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text("UPDATE dispatch_clock SET vtime = 200"))
    enqueue_runs(app, acme)
    assert load_of(app, acme).vtime == 100
    admit(app)
    assert load_of(app, acme).vtime == 100
    enqueue_runs(app, globex)
    assert load_of(app, globex).vtime == 200


def test_a_tenant_never_holds_more_than_its_cap(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    make_worker(app, 8)
    set_load(app, acme, max_running=3)
    enqueue_runs(app, acme, 20)
    enqueue_runs(app, globex, 20)
    while admit(app):
        pass
    assert load_of(app, acme).running == 3
    assert load_of(app, globex).running == 4


def test_a_slot_is_kept_for_what_a_person_waits_for(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    make_worker(app, 4)
    enqueue_runs(app, acme, 20)
    enqueue_runs(app, globex, 20)
    assert len(admit(app)) == 3
    assert admit(app) == []
    set_load(app, acme, max_running=9)
    (urgent,) = enqueue_runs(app, acme, lane="interactive")
    assert [run.id for run in admit(app)] == [urgent]


def test_no_run_is_admitted_for_a_queue_that_nobody_serves(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4, ["default"])
    (mail,) = enqueue_runs(app, acme, queue="email")
    assert admit(app) == []
    make_worker(app, 1, ["email"])
    assert [run.id for run in admit(app)] == [mail]


def test_a_tenant_far_behind_whose_queue_is_full_holds_up_nobody(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    make_worker(app, 2, ["default"])
    make_worker(app, 1, ["default", "email"])
    enqueue_runs(app, acme, 9, queue="email")
    assert [run.tenant_id for run in admit(app)] == [acme.id]
    enqueue_runs(app, globex, 1)
    assert [run.tenant_id for run in admit(app)] == [globex.id]


def test_a_suspended_tenants_runs_wait(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4)
    enqueue_runs(app, acme)
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text("UPDATE tenant SET suspended_at = now()"))
    assert admit(app) == []


def test_a_worker_that_went_silent_has_no_slots(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4)
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text("UPDATE process SET seen_at = now() - interval '11 minutes'"))
    enqueue_runs(app, acme)
    assert admit(app) == []


def test_of_two_runs_with_one_key_the_second_waits_for_the_first(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4)
    first, second = enqueue_runs(app, acme, 2, concurrency_key="nightly")
    assert [run.id for run in admit(app)] == [first]
    assert admit(app) == []
    assert run_of(app, second).state == "ready"


@pytest.mark.parametrize(
    ("ends_per_second", "ahead"), [(5, 0), (20, 10), (400, 20), (5000, 160)], ids=["long", "short", "shorter", "empty"]
)
def test_only_short_runs_may_lie_ahead_in_the_broker(ends_per_second: int, ahead: int) -> None:
    moment = [0.0]
    pace = Pace(clock=lambda: moment[0])
    fleet = Fleet(workers=((frozenset(QUEUES), 10),))
    for second in range(30):
        moment[0] = float(second)
        pace.observe(second * ends_per_second + 10, 10)
    assert pace.ahead(fleet, fleet.slots) == pytest.approx(ahead, abs=1)


def window(slots: int, **held: int) -> Window:
    """Return the window of one worker of that many slots, `held` being runs by lane."""
    fleet = Fleet(workers=((frozenset(QUEUES), slots),))
    return window_of(fleet, {("default", lane): count for lane, count in held.items()}, 0, slots)


def test_a_tenant_without_a_cap_gets_half_and_one_at_least() -> None:
    assert [window(slots).share for slots in (0, 1, 2, 3, 10)] == [1, 1, 1, 1, 5]
    assert window(10, bulk=4).free == 6


def test_no_tenant_gets_all_slots_whatever_its_cap() -> None:
    assert [window(slots).most for slots in (1, 2, 8)] == [1, 1, 7]


def test_workers_that_share_no_queue_are_apart() -> None:
    workers = (frozenset({"default", "bulk"}), 2), (frozenset({"email"}), 3), (frozenset({"bulk"}), 4)
    islands = Fleet(workers=workers).islands()
    assert sorted((island.queues, island.slots) for island in islands) == [(("bulk", "default"), 6), (("email",), 3)]


def test_a_paused_tenants_runs_wait(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4)
    enqueue_runs(app, acme)
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text("UPDATE tenant SET runs_paused_at = now()"))
    assert admit(app) == []


def test_a_tenant_starts_as_many_a_minute_and_a_day_as_it_may(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    make_worker(app, 40)
    set_load(app, acme, rate_per_minute=2)  # the first comes back after 30 seconds only
    set_load(app, globex, runs_per_day=3)
    enqueue_runs(app, acme, 20)
    enqueue_runs(app, globex, 20)
    while admit(app):
        pass
    assert (load_of(app, acme).running, load_of(app, globex).running) == (2, 3)


def test_a_start_comes_back_into_the_bucket_after_its_share_of_the_minute(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 40)
    set_load(app, acme, rate_per_minute=2)
    enqueue_runs(app, acme, 20)
    assert len(admit(app)) == 2
    set_load(app, acme, minute_full_at=sa.text("minute_full_at - interval '30 seconds'"))
    assert len(admit(app)) == 1


def test_a_clock_that_was_set_back_stops_a_tenant_for_a_minute_at_most(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 40)
    ahead = sa.text("now() + interval '40 days'")
    set_load(app, acme, rate_per_minute=6, runs_per_day=10, minute_full_at=ahead, day_full_at=ahead)
    enqueue_runs(app, acme, 20)
    assert admit(app) == []
    with app.app_context(), system_scope("test") as session:
        dispatcher.mend_buckets(session)
        now = database_now(session)
    load = load_of(app, acme)
    assert load.minute_full_at
    assert load.day_full_at
    assert load.minute_full_at <= now + MINUTE
    assert load.day_full_at <= now + DAY


def test_a_clock_that_was_set_forward_fills_a_bucket_once(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 40)
    long_ago = sa.text("now() - interval '40 days'")
    set_load(app, acme, rate_per_minute=2, minute_full_at=long_ago)
    enqueue_runs(app, acme, 20)
    assert len(admit(app)) == 2
    assert admit(app) == []


def test_eight_dispatchers_at_once_exceed_no_cap_and_no_rate(app: Dashboard, tenants: list[Tenant]) -> None:
    make_worker(app, 60)
    capped, slow, scarce, free = tenants
    set_load(app, capped, max_running=7)
    set_load(app, slow, rate_per_minute=2)  # so few that none comes back while this lasts
    set_load(app, scarce, runs_per_day=5)
    for tenant in tenants:
        enqueue_runs(app, tenant, 60)
    together = threading.Barrier(8)
    admitted: list[dispatcher.Admitted] = []

    def dispatch() -> None:
        together.wait(DEADLINE_SECONDS)
        for _ in range(5):
            admitted.extend(admit(app))

    threads = [threading.Thread(target=dispatch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    count = Counter(run.tenant_id for run in admitted)
    assert count == {capped.id: 7, slow.id: 2, scarce.id: 5, free.id: 30}
    assert len({run.id for run in admitted}) == len(admitted)
    assert [load_of(app, tenant).running for tenant in tenants] == [7, 2, 5, 30]


def test_shares_of_a_thousand_admissions_follow_the_weights(app: Dashboard, tenants: list[Tenant]) -> None:
    make_worker(app, 8)
    weights = (1.0, 2.0, 3.0, 4.0)
    for tenant, weight in zip(tenants, weights, strict=True):
        set_load(app, tenant, weight=weight)
        enqueue_runs(app, tenant, 500)
    admitted: Counter[UUID] = Counter()
    while admitted.total() < 1000:
        admitted.update(run.tenant_id for run in admit(app))
        end_all(app)
    for tenant, weight in zip(tenants, weights, strict=True):
        assert admitted[tenant.id] == pytest.approx(admitted.total() * weight / 10, rel=0.05)


def end_all(app: Dashboard) -> None:
    """Let every admitted run have ended at once."""
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text("UPDATE run SET state = 'succeeded' WHERE state = 'admitted'"))
        session.execute(sa.text("UPDATE tenant_load SET running = 0"))


def test_a_run_that_ends_is_charged_for_the_time_it_held_its_slot(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4)
    set_load(app, acme, weight=2.0)
    enqueue_runs(app, acme)
    (admitted,) = admit(app)
    at_start = load_of(app, acme).vtime
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text("UPDATE run SET state = 'running', started_at = now() - interval '61 seconds'"))
    with app.app_context(), bound(Binding.of(acme)):
        assert leases.finish(admitted.id, admitted.fence, leases.Outcome(state="succeeded"))
    ended = run_of(app, admitted.id)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    held = (ended.finished_at - ended.started_at).total_seconds()
    assert held >= 61
    assert load_of(app, acme).vtime - at_start == pytest.approx(charge(held, leases.COST_UNIT_SECONDS, 2.0))
