"""No form of another page, session or site does anything here."""

from __future__ import annotations

import pytest

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from tests.factories.people import People
from tests.signing_in import PASSWORD, sign_in, visit

EXPIRED = "This form is not valid any more"


def test_a_form_without_its_token_is_refused_with_words(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = sign_in(app, acme, "alice@acme.test")
    answer = browser.post("/settings", data={"BRAND_NAME": "Stolen", "SMTP_PASSWORD": "typed-secret"}, csrf=False)
    assert answer.status_code == 400
    assert EXPIRED in answer.text
    assert "typed-secret" not in answer.text
    assert "Stolen" not in browser.get("/settings").text


@pytest.mark.parametrize("place", ["field", "header"])
def test_another_sessions_token_is_refused(app: Dashboard, acme: Tenant, people: People, place: str) -> None:
    foreign = sign_in(app, acme, "olivia@acme.test").token
    browser = sign_in(app, acme, "alice@acme.test")
    data = {"BRAND_NAME": "Stolen", **({"csrf_token": foreign} if place == "field" else {})}
    headers = {"X-CSRFToken": foreign} if place == "header" else {}
    assert browser.post("/settings", data=data, headers=headers, csrf=False).status_code == 400


def test_htmx_needs_the_token_too(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = sign_in(app, acme, "alice@acme.test")
    headers = {"HX-Request": "true"}
    assert browser.post("/settings", data={}, headers=headers, csrf=False).status_code == 400
    assert browser.post("/settings", data={}, headers=headers).status_code == 204


def test_the_sign_in_form_needs_a_token(app: Dashboard, acme: Tenant, people: People) -> None:
    form = {"email": "alice@acme.test", "password": PASSWORD}
    assert visit(app, acme).post("/sign-in", data=form).status_code == 400


def test_a_token_from_before_sign_out_is_worth_nothing(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = sign_in(app, acme, "alice@acme.test")
    old = browser.token
    browser.post("/sign-out")
    browser.sign_in("alice@acme.test")
    browser.token = old
    assert browser.post("/settings", data={}).status_code == 400


def test_a_form_sent_from_another_site_is_refused(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = sign_in(app, acme, "alice@acme.test")
    assert browser.post("/settings", data={}, headers={"Referer": "https://evil.test/"}).status_code == 400


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_other_unsafe_verbs_find_no_view(app: Dashboard, acme: Tenant, people: People, method: str) -> None:
    assert sign_in(app, acme, "alice@acme.test").open("/settings", method=method).status_code == 405


def test_signing_out_needs_a_post(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = sign_in(app, acme, "alice@acme.test")
    assert browser.get("/sign-out").status_code == 405
    assert browser.get("/sessions").status_code == 200
