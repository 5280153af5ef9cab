"""The calendar: computed fires by day, the feed, the load ahead."""

from __future__ import annotations

import re
from calendar import monthcalendar
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from dashboard.accounts.models import Membership
from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.schedules.models import Schedule
from tests.factories import make_user
from tests.factories.runs import make_run
from tests.factories.schedules import make_schedule
from tests.signing_in import Browser, sign_in, visit

SOON = (datetime.now(UTC) + timedelta(days=2)).date()
"""A day that lies ahead, also if a midnight passes while the tests run."""

LATER = SOON + timedelta(days=62)
"""A day in a month whose weeks all lie ahead, the first of them too."""


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


def cron(app: Dashboard, tenant: Tenant, name: str, expression: str, **values: Any) -> Schedule:
    return make_schedule(app, tenant, name=name, kind="cron", crons=[expression], every_seconds=None, **values)


@pytest.mark.parametrize("view", ["month", "week", "day"])
def test_each_view_shows_the_fires_and_leads_to_the_schedule(
    app: Dashboard, operator: Browser, acme: Tenant, view: str
) -> None:
    schedule = cron(app, acme, "Daily report", "0 9 * * *")
    page = operator.get(f"/calendar?view={view}&day={SOON}").text
    assert "Daily report" in page
    assert f"/schedules/{schedule.id}" in page


