"""Runs from the ledger through beat and broker into a real worker, and back into the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.clock import database_now
from dashboard.core.errors import Refused
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Actor, Binding, Tenant, bound
from dashboard.runs import actions
from dashboard.runs.models import Process, RunEvent
from tests.factories.ledger import enqueue_runs, load_of, run_of, set_load, states_of, timeline_of
from tests.processes import RunningProcess, beat_process, wait_until, worker_process
from tests.worker.ledger_probes import (
    AGAIN,
    PLUGIN,
    effects_of,
    job,
    log_of,
    starts_of,
    until,
    until_outlasted,
    until_ready,
    until_started,
)

pytestmark = pytest.mark.xdist_group("runs")

SOON = {"backoff": {"base": 0.1}}


@pytest.fixture(scope="module")
def fleet(migrated_app: Dashboard, environment: dict[str, str]) -> Iterator[tuple[RunningProcess, RunningProcess]]:
    """One beat and one worker for all tests of this module."""
    with (
        beat_process(environment, plugins=[PLUGIN]) as beat,
        worker_process(environment, plugins=[PLUGIN], concurrency=4) as worker,
    ):
        yield beat, worker


@pytest.fixture(autouse=True)
def _ready(app: Dashboard, fleet: tuple[RunningProcess, RunningProcess]) -> None:
    until_ready(app)


def test_a_run_is_executed_at_its_tenants_address(
    app: Dashboard, acme: Tenant, globex: Tenant, fleet: tuple[RunningProcess, RunningProcess]
) -> None:
    (ours,) = enqueue_runs(app, acme, **job("sleep_once"))
    (theirs,) = enqueue_runs(app, globex, **job("sleep_once"))
    assert until(app, ours, "succeeded", *fleet).result == {"link": "https://jobs.acme.test/"}
    assert until(app, theirs, "succeeded", *fleet).result == {"link": "http://platform.test/globex/"}
    assert effects_of(app, ours) == 1
    assert timeline_of(app, ours) == ["ready", "admitted", "running", "succeeded"]


def test_many_runs_each_succeed_once(
    app: Dashboard, acme: Tenant, globex: Tenant, fleet: tuple[RunningProcess, RunningProcess]
) -> None:
    runs = enqueue_runs(app, acme, 40, **job("sleep_once")) + enqueue_runs(app, globex, 40, **job("sleep_once"))
    wait_until(lambda: set(states_of(app, runs)) == {"succeeded"}, explain=fleet[1].output)
    assert {effects_of(app, run) for run in runs} == {1}
    assert [(load_of(app, tenant).ready, load_of(app, tenant).running) for tenant in (acme, globex)] == [(0, 0)] * 2


def test_a_failing_run_is_tried_again_until_it_is_dead_and_leaves_nothing(app: Dashboard, acme: Tenant) -> None:
    fields = job("fail", secret="open sesame") | {"max_attempts": 2, **SOON}
    (run_id,) = enqueue_runs(app, acme, **fields)
    run = until(app, run_id, "dead")
    assert timeline_of(app, run_id).count("running") == 2
    assert effects_of(app, run_id) == 0
    assert run.error_type == "ValueError"
    assert "open sesame" not in run.error_message + run.error_traceback
    assert "hunter2" not in run.error_message + run.error_traceback
    assert "Traceback" in run.error_traceback


def test_a_permanent_error_is_never_tried_again(app: Dashboard, acme: Tenant) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("fail", how="permanent"), max_attempts=5)
    assert until(app, run_id, "failed").error_message == "It can never work."
    assert timeline_of(app, run_id).count("running") == 1


def test_a_job_that_asks_for_later_waits_as_long_as_it_said(app: Dashboard, acme: Tenant) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("fail", how="later"), max_attempts=2)
    until(app, run_id, "dead")
    with app.app_context(), system_scope("test") as session:
        first, second = session.scalars(
            sa.select(RunEvent.at).where(RunEvent.run_id == run_id, RunEvent.state == "running").order_by(RunEvent.id)
        )
    assert second - first >= timedelta(seconds=1)


def test_a_job_that_asks_for_later_and_does_not_say_when_is_tried_again_like_any(app: Dashboard, acme: Tenant) -> None:
    fields = job("fail", how="later, but not when") | {"max_attempts": 2, **SOON}
    (run_id,) = enqueue_runs(app, acme, **fields)
    assert until(app, run_id, "dead").error_message == "RetryLater takes a timedelta, not None."


def test_a_run_with_one_attempt_that_fails_has_failed(app: Dashboard, acme: Tenant) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("fail"))
    assert until(app, run_id, "failed").attempt == 1


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (job("nowhere"), "There is no job type 'test.nowhere'"),
        (job("sleep_once", seconds="long"), "seconds"),
        (job("sleep_once") | {"actor": Actor(kind="user", id=uuid4())}, "no longer"),
    ],
    ids=["unknown job type", "unfit parameters", "a person who is gone"],
)
def test_what_cannot_be_executed_fails_with_a_sentence(
    app: Dashboard, acme: Tenant, fields: dict[str, object], sentence: str, fleet: tuple[RunningProcess, RunningProcess]
) -> None:
    (run_id,) = enqueue_runs(app, acme, **fields, max_attempts=3)  # type: ignore[arg-type]
    assert sentence in until(app, run_id, "failed", *fleet).error_message


@pytest.mark.parametrize(
    ("how", "state", "error", "effects"),
    [
        ("half a step", "succeeded", "", 1),
        ("a name that is not UTF-8", "succeeded", "", 1),
        ("NUL", "failed", "BadResult", 0),
        ("an error that is not UTF-8", "failed", "ValueError", 0),
        ("too far", "failed", "UnwritableOutcome", 0),
    ],
)
def test_a_run_ends_once_whatever_its_job_says(
    app: Dashboard, acme: Tenant, how: str, state: str, error: str, effects: int
) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("say_oddly", how=how), max_attempts=1)
    assert until(app, run_id, state).error_type == error
    assert effects_of(app, run_id) == effects
    assert timeline_of(app, run_id) == ["ready", "admitted", "running", state]


def test_a_running_run_that_is_cancelled_stops_at_its_next_check(app: Dashboard, acme: Tenant) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("sleep_once", seconds=60))
    until_started(app, run_id)
    with app.app_context(), bound(Binding.of(acme)):
        actions.cancel(run_id)
        with pytest.raises(Refused, match="being cancelled already"):
            actions.cancel(run_id)
    until(app, run_id, "cancelled")
    assert effects_of(app, run_id) == 0
    assert load_of(app, acme).running == 0


def test_a_waiting_run_that_is_cancelled_never_starts(app: Dashboard, acme: Tenant, gate: Path) -> None:
    set_load(app, acme, max_running=1)
    first, second = enqueue_runs(app, acme, 2, **job("sleep_once", gate=str(gate)))
    until_started(app, first)
    with app.app_context(), bound(Binding.of(acme)):
        assert actions.cancel(second).state == "cancelled"
        with pytest.raises(Refused, match="already ended"):
            actions.cancel(second)
    gate.touch()
    until(app, first, "succeeded")
    assert "running" not in timeline_of(app, second)


def test_a_run_that_takes_too_long_times_out_and_can_be_run_again(app: Dashboard, acme: Tenant) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("deaf", seconds=60), timeout_seconds=3)
    assert "time limit of 3 seconds" in until(app, run_id, "timed_out").error_message
    assert effects_of(app, run_id) == 0
    with app.app_context(), bound(Binding.of(acme)):
        run = actions.retry(run_id)
    assert (run.state, run.attempt, run.error_message) == ("ready", 0, "")
    until(app, run_id, "timed_out")
    assert starts_of(app, run_id) == 2


def test_a_run_that_ignores_its_time_limit_is_killed(app: Dashboard, acme: Tenant) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("deaf", seconds=60, stubborn=True), timeout_seconds=1)
    assert "killed" in until(app, run_id, "timed_out").error_message
    assert effects_of(app, run_id) == 0


def test_a_run_that_kills_its_process_is_given_back_at_once_and_does_not_loop(app: Dashboard, acme: Tenant) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("fail", how="vanish"), idempotent=True, max_attempts=2)
    until(app, run_id, "dead")
    assert timeline_of(app, run_id).count("running") == 2


def test_progress_and_log_are_shown_while_the_job_goes_on(app: Dashboard, acme: Tenant) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("count"))
    run = until(app, run_id, "succeeded")
    assert (run.progress_done, run.progress_total, run.progress_note) == (3, 3, "3 of 3")


def test_a_run_outlasts_its_lease_and_is_started_once(app: Dashboard, acme: Tenant, gate: Path) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("sleep_again", gate=str(gate)), **AGAIN)
    until_started(app, run_id)
    until_outlasted(app, run_id)
    gate.touch()
    until(app, run_id, "succeeded")
    assert (starts_of(app, run_id), effects_of(app, run_id)) == (1, 1)


def test_a_run_for_later_starts_when_its_time_has_come(app: Dashboard, acme: Tenant) -> None:
    with app.app_context(), system_scope("test") as session:
        start = database_now(session) + timedelta(seconds=4)
    (run_id,) = enqueue_runs(app, acme, **job("empty"), not_before=start)
    run = until(app, run_id, "succeeded")
    assert run.started_at is not None
    assert run.started_at >= start
    assert timeline_of(app, run_id)[:2] == ["scheduled", "ready"]


def test_runs_with_one_concurrency_key_follow_one_another(app: Dashboard, acme: Tenant) -> None:
    runs = enqueue_runs(app, acme, 3, **job("sleep_once", seconds=0.3), concurrency_key="report")
    wait_until(lambda: set(states_of(app, runs)) == {"succeeded"})
    ended = None
    for run in sorted((run_of(app, run_id) for run_id in runs), key=lambda run: str(run.started_at)):
        assert run.started_at is not None
        assert ended is None or run.started_at >= ended
        ended = run.finished_at


def test_the_attempt_that_a_lost_message_did_not_begin_costs_nothing(app: Dashboard, acme: Tenant) -> None:
    """Beat dies between commit and publish: the run is admitted, and nobody has heard of it."""
    (run_id,) = enqueue_runs(app, acme, **job("sleep_once"), not_before=None)
    until(app, run_id, "succeeded")
    with app.app_context(), system_scope("test") as session:
        session.execute(
            sa.text("UPDATE run SET state = 'admitted', fence = fence + 1, attempt = 0, lease_until = now()")
        )
        session.execute(sa.text("UPDATE tenant_load SET running = running + 1"))
    wait_until(lambda: effects_of(app, run_id) == 2)
    assert until(app, run_id, "succeeded").attempt == 1


def test_the_fleet_says_that_it_lives(app: Dashboard, acme: Tenant) -> None:
    def rows() -> dict[str, Process]:
        with app.app_context(), system_scope("test") as session:
            return {row.kind: row for row in session.scalars(sa.select(Process))}

    wait_until(lambda: set(rows()) == {"worker", "beat"} and rows()["beat"].tick_ms is not None)
    assert rows()["worker"].slots == 4
    assert set(rows()["worker"].queues) == {"default", "email", "bulk"}
    assert rows()["beat"].skew_ms is not None
    assert rows()["beat"].tzdata


def test_what_a_job_says_holds_no_secret(app: Dashboard, acme: Tenant) -> None:
    (run_id,) = enqueue_runs(app, acme, **job("tell", secret="open sesame"))
    until(app, run_id, "succeeded")
    assert log_of(app, run_id) == ["It is [redacted]."]
