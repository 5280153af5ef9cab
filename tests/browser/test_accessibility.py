"""Every page that there is, found by walking through all of them, keeps axe's rules and fits the window.

axe-core, which lies in axe-playwright-python, looks at what the browser made of a page: names, roles, order, contrast.
"""

from __future__ import annotations

from datetime import timedelta
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page

from dashboard.app import Dashboard
from dashboard.core.clock import database_now
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import resolver_of
from dashboard.demo.story import PASSWORD
from dashboard.runs.models import Artifact, BulkAction
from dashboard.schedules.models import Blackout
from dashboard.tenants.registry import forget_cached
from tests.browser.crawling import Crawl, routes_of_pages
from tests.browser.visitor import PHONE, WIDE, Visitor, fits, sign_in
from tests.factories.runs import make_run
from tests.factories.schedules import make_schedule

PLATFORM = "http://platform.test"
ACME = f"{PLATFORM}/acme"
AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
HEIGHT = 860
ADMIN, OWNER = "olivia@acme.example", "pat@stationmaster.example"


@pytest.fixture
def busy(app: Dashboard, developing: Dashboard) -> list[str]:
    """The demo, and what it lacks; returns the paths, in Acme, of pages to which the demo's links need not lead."""
    loaded = developing.test_cli_runner().invoke(args=["demo"])
    assert loaded.exit_code == 0, loaded.output
    forget_cached(developing)
    acme = resolver_of(developing).by_slug("acme")
    assert acme is not None
    schedule = make_schedule(app, acme, name="Tidy up", every_seconds=3600)
    fire = quote(schedule.next_at.isoformat()) if schedule.next_at else ""
    parent = make_run(app, acme, "succeeded", name="The whole", result={"rows": 3})
    make_run(app, acme, "running", name="A part", parent_id=parent.id, progress_done=1, progress_total=3)
    with app.app_context(), system_scope("test") as session:
        now = database_now(session)
        blackout = Blackout(tenant_id=acme.id, name="Move", start_at=now, end_at=now + timedelta(hours=6))
        bulk = BulkAction(tenant_id=acme.id, action="retry", filter={"states": ["failed"]}, estimate=7, done=3)
        file = Artifact(tenant_id=acme.id, run_id=parent.id, name="rows.csv", media_type="text/csv", size=1200)
        session.add_all([blackout, bulk, file])
        session.flush()
        return [
            f"/runs/{parent.id}",
            f"/runs/bulk/{bulk.id}",
            f"/calendar/blackouts/{blackout.id}",
            f"/calendar/moves/new?schedule={schedule.id}&nominal={fire}",
            f"/calendar/load/spreads/new?minute={fire}",
        ]


def test_every_page_keeps_the_rules_of_accessibility_in_both_themes_and_fits_a_phone(
    developing: Dashboard, open_page: Visitor, busy: list[str]
) -> None:
    broken: list[str] = []
    walked: set[str] = set()
    for root, email, first in ((ACME, ADMIN, busy), (PLATFORM, OWNER, [])):
        page = open_page(f"{root}/sign-in", reduced_motion="reduce")
        broken += found_on(page)
        crawl = Crawl(developing, sign_in(page, email, PASSWORD), root, first)
        for _ in crawl:
            broken += found_on(page)
        walked |= set(crawl.asked)
    assert broken == []
    assert {rule.endpoint for rule in routes_of_pages(developing)} - walked == set()


def found_on(page: Page) -> list[str]:
    """Return a line for whatever is wrong with the page; by the theme only colours can differ."""
    page.evaluate(AXE)
    found = by_axe(page, "light")
    page.emulate_media(color_scheme="dark")
    found += by_axe(page, "dark", "color-contrast")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": PHONE, "height": HEIGHT})
    if not fits(page):
        found.append(f"{page.url} is wider than a phone")
    page.set_viewport_size({"width": WIDE, "height": HEIGHT})
    return found


def by_axe(page: Page, theme: str, *rules: str) -> list[str]:
    """Return, for each of these rules (or of all) that the page breaks, a line that says which, where, and what."""
    violations: list[dict[str, Any]] = page.evaluate(
        "rules => axe.run(rules.length ? {runOnly: rules} : {}).then(results => results.violations)", list(rules)
    )
    return [
        f"{page.url} {theme} {violation['id']} {node['target']} {node['html'][:120]} {node['failureSummary']}"
        for violation in violations
        for node in violation["nodes"]
    ]
