"""Walks through a mount of the application as a signed-in person does: every page there is, and wherever links lead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import parse_qsl, urlsplit

from flask import Flask
from playwright.sync_api import Page
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from tests.signing_in import origin

NOT_OURS = frozenset({"flower", "gallery", "health", "static"})
"""Blueprints whose answers are no pages of the application."""

NO_PAGES = frozenset({"calendar.subscription", "holidays.list_regions", "runs.artifact"})
"""Addresses that answer with a file, or with a part of a page."""

WORDED = frozenset({"view"})
"""What an address asks for whose every value is a page of another kind."""


class Crawl:
    """A walk through the pages below `root`; iterating opens one after another in `page`, where somebody is signed in.

    It begins with `first` and every address that needs no parameter, so that a new page is on the way by itself. Of the
    pages with one endpoint it then opens each that is asked something which none before was asked.
    """

    def __init__(self, app: Flask, page: Page, root: str, first: Iterable[str] = ()) -> None:
        self.page = page
        self.origin, self.prefix = origin(root), urlsplit(root).path
        self.routes = app.url_map.bind(urlsplit(root).netloc)
        self.asked: dict[str, set[str]] = {}
        self._first = {f"{root}{path}" for path in first}
        self._waiting = [*self._first, *(f"{root}{rule.rule}" for rule in routes_of_pages(app) if not rule.arguments)]

    def __iter__(self) -> Iterator[str]:
        """Yield each page's address once it is open; downloads, errors and other places are passed by."""
        while self._waiting:
            url = self._waiting.pop(0)
            endpoint, asked = self._endpoint_of(url), asked_by(url)
            if endpoint is None or not (url in self._first or is_new(asked, self.asked.get(endpoint))):
                continue
            self._first.discard(url)
            response = self.page.goto(url)
            if response is None or not response.ok:
                continue
            self.asked.setdefault(endpoint, set()).update(asked)
            yield url
            self._waiting += self.page.eval_on_selector_all(
                "a[href]:not([download])", "links => links.map(a => a.href)"
            )

    def _endpoint_of(self, url: str) -> str | None:
        path = urlsplit(url).path
        if origin(url) != self.origin or not path.startswith(self.prefix + "/"):
            return None
        try:
            endpoint = str(self.routes.match(path.removeprefix(self.prefix), "GET")[0])
        except HTTPException:
            return None
        return endpoint if is_page(endpoint) else None


def routes_of_pages(app: Flask) -> list[Rule]:
    """Return the routes of all pages that there are."""
    rules = sorted(app.url_map.iter_rules(), key=str)
    return [rule for rule in rules if "GET" in (rule.methods or ()) and is_page(rule.endpoint)]


def is_page(endpoint: str) -> bool:
    blueprint, _, name = endpoint.partition(".")
    return blueprint not in NOT_OURS and endpoint not in NO_PAGES and name not in {"ajax_lookup", "export"}


def asked_by(url: str) -> set[str]:
    """Return the names of what an address asks for."""
    return {f"{name}={value}" if name in WORDED else name for name, value in parse_qsl(urlsplit(url).query)}


def is_new(asked: set[str], before: set[str] | None) -> bool:
    return before is None or not asked <= before
