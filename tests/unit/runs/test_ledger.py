"""Runs are counted, moved and finished exactly as committed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.clock import database_now
from dashboard.core.orm import db, system_scope, tenant_session
from dashboard.core.tenancy import Binding, Tenant, bound
from dashboard.core.trips import system_line
from dashboard.runs import dispatcher, leases, ledger, reaper
from dashboard.runs.dispatcher import Admitted, Pace
from dashboard.runs.leases import Outcome
from dashboard.runs.load import reconcile
from dashboard.runs.models import Process, Run, RunEvent, RunLog
from tests.factories.ledger import (
    broken_timelines,
    enqueue_runs,
    load_of,
    make_worker,
    run_of,
    set_load,
    states_of,
    timeline_of,
)
from worker.scheduler import POLL_SECONDS, SOMEBODY_HOLDS_SECONDS, Reaper

LEASE = timedelta(seconds=30)
OVER = timedelta(seconds=-1)


def admit(app: Dashboard, lease: timedelta = LEASE) -> list[Admitted]:
    with app.app_context(), system_line("test") as line:
        return dispatcher.admit(line, lease=lease, pace=Pace())


def claim(app: Dashboard, tenant: Tenant, run: Admitted, lease: timedelta = LEASE) -> leases.Claim | None:
    with app.app_context(), bound(Binding.of(tenant)):
        return leases.claim(run.id, run.fence, lease=lease, worker="here")


def finish(app: Dashboard, tenant: Tenant, run: Admitted, outcome: Outcome) -> bool:
    with app.app_context(), bound(Binding.of(tenant)):
        return leases.finish(run.id, run.fence, outcome)


def reap(app: Dashboard) -> list[str]:
    with app.app_context(), system_scope("test") as session:
        return [move.new for move in reaper.reap(session, timedelta())]


def counters(app: Dashboard, tenant: Tenant) -> tuple[int, int]:
    load = load_of(app, tenant)
    return load.ready, load.running


def test_a_run_goes_from_ready_to_succeeded_and_is_counted_on_the_way(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4)
    (run_id,) = enqueue_runs(app, acme)
    assert counters(app, acme) == (1, 0)
    (admitted,) = admit(app)
    assert counters(app, acme) == (0, 1)
    held = claim(app, acme, admitted)
    assert held is not None
    assert held.attempt == 1
    assert finish(app, acme, admitted, Outcome(state="succeeded", result={"rows": 3}))
    assert counters(app, acme) == (0, 0)
    assert timeline_of(app, run_id) == ["ready", "admitted", "running", "succeeded"]
    assert run_of(app, run_id).result == {"rows": 3}


def test_a_run_exists_only_if_its_cause_is_committed(app: Dashboard, acme: Tenant) -> None:
    request = ledger.RunRequest(tenant_id=acme.id, name="Report", job_type="test.report")
    with app.app_context(), bound(Binding.of(acme)):
        ledger.enqueue(db.session(), request)
        db.session.rollback()
        ledger.enqueue(db.session(), request)
        with db.session.begin_nested() as savepoint:
            ledger.enqueue(db.session(), request)
            savepoint.rollback()
        db.session.commit()
    assert counters(app, acme) == (1, 0)


def test_a_transaction_that_enqueued_a_run_and_goes_on_holds_up_nobody(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4)
    enqueue_runs(app, acme)
    request = ledger.RunRequest(tenant_id=acme.id, name="Report", job_type="test.report")
    with app.app_context(), bound(Binding.of(acme)), tenant_session() as session:
        ledger.enqueue(session, request)
        assert len(admit(app)) == 1
    assert counters(app, acme) == (1, 1)


def test_a_run_with_a_later_start_waits_for_it(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4)
    with app.app_context(), system_scope("test") as session:
        now = database_now(session)
    (later,) = enqueue_runs(app, acme, not_before=now + timedelta(hours=1))
    assert admit(app) == []
    with app.app_context(), system_scope("test") as session:
        assert reaper.next_due(session) == now + timedelta(hours=1)
        assert reaper.wake_due(session) == []
        session.execute(sa.update(Run).values(not_before=now))
    with app.app_context(), system_scope("test") as session:
        assert [move.new for move in reaper.wake_due(session)] == ["ready"]
    assert [run.id for run in admit(app)] == [later]


def test_a_run_whose_time_has_come_is_left_for_a_moment_to_whoever_holds_it(app: Dashboard, acme: Tenant) -> None:
    with app.app_context(), system_scope("test") as session:
        now = database_now(session)
    (run_id,) = enqueue_runs(app, acme, not_before=now + timedelta(hours=1))
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Run).values(not_before=now))
    looking = Reaper(app.extensions["settings"])
    with app.app_context():
        with system_scope("test") as somebody:
            ledger.lock(somebody, run_id)
            assert looking.step() == SOMEBODY_HOLDS_SECONDS
        assert looking.step() == POLL_SECONDS
    assert states_of(app, [run_id]) == ["ready"]


def test_a_run_that_is_too_late_is_skipped_and_one_that_began_is_dead(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4)
    with app.app_context(), system_scope("test") as session:
        past = database_now(session) - timedelta(seconds=1)
    fresh, begun = enqueue_runs(app, acme, 2, expires_at=past)
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Run).where(Run.id == begun).values(attempt=1))
    assert admit(app) == []
    with app.app_context(), system_scope("test") as session:
        reaper.expire(session)
    assert states_of(app, [fresh, begun]) == ["skipped", "dead"]
    assert run_of(app, fresh).reason == "expired"
    assert counters(app, acme) == (0, 0)


def test_only_the_message_of_the_latest_admission_claims_and_only_once(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4)
    enqueue_runs(app, acme)
    (lost,) = admit(app)
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Run).values(lease_until=sa.func.now() - timedelta(seconds=1)))
    assert reap(app) == ["ready"]
    (again,) = admit(app)
    assert again.fence == lost.fence + 1
    assert claim(app, acme, lost) is None
    held = claim(app, acme, again)
    assert held is not None
    assert held.attempt == 1
    assert claim(app, acme, again) is None


def test_a_message_with_another_tenants_header_claims_nothing(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    make_worker(app, 4)
    enqueue_runs(app, acme)
    (admitted,) = admit(app)
    assert claim(app, globex, admitted) is None
    assert claim(app, acme, admitted) is not None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"idempotent": True, "max_attempts": 2}, "ready"),
        ({"idempotent": True, "max_attempts": 1}, "dead"),
        ({"idempotent": False, "max_attempts": 3}, "interrupted"),
    ],
    ids=["idempotent", "attempts used up", "not idempotent"],
)
def test_a_dead_workers_run(app: Dashboard, acme: Tenant, values: dict[str, Any], expected: str) -> None:
    make_worker(app, 4)
    (run_id,) = enqueue_runs(app, acme, **values)
    (admitted,) = admit(app)
    claim(app, acme, admitted, lease=OVER)
    assert reap(app) == [expected]
    assert states_of(app, [run_id]) == [expected]
    assert run_of(app, run_id).worker == ("" if expected == "ready" else "here")
    assert not finish(app, acme, admitted, Outcome(state="succeeded"))
    assert counters(app, acme) == ((1, 0) if expected == "ready" else (0, 0))


def test_nothing_is_reaped_right_after_the_database_came_back(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4)
    enqueue_runs(app, acme)
    (admitted,) = admit(app)
    claim(app, acme, admitted, lease=OVER)
    with app.app_context(), system_scope("test") as session:
        assert reaper.reap(session, timedelta(days=1)) == []


def test_a_renewal_keeps_the_lease_and_tells_about_cancellation_and_loss(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 8)
    kept, told, lost = enqueue_runs(app, acme, 3, idempotent=True, max_attempts=2)
    fences = {run.id: run for run in admit(app)}
    for each in fences.values():
        claim(app, acme, each, lease=OVER if each.id == lost else LEASE)
    assert reap(app) == ["ready"]
    with app.app_context(), system_scope("test") as session:
        run = ledger.lock(session, told)
        assert run is not None
        assert ledger.cancel(session, run, note="Cancelled.")
        assert not ledger.cancel(session, run, note="Cancelled.")
    with app.app_context(), bound(Binding.of(acme)):
        renewed = leases.renew([(each.id, each.fence) for each in fences.values()], lease=LEASE)
    assert (renewed[kept].kept, renewed[kept].cancelled) == (True, False)
    assert (renewed[told].kept, renewed[told].cancelled) == (True, True)
    assert not renewed[lost].kept


def test_a_run_to_be_tried_again_waits_for_its_backoff_and_keeps_its_error(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4)
    (run_id,) = enqueue_runs(app, acme, max_attempts=2)
    (admitted,) = admit(app)
    claim(app, acme, admitted)
    fault = leases.Fault(type="ValueError", message="no")
    assert finish(app, acme, admitted, Outcome(state="retrying", delay=timedelta(hours=1), fault=fault))
    run = run_of(app, run_id)
    assert (run.state, run.error_message, run.finished_at) == ("retrying", "no", None)
    assert run.not_before is not None
    assert counters(app, acme) == (0, 0)


def test_what_could_not_be_sent_is_ready_again_and_costs_no_attempt(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4)
    (run_id,) = enqueue_runs(app, acme)
    admitted = admit(app)
    with app.app_context(), system_scope("test") as session:
        dispatcher.hand_back(session, admitted, "The broker is away.")
    assert (run_of(app, run_id).state, run_of(app, run_id).attempt) == ("ready", 0)
    assert counters(app, acme) == (1, 0)


def test_a_stopped_workers_runs_come_back_at_once_and_keep_their_attempt(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 8)
    again, asks = enqueue_runs(app, acme, 1, idempotent=True) + enqueue_runs(app, acme, 1, idempotent=False)
    for run in admit(app):
        claim(app, acme, run)
    with app.app_context(), system_scope("test") as session:
        reaper.release_all(session, "here", "Its worker was stopped.")
    assert states_of(app, [again, asks]) == ["ready", "interrupted"]
    assert run_of(app, again).attempt == 0
    assert counters(app, acme) == (1, 0)


def test_an_illegal_move_is_refused(app: Dashboard, acme: Tenant) -> None:
    (run_id,) = enqueue_runs(app, acme)
    with app.app_context(), system_scope("test") as session:
        run = ledger.lock(session, run_id)
        assert run is not None
        with pytest.raises(ledger.IllegalMove):
            ledger.move(session, run, "succeeded")


def test_a_timeline_with_a_hole_or_an_illegal_move_is_seen(app: Dashboard, acme: Tenant) -> None:
    whole, leapt, silent = enqueue_runs(app, acme, 3)
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Run).values(state="cancelled"))
        lines = [(whole, "cancelled"), (leapt, "succeeded"), (leapt, "cancelled")]
        rows = [{"tenant_id": acme.id, "run_id": run_id, "state": state} for run_id, state in lines]
        session.execute(sa.insert(RunEvent), rows)
        assert broken_timelines(session, [whole, leapt, silent]) == {leapt, silent}


def test_counters_that_drifted_are_set_right_and_named(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    enqueue_runs(app, acme, 3)
    enqueue_runs(app, globex, 1)
    set_load(app, acme, ready=7, running=2)
    with app.app_context(), system_scope("test") as session:
        (drift,) = reconcile(session)
    assert (drift.tenant_id, drift.ready, drift.counted_ready) == (acme.id, 3, 7)
    assert counters(app, acme) == (3, 0)


def test_a_run_of_nobody_is_not_found(app: Dashboard, acme: Tenant) -> None:
    with app.app_context(), bound(Binding.of(acme)), tenant_session() as session:
        assert ledger.lock(session, uuid4()) is None


def test_a_process_that_has_been_silent_for_a_day_is_forgotten(app: Dashboard) -> None:
    make_worker(app, 4, name="gone@test")
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Process).values(seen_at=sa.func.now() - timedelta(days=2)))
    make_worker(app, 4, name="here@test")
    with app.app_context(), system_scope("test") as session:
        reaper.forget_processes(session)
        assert session.scalars(sa.select(Process.name)).all() == ["here@test"]


def test_nobody_waits_for_a_jobs_open_transaction(app: Dashboard, acme: Tenant) -> None:
    make_worker(app, 4)
    (run_id,) = enqueue_runs(app, acme)
    (admitted,) = admit(app)
    claim(app, acme, admitted, lease=OVER)
    with app.app_context(), bound(Binding.of(acme)), tenant_session() as job:
        job.add(RunLog(run_id=run_id, attempt=1, level="info", text="A row that shares the run's key."))
        job.flush()
        with system_scope("test") as session:
            session.execute(sa.text("SET LOCAL lock_timeout = '2s'"))
            run = ledger.lock(session, run_id)
            assert run is not None
            assert ledger.cancel(session, run, note="Cancelled.")
        assert reap(app) == ["cancelled"]
