"""Nobody is starved: the pure rule, the same rule in SQL, and what they promise."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.app import Dashboard
from dashboard.core.ids import new_id
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs import dispatcher
from dashboard.runs.dispatcher import Fleet, Pace, share_of, window_of
from dashboard.runs.fairness import Backlog, Waiting, Window, pick
from dashboard.runs.models import Run, TenantLoad
from tests.application import PLATFORM
from tests.factories import make_tenant
from tests.factories.ledger import enqueue_runs, load_of, make_worker, run_of, set_load

QUEUES = ("default", "email", "bulk")
KEYS = (None, None, None, "nightly", "hourly")
SLOTS = 10
LEASE = timedelta(seconds=30)


def waiting(queue: str, is_bulk: bool, priority: int, key: str | None) -> Waiting:
    return Waiting(id=new_id(), queue=queue, is_bulk=is_bulk, priority=priority, key=key)


runs = st.builds(waiting, st.sampled_from(QUEUES[:2]), st.booleans(), st.integers(-1, 1), st.sampled_from(KEYS))
backlogs = st.lists(
    st.builds(
        Backlog,
        tenant_id=st.builds(new_id),
        waiting=st.lists(runs, max_size=6).map(tuple),
        weight=st.sampled_from([0.5, 1.0, 3.0]),
        max_running=st.none() | st.integers(0, 4),
        running=st.integers(0, 3),
        vtime=st.sampled_from([0.0, 1.0, 2.5]),
        last_admitted=st.integers(0, 3),
    ),
    max_size=4,
)
windows = st.builds(
    Window,
    queues=st.just(QUEUES),
    rooms=st.tuples(*[st.integers(0, 6)] * 3),
    free=st.integers(0, 8),
    bulk=st.integers(0, 8),
)


@given(backlogs, windows, st.integers(1, 5))
def test_no_cap_is_ever_exceeded(waits: list[Backlog], window: Window, share: int) -> None:
    picks = pick(waits, window, share)
    assert len(picks) <= window.free
    assert sum(each.run.is_bulk for each in picks) <= window.bulk
    for queue, room in zip(window.queues, window.rooms, strict=True):
        assert sum(each.run.queue == queue for each in picks) <= room
    for backlog in waits:
        mine = [each.run for each in picks if each.tenant_id == backlog.tenant_id]
        cap = share if backlog.max_running is None else backlog.max_running
        assert not mine or backlog.running + len(mine) <= cap
        keys = [run.key for run in mine if run.key]
        assert len(keys) == len(set(keys))


@given(backlogs, windows, st.integers(1, 5))
def test_inside_a_tenant_interactive_comes_first_then_priority_then_age(
    waits: list[Backlog], window: Window, share: int
) -> None:
    picks = pick(waits, replace(window, rooms=(9, 9, 9), bulk=9), share)
    for backlog in waits:
        mine = [each.run.rank for each in picks if each.tenant_id == backlog.tenant_id]
        assert mine == sorted(mine)


@dataclass(slots=True)
class Simulated:
    """A tenant in the simulator; its runs are endless, each one admission long."""

    weight: float
    vtime: float = 0.0
    last: int = 0


def simulate(tenants: dict[UUID, Simulated], rounds: int) -> Counter[UUID]:
    """Return how often each tenant was admitted in `rounds` of one free slot each."""
    window = Window(queues=QUEUES, rooms=(1, 1, 1), free=1, bulk=1)
    admitted: Counter[UUID] = Counter()
    for turn in range(rounds):
        backlog = [
            Backlog(
                tenant_id=tenant_id,
                waiting=(Waiting(id=tenant_id),),
                weight=each.weight,
                vtime=each.vtime,
                last_admitted=each.last,
            )
            for tenant_id, each in tenants.items()
        ]
        (chosen,) = pick(backlog, window, share=1)
        tenants[chosen.tenant_id].vtime = chosen.tag
        tenants[chosen.tenant_id].last = turn
        admitted[chosen.tenant_id] += 1
    return admitted


@given(st.lists(st.sampled_from([1.0, 2.0, 5.0]), min_size=2, max_size=5))
@settings(max_examples=10, deadline=None)
def test_shares_follow_the_weights_within_five_percent(weights: list[float]) -> None:
    tenants = {new_id(): Simulated(weight) for weight in weights}
    admitted = simulate(tenants, 1000)
    for tenant_id, tenant in tenants.items():
        assert admitted[tenant_id] == pytest.approx(1000 * tenant.weight / sum(weights), rel=0.05, abs=3)


@pytest.fixture
def tenants(app: Dashboard) -> list[Tenant]:
    return [make_tenant(app, f"tenant{number}", f"{PLATFORM}/tenant{number}") for number in range(4)]


@given(waits=backlogs, window=windows, share=st.integers(1, 5))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_sql_picks_what_the_rule_picks(
    app: Dashboard, tenants: list[Tenant], waits: list[Backlog], window: Window, share: int
) -> None:
    waits = [replace(backlog, tenant_id=tenant.id) for backlog, tenant in zip(waits, tenants, strict=False)]
    expected = [each.run.id for each in pick(waits, window, share)]
    with app.app_context(), system_scope("test") as session:
        for backlog in waits:
            write(session, backlog)
        rows = session.execute(
            dispatcher.ADMIT,
            {
                "queues": list(window.queues),
                "rooms": list(window.rooms),
                "free": window.free,
                "bulk": window.bulk,
                "share": share,
                "tenants": None,
                "lease": LEASE,
            },
        ).mappings()
        admitted = [row["id"] for row in rows]
        session.rollback()
    assert admitted == expected


def write(session: sa.orm.Session, backlog: Backlog) -> None:
    """Put a backlog into the tables, as the dispatcher will find it."""
    session.execute(
        sa.update(TenantLoad)
        .where(TenantLoad.tenant_id == backlog.tenant_id)
        .values(
            weight=backlog.weight,
            max_running=backlog.max_running,
            ready=len(backlog.waiting),
            running=backlog.running,
            vtime=backlog.vtime,
            last_admitted=backlog.last_admitted,
        )
    )
    if backlog.waiting:
        session.execute(
            sa.insert(Run),
            [
                {
                    "id": run.id,
                    "tenant_id": backlog.tenant_id,
                    "name": "Report",
                    "job_type": "test.report",
                    "state": "ready",
                    "queue": run.queue,
                    "lane": "bulk" if run.is_bulk else "interactive",
                    "priority": run.priority,
                    "concurrency_key": run.key,
                }
                for run in backlog.waiting
            ],
        )


def admit(app: Dashboard) -> list[dispatcher.Admitted]:
    with app.app_context(), system_scope("test") as session:
        return dispatcher.admit(session, lease=LEASE, pace=Pace())


def test_one_run_of_a_quiet_tenant_overtakes_anothers_flood(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    make_worker(app, 2)
    enqueue_runs(app, acme, 200)
    assert {run.tenant_id for run in admit(app)} == {acme.id}
    (single,) = enqueue_runs(app, globex)
    assert [run.id for run in admit(app)] == [single]


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
        session.execute(sa.text("UPDATE process SET seen_at = now() - interval '31 seconds'"))
    enqueue_runs(app, acme)
    assert admit(app) == []


def test_of_two_runs_with_one_key_the_second_waits_for_the_first(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4)
    first, second = enqueue_runs(app, acme, 2, concurrency_key="nightly")
    assert [run.id for run in admit(app)] == [first]
    assert admit(app) == []
    assert run_of(app, second).state == "ready"


@pytest.mark.parametrize(
    ("ends_per_second", "ahead"), [(5, 0), (20, 10), (400, 20), (5000, 30)], ids=["long", "short", "shorter", "empty"]
)
def test_only_short_runs_may_lie_ahead_in_the_broker(ends_per_second: int, ahead: int) -> None:
    moment = [0.0]
    pace = Pace(clock=lambda: moment[0])
    fleet = Fleet(workers=((frozenset(QUEUES), 10),))
    for second in range(30):
        moment[0] = float(second)
        pace.observe(second * ends_per_second + 10, 10)
    assert pace.ahead(fleet, fleet.slots) == pytest.approx(ahead, abs=1)


def test_a_tenant_without_a_cap_gets_half_and_one_at_least() -> None:
    fleet = Fleet(workers=((frozenset(QUEUES), 10),))
    assert (share_of(fleet, 0), share_of(fleet, 10), share_of(Fleet(workers=()), 0)) == (5, 10, 1)
    assert window_of(fleet, {("default", "bulk"): 4}, 0).free == 6


def test_workers_that_share_no_queue_are_apart() -> None:
    workers = (frozenset({"default", "bulk"}), 2), (frozenset({"email"}), 3), (frozenset({"bulk"}), 4)
    islands = Fleet(workers=workers).islands()
    assert sorted((island.queues, island.slots) for island in islands) == [(("bulk", "default"), 6), (("email",), 3)]


def test_the_plan_of_an_admission_uses_the_index_of_ready_runs(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    enqueue_runs(app, acme, 3000)
    enqueue_runs(app, globex, 3000)
    values = {"queues": list(QUEUES), "rooms": [4] * 3, "free": 4, "bulk": 4, "share": 4, "tenants": 4, "lease": LEASE}
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text("ANALYZE run"))
        plan = "\n".join(session.scalars(sa.text(f"EXPLAIN {dispatcher.ADMIT.text}"), values))
    assert "ix_run_ready" in plan
    assert "Seq Scan on run" not in plan
