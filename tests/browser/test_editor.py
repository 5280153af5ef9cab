"""The schedule editor in a real browser: it previews as one types, works without a script, and asks before it acts."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from dashboard.schedules.models import Schedule
from tests.browser.visitor import PHONE, WIDE, Visitor, fits, sign_in
from tests.factories.job_types import Echo
from tests.factories.people import People, make_people
from tests.factories.runs import make_run
from tests.factories.schedules import make_schedule, runs, stored
from tests.signing_in import PASSWORD

ROOT = "http://platform.test/globex"
NEW = f"{ROOT}/schedules/new?job_type={Echo.key}"
EMAIL = "mallory@globex.test"
BERLIN, SYDNEY = "Europe/Berlin", "Australia/Sydney"
AHEAD = datetime.now(ZoneInfo("Asia/Tokyo")).replace(minute=0, second=0, microsecond=0) + timedelta(hours=12)
"""An hour of the tenant's clock that lies within a day ahead, at whatever hour the tests run."""


@pytest.fixture
def people(app: Dashboard, acme: Tenant, globex: Tenant) -> People:
    return make_people(app, acme, globex)


def at(open_page: Visitor, url: str, **profile: str | int | bool) -> Page:
    """Open a page of the tenant's admin."""
    page = sign_in(open_page(f"{ROOT}/sign-in", **profile), EMAIL, PASSWORD)  # type: ignore[arg-type]
    page.goto(url)
    return page


def test_the_preview_follows_what_is_typed_in_words_and_in_cron(open_page: Visitor, people: People) -> None:
    page = at(open_page, NEW, timezone_id=BERLIN)
    shown = page.locator("#schedule-preview")
    page.get_by_label("Days and times").fill("last Friday 17:00")
    expect(shown).to_contain_text("As cron: 0 17 * * 5L")
    page.get_by_label("Days and times").fill("0 8 * * 1")
    expect(shown).to_contain_text("Every Monday at 08:00")
    expect(shown.locator("tbody tr")).to_have_count(10)
    page.get_by_label("Days and times").fill("0 99 * * *")
    expect(page.locator("#rule-words")).to_contain_text("`99` is no hour")
    expect(shown.locator("tbody tr")).to_have_count(0)


def test_the_preview_has_the_viewers_clock_and_the_seconds_of_the_spread(open_page: Visitor, people: People) -> None:
    page = at(open_page, NEW, timezone_id=SYDNEY)
    shown = page.locator("#schedule-preview")
    page.get_by_label("Time zone").select_option("America/New_York")
    page.get_by_label("Days and times").fill("0 12 15 1 *")
    clocks = shown.locator("tbody tr").first.locator("td")
    expect(clocks).to_have_text([re.compile("15 Jan"), "12:00 EST", "17:00", re.compile(r"\w{3} 04:00 AEDT")])
    expect(shown).to_contain_text("the clock goes forward")
    page.get_by_text("More: ").click()
    page.get_by_label("Spread over, minutes").fill("30")
    expect(shown).to_contain_text(re.compile(r"starts 12:[0-2]\d:\d\d"))


def test_another_job_type_keeps_what_was_typed_and_fits(open_page: Visitor, people: People) -> None:
    page = at(open_page, NEW)
    page.get_by_label("Name").fill("Tea time")
    page.get_by_label("Word", exact=True).fill("tea")
    page.get_by_label("Days and times").fill("daily at 16")
    page.get_by_role("navigation", name="Job type").get_by_role("link", name="Shout").click()
    expect(page.get_by_label("Volume")).to_have_value("11")
    expect(page.get_by_label("Name")).to_have_value("Tea time")
    expect(page.get_by_label("Word", exact=True)).to_have_value("tea")
    expect(page.get_by_label("Days and times")).to_have_value("daily at 16")
    expect(page).to_have_url(f"{ROOT}/schedules/new?job_type=test.shout")
    page.get_by_label("Days and times").fill("daily at 17")
    expect(page.locator("#schedule-preview")).to_contain_text("Every day at 17:00")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Tea time")
    expect(page.locator("main")).to_contain_text("Shout")


def test_without_a_script_a_schedule_is_previewed_and_saved(app: Dashboard, open_page: Visitor, people: People) -> None:
    page = at(open_page, NEW, java_script_enabled=False, timezone_id=SYDNEY)
    page.get_by_label("Name").fill("Without a script")
    page.get_by_label("Word", exact=True).fill("hello")
    page.get_by_label("Days and times").fill("weekdays at 7")
    page.get_by_role("button", name="Show the next fires").click()
    expect(page.locator("#schedule-preview")).to_contain_text("Every weekday at 07:00")
    expect(page.locator("#schedule-preview")).not_to_contain_text("You")
    expect(page.get_by_label("Name")).to_have_value("Without a script")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Without a script")
    page.get_by_role("link", name="Pause").click()
    page.get_by_label("Why").fill("Stock-taking")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator("main")).to_contain_text("Stock-taking")
    page.get_by_role("link", name="Run now").click()
    page.get_by_role("button", name="Run it now").click()
    expect(page).to_have_url(re.compile(r"/runs/[-0-9a-f]{36}$"))
    assert len(runs(app)) == 1


