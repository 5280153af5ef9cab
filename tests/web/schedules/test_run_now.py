"""Running a schedule by hand: asked about first, once per click, and beside another run only if forced."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.models import Run
from dashboard.schedules.models import Schedule
from tests.factories import make_user
from tests.factories.job_types import Echo
from tests.factories.runs import make_run
from tests.factories.schedules import make_schedule, occurrences, planned, runs, stored
from tests.pages import read_page
from tests.signing_in import Browser, sign_in


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


def going(app: Dashboard, tenant: Tenant, schedule: Schedule, state: str = "running") -> Run:
    """Return a run of the schedule that has not ended."""
    return make_run(app, tenant, state, schedule_id=schedule.id, concurrency_key=f"schedule:{schedule.id}")


def click(browser: Browser, schedule: Schedule, **data: Any) -> str:
    """Run it now, and return where that leads."""
    return browser.post(f"/schedules/{schedule.id}/runs", data=data).location


def by_hand(app: Dashboard, location: str) -> Run:
    with app.app_context(), system_scope("test") as session:
        return session.scalars(sa.select(Run).where(Run.id == UUID(location[-36:]))).one()


@pytest.mark.parametrize(
    ("asked", "carried"),
    [
        ("de-CH, en;q=0.8", "de-CH"),
        ("en;q=0.8, fr", "fr"),
        ("", None),
        ("*", None),
        ("zh-Hant-HK", None),
        ("<script>", None),
    ],
)
def test_a_run_gets_the_language_of_whoever_made_its_schedule(
    app: Dashboard, operator: Browser, asked: str, carried: str | None
) -> None:
    data = {"job_type": Echo.key, "name": "Echo", "when": "cron", "crons": "@daily", "params-word": "hello"}
    operator.post("/schedules", data=data, headers={"Accept-Language": asked})
    with app.app_context(), system_scope("test") as session:
        schedule = session.scalars(sa.select(Schedule)).one()
    assert by_hand(app, click(operator, schedule)).context_locale == carried


def test_a_person_who_runs_it_brings_their_language_and_their_requests_id(
    app: Dashboard, acme: Tenant, operator: Browser
) -> None:
    schedule = make_schedule(app, acme, job_type=Echo.key, params={"word": "hello"}, context_locale="de")
    answer = operator.post(f"/schedules/{schedule.id}/runs", headers={"Accept-Language": "fr"})
    run = by_hand(app, answer.location)
    with app.app_context(), system_scope("test") as session:
        noted = sa.select(AuditEntry.request_id).where(AuditEntry.action == "schedule.run_now")
        request_id = session.scalars(noted).one()
    assert request_id is not None
    assert (run.context_locale, run.context_request_id) == ("fr", request_id)


def test_it_asks_first_and_shows_the_parameters_without_the_secrets(app: Dashboard, operator: Browser) -> None:
    fields = {"params-word": "hello", "params-password": "hunter2-canary"}
    operator.post(
        "/schedules", data={"job_type": Echo.key, "name": "Echo", "when": "cron", "crons": "@daily", **fields}
    )
    with app.app_context(), system_scope("test") as session:
        schedule = session.scalars(sa.select(Schedule)).one()
    page = operator.get(f"/schedules/{schedule.id}/runs/new")
    assert "hello" in page.text
    assert "hunter2-canary" not in page.text
    assert "••••" in page.text
    assert "It starts as soon as a worker is free." in page.text
    assert runs(app) == []


def test_the_question_has_a_token_so_that_a_double_click_is_one_run(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    schedule = make_schedule(app, acme, job_type=Echo.key)
    page = operator.get(f"/schedules/{schedule.id}/runs/new")
    assert 'name="token"' in page.text
    assert any(str(form.get("action")).endswith(f"/schedules/{schedule.id}/runs") for form in read_page(page).forms)
    assert click(operator, schedule, token="once") == click(operator, schedule, token="once")
    assert len(runs(app)) == 1
    assert stored(app, schedule).next_at == schedule.next_at


@pytest.mark.parametrize(
    ("overlap", "state", "told"),
    [
        ("skip", "running", "One is running now: this one will be skipped unless you force it"),
        ("skip", "ready", "One is waiting to run now: this one will be skipped"),
        ("queue_one", "ready", "this one will be skipped unless you force it"),
        ("queue_one", "running", "this one waits until it has ended"),
        ("queue_all", "ready", "this one waits until it has ended"),
        ("cancel_running", "running", "it is cancelled, and this one starts when it has ended"),
        ("allow", "running", "both run at once, as this schedule allows"),
    ],
)
def test_it_says_what_becomes_of_runs_that_meet(
    app: Dashboard, operator: Browser, acme: Tenant, overlap: str, state: str, told: str
) -> None:
    schedule = make_schedule(app, acme, overlap=overlap)
    going(app, acme, schedule, state)
    page = operator.get(f"/schedules/{schedule.id}/runs/new").text
    assert told in page
    assert ("Run it now" in page) == ("skipped" not in told)


def test_a_run_that_would_overlap_is_skipped_and_the_schedules_page_says_why(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    schedule = make_schedule(app, acme)
    before = going(app, acme, schedule)
    page = operator.post(f"/schedules/{schedule.id}/runs", data={"token": "once"}, follow_redirects=True).text
    assert "this one was skipped" in page
    assert "The run before it was still going." in page
    click(operator, schedule, token="once")
    assert [run.id for run in runs(app)] == [before.id]
    assert [(each.decision, each.reason) for each in occurrences(app)] == [("skip", "overlap")]


def test_a_forced_run_goes_beside_the_other(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme)
    going(app, acme, schedule)
    run = by_hand(app, click(operator, schedule, force="yes"))
    assert (run.state, run.concurrency_key) == ("ready", None)


def test_a_key_that_somebody_gave_counts_for_forced_runs_too(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, concurrency_key="the-only-printer")
    make_run(app, acme, "running", schedule_id=schedule.id, concurrency_key="the-only-printer")
    assert "Force it: let it wait for the other" in operator.get(f"/schedules/{schedule.id}/runs/new").text
    assert by_hand(app, click(operator, schedule, force="yes")).concurrency_key == "the-only-printer"


def test_what_waits_in_line_keeps_the_schedules_key(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, overlap="queue_all")
    going(app, acme, schedule)
    assert by_hand(app, click(operator, schedule)).concurrency_key == f"schedule:{schedule.id}"


def test_running_it_by_hand_cancels_the_one_before_where_the_schedule_says_so(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    schedule = make_schedule(app, acme, overlap="cancel_running")
    before = going(app, acme, schedule, "ready")
    after = by_hand(app, click(operator, schedule))
    assert {run.id: run.state for run in runs(app)} == {before.id: "cancelled", after.id: "ready"}


@pytest.mark.parametrize("overlap", ["skip", "queue_one"])
def test_a_fire_that_waits_for_its_time_and_a_backfill_are_in_nobodys_way(
    app: Dashboard, operator: Browser, acme: Tenant, overlap: str
) -> None:
    schedule = make_schedule(app, acme, overlap=overlap)
    later = schedule.created_at.replace(year=2056)  # a leap year, for tests on 29 February
    key = f"schedule:{schedule.id}"
    make_run(app, acme, "scheduled", schedule_id=schedule.id, not_before=later, concurrency_key=key)
    make_run(app, acme, "running", schedule_id=schedule.id, concurrency_key="backfill:1")
    assert "It starts as soon as a worker is free." in operator.get(f"/schedules/{schedule.id}/runs/new").text
    assert by_hand(app, click(operator, schedule)).state == "ready"


def test_it_counts_against_no_limit(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, runs_left=1)
    click(operator, schedule)
    assert stored(app, schedule).runs_left == 1


def test_a_paused_schedule_runs_by_hand_and_stays_paused(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme)
    operator.post(f"/schedules/{schedule.id}/pauses", data={})
    assert "stays so" in operator.get(f"/schedules/{schedule.id}/runs/new").text
    assert by_hand(app, click(operator, schedule)).state == "ready"
    assert stored(app, schedule).state == "paused"


def test_a_planned_run_still_meets_one_that_was_started_by_hand(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    schedule = make_schedule(app, acme)
    click(operator, schedule)
    assert schedule.next_at is not None
    assert planned(app, at=schedule.next_at).runs == 0


def test_a_viewer_and_another_tenant_are_not_asked(
    app: Dashboard, operator: Browser, acme: Tenant, globex: Tenant
) -> None:
    theirs = make_schedule(app, globex)
    ours = make_schedule(app, acme)
    make_user(app, "victor@acme.test", roles={acme.id: "viewer"})
    assert operator.get(f"/schedules/{theirs.id}/runs/new").status_code == 404
    assert sign_in(app, acme, "victor@acme.test").get(f"/schedules/{ours.id}/runs/new").status_code == 403
