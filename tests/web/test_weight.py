"""A page with all that it needs is light on the wire, the first time and much more so afterwards."""

from __future__ import annotations

import gzip
import re

import pytest
from flask.testing import FlaskClient

from dashboard.app import Dashboard
from dashboard.core.links import STATIC
from dashboard.core.tenancy import Tenant
from tests.factories.people import People
from tests.factories.runs import make_run
from tests.signing_in import Browser, sign_in

PAGES = ("/", "/runs", "/schedules/new", "/calendar", "/monitor", "/problems", "/settings", "/audit")
MOST_AT_FIRST, MOST_AFTERWARDS = 60_000, 15_000
GZIP = {"Accept-Encoding": "gzip"}
FILE = re.compile(r'(?:href|src)="(/static/[^"#]+)')
HTMX = "vendor/htmx/htmx.min.js"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_light(app: Dashboard, acme: Tenant, people: People, path: str) -> None:
    for number in range(50):
        make_run(app, acme, "failed", name=f"Report number {number}")
    browser = sign_in(app, acme, "alice@acme.test")
    files = [weight(browser, name) for name in set(FILE.findall(browser.get(path).text))]
    page = weight(browser, path)
    assert len(files) > 20
    assert page < MOST_AFTERWARDS
    assert page + sum(files) < MOST_AT_FIRST


def weight(browser: Browser, path: str) -> int:
    """Return how many bytes come over the wire; they are compressed, and so no page for our tests to read."""
    with FlaskClient.open(browser, path, base_url=browser.root, headers=GZIP) as answer:
        assert answer.status_code == 200
        return len(answer.data)


def test_a_file_is_compressed_and_not_sent_twice(app: Dashboard) -> None:
    client = app.test_client()
    plain = (STATIC / HTMX).read_bytes()
    answer = client.get(f"/static/{HTMX}", headers=GZIP)
    assert gzip.decompress(answer.data) == plain
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert "max-age=31536000" in answer.headers["Cache-Control"]
    again = client.get(f"/static/{HTMX}", headers={**GZIP, "If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_a_part_of_a_file_is_a_part_of_the_file(app: Dashboard) -> None:
    answer = app.test_client().get(f"/static/{HTMX}", headers={**GZIP, "Range": "bytes=0-1999"})
    assert answer.status_code == 206
    assert answer.data == (STATIC / HTMX).read_bytes()[:2000]
