"""Fires are moved on the calendar and moved back; what is skipped, blacked out or crowded is shown there."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.models import Run
from dashboard.schedules.models import Blackout, Schedule
from tests.factories import make_user
from tests.factories.schedules import make_schedule, occurrences, planned, runs, stored
from tests.signing_in import Browser, sign_in

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SOON = (datetime.now(UTC) + 2 * DAY).replace(hour=0, minute=0, second=0, microsecond=0)
"""A midnight that lies ahead, also if another one passes while the tests run."""


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


def daily(app: Dashboard, tenant: Tenant, **values: Any) -> Schedule:
    """A schedule at 09:15 UTC of every day."""
    nine = SOON + 9 * HOUR + timedelta(minutes=15)
    fields = {"name": "Report", "kind": "cron", "crons": ["15 9 * * *"], "every_seconds": None}
    return make_schedule(app, tenant, **{**fields, "next_at": nine, "cursor": datetime.now(UTC), **values})


def once(app: Dashboard, tenant: Tenant, at: datetime, **values: Any) -> Schedule:
    local = at.replace(tzinfo=None)
    fields = {
        "name": "Kickoff",
        "kind": "once",
        "once_local": local,
        "every_seconds": None,
        "timezone": "UTC",
        "params": {"word": "hi"},
    }
    return make_schedule(app, tenant, **{**fields, "next_at": at, "cursor": datetime.now(UTC), **values})


def nominal_of(schedule: Schedule) -> datetime:
    assert schedule.next_at is not None
    return schedule.next_at


def drop(schedule: Schedule, slot: datetime | str, **changes: str) -> dict[str, str]:
    """What dropping the schedule's next fire on a slot sends."""
    key = slot if isinstance(slot, str) else f"{slot:%Y-%m-%dT%H}"
    where = {"schedule": str(schedule.id), "nominal": nominal_of(schedule).isoformat(), "rev": str(schedule.rev)}
    return {**where, "slot": key, "view": "week", "day": f"{SOON:%Y-%m-%d}", **changes}


def undo_of(page: str) -> dict[str, str]:
    form = page.partition('<form class="flash')[2].partition("</form>")[0]
    return dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))


def only_run(app: Dashboard) -> Run:
    (run,) = runs(app)
    return run


