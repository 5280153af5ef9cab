"""In a real browser, the real Flower stands beside the live runs, under our rules."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Thread

import pytest
from playwright.sync_api import Browser, Page, expect
from werkzeug.serving import make_server

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from tests.browser.answers import read_whole
from tests.browser.visitor import Visitor, sign_in
from tests.factories import make_tenant, make_user
from tests.factories.processes import make_process
from tests.factories.runs import make_run
from tests.flower import app_with_flower, flower_process
from tests.signing_in import PASSWORD, set_password


@dataclass(frozen=True, slots=True)
class Served:
    """The application with a Flower, at a port of its own; `visitor` opens its pages."""

    app: Dashboard
    tenant: Tenant
    root: str
    visitor: Visitor


@pytest.fixture
def served(app: Dashboard, environment: dict[str, str], browser: Browser) -> Iterator[Served]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    place = {**environment, "PLATFORM_ROOT": f"http://localhost:{port}"}
    with (
        listener,
        flower_process(environment) as url,
        app_with_flower(place, url, audience="operators") as connected,
    ):
        server = make_server("127.0.0.1", port, read_whole(connected), threaded=True, fd=listener.fileno())
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        root = f"http://localhost:{port}/acme"
        visitor = Visitor(browser, "localhost", strict=True)
        try:
            yield Served(connected, make_tenant(connected, "acme", root), root, visitor)
            visitor.leave()
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def opened(served: Served, role: str, path: str = "/monitor") -> Page:
    email = f"{role}@people.test"
    make_user(served.app, email, roles={served.tenant.id: role})
    set_password(served.app, email)
    page = sign_in(served.visitor(served.root + "/sign-in"), email, PASSWORD)
    page.goto(served.root + path)
    return page


def test_an_operator_sees_flowers_pages_beside_the_runs(served: Served) -> None:
    make_run(served.app, served.tenant, "failed", name="Invoice reminders")
    page = opened(served, "operator")
    frame = page.frame_locator("iframe[name=flower]")
    expect(page.get_by_text("Invoice reminders")).to_be_visible()
    expect(frame.get_by_text("Online workers")).to_be_visible()
    expect(frame.locator("#workers-refresh-status")).to_contain_text("Updated")
    expect(frame.locator(".app-navbar")).to_be_hidden()
    page.get_by_role("navigation", name="Pages of Flower").get_by_role("link", name="Tasks").click()
    expect(frame.get_by_text("No tasks have been received.")).to_be_visible()


def test_flower_follows_the_dashboards_theme(served: Served) -> None:
    page = opened(served, "operator")
    page.evaluate("localStorage.setItem('flower-theme', 'dark')")
    page.reload()
    expect(page.frame_locator("iframe[name=flower]").locator("html")).to_have_attribute("data-bs-theme", "dark")


def test_a_viewer_sees_the_fleet(served: Served) -> None:
    page = opened(served, "viewer")
    expect(page.get_by_role("heading", name="Fleet")).to_be_visible()
    expect(page.locator("iframe")).to_have_count(0)


def test_the_fleet_view_shows_all_its_columns_beside_the_runs(served: Served) -> None:
    make_process(served.app)
    make_process(served.app, "beat", tick_ms=12.0, skew_ms=1.0)
    page = opened(served, "operator", "/monitor?view=fleet")
    expect(page.get_by_role("columnheader", name="Time zone rules")).to_be_visible()
    hidden = "tables => tables.map(table => table.scrollWidth - table.clientWidth)"
    assert page.eval_on_selector_all("#monitor-fleet .table-wrap", hidden) == [0, 0]
