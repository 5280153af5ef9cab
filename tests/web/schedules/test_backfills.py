"""Making up for the past: preview, only what is missing, progress, stop."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.clock import database_now
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.models import Run
from dashboard.schedules.models import Backfill, Occurrence, Schedule
from dashboard.tenants.actions import set_option
from tests.factories import make_user
from tests.factories.job_types import Echo
from tests.factories.schedules import make_schedule, planned
from tests.signing_in import Browser, sign_in

MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


@pytest.fixture
def hourly(app: Dashboard, acme: Tenant) -> Schedule:
    return make_schedule(
        app, acme, job_type=Echo.key, params={"word": "hi"}, kind="cron", crons=["0 * * * *"], every_seconds=None
    )


def days_back(start: float, end: float, **more: str) -> dict[str, str]:
    moments = {"start": MIDNIGHT - timedelta(days=start), "end": MIDNIGHT - timedelta(days=end, minutes=1)}
    return {**{name: f"{moment:%Y-%m-%dT%H:%M}" for name, moment in moments.items()}, **more}


def all_of(app: Dashboard, model: type[Any]) -> list[Any]:
    with app.app_context(), system_scope("test") as session:
        return list(session.scalars(sa.select(model).order_by(model.id)))


def test_the_preview_counts_and_lists_and_runs_nothing(app: Dashboard, operator: Browser, hourly: Schedule) -> None:
    page = operator.get(f"/schedules/{hourly.id}/backfills/new", query_string=days_back(2, 1)).text
    assert "Start 24 runs" in page
    assert "and 4 more" in page
    assert all_of(app, Run) == []


def test_a_backfill_runs_each_fire_behind_everything_else(app: Dashboard, operator: Browser, hourly: Schedule) -> None:
    operator.post(f"/schedules/{hourly.id}/backfills", data=days_back(2, 1))
    runs = all_of(app, Run)
    assert len(runs) == 24
    assert {(run.lane, run.priority < 0, run.concurrency_key) for run in runs} == {
        ("bulk", True, f"backfill:{all_of(app, Backfill)[0].id}")
    }
    assert all_of(app, Schedule)[0].next_at == hourly.next_at


def test_twice_is_once_unless_a_rerun_is_asked_for(app: Dashboard, operator: Browser, hourly: Schedule) -> None:
    operator.post(f"/schedules/{hourly.id}/backfills", data=days_back(2, 1))
    again = operator.post(f"/schedules/{hourly.id}/backfills", data=days_back(3, 1))
    assert again.status_code == 303
    assert len(all_of(app, Run)) == 48
    nothing = operator.post(f"/schedules/{hourly.id}/backfills", data=days_back(2, 1))
    assert nothing.status_code == 422
    assert "Everything in this range has run" in nothing.text
    operator.post(f"/schedules/{hourly.id}/backfills", data=days_back(2, 1, mode="rerun"))
    assert len(all_of(app, Run)) == 72


def test_a_range_without_a_fire_says_so(app: Dashboard, operator: Browser, hourly: Schedule) -> None:
    at = {"start": f"{MIDNIGHT - timedelta(minutes=50):%Y-%m-%dT%H:%M}"}
    empty = {**at, "end": f"{MIDNIGHT - timedelta(minutes=10):%Y-%m-%dT%H:%M}"}
    page = operator.get(f"/schedules/{hourly.id}/backfills/new", query_string=empty).text
    assert "The schedule does not fire in this range" in page
    assert operator.post(f"/schedules/{hourly.id}/backfills", data=empty).status_code == 422
    assert all_of(app, Run) == []


def test_stopping_cancels_what_waits(app: Dashboard, operator: Browser, hourly: Schedule) -> None:
    operator.post(f"/schedules/{hourly.id}/backfills", data=days_back(2, 1))
    (backfill,) = all_of(app, Backfill)
    assert "0 of 24" in operator.get(f"/schedules/{hourly.id}").text
    operator.post(f"/schedules/{hourly.id}/backfills/{backfill.id}/stops")
    assert {run.state for run in all_of(app, Run)} == {"cancelled"}
    assert "24 of 24, stopped" in operator.get(f"/schedules/{hourly.id}").text


def due_now(app: Dashboard, schedule: Schedule, **values: Any) -> None:
    with app.app_context(), system_scope("test") as session:
        now = database_now(session).replace(minute=0, second=0, microsecond=0)
        due = {"next_at": now, "cursor": now - timedelta(seconds=1), "catchup_window_seconds": 7200}
        session.execute(sa.update(Schedule).where(Schedule.id == schedule.id).values(**due, **values))


@pytest.mark.parametrize("overlap", ["skip", "queue_one", "cancel_running"])
@pytest.mark.parametrize("key", [None, "warehouse"])
def test_a_backfill_that_waits_neither_keeps_its_schedule_from_firing_nor_is_cancelled_by_it(
    app: Dashboard, operator: Browser, hourly: Schedule, overlap: str, key: str | None
) -> None:
    due_now(app, hourly, overlap=overlap, concurrency_key=key)
    operator.post(f"/schedules/{hourly.id}/backfills", data=days_back(2, 1))
    assert planned(app).runs == 1
    assert {run.state for run in all_of(app, Run)} == {"ready"}
    assert "One is waiting to run now" in operator.get(f"/schedules/{hourly.id}/runs/new").text
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Run).where(Run.priority == 0).values(state="succeeded"))
    assert "It starts as soon as a worker is free." in operator.get(f"/schedules/{hourly.id}/runs/new").text


def test_a_backfill_keeps_the_key_that_somebody_gave_and_can_still_be_followed_and_stopped(
    app: Dashboard, operator: Browser, hourly: Schedule
) -> None:
    due_now(app, hourly, concurrency_key="warehouse")
    operator.post(f"/schedules/{hourly.id}/backfills", data=days_back(2, 1))
    planned(app)
    assert {run.concurrency_key for run in all_of(app, Run)} == {"warehouse"}
    assert "0 of 24" in operator.get(f"/schedules/{hourly.id}").text
    (backfill,) = all_of(app, Backfill)
    operator.post(f"/schedules/{hourly.id}/backfills/{backfill.id}/stops")
    assert sorted({(run.priority < 0, run.state) for run in all_of(app, Run)}) == [
        (False, "ready"),
        (True, "cancelled"),
    ]


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (days_back(1, 2), "Choose an end after the start"),
        (days_back(1, -2), "A backfill makes up for the past"),
        (days_back(900, 1), "These are more than 10,000 runs"),
        ({"start": "then", "end": "now"}, "Give a date and a time"),
    ],
    ids=["backwards", "future", "too many", "unreadable"],
)
def test_a_range_that_cannot_be_made_up_for_is_told(
    app: Dashboard, operator: Browser, hourly: Schedule, typed: dict[str, str], sentence: str
) -> None:
    response = operator.post(f"/schedules/{hourly.id}/backfills", data=typed)
    assert response.status_code == 422
    assert sentence in response.text
    assert all_of(app, Run) == []


@pytest.fixture
def in_london(app: Dashboard, acme: Tenant) -> None:
    """London's clock showed the hour from 01:00 twice on 26 October 2025: BST until 01:00 UTC, GMT from then on."""
    with app.app_context(), system_scope("test") as session:
        set_option(session, acme.id, "TIMEZONE", "Europe/London")