def test_a_fire_dropped_on_another_hour_keeps_its_minutes(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = daily(app, acme)
    response = operator.post("/calendar/moves", data=drop(schedule, SOON + 14 * HOUR))
    assert response.status_code == 303
    assert f"view=week&day={SOON:%Y-%m-%d}" in response.location
    assert (only_run(app).not_before, only_run(app).state) == (nominal_of(schedule) + 5 * HOUR, "scheduled")
    page = operator.get(f"/calendar?view=day&day={SOON:%Y-%m-%d}").text
    assert "Moved “Report” to" in page
    assert "14:15" in page
    assert "moved from" in page
    assert planned(app, at=nominal_of(schedule)).runs == 0


def test_a_fire_dropped_on_another_day_keeps_its_time(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = daily(app, acme)
    operator.post("/calendar/moves", data=drop(schedule, f"{SOON + 3 * DAY:%Y-%m-%d}", view="month"))
    assert only_run(app).not_before == nominal_of(schedule) + 3 * DAY


def test_a_fire_that_was_moved_is_moved_again_and_back(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = daily(app, acme, expires_after_seconds=600)
    operator.post("/calendar/moves", data=drop(schedule, SOON + 14 * HOUR))
    operator.post("/calendar/moves", data=drop(schedule, SOON + 20 * HOUR))
    run = only_run(app)
    assert run.not_before == nominal_of(schedule) + 11 * HOUR
    assert run.expires_at == run.not_before + timedelta(seconds=600)
    operator.post("/calendar/moves", data=undo_of(operator.get("/calendar?view=week").text))
    assert only_run(app).not_before == nominal_of(schedule) + 5 * HOUR
    page = operator.get("/calendar?view=week").text
    assert "is back where it was" in page
    assert "Undo" not in page


def test_a_fire_that_runs_after_all_is_none_that_was_moved(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = daily(app, acme, jitter_seconds=3600)
    fire = {"nominal": nominal_of(schedule).isoformat()}
    operator.post(f"/schedules/{schedule.id}/fires/skips", data=fire)
    operator.post(f"/schedules/{schedule.id}/fires/restorations", data=fire)
    assert only_run(app).not_before is not None
    assert "is-moved" not in operator.get(f"/calendar?view=week&day={SOON:%Y-%m-%d}").text
    operator.post("/calendar/moves", data=drop(schedule, SOON + 14 * HOUR))
    assert "is-moved" in operator.get(f"/calendar?view=week&day={SOON:%Y-%m-%d}").text


def test_a_schedule_of_one_time_moves_by_its_rule_and_back(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = once(app, acme, SOON + 10 * HOUR)
    operator.post("/calendar/moves", data=drop(schedule, SOON + 16 * HOUR))
    moved = stored(app, schedule)
    assert (moved.next_at, moved.rev, runs(app)) == (SOON + 16 * HOUR, 2, [])
    operator.post("/calendar/moves", data=undo_of(operator.get("/calendar?view=week").text))
    assert stored(app, schedule).next_at == SOON + 10 * HOUR


@pytest.mark.parametrize("kind", ["daily", "once"])
def test_a_time_that_has_passed_is_refused_and_everything_stays(
    app: Dashboard, operator: Browser, acme: Tenant, kind: str
) -> None:
    schedule = daily(app, acme) if kind == "daily" else once(app, acme, SOON + 10 * HOUR)
    response = operator.post("/calendar/moves", data=drop(schedule, SOON - 3 * DAY))
    assert response.status_code == 422
    assert "stays where it was. This time has passed." in response.text
    assert (runs(app), stored(app, schedule).next_at) == ([], schedule.next_at)


@pytest.mark.parametrize("kind", ["daily", "once"])
def test_a_schedule_that_was_changed_meanwhile_is_not_moved(
    app: Dashboard, operator: Browser, acme: Tenant, kind: str
) -> None:
    schedule = daily(app, acme) if kind == "daily" else once(app, acme, SOON + 10 * HOUR)
    response = operator.post("/calendar/moves", data=drop(schedule, SOON + 16 * HOUR, rev="7"))
    assert response.status_code == 409
    assert "Somebody has changed this schedule since you opened this page." in response.text
    assert (runs(app), stored(app, schedule).next_at) == ([], schedule.next_at)


def test_a_fire_that_has_started_is_not_moved(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = daily(app, acme)
    operator.post("/calendar/moves", data=drop(schedule, SOON + 14 * HOUR))
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Run).values(state="running"))
    response = operator.post("/calendar/moves", data=drop(schedule, SOON + 15 * HOUR))
    assert response.status_code == 409
    assert "Somebody has decided on this fire already." in response.text


def test_nothing_is_moved_into_a_blackout_or_onto_a_day_off(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    fire = daily(app, acme)
    with app.app_context(), system_scope("test") as session:
        session.add(Blackout(tenant_id=acme.id, name="Audit", start_at=SOON + 14 * HOUR, end_at=SOON + 16 * HOUR))
    for schedule in (fire, once(app, acme, SOON + 10 * HOUR)):
        response = operator.post("/calendar/moves", data=drop(schedule, SOON + 15 * HOUR))
        assert response.status_code == 422
        assert "it lies in the blackout “Audit”" in response.text
    assert runs(app) == []


def test_the_form_moves_a_fire_without_a_mouse(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = daily(app, acme)
    day = operator.get(f"/calendar?view=day&day={SOON:%Y-%m-%d}").text
    link = re.search(r'class="entry-move" href="([^"]+)"', day)
    assert link is not None
    assert 'value="' + f"{SOON:%Y-%m-%d}T09:15" in operator.get(link[1].replace("&amp;", "&")).text
    typed = {**drop(schedule, ""), "typed": "y", "to": f"{SOON:%Y-%m-%d}T11:40"}
    typed.pop("slot")
    assert operator.post("/calendar/moves", data=typed).status_code == 303
    assert only_run(app).not_before == SOON + timedelta(hours=11, minutes=40)
    passed = operator.post("/calendar/moves", data={**typed, "to": "2020-01-01T00:00"})
    assert passed.status_code == 422
    assert 'value="2020-01-01T00:00"' in passed.text


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"nominal": "soon"}, 400), ({"schedule": "soon"}, 404), ({"slot": "2027-13-01T99"}, 422), ({"rev": "x"}, 409)],
)
def test_nonsense_moves_nothing(
    app: Dashboard, operator: Browser, acme: Tenant, changes: dict[str, str], status: int
) -> None:
    schedule = daily(app, acme)
    response = operator.post("/calendar/moves", data={**drop(schedule, SOON + 14 * HOUR), **changes})
    assert response.status_code == status
    assert runs(app) == []


def test_a_viewer_can_drag_nothing(app: Dashboard, acme: Tenant) -> None:
    make_user(app, "victor@acme.test", roles={acme.id: "viewer"})
    viewer = sign_in(app, acme, "victor@acme.test")
    schedule = daily(app, acme)
    page = viewer.get(f"/calendar?view=week&day={SOON:%Y-%m-%d}").text
    assert "Report" in page
    assert 'draggable="true"' not in page
    assert viewer.post("/calendar/moves", data=drop(schedule, SOON + 14 * HOUR)).status_code == 403


@pytest.mark.parametrize("view", ["month", "week", "day"])
def test_what_is_left_out_is_shown_as_skipped_with_its_reason(
    app: Dashboard, operator: Browser, acme: Tenant, view: str
) -> None:
    daily(app, acme, name="Payroll", days_off=[f"{SOON:%Y-%m-%d} Founders' day"])
    daily(app, acme, name="Backup", crons=["30 12 * * *"])
    skipped = daily(app, acme, name="Digest", crons=["0 18 * * *"], next_at=SOON + 18 * HOUR)
    operator.post(f"/schedules/{skipped.id}/fires/skips", data={"nominal": nominal_of(skipped).isoformat()})
    with app.app_context(), system_scope("test") as session:
        window = {"start_at": SOON + 12 * HOUR, "end_at": SOON + 13 * HOUR}
        session.add(Blackout(tenant_id=acme.id, name="Move of servers", **window))
    page = operator.get(f"/calendar?view={view}&day={SOON:%Y-%m-%d}").text
    for told in ("holiday: skipped", "holiday: Founders&#39; day", "blackout: skipped", "by hand: skipped"):
        assert told in page
    assert "Move of servers" in page
    assert "from 12:00 to 13:00" in page
    assert f'data-nominal="{(SOON + timedelta(hours=12, minutes=30)).isoformat()}' not in page


def test_too_much_in_one_minute_is_marked_and_leads_to_the_list(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    for number in range(6):
        daily(app, acme, name=f"Crowd {number}")
    page = operator.get(f"/calendar?view=day&day={SOON:%Y-%m-%d}").text
    assert "6 at once" in page
    link = re.search(r'class="crowd" href="([^"]+)"', page)
    assert link is not None
    assert "Crowd 5" in operator.get(link[1].replace("&amp;", "&")).text


def test_the_feed_leaves_out_what_is_skipped(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    daily(app, acme, name="Payroll", days_off=[f"{SOON - 3 * DAY:%Y-%m-%d}/{SOON + 90 * DAY:%Y-%m-%d} Closed"])
    page = operator.get(f"/calendar?day={SOON:%Y-%m-%d}").text
    path = "/calendar/" + page.partition('<code class="clip">')[2].partition("</code>")[0].partition("/calendar/")[2]
    assert "Payroll" not in operator.get(path).text
    assert "Payroll" in page


def test_a_planned_run_of_a_paused_schedule_is_still_shown(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = daily(app, acme)
    operator.post("/calendar/moves", data=drop(schedule, SOON + 14 * HOUR))
    operator.post(f"/schedules/{schedule.id}/pauses", data={"reason": "for a while"})
    page = operator.get(f"/calendar?view=day&day={SOON:%Y-%m-%d}").text
    assert "14:15" in page
    assert len(occurrences(app)) == 1
