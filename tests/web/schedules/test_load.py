"""The load ahead is told minute by minute, over all schedules, and leads to the hour and to spreading what meets."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest

from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.schedules.models import Blackout, Schedule
from tests.factories import make_user
from tests.factories.schedules import make_schedule
from tests.signing_in import Browser, sign_in

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def now() -> datetime:
    """The minute in which the test begins."""
    return datetime.now(UTC).replace(second=0, microsecond=0)


@pytest.fixture
def later(now: datetime) -> datetime:
    """A full hour that lies ahead."""
    return now.replace(minute=0) + 5 * HOUR


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


def daily(app: Dashboard, tenant: Tenant, at: datetime, name: str = "Daily", **values: Any) -> Schedule:
    """A schedule that fires once a day, first `at`."""
    fields: dict[str, Any] = {"kind": "cron", "crons": [f"{at.minute} {at.hour} * * *"], "every_seconds": None}
    return make_schedule(app, tenant, **{**fields, "name": name, "timezone": "UTC", "next_at": at, **values})


def hours(browser: Browser) -> dict[datetime, list[int]]:
    """Return the starts of each minute of each hour, as the page of the load draws them."""
    page = browser.get("/calendar/load").text
    starts = re.findall(r'class="row-link" href="[^"]+\?start=([^"]+)"', page)
    rows = re.findall(r'aria-label="Starts by minute: ([\d, ]+)"', page)
    return {
        datetime.fromisoformat(unquote(start)): [int(count) for count in row.split(", ")]
        for start, row in zip(starts, rows, strict=True)
    }


def counted(browser: Browser) -> dict[datetime, int]:
    """Return the minutes in which something starts, with how much."""
    return {
        hour + MINUTE * minute: count
        for hour, counts in hours(browser).items()
        for minute, count in enumerate(counts)
        if count
    }


def hour_page(browser: Browser, hour: datetime) -> str:
    response = browser.get("/calendar/load/hour", query_string={"start": hour.isoformat()})
    assert response.status_code == 200
    return response.text


def test_each_minute_of_the_next_day_is_counted_over_all_schedules(
    app: Dashboard, operator: Browser, acme: Tenant, now: datetime, later: datetime
) -> None:
    daily(app, acme, later)
    daily(app, acme, later, runs_left=1)
    daily(app, acme, later + 17 * MINUTE)
    make_schedule(
        app, acme, every_seconds=3600, anchor=later - 30 * timedelta(days=1) - 25 * MINUTE, next_at=now + HOUR
    )
    told = counted(operator)
    assert {minute: told.pop(minute) for minute in (later, later + 17 * MINUTE)} == {later: 2, later + 17 * MINUTE: 1}
    assert set(told.values()) == {1}
    assert {minute.minute for minute in told} == {35}
    assert len(told) == 24


def test_the_last_run_of_a_limited_schedule_is_in_one_hour_alone(
    app: Dashboard, operator: Browser, acme: Tenant, now: datetime, later: datetime
) -> None:
    hourly: dict[str, Any] = {"kind": "cron", "crons": ["0 * * * *"], "every_seconds": None, "timezone": "UTC"}
    first = now.replace(minute=0) + HOUR
    fields = {**hourly, "start_at": later, "next_at": later, "runs_left": 1}
    make_schedule(app, acme, name="Last one", **fields)
    make_schedule(app, acme, name="Last one, spread", jitter_seconds=60, **fields)
    found = {at: hour_page(operator, at).count("Last one") for at in (first, later, later + HOUR, later + 2 * HOUR)}
    assert found == {first: 0, later: 2, later + HOUR: 0, later + 2 * HOUR: 0}
    assert sum(counted(operator).values()) == 2


def test_what_resumes_by_itself_is_in_the_load_from_then_on(
    app: Dashboard, operator: Browser, acme: Tenant, now: datetime, later: datetime
) -> None:
    end = later - timedelta(minutes=30)
    make_schedule(app, acme, every_seconds=3600, anchor=later, paused_at=now, paused_until=end)
    daily(app, acme, later, paused_at=now, paused_until=later + HOUR)
    told = counted(operator)
    assert min(told) == later
    assert told == {later + HOUR * number: 1 for number in range(len(told))}
    assert len(told) >= 18
    assert "/calendar/load/spreads/new" not in operator.get("/calendar/load").text


def test_schedules_that_fire_every_minute_fill_every_minute(
    app: Dashboard, operator: Browser, acme: Tenant, now: datetime
) -> None:
    make_schedule(app, acme, kind="cron", crons=["* * * * *"], every_seconds=None, anchor=None)
    make_schedule(app, acme, anchor=now - HOUR + timedelta(seconds=13))
    rows = hours(operator).values()
    assert sum(map(sum, rows)) == 2 * 24 * 60
    assert max(map(max, rows)) == 2


def test_the_load_keeps_to_blackouts_and_to_fires_that_were_skipped_or_moved(
    app: Dashboard, operator: Browser, acme: Tenant, later: datetime
) -> None:
    skipped, moved = daily(app, acme, later), daily(app, acme, later + 2 * MINUTE)
    daily(app, acme, later + HOUR)
    operator.post(f"/schedules/{skipped.id}/fires/skips", data={"nominal": later.isoformat()})
    to = later + 3 * HOUR
    nominal = (later + 2 * MINUTE).isoformat()
    asked = {"schedule": str(moved.id), "nominal": nominal, "rev": "1", "to": f"{to:%Y-%m-%dT%H:%M}", "typed": "y"}
    assert operator.post("/calendar/moves", data=asked).status_code == 303
    with app.app_context(), system_scope("test") as session:
        session.add(Blackout(tenant_id=acme.id, name="Audit", start_at=later + HOUR, end_at=later + 2 * HOUR))
    assert counted(operator) == {to: 1}


def test_jitter_is_counted_in_the_minute_in_which_it_starts(
    app: Dashboard, operator: Browser, acme: Tenant, later: datetime
) -> None:
    for number in range(20):
        daily(app, acme, later, f"Spread {number}", jitter_seconds=600)
    told = counted(operator)
    assert sum(told.values()) == 20
    assert len(told) > 1
    assert all(later <= minute < later + 10 * MINUTE for minute in told)
    assert "Spread these" not in operator.get("/calendar/load").text


def test_h_is_counted_in_the_minute_that_it_stands_for(
    app: Dashboard, operator: Browser, acme: Tenant, later: datetime
) -> None:
    fields: dict[str, Any] = {"kind": "cron", "crons": ["H * * * *"], "every_seconds": None, "anchor": None}
    schedules = [make_schedule(app, acme, name=f"Spread {number}", **fields) for number in range(12)]
    told = counted(operator)
    assert sum(told.values()) == 12 * 24
    assert len({minute.minute for minute in told}) > 1
    page = hour_page(operator, later)
    assert all(f"/schedules/{schedule.id}" in page for schedule in schedules)


def test_an_hour_names_what_starts_in_each_minute_and_leads_to_spreading_what_meets(
    app: Dashboard, operator: Browser, acme: Tenant, later: datetime
) -> None:
    together = [daily(app, acme, later, f"Together {number}") for number in range(7)]
    alone = daily(app, acme, later + 30 * MINUTE, "Alone")
    link = re.search(rf'<a class="row-link" href="([^"]+)">{later:%a %H:%M}', operator.get("/calendar/load").text)
    assert link is not None
    page = operator.get(link[1].replace("&amp;", "&")).text
    assert "8 starts, at most 7 in a minute" in page
    assert "and 2 more" in page
    assert f"/schedules/{together[0].id}" in page
    assert f"/schedules/{alone.id}" in page
    (spreading,) = re.findall(r'href="([^"]+/spreads/new[^"]+)"', page)
    assert "Spread 7 schedules" in operator.get(spreading.replace("&amp;", "&")).text


def test_a_viewer_reads_the_load_and_can_spread_nothing(app: Dashboard, acme: Tenant, later: datetime) -> None:
    make_user(app, "victor@acme.test", roles={acme.id: "viewer"})
    viewer = sign_in(app, acme, "victor@acme.test")
    for _ in range(2):
        daily(app, acme, later)
    assert "2 schedules at once" in viewer.get("/calendar/load").text
    page = hour_page(viewer, later)
    assert "2 starts" in page
    assert "Spread these" not in page


def test_an_hour_without_starts_says_so(operator: Browser, later: datetime) -> None:
    assert "Nothing starts in this hour" in hour_page(operator, later)


@pytest.mark.parametrize(
    "start",
    ["", "soon", (datetime.now(UTC) - 3 * HOUR).isoformat(), (datetime.now(UTC) + 30 * HOUR).isoformat()],
    ids=["none", "odd", "past", "far"],
)
def test_an_hour_that_does_not_lie_ahead_leads_to_those_that_do(operator: Browser, start: str) -> None:
    response = operator.get("/calendar/load/hour", query_string={"start": start})
    assert response.status_code == 303
    assert response.location.endswith("/calendar/load")


def test_anothers_schedules_are_not_counted(app: Dashboard, operator: Browser, globex: Tenant, later: datetime) -> None:
    daily(app, globex, later)
    assert counted(operator) == {}
