"""A process that freezes in the middle of a transaction, or whose machine is gone, holds up nobody for long."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from threading import Thread

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session

from dashboard.app import Dashboard
from dashboard.core.clock import database_now
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.core.trips import system_line
from dashboard.database import WalledSession
from dashboard.runs import dispatcher, load
from dashboard.runs.dispatcher import Pace, admit, take_turn
from dashboard.runs.load import reconcile
from dashboard.schedules import planner
from tests.factories.ledger import enqueue_runs, load_of, make_worker, set_load
from tests.factories.schedules import make_schedule, planned, runs
from tests.processes import DEADLINE_SECONDS, wait_until

LEASE = timedelta(minutes=10)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PostgreSQL give up on whoever is silent for longer than one who works is, also on a slow machine."""
    for module in (dispatcher, load, planner):
        monkeypatch.setattr(module, "FROZEN_AFTER", "2s")


def admits(app: Dashboard) -> int:
    with app.app_context(), system_line("test") as line:
        return len(admit(line, lease=LEASE, pace=Pace()))


def meanwhile(act: Callable[[], int]) -> int:
    """Return what `act` returns; fails if it still waits at the deadline."""
    done: list[int] = []
    Thread(target=lambda: done.append(act()), daemon=True).start()
    wait_until(lambda: done, DEADLINE_SECONDS)
    return done[0]


def test_another_dispatcher_takes_the_turn_of_one_that_freezes(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4)
    enqueue_runs(app, acme)
    with pytest.raises(psycopg.Error):
        freeze_while_others_admit(app, 1)


def freeze_while_others_admit(app: Dashboard, count: int) -> None:
    with app.app_context(), system_line("test") as line:
        assert take_turn(line, LEASE)
        assert meanwhile(lambda: admits(app)) == count


def test_a_tenants_counters_are_let_go_if_their_holder_freezes_before_its_commit(
    app: Dashboard, acme: Tenant, globex: Tenant
) -> None:
    make_worker(app, 8)
    for tenant in (acme, globex):
        enqueue_runs(app, tenant)
    admitted: list[int] = []

    def freeze(session: Session) -> None:
        if session.info.get("system") == "test" and not admitted:
            admitted.append(meanwhile(lambda: admits(app)))

    event.listen(WalledSession, "before_commit", freeze)
    try:
        with pytest.raises(sa.exc.DBAPIError):
            enqueue_runs(app, acme)
    finally:
        event.remove(WalledSession, "before_commit", freeze)
    assert admitted == [2]
    assert (load_of(app, acme).ready, load_of(app, acme).running) == (0, 1)


def test_another_planner_plans_what_one_holds_that_freezes(app: Dashboard, acme: Tenant) -> None:
    make_schedule(app, acme, due_for=timedelta(seconds=5))
    with pytest.raises(sa.exc.DBAPIError):
        freeze_while_others_plan(app)
    assert len(runs(app)) == 1


def freeze_while_others_plan(app: Dashboard) -> None:
    with app.app_context(), system_scope("frozen") as session:
        assert planner.plan(session, database_now(session)).runs == 1
        assert wait_until(lambda: planned(app).runs) == 1


def test_counters_that_somebody_holds_are_set_right_the_next_time_and_nobody_waits(
    app: Dashboard, acme: Tenant, globex: Tenant
) -> None:
    for tenant in (acme, globex):
        set_load(app, tenant, ready=5)
    with app.app_context(), system_scope("holder") as holder:
        holder.execute(sa.text("SELECT FROM tenant_load WHERE tenant_id = :id FOR UPDATE"), {"id": acme.id})
        assert meanwhile(lambda: reconciled(app)) == 1
        assert (load_of(app, acme).ready, load_of(app, globex).ready) == (5, 0)
    assert reconciled(app) == 1
    assert reconciled(app) == 0
    assert load_of(app, acme).ready == 0


def reconciled(app: Dashboard) -> int:
    with app.app_context(), system_scope("test") as session:
        return len(reconcile(session))
