"""Every page of a tenant, signed in, in a real browser: it fits the window and breaks no rule of the content policy."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from dashboard.runs.states import RUN_STATES
from tests.browser.visitor import PHONE, WIDE, Visitor, fits, sign_in
from tests.factories import make_user
from tests.factories.runs import make_run
from tests.factories.schedules import make_schedule
from tests.signing_in import PASSWORD, set_password

HOME = "http://platform.test/globex/"
EMAIL = "alice@globex.test"
LONG = "Monthly statements of every customer whose contract ended in the previous quarter"


@pytest.fixture
def busy(app: Dashboard, globex: Tenant) -> Tenant:
    """A tenant with an admin, a run in every state, and schedules."""
    make_user(app, EMAIL, roles={globex.id: "admin"})
    set_password(app, EMAIL)
    make_schedule(app, globex, name=LONG)
    make_schedule(app, globex, name="Nightly export", problem="Its job type is not installed here.")
    for state in RUN_STATES:
        make_run(app, globex, state, name=LONG)
    make_run(app, globex, "running", name="Customer export", progress_done=1260, progress_total=3000)
    return globex


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_every_place_in_the_navigation_fits_the_window(
    open_page: Visitor, busy: Tenant, width: int, scheme: str
) -> None:
    page = open_page(HOME + "sign-in", width=width, color_scheme=scheme)
    assert fits(page)
    sign_in(page, EMAIL, PASSWORD)
    places = page.eval_on_selector_all(".side li a", "links => links.map(link => link.href)")
    assert len(places) >= 4
    for place in places:
        page.goto(place)
        assert fits(page), place
        row = page.locator("main .row-link").first
        if row.count():
            with page.expect_navigation():
                row.click()
            assert fits(page), page.url


def test_ticks_survive_a_poll_and_lead_to_a_question_that_counts_them(
    app: Dashboard, open_page: Visitor, busy: Tenant
) -> None:
    page = open_page(HOME + "sign-in")
    sign_in(page, EMAIL, PASSWORD)
    page.goto(HOME + "runs?state=failed")
    boxes = page.locator("tbody input[name=id]")
    boxes.nth(0).check()
    boxes.nth(2).check()
    make_run(app, busy, "failed", name="A newcomer")
    expect(page.get_by_text("A newcomer")).to_be_visible()
    expect(page.locator("tbody input[name=id]:checked")).to_have_count(2)
    page.get_by_role("button", name="Run again…").click()
    page.get_by_role("button", name="Run 2 runs again").click()
    expect(page.locator(".flash")).to_contain_text("2 runs will run again")


def test_on_a_phone_the_chosen_tab_is_in_sight_and_an_error_has_a_line_of_its_own(
    app: Dashboard, open_page: Visitor, busy: Tenant
) -> None:
    make_run(app, busy, "dead", name="Export", error_message="No answer.")
    page = open_page(HOME + "sign-in", width=PHONE)
    sign_in(page, EMAIL, PASSWORD)
    page.goto(HOME + "problems?view=dead")
    expect(page.locator(".tabs [aria-current]")).to_be_in_viewport(ratio=1)
    row = page.locator("tr").filter(has_text="No answer.")
    error, ended = (row.locator("td").filter(has_text=text).bounding_box() for text in ("No answer.", "ago"))
    assert error
    assert ended
    assert error["y"] + error["height"] <= ended["y"]


def test_a_poll_keeps_the_focus_in_an_alert_above_the_page(app: Dashboard, open_page: Visitor, busy: Tenant) -> None:
    page = open_page(HOME + "sign-in")
    sign_in(page, EMAIL, PASSWORD)
    page.goto(HOME + "runs")
    link = page.get_by_role("link", name="What to do").first
    link.focus()
    make_run(app, busy, "failed", name="A newcomer")
    expect(page.get_by_text("A newcomer")).to_be_visible()
    assert link.evaluate("element => element === document.activeElement")