def test_a_schedule_that_fires_often_is_one_line_a_day(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    cron(app, acme, "Busy bee", "*/15 * * * *")
    page = operator.get(f"/calendar?view=day&day={SOON}").text
    assert page.count("Busy bee</span>") == 1
    assert "×96" in page


def times_shown(page: str, name: str) -> list[str]:
    """Return how many fires each line of a schedule stands for, as the calendar tells it."""
    return re.findall(rf'<span class="entry-name">{name}</span> <span class="sub entry-times">([^<]+)</span>', page)


@pytest.mark.parametrize("view", ["week", "month"])
def test_each_day_counts_what_fires_every_minute(app: Dashboard, operator: Browser, acme: Tenant, view: str) -> None:
    cron(app, acme, "Every minute", "* * * * *")
    make_schedule(app, acme, name="Every quarter", every_seconds=900)
    page = operator.get(f"/calendar?view={view}&day={LATER}").text
    minutely, quarterly = times_shown(page, "Every minute"), times_shown(page, "Every quarter")
    assert set(minutely) == {"×1,440"}
    assert set(quarterly) == {"×96"}
    weeks = 1 if view == "week" else len(monthcalendar(LATER.year, LATER.month))
    assert len(minutely) == len(quarterly) == 7 * weeks
    assert "Not counted" not in page


@pytest.mark.parametrize("view", ["week", "day"])
def test_what_fires_often_stands_above_the_hours_with_its_number_and_rule(
    app: Dashboard, operator: Browser, acme: Tenant, view: str
) -> None:
    cron(app, acme, "Every quarter", "*/15 * * * *")
    cron(app, acme, "Nightly", "0 0 * * *", timezone="UTC")
    page = operator.get(f"/calendar?view={view}&day={SOON}").text
    _, _, day = page.partition(f'aria-label="{SOON:%A} {SOON.day} {SOON:%B}"')
    above, _, hours = day.partition("</section>")[0].partition(f'data-slot="{SOON}T00"')
    assert times_shown(above, "Every quarter") == ["×96"]
    assert "Every 15 minutes" in above
    assert "Nightly" not in above
    assert "Nightly" in hours
    assert "Every quarter" not in hours


def test_what_fires_too_often_to_be_counted_says_so_on_each_day(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    make_schedule(app, acme, name="Restless", every_seconds=10)
    page = operator.get(f"/calendar?day={LATER}").text
    told = times_shown(page, "Restless")
    assert set(told) == {"×8,640", "many, not counted"}
    assert told == sorted(told, reverse=True)  # the counted days come first
    assert len(told) >= 28
    assert "Not counted to the end" in page


def test_a_limit_of_runs_counts_from_now_wherever_the_calendar_is_opened(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    at = datetime.combine(SOON, time(9), UTC)
    limited = cron(app, acme, "Last one", "0 9 * * *", next_at=at, runs_left=1, start_at=at, timezone="UTC")
    often = "0,1,2,3,4,5,6,7,8,9,10,11,12 9 * * *"
    cron(app, acme, "Last twenty", often, next_at=at, runs_left=20, start_at=at, timezone="UTC")

    def shown_on(day: date) -> list[str]:
        return re.findall(r'<span class="entry-name">([^<]+)', operator.get(f"/calendar?view=day&day={day}").text)

    tomorrow, after = SOON + timedelta(days=1), SOON + timedelta(days=2)
    assert sorted(shown_on(SOON)) == ["Last one", "Last twenty"]
    assert shown_on(tomorrow) == ["Last twenty"] * 7
    assert shown_on(after) == []
    assert shown_on(SOON + timedelta(days=31)) == []
    operator.post(f"/schedules/{limited.id}/fires/skips", data={"nominal": at.isoformat()})
    assert "Last one" in shown_on(tomorrow)
    assert "Last one" not in shown_on(after)


@pytest.mark.parametrize("limit", [None, 1])
def test_a_pause_that_ends_by_itself_hides_the_fires_until_then_alone(
    app: Dashboard, operator: Browser, acme: Tenant, limit: int | None
) -> None:
    end = datetime.combine(SOON, time(9), UTC)  # what is due at this very moment counts as missed
    pause = {"paused_at": sa.func.now(), "paused_until": end, "runs_left": limit, "timezone": "UTC"}
    cron(app, acme, "Asleep", "0 8,9,10,11 * * *", **pause)
    times = re.findall(r'<time datetime="[-\d]+T(\d\d):00', operator.get(f"/calendar?view=day&day={SOON}").text)
    assert times == (["10", "11"] if limit is None else ["10"])
    tomorrow = operator.get(f"/calendar?view=day&day={SOON + timedelta(days=1)}").text
    assert ("Asleep" in tomorrow) is (limit is None)
    assert "Asleep" not in operator.get(f"/calendar?view=day&day={SOON - timedelta(days=1)}").text


def test_what_does_not_fire_is_not_shown(app: Dashboard, operator: Browser, acme: Tenant, globex: Tenant) -> None:
    cron(app, acme, "Asleep", "0 9 * * *", paused_at=sa.func.now())
    cron(app, acme, "Put away", "0 9 * * *", archived_at=sa.func.now())
    cron(app, globex, "Somebody else's", "0 9 * * *")
    page = operator.get("/calendar").text
    assert [name for name in ("Asleep", "Put away", "Somebody") if name in page] == []
    assert "Nothing fires here" in page


def test_an_hour_of_the_week_has_room_for_few_and_leads_to_the_day(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    for number in range(9):
        cron(app, acme, f"Crowd {number}", "0 9 * * *", timezone="UTC")
    week = operator.get(f"/calendar?view=week&day={SOON}").text
    assert "Crowd 5" in week
    assert "Crowd 6" not in week
    assert f'view=day&amp;day={SOON}">and 3 more</a>' in week
    assert "Crowd 8" in operator.get(f"/calendar?view=day&day={SOON}").text


@pytest.mark.parametrize(("minutes", "marked"), [(5, False), (12, True)])
@pytest.mark.parametrize("view", ["month", "week", "day"])
def test_runs_that_usually_take_longer_than_to_the_next_fire_are_marked(
    app: Dashboard, operator: Browser, acme: Tenant, view: str, minutes: int, marked: bool
) -> None:
    often = cron(app, acme, "Often", "*/10 * * * *")
    twice = cron(app, acme, "Twice", "0,10 9 * * *")
    now = datetime.now(UTC)
    for schedule in (often, twice):
        make_run(
            app,
            acme,
            "succeeded",
            schedule_id=schedule.id,
            started_at=now - timedelta(minutes=minutes),
            finished_at=now,
        )
    page = operator.get(f"/calendar?view={view}&day={SOON}").text
    assert ("95 of 100 of its last runs take up to 12 min" in page) is marked
    assert (page.count("may overlap") > 1) is marked


def test_a_run_that_may_take_no_longer_than_to_the_next_fire_is_not_marked(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    schedule = cron(app, acme, "Often", "*/10 * * * *", timeout_seconds=300)
    now = datetime.now(UTC)
    make_run(app, acme, "succeeded", schedule_id=schedule.id, started_at=now - timedelta(hours=1), finished_at=now)
    assert "may overlap" not in operator.get("/calendar?view=day").text


@pytest.mark.parametrize("query", ["view=century", "day=never", "day=0001-01-01", "day=9999-12-31&view=month"])
def test_nonsense_in_the_address_opens_the_calendar(operator: Browser, query: str) -> None:
    assert operator.get(f"/calendar?{query}").status_code == 200


def feed_path(browser: Browser) -> str:
    page = browser.get("/calendar").text
    return urlsplit(page.partition('<code class="clip">')[2].partition("</code>")[0]).path


def test_the_feed_needs_no_sign_in_and_ends_with_the_membership(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    cron(app, acme, "Report; daily, for all", "0 9 * * *")
    path = feed_path(operator)
    anybody = visit(app, acme)
    feed = anybody.get(path)
    assert feed.mimetype == "text/calendar"
    assert feed.text.startswith("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n")
    assert "SUMMARY:Report\\; daily\\, for all\r\n" in feed.text
    assert "https://jobs.acme.test/schedules/" in feed.text.replace("\r\n ", "")
    assert max(len(line.encode()) for line in feed.text.split("\r\n")) <= 75
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.delete(Membership))
    assert anybody.get(path).status_code == 404


def test_the_feed_reaches_as_far_for_frequent_schedules_and_says_how_far(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    cron(app, acme, "Every minute", "* * * * *")
    cron(app, acme, "Every quarter", "*/15 * * * *")
    cron(app, acme, "Daily", "0 12 * * *")
    feed = visit(app, acme).get(feed_path(operator)).text.replace("\r\n ", "")
    for name in ("Every minute", "Every quarter", "Daily"):
        last = re.findall(rf"DTSTART:(\d{{8}})T\d+Z\r\nDTEND:\w+\r\nSUMMARY:{name}", feed)[-1]
        assert date.fromisoformat(last) >= SOON + timedelta(days=56)
    assert "X-WR-CALDESC:Fires until 20" in feed
    assert "SUMMARY:Every minute (×1\\,440)" in feed
    page = operator.get("/calendar").text
    assert "It reaches 60 days ahead." in page
    assert "more than 12 times a day is one event a day" in page


def test_a_feed_of_one_tenant_is_none_at_another(
    app: Dashboard, operator: Browser, acme: Tenant, globex: Tenant
) -> None:
    path = feed_path(operator)
    assert visit(app, globex).get(path).status_code == 404
    assert visit(app, acme).get(path.replace(".ics", "x.ics")).status_code == 404
