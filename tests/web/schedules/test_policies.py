"""What an operator sets of a schedule beside its times is kept, told in words, and followed."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.clock import database_now
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.models import Run
from dashboard.schedules.models import Schedule
from dashboard.schedules.planner import plan
from tests.factories import make_user
from tests.factories.runs import make_run
from tests.factories.schedules import echo_form, make_schedule, occurrences, planned, runs, stored
from tests.pages import text_of
from tests.signing_in import Browser, sign_in

POLICIES = {
    "tags": "warehouse, month end,, warehouse",
    "priority": "-3",
    "catchup": "all",
    "catchup_cap": "7",
    "max_attempts": "4",
    "backoff_kind": "fixed",
    "backoff_base": "120",
    "backoff_max": "240",
    "pause_after_failures": "2",
}
MINUTELY = {"when": "interval", "every_count": "1", "every_unit": "minutes"}


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


def only_schedule(app: Dashboard) -> Schedule:
    with app.app_context(), system_scope("test") as session:
        return session.scalars(sa.select(Schedule)).one()


def ended(app: Dashboard, tenant: Tenant, schedule: Schedule, *states: str) -> None:
    """Give the schedule runs that ended like this, the oldest first."""
    for state in states:
        make_run(app, tenant, state, schedule_id=schedule.id)


def due_again(app: Dashboard, schedule: Schedule) -> None:
    """Let a schedule that fires every minute be due, for one fire."""
    with app.app_context(), system_scope("test") as session:
        now = database_now(session)
        due = {"next_at": now, "cursor": now - timedelta(seconds=60)}
        session.execute(sa.update(Schedule).where(Schedule.id == schedule.id).values(**due))


def test_policies_are_kept_shown_again_and_carried_by_the_runs(app: Dashboard, operator: Browser) -> None:
    assert operator.post("/schedules", data=echo_form(**POLICIES, **MINUTELY)).status_code == 303
    schedule = only_schedule(app)
    assert (schedule.tags, schedule.priority, schedule.catchup_cap) == (["month end", "warehouse"], -3, 7)
    assert schedule.backoff == {"kind": "fixed", "base": 120, "max": 240}
    page = operator.get(f"/schedules/{schedule.id}/edit").text
    shown = {"priority": "-3", "catchup_cap": "7", "backoff_base": "120", "pause_after_failures": "2"}
    for name, value in {**shown, "tags": "month end, warehouse"}.items():
        assert f'id="field-{name}" value="{value}"' in page
    due_again(app, schedule)
    planned(app)
    (run,) = runs(app)
    assert (run.priority, run.max_attempts, run.backoff) == (-3, 4, schedule.backoff)


def test_the_history_tells_policies_in_words(app: Dashboard, operator: Browser) -> None:
    operator.post("/schedules", data=echo_form())
    schedule = only_schedule(app)
    operator.post(f"/schedules/{schedule.id}", data=echo_form(rev="1", **POLICIES))
    page = operator.get(f"/schedules/{schedule.id}/revisions").text
    for told in ("2 min each time", "warehouse", "Pauses after failures in a row", "Priority", "Run each of them"):
        assert told in page


def test_the_page_of_a_schedule_tells_its_policies_in_words(app: Dashboard, operator: Browser) -> None:
    operator.post("/schedules", data=echo_form(**POLICIES, overlap="queue_one"))
    page = operator.get(f"/schedules/{only_schedule(app).id}").text
    for told in ("Let one wait", "Run each of them", "2 min each time", "Pauses after failures in a row"):
        assert told in page
    assert "cancel_running" not in page


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("priority", "11", "Give a whole number from -10 to 10."),
        ("priority", "--1", "Give a whole number from -10 to 10."),
        ("catchup_cap", "5000", "Give a whole number from 1 to 1,000"),
        ("backoff_base", "0", "Give a whole number from 1 to 86,400"),
        ("backoff_kind", "wild", "Choose one of the list."),
        ("pause_after_failures", "often", "Give a whole number from 1 to 100"),
        ("tags", ", ".join(map(str, range(11))), "Give at most 10 tags"),
        ("tags", "x" * 31, "Give at most 10 tags"),
    ],
    ids=["high", "odd", "cap", "base", "kind", "failures", "many", "long"],
)
def test_a_policy_that_cannot_be_comes_back_with_a_sentence(
    app: Dashboard, operator: Browser, field: str, value: str, sentence: str
) -> None:
    response = operator.post("/schedules", data=echo_form(**{field: value}))
    assert response.status_code == 422
    assert sentence in response.text
    assert '<details class="card when-part when-once when-interval when-cron" id="policies" open>' in response.text


@pytest.mark.parametrize("waits", [("60", "30"), ("7200", "")], ids=["given", "an hour unless given"])
def test_the_longest_wait_is_not_shorter_than_the_first(operator: Browser, waits: tuple[str, str]) -> None:
    response = operator.post("/schedules", data=echo_form(backoff_base=waits[0], backoff_max=waits[1]))
    assert response.status_code == 422
    assert "Give at least as much as the first wait." in response.text


def test_tags_are_shown_in_the_list_and_found_there(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    make_schedule(app, acme, name="Tagged", tags=["month end", "warehouse"])
    make_schedule(app, acme, name="Plain")
    assert "#month end" in operator.get("/schedules").text
    found = operator.get("/schedules?q=Warehouse").text
    assert "Tagged" in found
    assert "Plain" not in found


def failing(app: Dashboard, tenant: Tenant, pause_after_failures: int = 2, **values: Any) -> Schedule:
    """A schedule that is due and pauses after two failures in a row, or after as many as are given."""
    return make_schedule(app, tenant, due_for=timedelta(seconds=5), pause_after_failures=pause_after_failures, **values)


@pytest.mark.parametrize("states", [("failed", "dead"), ("succeeded", "timed_out", "cancelled", "interrupted")])
def test_a_schedule_pauses_after_as_many_failures_in_a_row_as_it_allows(
    app: Dashboard, operator: Browser, acme: Tenant, states: tuple[str, ...]
) -> None:
    schedule = failing(app, acme)
    ended(app, acme, schedule, *states)
    assert planned(app).runs == 0
    assert len(runs(app)) == len(states)
    page = operator.get(f"/schedules/{schedule.id}").text
    assert "Its last 2 runs failed." in page
    assert stored(app, schedule).state == "paused"
    problems = operator.get("/problems?view=schedules").text
    assert f'id="schedule-{schedule.id}"' in problems
    assert "Its last 2 runs failed." in problems
    assert 'Need attention <span class="count tone-bad">1' in operator.get("/schedules").text


def paused_until_now(app: Dashboard, tenant: Tenant, name: str = "Export") -> Schedule:
    """A schedule whose pause runs out with the next look of a planner."""
    return make_schedule(
        app, tenant, name=name, paused_at=sa.func.now(), paused_until=sa.func.now(), paused_reason="Stocktaking"
    )


def entries(app: Dashboard) -> list[tuple[Any, ...]]:
    """What the trail says of schedules: tenant, actor, action, subject, details."""
    columns = (AuditEntry.tenant_id, AuditEntry.actor_kind, AuditEntry.action, AuditEntry.subject_name)
    query = sa.select(*columns, AuditEntry.details).where(AuditEntry.subject_kind == "schedule")
    with app.app_context(), system_scope("test") as session:
        return [tuple(row) for row in session.execute(query.order_by(AuditEntry.id))]


def assert_audited_once(app: Dashboard, acme: Tenant, globex: Tenant, action: str, why: str) -> None:
    """Plan, and find Acme's Export and Globex's Import in the trails, each in its own; planning again adds nothing."""
    planned(app)
    reason = {"reason": why}
    assert sorted(entries(app), key=lambda entry: entry[3]) == [
        (acme.id, "system", action, "Export", reason),
        (globex.id, "system", action, "Import", reason),
    ]
    planned(app)
    assert len(entries(app)) == 2


def test_a_pause_after_failures_is_audited_in_its_own_tenant_as_the_systems(
    app: Dashboard, acme: Tenant, globex: Tenant
) -> None:
    for tenant, name in ((acme, "Export"), (globex, "Import")):
        ended(app, tenant, failing(app, tenant, name=name), "failed", "failed")
    failing(app, acme, name="Never ran")
    assert_audited_once(app, acme, globex, "schedule.pause", "Its last 2 runs failed.")


def test_the_end_of_a_pause_that_runs_out_is_audited_in_its_own_tenant_as_the_systems(
    app: Dashboard, acme: Tenant, globex: Tenant
) -> None:
    paused_until_now(app, acme)
    paused_until_now(app, globex, "Import")
    assert_audited_once(app, acme, globex, "schedule.resume", "Its pause ran out.")


@pytest.mark.parametrize("first", ["commits", "fails"])
def test_of_several_planners_one_writes_that_a_pause_ran_out(app: Dashboard, acme: Tenant, first: str) -> None:
    schedule = paused_until_now(app, acme)
    with app.app_context(), system_scope("test") as session:
        plan(session, database_now(session))
        planned(app)
        assert entries(app) == []
        if first == "fails":
            session.rollback()
    planned(app)
    assert [entry[2] for entry in entries(app)] == ["schedule.resume"]
    assert stored(app, schedule).state == "active"


def test_the_history_tells_that_a_pause_ran_out_by_itself(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme)
    operator.post(f"/schedules/{schedule.id}/pauses", data={"reason": "Stocktaking", "until": "2099-05-04T03:02"})
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Schedule).values(paused_until=sa.func.now()))
    planned(app)
    history = text_of(operator.get(f"/schedules/{schedule.id}/revisions").text)
    assert re.search(
        r"Resumed .+ by System: Its pause ran out\. Paused .+ by Olivia, until .*2099.*: Stocktak", history
    )


def test_a_pause_after_failures_that_is_not_committed_leaves_no_audit_row(app: Dashboard, acme: Tenant) -> None:
    schedule = failing(app, acme)
    ended(app, acme, schedule, "failed", "failed")
    with app.app_context(), system_scope("test") as session:
        plan(session, database_now(session))
        session.rollback()
    assert entries(app) == []
    assert stored(app, schedule).state == "active"


def test_a_schedule_that_pauses_after_one_failure_says_so(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = failing(app, acme, pause_after_failures=1)
    ended(app, acme, schedule, "failed")
    planned(app)
    assert "Its last run failed." in operator.get(f"/schedules/{schedule.id}").text


def test_planning_what_does_not_pause_writes_no_audit_row(app: Dashboard, acme: Tenant) -> None:
    ended(app, acme, failing(app, acme), "failed")
    assert planned(app).runs == 1
    assert entries(app) == []


def test_who_paused_a_schedule_and_why_is_read_on_its_page_in_its_history_and_in_the_trail(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    make_user(app, "alice@acme.test", roles={acme.id: "admin"})
    schedule = failing(app, acme, name="Export")
    ended(app, acme, schedule, "failed", "failed")
    planned(app)
    assert "by the system: Its last 2 runs failed. " in text_of(operator.get(f"/schedules/{schedule.id}").text)
    operator.post(f"/schedules/{schedule.id}/resumptions")
    history = text_of(operator.get(f"/schedules/{schedule.id}/revisions").text)
    assert re.search(r"Resumed [^P]+ by Olivia.* Paused .+ by System: Its last 2 runs failed\.", history)
    trail = text_of(sign_in(app, acme, "alice@acme.test").get("/audit?action=schedule.pause").text)
    assert "System schedule.pause Export schedule reason: Its last 2 runs failed." in trail


def test_the_history_tells_until_when_somebody_paused_it_and_nothing_of_other_schedules(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    schedule, other = make_schedule(app, acme), make_schedule(app, acme)
    operator.post(f"/schedules/{schedule.id}/pauses", data={"reason": "Stocktaking", "until": "2099-05-04T03:02"})
    history = text_of(operator.get(f"/schedules/{schedule.id}/revisions").text)
    assert re.search(r"Paused .+ by Olivia, until .*2099.*: Stocktaking", history)
    assert "Stocktaking" not in operator.get(f"/schedules/{other.id}/revisions").text


@pytest.mark.parametrize(
    "states", [("failed",), ("failed", "succeeded"), ("failed", "failed", "succeeded"), ("failed", "succeeded", "dead")]
)
def test_a_schedule_goes_on_while_fewer_fail_in_a_row(app: Dashboard, acme: Tenant, states: tuple[str, ...]) -> None:
    schedule = failing(app, acme)
    ended(app, acme, schedule, *states)
    assert planned(app).runs == 1
    assert stored(app, schedule).state == "active"


def test_without_the_policy_a_schedule_goes_on_whatever_happens(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5))
    ended(app, acme, schedule, *["failed"] * 5)
    assert planned(app).runs == 1


def test_resuming_lists_what_was_missed_and_starts_the_count_anew(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    schedule = failing(app, acme)
    ended(app, acme, schedule, "failed", "failed")
    planned(app)
    operator.post(f"/schedules/{schedule.id}/resumptions")
    assert [(each.decision, each.reason) for each in occurrences(app)] == [("skip", "paused")]
    assert f'id="schedule-{schedule.id}"' not in operator.get("/problems?view=schedules").text
    next_at = stored(app, schedule).next_at
    assert next_at is not None
    assert planned(app, at=next_at).runs == 1


def test_saving_starts_the_count_anew(app: Dashboard, operator: Browser) -> None:
    operator.post("/schedules", data=echo_form(pause_after_failures="2", **MINUTELY))
    schedule = only_schedule(app)
    with app.app_context(), system_scope("test") as session:
        tenant_id = session.get_one(Schedule, schedule.id).tenant_id
        session.add_all(
            Run(tenant_id=tenant_id, schedule_id=schedule.id, name="Echo", job_type="test.echo", state="failed")
            for _ in range(2)
        )
    changed = echo_form(rev="1", pause_after_failures="2", note="Mended", **MINUTELY)
    assert operator.post(f"/schedules/{schedule.id}", data=changed).status_code == 303
    due_again(app, schedule)
    assert planned(app).runs == 1


def test_one_that_pauses_does_not_keep_others_from_firing(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    broken = failing(app, acme)
    ended(app, acme, broken, "failed", "failed")
    make_schedule(app, acme, due_for=timedelta(seconds=5))
    make_schedule(app, globex, due_for=timedelta(seconds=5))
    assert planned(app).runs == 2