def test_a_crowded_minute_is_spread_by_a_click(
    app: Dashboard, open_page: Visitor, people: People, globex: Tenant
) -> None:
    together = [daily(app, globex, f"Daily {number}") for number in range(11)]
    page = at(open_page, NEW)
    page.get_by_label("Name").fill("One more")
    page.get_by_label("Days and times").fill(f"daily at {AHEAD:%H:%M}")
    expect(page.locator("#schedule-preview")).to_contain_text(f"{AHEAD:%H:%M} is shared with 11 other fires")
    page.get_by_role("button", name=f"Use H {AHEAD.hour} * * *").click()
    expect(page.get_by_label("Days and times")).to_have_value(f"H {AHEAD.hour} * * *")
    expect(page.get_by_label("Name")).to_have_value("One more")
    page.goto(f"{ROOT}/calendar/load")
    with page.expect_navigation():
        page.get_by_role("link", name="Spread these").click()
    page.get_by_label("Up to 15 minutes later").check()
    expect(page.get_by_role("img", name="Starts by minute then")).to_be_visible()
    page.get_by_role("button", name="Spread 11 schedules").click()
    expect(page.locator("main")).to_contain_text("You spread 11 schedules.")
    assert {stored(app, each).jitter_seconds for each in together} == {900}
    page.get_by_role("button", name="Take it back").click()
    expect(page.locator("main")).to_contain_text("11 schedules as before.")
    assert {stored(app, each).jitter_seconds for each in together} == {0}


def daily(app: Dashboard, tenant: Tenant, name: str) -> Schedule:
    return make_schedule(
        app,
        tenant,
        name=name,
        kind="cron",
        crons=[f"0 {AHEAD.hour} * * *"],
        every_seconds=None,
        next_at=AHEAD.astimezone(UTC),
        params={"word": "hi"},
    )


def test_running_it_beside_another_run_must_be_forced(
    app: Dashboard, open_page: Visitor, people: People, globex: Tenant
) -> None:
    schedule = make_schedule(app, globex, params={"word": "hello"})
    make_run(app, globex, "running", schedule_id=schedule.id, concurrency_key=f"schedule:{schedule.id}")
    page = at(open_page, f"{ROOT}/schedules/{schedule.id}")
    page.get_by_role("link", name="Run now").click()
    expect(page.locator("main")).to_contain_text("this one will be skipped unless you force it")
    expect(page.locator("main")).to_contain_text("hello")
    page.get_by_role("button", name="Force it").dblclick()
    page.wait_for_url(re.compile(r"/runs/[-0-9a-f]{36}$"))
    assert len(runs(app)) == 2


def test_a_new_time_zone_shows_what_moves_and_asks(
    app: Dashboard, open_page: Visitor, people: People, globex: Tenant
) -> None:
    schedule = daily(app, globex, "Morning report")
    page = at(open_page, f"{ROOT}/settings")
    page.get_by_label("Time zone").select_option("Europe/Berlin")
    page.get_by_role("button", name="Save settings").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("1 schedule moves")
    expect(page.get_by_role("row").filter(has_text="Morning report")).to_contain_text(f"{AHEAD:%H:%M} JST")
    assert stored(app, schedule).next_at == schedule.next_at
    page.get_by_role("button", name="Change it to Europe/Berlin").click()
    expect(page.locator("main")).to_contain_text("The time zone is Europe/Berlin now. 1 schedule moved.")
    assert stored(app, schedule).next_at != schedule.next_at


def test_two_editors_of_one_schedule_meet_with_a_diff_and_nothing_typed_is_lost(
    app: Dashboard, open_page: Visitor, people: People, globex: Tenant
) -> None:
    schedule = make_schedule(app, globex, params={"word": "hello"})
    mine = at(open_page, f"{ROOT}/schedules/{schedule.id}/edit")
    theirs = at(open_page, f"{ROOT}/schedules/{schedule.id}/edit")
    theirs.get_by_label("Name").fill("Theirs")
    theirs.get_by_role("button", name="Save changes").click()
    expect(theirs.get_by_role("heading", level=1)).to_have_text("Theirs")
    mine.get_by_label("Name").fill("Mine")
    mine.get_by_role("button", name="Save changes").click()
    conflict = mine.get_by_role("alert").filter(has_text="Somebody changed this schedule")
    expect(conflict).to_be_focused()
    expect(conflict.get_by_role("row").filter(has_text="Name")).to_contain_text("Theirs")
    expect(mine.get_by_label("Name")).to_have_value("Mine")
    mine.get_by_role("button", name="Save mine over it").click()
    expect(mine.get_by_role("heading", level=1)).to_have_text("Mine")


def test_a_mistake_is_told_beside_its_field_which_the_keyboard_reaches(open_page: Visitor, people: People) -> None:
    page = at(open_page, NEW)
    page.get_by_label("Name").fill("Kept")
    page.get_by_label("Word", exact=True).fill("hello")
    page.get_by_label("Days and times").fill("0 22-2 * * *")
    page.get_by_label("Name").press("Enter")
    expect(page.locator("#field-crons-error")).to_contain_text("22,23,0-2")
    expect(page.get_by_label("Name")).to_have_value("Kept")
    expect(page.get_by_role("alert").first).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Days and times")).to_be_focused()


@pytest.mark.parametrize("width", [WIDE, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_of_a_schedule_fits_the_window(
    app: Dashboard, open_page: Visitor, people: People, globex: Tenant, width: int, scheme: str
) -> None:
    schedule = daily(app, globex, "A schedule with a name as long as people give it when nobody stops them in time")
    assert schedule.next_at is not None
    fire = schedule.next_at.isoformat().replace("+", "%2B")
    page = at(open_page, NEW, width=width, color_scheme=scheme)
    paths = ("", "/edit", "/runs/new", "/pauses/new", "/fires", "/revisions")
    for path in (*(f"/schedules/{schedule.id}{each}" for each in paths), "/settings/zones/new?to=UTC"):
        page.goto(f"{ROOT}{path}")
        assert fits(page), path
    for path in ("load", f"load/hour?start={fire}", f"load/spreads/new?minute={fire}"):
        page.goto(f"{ROOT}/calendar/{path}")
        assert fits(page), path
    page.goto(f"{ROOT}/calendar/moves/new?schedule={schedule.id}&nominal={fire}")
    assert fits(page)
