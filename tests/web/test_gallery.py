"""The gallery shows every component, in development only, and breaks no rule of the interface."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from config.settings import Settings
from dashboard.app import Dashboard, create_app
from dashboard.core.tenancy import Tenant
from dashboard.core.vocabulary import WORDS
from tests.application import disconnect

BY_HTMX = {"HX-Request": "true", "HX-Request-Type": "partial"}
GALLERY = "http://platform.test/globex/dev/gallery/"


@pytest.fixture
def gallery(app: Dashboard, environment: dict[str, str], globex: Tenant) -> Iterator[FlaskClient]:
    """A browser at a tenant of an app in development; `app` prepares and empties the database."""
    developing = create_app(Settings.from_env({**environment, "DEVELOPMENT": "1"}))
    yield developing.test_client()
    disconnect(developing)


def test_it_shows_every_state(gallery: FlaskClient) -> None:
    page = gallery.get(GALLERY).text
    for word in WORDS.values():
        assert word.label in page


def test_its_live_panel_is_the_same_alone_as_in_the_page(gallery: FlaskClient) -> None:
    whole = gallery.get(GALLERY).text
    alone = gallery.get(GALLERY, headers=BY_HTMX).text
    opening = '<section id="gallery-panel"'
    assert alone.strip().startswith(opening)
    assert _without_forms(alone) in _without_forms(whole)


def _without_forms(page: str) -> str:
    """Leave out tokens and counting times, which differ from answer to answer."""
    page = re.sub(r'name="csrf_token" value="[^"]*"', "", page)
    return re.sub(r"<time.*?</time>", "", page).strip()


def test_the_panel_polls_its_own_address_until_everything_is_final(gallery: FlaskClient) -> None:
    moving = gallery.get(f"{GALLERY}?live=5&state=failed").text
    assert 'hx-get="/globex/dev/gallery/?state=failed&amp;live=5" hx-trigger="every 5s"' in moving
    assert "hx-trigger" not in gallery.get(f"{GALLERY}?final=1", headers=BY_HTMX).text


def test_times_are_in_the_tenants_zone_unless_the_viewer_chose_another(gallery: FlaskClient) -> None:
    assert "JST" in gallery.get(GALLERY).text
    gallery.set_cookie("zone", "UTC", domain="platform.test")
    page = gallery.get(GALLERY).text
    assert "JST" not in page


def test_a_zone_that_does_not_exist_is_ignored(gallery: FlaskClient) -> None:
    gallery.set_cookie("zone", "../../etc/passwd", domain="platform.test")
    assert "JST" in gallery.get(GALLERY).text


def test_it_is_not_there_in_production(app: Dashboard, globex: Tenant) -> None:
    assert app.test_client().get(GALLERY).status_code == 404


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 413, 421, 422, 429, 500, 503])
def test_an_error_page_says_what_to_do_and_sets_no_cookie(gallery: FlaskClient, code: int) -> None:
    answer = gallery.get(f"{GALLERY}errors/{code}")
    assert answer.status_code == code
    assert "data-message" in answer.text
    assert 'href="/globex/"' in answer.text
    assert "Set-Cookie" not in answer.headers
