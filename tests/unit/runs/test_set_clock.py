"""A database whose clock is set takes no runs from workers that live, and leaves none to those that are dead."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from config.settings import Settings
from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Binding, Tenant, bound
from dashboard.core.trips import system_line
from dashboard.runs import leases, reaper
from dashboard.runs.dispatcher import Pace, admit
from dashboard.runs.leases import Outcome
from dashboard.runs.models import Process
from tests.factories.ledger import enqueue_runs, load_of, make_worker, run_of, states_of
from tests.processes import wait_until
from tests.servers import PostgresAddress
from tests.stopped_clock import StoppedClock, stopped_clock
from worker.scheduler import Reaper


@pytest.fixture
def clock(app: Dashboard, postgres: PostgresAddress, database: str) -> Iterator[StoppedClock]:
    with stopped_clock(app, postgres, database) as stopped:
        yield stopped


@pytest.fixture
def running(app: Dashboard, acme: Tenant, settings: Settings, clock: StoppedClock) -> UUID:
    """The id of a run that a worker has just claimed."""
    make_worker(app, 4)
    (run_id,) = enqueue_runs(app, acme, idempotent=True, max_attempts=3)
    with app.app_context(), system_line("test") as line:
        (admitted,) = admit(line, lease=settings.lease, pace=Pace())
    with app.app_context(), bound(Binding.of(acme)):
        assert leases.claim(run_id, admitted.fence, lease=settings.lease, worker="here")
    return run_id


def test_a_clock_set_forward_leaves_the_workers_a_lease_to_renew(
    app: Dashboard, clock: StoppedClock, running: UUID, settings: Settings
) -> None:
    clock.go_on(timedelta(days=1))  # PostgreSQL has been up for long by it
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text("UPDATE run SET lease_until = now() + :lease"), {"lease": settings.lease})
    looking = Reaper(settings)
    with app.app_context():
        looking.step()
        clock.go_on(timedelta(hours=1))
        looking.step()
        assert states_of(app, [running]) == ["running"]
        wait_until(lambda: looking.step() and states_of(app, [running]) == ["ready"])


def test_what_a_dead_worker_holds_is_not_left_until_a_clock_that_was_set_back_has_caught_up(
    app: Dashboard, clock: StoppedClock, running: UUID, settings: Settings
) -> None:
    clock.go_on(-timedelta(hours=2))
    with app.app_context(), system_scope("test") as session:
        reaper.mend_leases(session, settings.lease)
    assert run_of(app, running).lease_until == clock.now + settings.lease
    clock.go_on(settings.lease + timedelta(seconds=1))
    with app.app_context(), system_scope("test") as session:
        assert session.scalars(sa.select(Process.seen_at)).one() < clock.now - settings.lease
        assert [move.new for move in reaper.reap(session, settings.lease)] == ["ready"]


def test_a_clock_set_forward_charges_a_run_with_its_time_limit_at_most(
    app: Dashboard, acme: Tenant, clock: StoppedClock, running: UUID
) -> None:
    before = load_of(app, acme).vtime
    clock.go_on(timedelta(days=365))
    with app.app_context(), bound(Binding.of(acme)):
        assert leases.finish(running, run_of(app, running).fence, Outcome(state="succeeded"))
    assert load_of(app, acme).vtime - before < run_of(app, running).timeout_seconds
