"""Reads pages as a strict browser would: every page that a test opens is checked for what the product promises."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from werkzeug.test import TestResponse

from dashboard.core.security import HEADERS
from dashboard.runs.artifacts import SHOWN_NOWHERE

FILE_HEADERS = {**HEADERS, "Content-Security-Policy": SHOWN_NOWHERE}

VOID_OF_CODE = ("script", "style")


@dataclass
class Page:
    """What was found on a page."""

    title: str = ""
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    forms: list[dict[str, str | None]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class PageReader(HTMLParser):
    """Collects a page's parts and what a strict content security policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.inside = tag
        if tag == "style" or (tag == "script" and not values.get("src")):
            self.page.problems.append(f"inline <{tag}>")
        for name, value in attrs:
            self._check_attribute(tag, name, value or "")
        if values.get("id"):
            self.page.ids.append(str(values["id"]))
        if tag == "a" and values.get("href"):
            self.page.links.append(str(values["href"]))
        if tag == "form":
            self.page.forms.append(values)
        if tag == "input" and values.get("name") == "csrf_token":
            self.page.tokens.append(values.get("value") or "")

    def handle_data(self, data: str) -> None:
        if self.inside == "title":
            self.page.title += data

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def _check_attribute(self, tag: str, name: str, value: str) -> None:
        if name == "style" or name.startswith(("on", "hx-on", "data-hx-on")):
            self.page.problems.append(f"inline {name}= on <{tag}>")
        if value.strip().lower().startswith(("javascript:", "js:")):
            self.page.problems.append(f"code in {name}= on <{tag}>")
        if name == "src" and value.startswith(("http:", "https:", "//")):
            self.page.problems.append(f"{value} comes from elsewhere")


def read_page(response: TestResponse) -> Page:
    """Return the parts of a page."""
    reader = PageReader()
    reader.feed(response.text)
    return reader.page


def text_of(markup: str) -> str:
    """Return the text of some HTML, each run of white space as one space."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def check_page(response: TestResponse) -> None:
    """Assert what holds for every page we serve."""
    is_file = response.headers.get("Content-Security-Policy") == SHOWN_NOWHERE
    for name, value in (FILE_HEADERS if is_file else HEADERS).items():
        assert response.headers.get(name) == value
    if response.mimetype != "text/html" or not response.data:
        return
    page = read_page(response)
    assert page.problems == []
    assert sorted(page.ids) == sorted(set(page.ids))
    if "<html" in response.text:
        assert page.title.strip()
    posts = [form for form in page.forms if (form.get("method") or "get").lower() == "post"]
    assert len(page.tokens) >= len(posts)
