"""Gives browser tests a real server of the application, and pages that report whatever breaks the rules."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import pytest
from playwright.sync_api import Browser, sync_playwright
from werkzeug.serving import make_server

from config.settings import Settings
from dashboard.app import Dashboard, create_app
from dashboard.tenants.registry import forget_cached
from tests.application import disconnect
from tests.browser.answers import read_whole
from tests.browser.visitor import Visitor

START = 120_000
"""Milliseconds in which a browser starts."""


@pytest.fixture(scope="session")
def developing(migrated_app: Dashboard, environment: dict[str, str]) -> Iterator[Dashboard]:
    """The application in development, so with the gallery."""
    developing = create_app(Settings.from_env({**environment, "DEVELOPMENT": "1"}))
    yield developing
    disconnect(developing)


@pytest.fixture(scope="session")
def port(developing: Dashboard) -> Iterator[int]:
    """The loopback port of a server of the application."""
    server = make_server("127.0.0.1", 0, read_whole(developing), threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def browser(chromium: str, port: int) -> Iterator[Browser]:
    """A browser for which every host under .test is our server, whatever its port."""
    rules = f"MAP *.test 127.0.0.1:{port}, EXCLUDE 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", f"--host-resolver-rules={rules}"], timeout=START
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, app: Dashboard, developing: Dashboard) -> Iterator[Visitor]:
    """Open an address in a browser profile of its own; afterwards no page may have broken a rule.

    `app` empties the database after the test.
    """
    visitor = Visitor(browser, "test", strict=False)
    yield visitor
    forget_cached(developing)
    visitor.leave()
