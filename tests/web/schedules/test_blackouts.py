"""Blackouts: windows in which nothing is planned, what they swallow, and the page that says so first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.clock import database_now
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.schedules.models import Blackout, Schedule
from dashboard.tenants.actions import set_option
from tests.factories import make_user
from tests.factories.schedules import make_schedule, occurrences, planned, runs, stored
from tests.signing_in import Browser, sign_in

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SOON = (datetime.now(UTC) + timedelta(days=2)).replace(hour=0, minute=0, second=0, microsecond=0)
"""A midnight that lies ahead, also if another one passes while the tests run."""


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


@pytest.fixture
def viewer(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "victor@acme.test", roles={acme.id: "viewer"})
    return sign_in(app, acme, "victor@acme.test")


def now_of(app: Dashboard) -> datetime:
    with app.app_context(), system_scope("test") as session:
        return database_now(session)


def black_out(app: Dashboard, tenant: Tenant, start: datetime, end: datetime, name: str = "Migration") -> UUID:
    with app.app_context(), system_scope("test") as session:
        blackout = Blackout(tenant_id=tenant.id, name=name, start_at=start, end_at=end)
        session.add(blackout)
        session.flush()
        return blackout.id


def all_blackouts(app: Dashboard) -> list[Blackout]:
    with app.app_context(), system_scope("test") as session:
        return list(session.scalars(sa.select(Blackout)))


def typed(start: datetime, end: datetime, **changes: str) -> dict[str, str]:
    return {"name": "Migration", "start": f"{start:%Y-%m-%dT%H:%M}", "end": f"{end:%Y-%m-%dT%H:%M}", **changes}


def confirmed(values: dict[str, str]) -> dict[str, str]:
    return {**values, "confirmed": f"{values['start']} {values['end']}"}


def minutely(app: Dashboard, tenant: Tenant, **values: Any) -> Schedule:
    """A schedule of every minute whose last three fires are due."""
    policies = {"catchup": "all", "overlap": "allow"}
    return make_schedule(app, tenant, due_for=timedelta(seconds=130), **{**policies, **values})


def test_nothing_is_planned_in_a_blackout_and_each_fire_is_listed_with_its_name(app: Dashboard, acme: Tenant) -> None:
    schedule = minutely(app, acme)
    now = now_of(app)
    black_out(app, acme, now - HOUR, now + HOUR)
    assert planned(app).runs == 0
    (row,) = occurrences(app)
    assert (row.decision, row.reason, row.note, row.count) == ("skip", "blackout", "Migration", 3)
    after = stored(app, schedule)
    assert after.next_at is not None
    assert after.next_at > now


def test_the_next_fires_in_it_go_on_in_the_same_row(app: Dashboard, acme: Tenant) -> None:
    minutely(app, acme)
    now = now_of(app)
    black_out(app, acme, now - HOUR, now + HOUR)
    for later in range(4):
        planned(app, at=now + later * MINUTE)
    (row,) = occurrences(app)
    assert row.count == 6


def test_a_blackout_begins_with_its_first_instant_and_ends_before_its_last(app: Dashboard, acme: Tenant) -> None:
    schedule = minutely(app, acme)
    first = schedule.next_at
    assert first is not None
    black_out(app, acme, first + MINUTE, first + 2 * MINUTE)
    assert planned(app, at=first + 2 * MINUTE).runs == 2
    assert [(row.nominal - first, row.decision) for row in occurrences(app) if row.nominal] == [
        (0 * MINUTE, "run"),
        (1 * MINUTE, "skip"),
        (2 * MINUTE, "run"),
    ]


def test_after_it_everything_runs_again_and_nothing_is_made_up(app: Dashboard, acme: Tenant) -> None:
    schedule = minutely(app, acme, catchup="latest")
    first = schedule.next_at
    assert first is not None
    black_out(app, acme, first - MINUTE, first + 2 * MINUTE)
    planned(app, at=first + 2 * MINUTE)
    assert [(row.reason, row.count) for row in occurrences(app)] == [("blackout", 2), ("", 1)]


def test_the_next_run_lies_after_it_also_when_it_ends_within_the_second_of_a_fire(
    app: Dashboard, viewer: Browser, acme: Tenant
) -> None:
    schedule = minutely(app, acme)
    first = schedule.next_at
    assert first is not None
    black_out(app, acme, first - HOUR, first + HOUR + timedelta(milliseconds=500))
    assert f'datetime="{first + HOUR + MINUTE:%Y-%m-%dT%H:%M:%SZ}"' in viewer.get("/schedules").text


def test_a_blackout_is_for_one_tenant(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    now = now_of(app)
    minutely(app, acme)
    other = minutely(app, globex)
    black_out(app, acme, now - HOUR, now + HOUR)
    planned(app)
    assert {run.schedule_id for run in runs(app)} == {other.id}


def test_what_somebody_starts_by_hand_runs_in_a_blackout(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    now = now_of(app)
    schedule = make_schedule(app, acme)
    black_out(app, acme, now - HOUR, now + HOUR)
    operator.post(f"/schedules/{schedule.id}/runs", data={"token": "once"})
    assert len(runs(app)) == 1


def test_a_planner_asks_for_blackouts_once_for_a_batch(app: Dashboard, acme: Tenant) -> None:
    for number in range(20):
        minutely(app, acme, name=f"S{number}")
    black_out(app, acme, now_of(app) - HOUR, now_of(app) + HOUR)
    asked = []
    with app.app_context(), system_scope("test") as session:
        engine = session.get_bind()
    sa.event.listen(engine, "before_cursor_execute", lambda *event: asked.append("blackout" in event[2]))
    planned(app)
    assert sum(asked) == 1


def test_the_page_says_what_a_blackout_swallows_before_it_is_saved(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    make_schedule(app, acme, name="Hourly", kind="cron", crons=["0 * * * *"], every_seconds=None)
    values = typed(SOON + 10 * HOUR, SOON + 14 * HOUR)
    asked = operator.post("/calendar/blackouts", data=values)
    assert asked.status_code == 200
    assert "It swallows 4 fires" in asked.text
    assert "Hourly" in asked.text
    assert all_blackouts(app) == []
    assert operator.post("/calendar/blackouts", data=confirmed(values)).status_code == 303
    (blackout,) = all_blackouts(app)
    assert (blackout.start_at, blackout.end_at) == (SOON + 10 * HOUR, SOON + 14 * HOUR)
    assert "Migration" in operator.get("/calendar/blackouts").text


def test_a_confirmation_is_for_the_times_that_were_shown(app: Dashboard, operator: Browser) -> None:
    shown = confirmed(typed(SOON, SOON + HOUR))
    changed = {**shown, "end": f"{SOON + 5 * HOUR:%Y-%m-%dT%H:%M}"}
    assert operator.post("/calendar/blackouts", data=changed).status_code == 200
    assert all_blackouts(app) == []


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (typed(SOON, SOON + HOUR, name=""), "Give it a name"),
        (typed(SOON, SOON), "Choose an end after the start."),
        (typed(SOON - 72 * HOUR, SOON - 71 * HOUR), "This has passed."),
        (typed(SOON, SOON + timedelta(days=400)), "longer than a year"),
        ({**typed(SOON, SOON), "start": "soon"}, "Give a date and a time."),
    ],
)
def test_a_window_that_makes_no_sense_comes_back_with_the_reason(
    app: Dashboard, operator: Browser, values: dict[str, str], told: str
) -> None:
    response = operator.post("/calendar/blackouts", data=confirmed(values))
    assert response.status_code == 422
    assert told in response.text
    assert all_blackouts(app) == []


def test_a_blackout_is_changed_and_the_second_of_two_saves_is_told_so(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    blackout = black_out(app, acme, SOON, SOON + HOUR)
    longer = confirmed(typed(SOON, SOON + 2 * HOUR, rev="1"))
    assert "Migration" in operator.get(f"/calendar/blackouts/{blackout}").text
    assert operator.post(f"/calendar/blackouts/{blackout}", data=longer).status_code == 303
    assert all_blackouts(app)[0].end_at == SOON + 2 * HOUR
    second = operator.post(f"/calendar/blackouts/{blackout}", data=longer)
    assert second.status_code == 409
    assert "Somebody changed this blackout" in second.text


def test_a_blackout_in_an_hour_that_comes_twice_stays_there_when_its_name_is_changed(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    """Half past one to two, in New York, after the clock went back."""
    with app.app_context(), system_scope("test") as session:
        set_option(session, acme.id, "TIMEZONE", "America/New_York")
    start, end = datetime(2050, 11, 6, 6, 30, tzinfo=UTC), datetime(2050, 11, 6, 6, 50, tzinfo=UTC)
    blackout = black_out(app, acme, start, end)
    values = {"name": "Stock-taking", "start": "2050-11-06T01:30", "end": "2050-11-06T01:50", "rev": "1"}
    assert operator.post(f"/calendar/blackouts/{blackout}", data=confirmed(values)).status_code == 303
    (after,) = all_blackouts(app)
    assert (after.name, after.start_at, after.end_at) == ("Stock-taking", start, end)


def test_cancelling_takes_away_what_lies_ahead_and_ends_what_goes_on(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    ahead = black_out(app, acme, SOON, SOON + HOUR, "Ahead")
    going_on = black_out(app, acme, now_of(app) - HOUR, now_of(app) + HOUR, "Going on")
    for blackout in (ahead, going_on):
        assert operator.post(f"/calendar/blackouts/{blackout}/cancellations").status_code == 303
    (left,) = all_blackouts(app)
    assert (left.name, left.end_at <= now_of(app)) == ("Going on", True)
    schedule = make_schedule(app, acme)
    assert schedule.next_at is not None
    assert planned(app, at=schedule.next_at).runs == 1


def test_a_blackout_that_is_over_stays_as_it_was(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    over = black_out(app, acme, SOON - 72 * HOUR, SOON - 71 * HOUR, "Long ago")
    operator.post(f"/calendar/blackouts/{over}/cancellations")
    page = operator.get("/calendar/blackouts").text
    assert "This blackout is over." in page
    assert "Long ago" in page
    later = confirmed(typed(SOON, SOON + HOUR, rev="1"))
    assert operator.post(f"/calendar/blackouts/{over}", data=later).status_code == 409


def test_a_viewer_sees_blackouts_and_changes_none(app: Dashboard, viewer: Browser, acme: Tenant) -> None:
    black_out(app, acme, SOON, SOON + HOUR)
    page = viewer.get("/calendar/blackouts").text
    assert "Migration" in page
    assert "New blackout" not in page
    assert viewer.get("/calendar/blackouts/new").status_code == 403


def test_the_next_fires_of_a_schedule_tell_what_a_blackout_swallows(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    schedule = make_schedule(app, acme, kind="cron", crons=["30 12 * * *"], every_seconds=None)
    black_out(app, acme, SOON + 12 * HOUR, SOON + 13 * HOUR)
    page = operator.get(f"/schedules/{schedule.id}").text
    assert page.count("blackout: Migration: skipped") == 1


def test_the_overview_names_no_fire_that_a_blackout_swallows(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    now = now_of(app)
    for name, hours in (("Swallowed", 3), ("Goes on", 6)):
        make_schedule(app, acme, name=name, next_at=now + hours * HOUR, every_seconds=86_400)
    black_out(app, acme, now + 2 * HOUR, now + 4 * HOUR)
    page = operator.get("/").text
    assert "Goes on" in page
    assert "Swallowed" not in page