def fields_of(page: str, method: str = "get") -> dict[str, str]:
    """The fields for the range of the page's form that is sent by this method."""
    form = page.partition(f'method="{method}" action="/schedules/')[2].partition("</form>")[0]
    inputs = (dict(re.findall(r'(name|value)="([^"]*)"', each)) for each in re.findall(r"<input [^>]+>", form))
    return {each["name"]: each["value"] for each in inputs if each["name"].startswith(("start", "end"))}


def listed(page: str) -> list[tuple[str, ...]]:
    """The fires that it would run: the clock and its zone."""
    return re.findall(r'<li><time [^>]*>26 Oct 2025, (\d\d:\d\d) <span class="zone">(\w+)</span>', page)


@pytest.mark.usefixtures("in_london")
@pytest.mark.parametrize(("pass_", "hour"), [("BST", 0), ("GMT", 1)])
def test_the_range_of_a_link_into_an_hour_that_comes_twice_stays_when_it_is_shown_again(
    app: Dashboard, operator: Browser, hourly: Schedule, pass_: str, hour: int
) -> None:
    address = f"/schedules/{hourly.id}/backfills/new"
    link = {"start": f"2025-10-26T{hour:02}:00:00+00:00", "end": f"2025-10-26T{hour:02}:00:01+00:00"}
    page = operator.get(address, query_string=link).text
    fields = fields_of(page)
    assert (fields["start"], fields["end"]) == ("2025-10-26T01:00", "2025-10-26T01:01")
    again = operator.get(address, query_string=fields).text
    assert listed(page) == listed(again) == [("01:00", pass_)]
    operator.post(f"/schedules/{hourly.id}/backfills", data=fields_of(again, "post"))
    assert [each.nominal for each in all_of(app, Occurrence)] == [datetime(2025, 10, 26, hour, tzinfo=UTC)]


@pytest.mark.usefixtures("in_london")
def test_a_typed_range_takes_both_passes_of_an_hour_that_comes_twice(operator: Browser, hourly: Schedule) -> None:
    address = f"/schedules/{hourly.id}/backfills/new"
    typed = {"start": "2025-10-26T01:00", "end": "2025-10-26T01:30"}
    page = operator.get(address, query_string=typed).text
    assert listed(page) == [("01:00", "BST"), ("01:00", "GMT")]
    changed = {**fields_of(page), "end": "2025-10-26T02:10"}
    assert listed(operator.get(address, query_string=changed).text) == [
        ("01:00", "BST"),
        ("01:00", "GMT"),
        ("02:00", "GMT"),
    ]


def test_a_range_that_is_shown_again_does_not_grow(operator: Browser, hourly: Schedule) -> None:
    address = f"/schedules/{hourly.id}/backfills/new"
    link = {"start": f"{MIDNIGHT - timedelta(hours=3):%Y-%m-%dT%H:%M:%S+00:00}"}
    link["end"] = f"{MIDNIGHT - timedelta(hours=2, seconds=1):%Y-%m-%dT%H:%M:%S+00:00}"
    page = operator.get(address, query_string=link).text
    for _ in range(2):
        assert "Start 1 run<" in page
        page = operator.get(address, query_string=fields_of(page)).text


def test_another_tenants_backfill_cannot_be_stopped(
    app: Dashboard, operator: Browser, globex: Tenant, hourly: Schedule
) -> None:
    foreign = make_schedule(app, globex, job_type=Echo.key)
    with app.app_context(), system_scope("test") as session:
        backfill = Backfill(
            tenant_id=globex.id, schedule_id=foreign.id, start_at=MIDNIGHT, end_at=MIDNIGHT, mode="missing", total=1
        )
        session.add(backfill)
        session.flush()
    assert operator.post(f"/schedules/{hourly.id}/backfills/{backfill.id}/stops").status_code == 404
