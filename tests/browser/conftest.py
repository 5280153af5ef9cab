"""Gives browser tests a real server of the application, and pages that report whatever breaks the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from werkzeug.serving import make_server

from config.settings import Settings
from dashboard.app import Dashboard, create_app
from dashboard.core.orm import db
from dashboard.tenants.registry import forget_cached

WIDE, PHONE = 1360, 390
OpenPage = Callable[..., Page]


@pytest.fixture(scope="session")
def developing(migrated_app: Dashboard, environment: dict[str, str]) -> Iterator[Dashboard]:
    """The application in development, so with the gallery."""
    developing = create_app(Settings.from_env({**environment, "DEVELOPMENT": "1"}))
    yield developing
    with developing.app_context():
        for engine in db.engines.values():
            engine.dispose()


@pytest.fixture(scope="session")
def port(developing: Dashboard) -> Iterator[int]:
    """The loopback port of a server of the application."""
    server = make_server("127.0.0.1", 0, developing, threaded=True)
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
            executable_path=chromium, args=["--no-sandbox", f"--host-resolver-rules={rules}"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, app: Dashboard, developing: Dashboard) -> Iterator[OpenPage]:
    """Open an address in a browser profile of its own; afterwards no page may have broken a rule.

    `app` empties the database after the test.
    """
    problems: list[str] = []
    with ExitStack() as stack:

        def open_it(url: str, *, width: int = WIDE, **profile: Any) -> Page:
            context = browser.new_context(viewport={"width": width, "height": 860}, **profile)
            stack.callback(context.close)
            page = context.new_page()
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("console", lambda message: _note(problems, message.text))
            page.on("request", lambda request: _note_foreign(problems, request.url))
            page.goto(url)
            return page

        yield open_it
    forget_cached(developing)
    assert problems == []


def _note(problems: list[str], text: str) -> None:
    """Keep what the browser says about the content policy; that an answer was an error is no problem."""
    if "Content Security Policy" in text:
        problems.append(text)


def _note_foreign(problems: list[str], url: str) -> None:
    if ".test/" not in url and ".test:" not in url:
        problems.append(f"asked another site: {url}")
