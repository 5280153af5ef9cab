"""Fires are dragged on the calendar with the mouse, and moved back by a click."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.schedules.models import Schedule
from tests.browser.visitor import Visitor, sign_in
from tests.factories import make_user
from tests.factories.schedules import make_schedule, runs, stored
from tests.signing_in import PASSWORD, set_password

HOME, EMAIL = "http://platform.test/globex/", "olivia@globex.test"
TOKYO = ZoneInfo("Asia/Tokyo")
"""Globex's zone, in which its calendar is."""

TODAY = datetime.now(TOKYO).date()
MONDAY = TODAY + timedelta(days=7 - TODAY.weekday())
"""The next one: all of its week lies ahead."""


def at(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime.combine(day, time(hour, minute), TOKYO).astimezone(UTC)


@pytest.fixture
def once(app: Dashboard, globex: Tenant) -> Schedule:
    fields: dict[str, Any] = {
        "kind": "once",
        "once_local": datetime.combine(MONDAY, time(9, 30)),
        "every_seconds": None,
    }
    return make_schedule(app, globex, name="Kickoff", next_at=at(MONDAY, 9, 30), params={"word": "hi"}, **fields)


@pytest.fixture
def daily(app: Dashboard, globex: Tenant) -> Schedule:
    fields: dict[str, Any] = {"kind": "cron", "crons": ["0 11 * * *"], "every_seconds": None, "next_at": at(MONDAY, 11)}
    return make_schedule(app, globex, name="Report", **fields)


def calendar(app: Dashboard, globex: Tenant, open_page: Visitor, view: str) -> Page:
    make_user(app, EMAIL, roles={globex.id: "operator"})
    set_password(app, EMAIL)
    page = sign_in(open_page(f"{HOME}sign-in"), EMAIL, PASSWORD)
    page.goto(f"{HOME}calendar?view={view}&day={MONDAY}")
    return page


def drag(page: Page, schedule: Schedule, slot: str) -> None:
    page.locator(f"[data-schedule='{schedule.id}']").first.drag_to(page.locator(f"[data-slot='{slot}']"))


def test_a_one_off_is_dragged_to_another_day_and_hour_of_the_week_and_back(
    app: Dashboard, globex: Tenant, open_page: Visitor, once: Schedule
) -> None:
    page = calendar(app, globex, open_page, "week")
    wednesday = MONDAY + timedelta(days=2)
    drag(page, once, f"{wednesday}T14")
    expect(page.get_by_text("Moved “Kickoff” to")).to_be_visible()
    expect(page.locator(f"[data-slot='{wednesday}T14']")).to_contain_text("14:30 Kickoff")
    assert stored(app, once).next_at == at(wednesday, 14, 30)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("“Kickoff” is back where it was.")).to_be_visible()
    assert stored(app, once).next_at == once.next_at


def test_one_fire_is_dragged_to_another_day_of_the_month_and_keeps_its_time(
    app: Dashboard, globex: Tenant, open_page: Visitor, daily: Schedule
) -> None:
    page = calendar(app, globex, open_page, "month")
    tuesday = MONDAY + timedelta(days=1)
    fire = page.locator(f"td[data-slot='{MONDAY}'] [data-schedule='{daily.id}']")
    fire.drag_to(page.locator(f"td[data-slot='{tuesday}']"))
    expect(page.get_by_text("Moved “Report” to")).to_be_visible()
    (run,) = runs(app)
    assert run.not_before == at(tuesday, 11)


def test_a_drop_that_cannot_be_says_why_and_everything_stays(
    app: Dashboard, globex: Tenant, open_page: Visitor, once: Schedule
) -> None:
    page = calendar(app, globex, open_page, "week")
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Schedule).values(rev=2))
    drag(page, once, f"{MONDAY}T14")
    expect(page.get_by_text("Somebody has changed this schedule since you opened this page.")).to_be_visible()
    assert stored(app, once).next_at == once.next_at
