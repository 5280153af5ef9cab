"""Opens pages in a real browser, and notes whatever breaks a rule that every page of ours keeps."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

WIDE, PHONE = 1360, 390
PATIENCE = 45_000
"""Milliseconds in which a page answers and shows what is expected of it, also on a busy machine."""

expect.set_options(timeout=PATIENCE)


class Visitor:
    """Somebody at a browser. Each address is opened in a profile of its own, as if by somebody else.

    No page may ask another site, break the content policy or throw; a `strict` visitor minds all errors in the console.
    """

    def __init__(self, browser: Browser, domain: str, *, strict: bool) -> None:
        self.domain = domain
        self.strict = strict
        self.problems: list[str] = []
        self._browser = browser
        self._profiles = ExitStack()

    def __call__(self, url: str, *, width: int = WIDE, **profile: Any) -> Page:
        """Return a page at `url`; `profile` is what Playwright's new_context takes."""
        context = self._browser.new_context(viewport={"width": width, "height": 860}, **profile)
        self._profiles.callback(context.close)
        context.set_default_timeout(PATIENCE)
        self._watch(context)
        page = context.new_page()
        page.goto(url)
        return page

    def forgive(self, text: str) -> None:
        """Take what the console said about an error that was meant; it must have said it."""
        meant = [problem for problem in self.problems if text in problem]
        assert meant, f"nothing said {text!r}, only {self.problems}"
        self.problems = [problem for problem in self.problems if problem not in meant]

    def leave(self) -> None:
        """Close every profile; no rule may have been broken."""
        self._profiles.close()
        assert self.problems == []

    def _watch(self, context: BrowserContext) -> None:
        context.on("weberror", lambda error: self.problems.append(str(error.error)))
        context.on("console", self._note)
        context.on("request", lambda request: self._note_foreign(request.url))

    def _note(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or (self.strict and message.type == "error"):
            self.problems.append(f"{message.text} ({message.location['url']})")

    def _note_foreign(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and not f".{parts.hostname}".endswith(f".{self.domain}"):
            self.problems.append(f"asked another site: {url}")


def sign_in(page: Page, email: str, password: str) -> Page:
    """Send the sign-in form that is open, and return the page once the answer to it has loaded."""
    page.get_by_label("Email address").fill(email)
    page.get_by_label("Password").fill(password)
    with page.expect_navigation():
        page.get_by_label("Password").press("Enter")
    return page


def fits(page: Page) -> bool:
    """Whether nothing is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
