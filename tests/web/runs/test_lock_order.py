"""Whoever locks many runs does it in one order, so that two who meet never wait for each other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from threading import Thread
from uuid import UUID

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.clock import database_now
from dashboard.core.orm import db, system_scope
from dashboard.core.tenancy import Binding, Tenant, bound
from dashboard.core.trips import system_line
from dashboard.runs import bulk, leases
from dashboard.runs.dispatcher import Admitted, Pace, admit, hand_back
from dashboard.runs.models import Run, TenantLoad
from dashboard.runs.selection import Selection
from dashboard.schedules import actions, backfills
from dashboard.schedules.models import Backfill, Schedule
from tests.factories.ledger import enqueue_runs, make_worker, states_of
from tests.factories.schedules import make_schedule
from tests.processes import DEADLINE_SECONDS, wait_until

Stop = Callable[[], object]


def archiving(app: Dashboard, acme: Tenant) -> Stop:
    schedule = make_schedule(app, acme)
    enqueue_runs(app, acme, 2, schedule_id=schedule.id)
    return lambda: actions.archive(db.session.get_one(Schedule, schedule.id))


def stopping_a_backfill(app: Dashboard, acme: Tenant) -> Stop:
    schedule_id = make_schedule(app, acme, due_for=timedelta(minutes=9)).id
    with app.app_context(), bound(Binding.of(acme)):
        now = database_now(db.session())
        schedule = db.session.get_one(Schedule, schedule_id)
        made = backfills.create(schedule, now - timedelta(seconds=150), now, "rerun")
    return lambda: backfills.stop(db.session.get_one(Backfill, made.id))


def handing_back(app: Dashboard, acme: Tenant) -> Stop:
    make_worker(app, 9)
    enqueue_runs(app, acme, 2)
    with app.app_context(), system_line("test") as line:
        admitted: list[Admitted] = admit(line, lease=timedelta(minutes=1), pace=Pace())

    def stop() -> None:
        with system_scope("test") as session:
            hand_back(session, admitted[::-1], "The broker did not take its message.")

    return stop


def renewing_leases(app: Dashboard, acme: Tenant) -> Stop:
    make_worker(app, 9)
    enqueue_runs(app, acme, 2)
    with app.app_context(), system_line("test") as line:
        held = [(run.id, run.fence) for run in admit(line, lease=timedelta(minutes=1), pace=Pace())]
    with app.app_context(), bound(Binding.of(acme)):
        for run_id, fence in held:
            assert leases.claim(run_id, fence, lease=timedelta(minutes=1), worker="here")
    return lambda: leases.renew(held[::-1], lease=timedelta(minutes=1))


@pytest.mark.parametrize("scene", [archiving, stopping_a_backfill, handing_back, renewing_leases])
def test_who_waits_for_a_run_holds_none_that_comes_after_it(
    app: Dashboard, acme: Tenant, scene: Callable[[Dashboard, Tenant], Stop]
) -> None:
    stop = scene(app, acme)
    first, *others = ids_backwards(app)
    stopping = Thread(target=in_tenant, args=(app, acme, stop))
    with app.app_context(), system_scope("test") as holder:
        holder.scalars(sa.select(Run.id).where(Run.id == first).with_for_update()).one()
        stopping.start()
        wait_until(lambda: somebody_waits(app))
        with system_scope("test") as another:
            behind = sa.select(Run.id).where(Run.id.in_(others)).with_for_update(skip_locked=True)
            assert sorted(another.scalars(behind)) == others
    stopping.join(DEADLINE_SECONDS)
    assert set(states_of(app, [first, *others])) <= {"cancelled", "ready", "running"}


def test_a_bulk_action_that_holds_runs_waits_for_no_other(app: Dashboard, acme: Tenant) -> None:
    held, free = enqueue_runs(app, acme, 2)
    starting = Thread(target=in_tenant, args=(app, acme, lambda: bulk.start("cancel", Selection())))
    with app.app_context(), system_scope("test") as holder:
        holder.scalars(sa.select(Run.id).where(Run.id == held).with_for_update()).one()
        starting.start()
        wait_until(lambda: states_of(app, [held, free]) == ["ready", "cancelled"])
    starting.join(DEADLINE_SECONDS)
    with app.app_context(), system_scope("test") as session:
        assert bulk.advance(session)
    assert states_of(app, [held, free]) == ["cancelled", "cancelled"]


def test_a_dispatcher_that_waits_for_a_tenants_counters_holds_none_that_come_after_them(
    app: Dashboard, acme: Tenant, globex: Tenant
) -> None:
    """Whoever moves runs of both locks the earlier tenant's first, also where workers share no queue."""
    earlier, later = sorted((acme, globex), key=lambda tenant: tenant.id)
    for queue, tenant in (("default", later), ("email", earlier)):
        make_worker(app, 4, [queue], name=queue)
        enqueue_runs(app, tenant, queue=queue)
    dispatching = Thread(target=admit_twice, args=(app,))
    with app.app_context(), system_scope("test") as holder:
        holder.scalars(counters_of(earlier).with_for_update()).one()
        dispatching.start()
        wait_until(lambda: somebody_waits(app))
        with system_scope("test") as another:
            assert another.scalars(counters_of(later).with_for_update(skip_locked=True)).all() == [later.id]
    dispatching.join(DEADLINE_SECONDS)
    assert states_of(app, ids_backwards(app)) == ["admitted", "admitted"]


def counters_of(tenant: Tenant) -> sa.Select[UUID]:
    return sa.select(TenantLoad.tenant_id).where(TenantLoad.tenant_id == tenant.id)


def admit_twice(app: Dashboard) -> None:
    pace = Pace()
    for _ in range(2):
        with app.app_context(), system_line("test") as line:
            admit(line, lease=timedelta(minutes=1), pace=pace)


def ids_backwards(app: Dashboard) -> list[UUID]:
    """Return the ids of all runs, the first one first; their rows lie in the table the other way round."""
    with app.app_context(), system_scope("test") as session:
        ids = list(session.scalars(sa.select(Run.id).order_by(Run.id)))
        for run_id in reversed(ids):
            session.execute(sa.update(Run).where(Run.id == run_id).values(priority=1))
    assert len(ids) > 1
    return ids


def in_tenant(app: Dashboard, tenant: Tenant, act: Stop) -> None:
    with app.app_context(), bound(Binding.of(tenant)):
        act()


def somebody_waits(app: Dashboard) -> bool:
    with app.app_context(), system_scope("test") as session:
        return bool(session.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")))
