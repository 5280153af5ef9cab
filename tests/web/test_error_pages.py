"""Errors come as pages that say what to do, keep the security headers, and tell nothing of the inside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from config.settings import Settings
from dashboard.accounts.access import public
from dashboard.app import Dashboard, create_app
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.orm import db
from dashboard.core.tenancy import Tenant
from dashboard.extensions import limiter
from tests.application import disconnect
from tests.factories.people import People
from tests.signing_in import sign_in, visit

CANARY = "canary-of-the-inside"


def boom(kind: str) -> str:
    """Fail as a view may fail."""
    if kind == "query":
        db.session.execute(sa.text("SELECT 1 / (length(:typed) - length(:typed))"), {"typed": CANARY})
    failures = {
        "bug": RuntimeError(CANARY),
        "refused": Refused("The run has ended already."),
        "invalid": InvalidInput({"name": "Give a name."}),
    }
    raise failures[kind]


@pytest.fixture
def failing(environment: dict[str, str], app: Dashboard) -> Iterator[Dashboard]:
    """An application with a page that fails, as in production: errors are answered and not raised."""
    kept = dict(vars(limiter))
    failing = create_app(Settings.from_env(environment))
    failing.add_url_rule("/boom/<kind>", "boom", public(boom))
    yield failing
    vars(limiter).update(kept)
    disconnect(failing)


@pytest.fixture
def cut_off(environment: dict[str, str]) -> Iterator[Dashboard]:
    """An application whose database is away."""
    kept = dict(vars(limiter))
    nowhere = dict.fromkeys(("DATABASE_URL", "SYSTEM_DATABASE_URL"), "postgresql://x:y@127.0.0.1:1/z")
    yield create_app(Settings.from_env({**environment, **nowhere}))
    vars(limiter).update(kept)


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [("refused", 409, "The run has ended already."), ("invalid", 422, "Give a name."), ("bug", 500, "It was not your")],
)
def test_each_failure_has_its_words(failing: Dashboard, acme: Tenant, kind: str, status: int, words: str) -> None:
    answer = visit(failing, acme).get(f"/boom/{kind}")
    assert answer.status_code == status
    assert words in answer.text
    assert CANARY not in answer.text
    assert "Traceback" not in answer.text


def test_a_page_that_is_not_there_says_so(app: Dashboard, acme: Tenant) -> None:
    answer = visit(app, acme).get("/nowhere")
    assert answer.status_code == 404
    assert "There is nothing here" in answer.text


def test_a_verb_that_is_not_there_says_which_are(app: Dashboard, acme: Tenant) -> None:
    answer = visit(app, acme).get("/sign-out")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_too_much_is_refused(app: Dashboard, acme: Tenant, people: People) -> None:
    answer = sign_in(app, acme, "alice@acme.test").post("/settings", data={"BRAND_NAME": "x" * 3_000_000})
    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/sign-in", "/tenants", "/sessions"])
def test_the_platform_says_that_the_database_is_away(cut_off: Dashboard, path: str) -> None:
    browser = visit(cut_off, None)
    browser.set_cookie("stationmaster-session", "x" * 43, domain="platform.test")
    answer = browser.get(path)
    assert answer.status_code == 503
    assert "Not available right now" in answer.text
    assert "127.0.0.1" not in answer.text


def test_a_form_sent_while_the_database_is_away_is_told_so_too(cut_off: Dashboard) -> None:
    browser = visit(cut_off, None)
    browser.set_cookie("stationmaster-session", "x" * 43, domain="platform.test")
    assert browser.post("/sign-out").status_code == 503


def test_a_host_is_not_called_unknown_while_the_database_is_away(cut_off: Dashboard) -> None:
    assert cut_off.test_client().get("/", base_url="https://jobs.acme.test").status_code == 503


def test_what_a_failed_query_was_about_is_not_logged(
    capsys: pytest.CaptureFixture[str], failing: Dashboard, acme: Tenant
) -> None:
    assert visit(failing, acme).get("/boom/query").status_code == 500
    logged = capsys.readouterr().err
    assert "division by zero" in logged
    assert CANARY not in logged
