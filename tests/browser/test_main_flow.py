"""An operator's day on the running system: scheduled mail arrives and leads back, and runs are acted upon by click."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect

from tests.browser.station import PASSWORD, Place, Station, running_station
from tests.browser.visitor import PHONE, Visitor, fits, sign_in
from tests.servers import PostgresAddress

pytestmark = pytest.mark.xdist_group("station")

A_MINUTE = 150_000
"""Milliseconds in which what was put off by a minute has happened."""

SOON = 60_000
RECIPIENTS = ("ann@customers.example", "bob@customers.example", "Cleo Ng <cleo@customers.example>")


@pytest.fixture(scope="module")
def station(
    browser: Browser, postgres: PostgresAddress, database: str, environment: dict[str, str]
) -> Iterator[Station]:
    """The running system, for all tests of this module."""
    own = f"{database}_station"
    postgres.create_database(own)
    with running_station(postgres, own, environment) as station:
        yield station
    postgres.drop_database(own)


@pytest.fixture
def visit(browser: Browser, station: Station) -> Iterator[Visitor]:
    """Open an address in a browser profile of its own; afterwards no console may hold an error."""
    visitor = Visitor(browser, "localhost", strict=True)
    yield visitor
    visitor.leave()


def start(page: Page, place: Place, job_type: str, when: str, **fields: str) -> Page:
    """Fill the editor and save it; the page is then the run's."""
    page.goto(f"{place.root}/schedules/new?job_type={job_type}")
    for label, text in fields.items():
        page.get_by_label(re.compile(rf"^{label}(\s*optional)?$")).fill(text)
    page.get_by_label(when, exact=True).check()
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url(re.compile(r"/runs/[-0-9a-f]{36}$"))
    return page


def state(page: Page) -> Locator:
    """The state of the run whose page this is."""
    return page.locator("main .state-pill")


class Staying:
    """Proves that a page was neither left nor loaded again since this was made."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.loads: list[str] = []
        page.evaluate("window.untouched = true")
        page.on("request", self._note)

    def check(self) -> None:
        assert self.page.evaluate("window.untouched") is True
        assert self.loads == []

    def _note(self, request: Request) -> None:
        if request.is_navigation_request() and request.frame == self.page.main_frame:
            self.loads.append(request.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailing:
    """A mail that was put off by a minute, on two open pages that show its run: the run's own, and the list of runs."""

    place: Place
    run: Page
    listed: Locator
    staying: tuple[Staying, Staying]


@pytest.fixture(scope="module")
def mailings(browser: Browser, station: Station) -> Iterator[list[Mailing]]:
    """A mail in each tenant; its pages stay open and nobody touches them while the other tests go on."""
    visitor = Visitor(browser, "localhost", strict=True)
    yield [schedule_mail(sign_in(visitor(place.root), place.admin, PASSWORD), place) for place in station.both]
    visitor.leave()


def test_mail_is_scheduled_a_minute_ahead_in_two_tenants(mailings: list[Mailing]) -> None:
    for mailing in mailings:
        expect(state(mailing.run)).to_contain_text("Scheduled")
        expect(mailing.listed).to_contain_text("Scheduled")


def open_beside(page: Page, url: str) -> Page:
    """Open an address in a further tab of the same browser."""
    beside = page.context.new_page()
    beside.goto(url)
    return beside


def schedule_mail(page: Page, place: Place) -> Mailing:
    fields = {
        "Name": f"Spring offer of {place.name}",
        "To": "\n".join(RECIPIENTS),
        "Subject": f"News from {place.name}",
        "Text": "Dear {{ recipient.address }},\n\n**everything** is half price.",
        "Link to a page": "/schedules",
        "Text of the link": "See the schedules",
    }
    start(page, place, "email.message", "In 1 minute", **fields)
    runs = open_beside(page, f"{place.root}/runs")
    listed = runs.get_by_role("row").filter(has_text=fields["Name"])
    return Mailing(place=place, run=page, listed=listed, staying=(Staying(page), Staying(runs)))


def test_nobody_sees_another_tenants_pages(visit: Visitor, station: Station) -> None:
    theirs = start(
        sign_in(visit(station.globex.root), station.globex.admin, PASSWORD),
        station.globex,
        "demo.stock_sync",
        "Now",
        Items="1",
    )
    path = theirs.url.removeprefix(station.globex.root)
    at_acme = sign_in(visit(station.acme.root), station.acme.admin, PASSWORD)
    at_globex = sign_in(visit(f"{station.globex.root}/sign-in"), station.acme.admin, PASSWORD)
    places = [(at_acme, station.acme.root, path)]
    places += [(at_globex, station.globex.root, each) for each in ("/", "/runs", "/schedules", "/monitor", path)]
    for page, root, each in places:
        answer = page.goto(root + each)
        assert answer is not None
        assert answer.status == 404, each
        expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing here")
        expect(page.locator("main")).not_to_contain_text("Globex")
    visit.forgive("404")


def test_a_run_is_cancelled_by_click(visit: Visitor, station: Station) -> None:
    page = sign_in(visit(station.acme.root), station.acme.admin, PASSWORD)
    start(page, station.acme, "demo.stock_sync", "Now", Items="4000")
    expect(state(page)).to_contain_text("Running", timeout=SOON)
    expect(page.get_by_text(re.compile(r"item \d+"))).to_be_visible(timeout=SOON)
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Yes, cancel").click()
    expect(page.get_by_text("Asked it to stop.")).to_be_visible()
    expect(state(page)).to_contain_text("Cancelled", timeout=SOON)


