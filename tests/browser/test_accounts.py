"""Sign-in, settings and the back office in a real browser: they fit, break no rule, and ask before they remove."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from tests.browser.visitor import PHONE, WIDE, Visitor, fits, sign_in
from tests.factories.people import People, make_people
from tests.signing_in import PASSWORD

PLATFORM = "http://platform.test"
OFFICE = ("tenants/", "tenants/new/", "people/", "people/new/", "memberships/", "processes/", "audit/")


@pytest.fixture
def people(app: Dashboard, acme: Tenant, globex: Tenant) -> People:
    return make_people(app, acme, globex)


def test_a_wrong_password_is_told_and_the_address_kept(open_page: Visitor, people: People) -> None:
    page = open_page(f"{PLATFORM}/globex/settings")
    expect(page.get_by_text("Globex")).to_be_visible()
    sign_in(page, "mallory@globex.test", "not it at all")
    expect(page.get_by_role("alert")).to_contain_text("The email address or the password is wrong.")
    expect(page.get_by_label("Email address")).to_have_value("mallory@globex.test")
    sign_in(page, "mallory@globex.test", PASSWORD)
    expect(page).to_have_url(f"{PLATFORM}/globex/settings")


@pytest.mark.parametrize("width", [WIDE, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_back_office_fits_the_window(open_page: Visitor, people: People, width: int, scheme: str) -> None:
    page = open_page(f"{PLATFORM}/sign-in", width=width, color_scheme=scheme)
    sign_in(page, "root@platform.test", PASSWORD)
    for path in OFFICE:
        page.goto(f"{PLATFORM}/platform/{path}")
        assert fits(page), path


def test_removing_a_membership_asks_first(open_page: Visitor, people: People) -> None:
    page = open_page(f"{PLATFORM}/sign-in?next=/platform/memberships/")
    sign_in(page, "root@platform.test", PASSWORD)
    victor = page.get_by_role("row").filter(has_text="victor@acme.test")
    victor.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Keep things as they are").click()
    expect(victor).to_be_visible()
    victor.get_by_role("button", name="Remove").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Yes, remove").click()
    expect(victor).to_have_count(0)


def test_enter_saves_the_settings_and_resets_nothing(open_page: Visitor, people: People) -> None:
    page = open_page(f"{PLATFORM}/globex/sign-in?next=/globex/settings")
    sign_in(page, "mallory@globex.test", PASSWORD)
    page.get_by_label("Brand name").fill("Globex Works")
    page.get_by_label("Brand name").press("Enter")
    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(page.get_by_label("Brand name")).to_have_value("Globex Works")
    expect(page.get_by_label("Time zone")).to_have_value("Asia/Tokyo")
    page.get_by_role("button", name="Reset to default Brand name").click()
    expect(page.get_by_label("Brand name")).to_have_value("Globex")


def test_the_menu_shows_times_by_the_organisations_clock_again_to_who_has_their_own(
    open_page: Visitor, people: People
) -> None:
    page = open_page(f"{PLATFORM}/globex/sign-in?next=/globex/sessions")
    sign_in(page, "mallory@globex.test", PASSWORD)
    page.get_by_label("Show times in").select_option("Asia/Kolkata")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    for choice, zone in (("Tokyo", "JST"), ("Kolkata", "IST"), ("Tokyo", "JST")):
        page.click(".who")
        with page.expect_navigation():
            page.get_by_role("button", name=choice).click()
        expect(page.locator("#sessions time .zone").first).to_have_text(zone)
        page.click(".who")
        expect(page.locator("[data-zone-choice][aria-pressed=true]")).to_have_text(choice)
        page.keyboard.press("Escape")
    page.get_by_label("Show times in").select_option("")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    page.click(".who")
    expect(page.locator("[data-zone-choice][aria-pressed=true]")).to_have_attribute("data-zone-choice", "home")


@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_nothing_covers_when_a_session_was_last_used(open_page: Visitor, people: People, width: int) -> None:
    page = open_page(f"{PLATFORM}/globex/sign-in?next=/globex/sessions", width=width)
    sign_in(page, "mallory@globex.test", PASSWORD)
    table = page.locator("#sessions .table-wrap")
    expect(table).to_be_visible()
    assert table.evaluate("element => element.scrollWidth <= element.clientWidth")
