"""What app.js, theme.js and htmx do on a page, in a real browser, at a desk's and at a phone's width."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Response, Route, expect

from dashboard.core.tenancy import Tenant
from tests.browser.visitor import PHONE, WIDE, Visitor

GALLERY = "http://platform.test/globex/dev/gallery/"
PANEL = "#gallery-panel"


@pytest.fixture(autouse=True)
def _tenant(globex: Tenant) -> None:
    """The gallery is looked at in a tenant."""


def next_poll(page: Page) -> None:
    """Wait until the panel has been answered once more."""
    with page.expect_response(is_poll):
        pass


def is_poll(response: Response) -> bool:
    return response.request.headers.get("hx-request") == "true"


def when_polled(page: Page, **answer: Any) -> None:
    """From now on answer polls like this instead of asking the server."""

    def handle(route: Route) -> None:
        if route.request.headers.get("hx-request") == "true":
            route.fulfill(**answer)
        else:
            route.fallback()

    page.route("**/dev/gallery/**", handle)


def test_a_poll_keeps_ticks_and_focus(open_page: Visitor) -> None:
    page = open_page(GALLERY)
    page.evaluate("document.querySelector('#run-3').mark = 'the same element'")
    page.check("#run-3 input")
    page.focus("#run-5 .row-link")
    next_poll(page)
    next_poll(page)
    assert page.evaluate("document.querySelector('#run-3').mark") == "the same element"
    expect(page.locator("#run-3 input")).to_be_checked()
    expect(page.locator("#run-5 .row-link")).to_be_focused()


def test_a_menu_stays_open_over_a_poll(open_page: Visitor) -> None:
    page = open_page(GALLERY)
    page.click("[popovertarget=live-choice]")
    next_poll(page)
    expect(page.locator("#live-choice")).to_be_visible()


def test_a_panel_says_when_it_was_last_current_and_recovers_by_itself(open_page: Visitor) -> None:
    page = open_page(GALLERY)
    when_polled(page, status=503, body="away")
    expect(page.locator("#live-status")).to_contain_text("retrying")
    expect(page.locator(PANEL)).to_have_attribute("data-stale", "")
    expect(page.locator("#run-1")).to_be_visible()
    page.unroute_all()
    expect(page.locator(PANEL)).not_to_have_attribute("data-stale", "")
    expect(page.locator("#live-status")).to_have_text("2 running, 2 failed")


def test_it_does_not_poll_while_hidden_and_asks_once_when_shown(open_page: Visitor) -> None:
    page = open_page(GALLERY)
    page.evaluate(
        """() => {
            const count = (name) => () => document.body.dataset[name] = 1 + Number(document.body.dataset[name]);
            Object.assign(document.body.dataset, { ticks: 0, asked: 0 });
            document.addEventListener("htmx:config:request", count("ticks"));
            document.addEventListener("htmx:before:request", count("asked"));
            Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
        }"""
    )
    expect(page.locator("body")).to_have_attribute("data-ticks", re.compile(r"[2-9]|\d\d"))
    expect(page.locator("body")).to_have_attribute("data-asked", "0")
    with page.expect_response(is_poll):
        page.evaluate(
            """() => {
                for (let timer = setTimeout(() => {}); timer > 0; timer--) clearTimeout(timer); // The next tick's, too.
                delete document.hidden;
                document.dispatchEvent(new Event("visibilitychange"));
            }"""
        )
    expect(page.locator("body")).to_have_attribute("data-asked", "1")


def test_a_poll_that_is_not_signed_in_any_more_loads_the_page_again(open_page: Visitor) -> None:
    page = open_page(GALLERY)
    when_polled(page, status=401, body="sign in")
    with page.expect_navigation():
        pass
    page.unroute_all(behavior="ignoreErrors")  # or the page would load itself again and again, and may never close


def test_an_act_that_asks_first_is_sent_only_after_yes(open_page: Visitor) -> None:
    page = open_page(GALLERY)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.click("#run-4 .actions button")
    expect(page.locator("#confirm")).to_contain_text("Mail that was sent stays sent.")
    page.get_by_role("button", name="Keep things as they are").click()
    expect(page.locator("#confirm")).to_be_hidden()
    assert sent == []
    page.click("#run-4 .actions button")
    page.get_by_role("button", name="Yes, cancel").click()
    page.wait_for_url("**/posts")
    assert len(sent) == 1


def test_an_invalid_form_comes_back_in_place_with_what_is_wrong(open_page: Visitor) -> None:
    page = open_page(GALLERY)
    page.fill("#field-when", "every full moon")
    with page.expect_response("**/posts") as answer:
        page.get_by_role("button", name="Save schedule").click()
    assert answer.value.status == 422
    assert page.url == GALLERY
    expect(page.locator("#field-rate")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("button", name="Save schedule")).to_be_enabled()


def test_a_refusal_is_told_and_the_page_stays_as_it_is(open_page: Visitor) -> None:
    page = open_page(GALLERY)
    page.route("**/posts", lambda route: route.fulfill(status=409, body="<p data-message>This run has ended.</p>"))
    page.get_by_role("button", name="Save schedule").click()
    expect(page.locator("#toasts")).to_contain_text("This run has ended.")
    expect(page.get_by_role("button", name="Save schedule")).to_be_visible()
    page.locator("#toasts").get_by_role("button", name="Dismiss").click()
    expect(page.locator("#toasts .flash")).to_have_count(0)


def test_keys_search_and_explain_themselves(open_page: Visitor) -> None:
    page = open_page(GALLERY)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    expect(page.locator("[data-search]")).to_be_focused()
    page.keyboard.type("?")
    expect(page.locator("#shortcuts")).to_be_hidden()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    expect(page.locator("#shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#shortcuts")).to_be_hidden()


def test_keys_can_be_switched_off(open_page: Visitor) -> None:
    page = open_page(GALLERY)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    page.uncheck("[data-shortcuts]")
    page.keyboard.press("Escape")
    page.reload()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    expect(page.locator("#shortcuts")).to_be_hidden()


def test_the_theme_is_kept_for_the_next_page_and_for_flower(open_page: Visitor) -> None:
    page = open_page(GALLERY, color_scheme="light")
    page.click(".who")
    page.click("[data-theme-choice=dark]")
    page.goto(GALLERY + "empty")
    assert page.evaluate("[document.documentElement.dataset.theme, localStorage['flower-theme']]") == ["dark", "dark"]
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"


def test_times_follow_the_viewers_choice_of_zone(open_page: Visitor) -> None:
    page = open_page(GALLERY, timezone_id="America/Sao_Paulo")
    expect(page.locator(".timeline time").first).to_contain_text("JST")
    for choice, zone in (("UTC", "UTC"), ("device", "UTC-03"), ("home", "JST")):
        page.click(".who")
        with page.expect_navigation():  # Until the page has loaded: a click on a half loaded one may be dropped.
            page.click(f"[data-zone-choice={choice}]")
        expect(page.locator(".timeline time").first).to_contain_text(zone)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, PHONE])
@pytest.mark.parametrize("path", ["", "empty", "errors/404"])
def test_nothing_is_wider_than_the_window(open_page: Visitor, path: str, width: int, scheme: str) -> None:
    page = open_page(GALLERY + path, width=width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_on_a_phone_the_menu_button_shows_the_way_to_everything(open_page: Visitor) -> None:
    page = open_page(GALLERY, width=PHONE)
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator("#side")).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    expect(page.locator("#side")).to_be_visible()
    page.click(".who")
    expect(page.get_by_role("button", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(page.locator("#side")).to_be_hidden()