def test_a_run_that_failed_is_retried_by_click(visit: Visitor, station: Station) -> None:
    page = sign_in(visit(f"{station.acme.root}/runs?state=dead"), station.acme.admin, PASSWORD)
    failed = page.get_by_role("row").filter(has_text="Prices from Initech")
    with page.expect_navigation():
        failed.get_by_role("link").first.click()
    expect(state(page)).to_contain_text("Dead")
    page.get_by_role("button", name="Retry", exact=True).click()
    page.get_by_role("button", name="Yes, retry").click()
    expect(page.get_by_text("It will run again as soon as a worker is free.")).to_be_visible()
    expect(page.locator(".timeline")).to_contain_text("Retrying", timeout=SOON)


def test_a_schedule_is_paused_with_a_reason_and_resumed(visit: Visitor, station: Station) -> None:
    page = sign_in(visit(f"{station.acme.root}/schedules"), station.acme.admin, PASSWORD)
    page.get_by_role("link", name="Stock levels from the warehouses").click()
    page.get_by_role("link", name="Pause", exact=True).click()
    page.get_by_label("Why").fill("Stocktaking until noon")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator("main .state-pill")).to_contain_text("Paused")
    expect(page.get_by_text("by Olivia Ames: Stocktaking until noon")).to_be_visible()
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.locator("main .state-pill")).to_contain_text("Active")


def test_the_monitor_shows_live_runs_beside_flower(visit: Visitor, station: Station) -> None:
    page = sign_in(visit(f"{station.globex.root}/monitor"), station.globex.admin, PASSWORD)
    flower = page.frame_locator("iframe[name=flower]")
    expect(flower.get_by_text("celery@").first).to_be_visible(timeout=SOON)
    staying = Staying(page)
    beside = start(open_beside(page, station.globex.root), station.globex, "demo.stock_sync", "Now", Items="3")
    run = page.locator(f"#monitor-run-{beside.url[-36:]}")
    expect(run).to_contain_text("Succeeded", timeout=SOON)
    staying.check()
    page.get_by_role("link", name="Tasks").click()
    expect(flower.get_by_text("demo.stock_sync").first).to_be_visible(timeout=SOON)


def test_keys_lead_everywhere(visit: Visitor, station: Station) -> None:
    page = sign_in(visit(station.globex.root), station.globex.admin, PASSWORD)
    page.keyboard.type("gr")
    page.wait_for_url("**/runs")
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Go to Schedules")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("[data-search]")).to_be_focused()
    page.keyboard.type("spare")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs?q=spare*")
    expect(page.locator("main tbody tr").first).to_contain_text("Spare parts count")


def test_dark_stays_dark_and_a_phone_has_a_menu(visit: Visitor, station: Station) -> None:
    page = sign_in(visit(station.acme.root, width=PHONE, color_scheme="light"), station.acme.admin, PASSWORD)
    assert fits(page)
    page.get_by_role("button", name="Menu").click()
    page.locator(".who").click()
    page.get_by_role("button", name="Dark").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.keyboard.press("Escape")
    with page.expect_navigation():
        page.get_by_role("link", name="Monitor").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Monitor")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    assert fits(page)


def test_the_mail_arrives_by_itself_and_leads_back_to_its_tenant(mailings: list[Mailing], station: Station) -> None:
    for mailing in mailings:
        expect(state(mailing.run)).to_contain_text("Succeeded", timeout=A_MINUTE)
        expect(mailing.listed).to_contain_text("Succeeded")
        expect(mailing.run.locator(".live-chip")).to_contain_text("Live: finished")
        deliveries = mailing.run.locator("#deliveries")
        expect(deliveries.locator("tbody tr")).to_have_count(len(RECIPIENTS))
        expect(deliveries).to_contain_text("cleo@customers.example")
        for page in mailing.staying:
            page.check()
        mail = open_mail(mailing, station)
        expect(mail.frame_locator("iframe").get_by_text("everything is half price.")).to_be_visible()
        expect(mail.locator("pre")).to_contain_text(f"{mailing.place.root}/schedules")
        landed = follow(mail, "See the schedules")
        expect(landed).to_have_url(f"{mailing.place.root}/schedules")
        expect(landed).to_have_title(f"Schedules · {mailing.place.name}")


def open_mail(mailing: Mailing, station: Station) -> Page:
    """Open the mail to the first recipient, on the page that shows what was sent."""
    mail = open_beside(mailing.run, station.mail)
    ours = mail.get_by_role("row").filter(has_text=f"News from {mailing.place.name}")
    expect(ours).to_have_count(len(RECIPIENTS))
    ours.filter(has_text=RECIPIENTS[0]).get_by_role("link").click()
    return mail


def follow(mail: Page, link: str) -> Page:
    """Click a link of the mail's HTML, which opens a tab of its own."""
    with mail.expect_popup() as popup:
        mail.frame_locator("iframe").get_by_role("link", name=link, exact=True).click()
    return popup.value


def test_an_open_page_survives_the_broker_and_tells_when_work_goes_on(visit: Visitor, station: Station) -> None:
    page = sign_in(visit(f"{station.acme.root}/runs"), station.acme.admin, PASSWORD)
    staying = Staying(page)
    station.broker.stop()
    try:
        beside = start(open_beside(page, station.acme.root), station.acme, "demo.stock_sync", "Now", Items="2")
        run = page.locator(f"#run-{beside.url[-36:]}")
        expect(run).to_contain_text(re.compile("Ready|Waiting|Starting"), timeout=SOON)
    finally:
        station.broker.start()
    expect(run).to_contain_text("Succeeded", timeout=A_MINUTE)
    staying.check()
