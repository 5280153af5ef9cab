"""What nobody means to type ends in a sentence, never in an error of ours, and breaks no page for others."""

from __future__ import annotations

import pytest

from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.tenants.actions import set_option
from tests.factories.people import People
from tests.factories.schedules import echo_form, make_schedule
from tests.signing_in import Browser, sign_in, visit

NUL = "a\x00b"


@pytest.fixture
def alice(app: Dashboard, acme: Tenant, people: People) -> Browser:
    return sign_in(app, acme, "alice@acme.test")


@pytest.mark.parametrize(
    ("page", "field"),
    [("/settings", "BRAND_NAME"), ("/settings", "SMTP_PASSWORD"), ("/schedules", "note"), ("/schedules", NUL)],
)
def test_a_character_that_no_column_can_hold_is_refused(alice: Browser, page: str, field: str) -> None:
    answer = alice.post(page, data={field: NUL})
    assert answer.status_code == 422
    assert "invisible character" in answer.text


def test_it_is_refused_before_anybody_signed_in(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = visit(app, acme)
    assert browser.sign_in(NUL, NUL).status_code == 422


@pytest.mark.parametrize("page", ["/runs?q=%00", "/runs?fingerprint=%00", "/schedules?q=%00", "/audit?action=%00"])
def test_it_is_refused_in_addresses_too(alice: Browser, page: str) -> None:
    assert alice.get(page).status_code == 422


@pytest.mark.parametrize(
    "field", ["jitter", "runs_left", "max_attempts", "timeout", "expires_after", "catchup_window", "every_count"]
)
def test_a_number_of_thousands_of_digits_is_too_large(alice: Browser, field: str) -> None:
    form = {"job_type": "email.message", "name": "Digits", "when": "interval", "every_count": "5", "every_unit": "days"}
    answer = alice.post("/schedules", data={**form, field: "9" * 5000})
    assert answer.status_code == 422


@pytest.mark.parametrize("rule", [{"when": "interval", "every_count": "30000"}, {"crons": "every 30000 days"}])
def test_a_period_of_more_seconds_than_a_column_holds_is_too_long(alice: Browser, rule: dict[str, str]) -> None:
    answer = alice.post("/schedules", data=echo_form(every_unit="days", **rule))
    assert answer.status_code == 422
    assert "Give a period from 1 second to 24,800 days." in answer.text


@pytest.mark.parametrize("moment", ["0001-01-01T00:00", "9999-12-31T23:59"])
def test_a_moment_at_the_end_of_the_calendar_is_no_date_here(
    app: Dashboard, acme: Tenant, alice: Browser, moment: str
) -> None:
    schedule = make_schedule(app, acme).id
    assert alice.post(f"/schedules/{schedule}/pauses", data={"until": moment}).status_code == 422
    assert "Paused" not in alice.get(f"/schedules/{schedule}").text


def test_a_pause_until_an_unreadable_time_does_not_become_one_for_ever(
    app: Dashboard, acme: Tenant, alice: Browser
) -> None:
    schedule = make_schedule(app, acme).id
    answer = alice.post(f"/schedules/{schedule}/pauses", data={"until": "tomorrow"})
    assert answer.status_code == 422
    assert "Give a date and a time" in answer.text


@pytest.mark.parametrize("name", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_name_that_reads_like_the_end_of_the_calendar_does_not_close_the_audit_trail(
    app: Dashboard, acme: Tenant, alice: Browser, name: str
) -> None:
    with app.app_context(), system_scope("test") as session:
        set_option(session, acme.id, "BRAND_NAME", name)
    assert alice.get("/audit").status_code == 200


@pytest.mark.parametrize("minute", ["", "soon", "2026-11-25T09:00", "0001-01-01T00:00:00+14:00"])
def test_a_minute_that_is_none_is_not_spread(alice: Browser, minute: str) -> None:
    answer = alice.post("/calendar/load/spreads", data={"minute": minute})
    assert answer.status_code == 422
    assert "Choose a minute" in answer.text


@pytest.mark.parametrize("page", ["/calendar/holidays", "/calendar/blackouts"])
def test_a_revision_of_thousands_of_digits_is_no_revision(alice: Browser, page: str) -> None:
    assert alice.post(page, data={"name": "", "rev": "9" * 5000}).status_code == 422


@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01", "9999-12-30 to 9999-12-31"])
def test_a_holiday_at_the_end_of_the_calendar_breaks_no_page(alice: Browser, day: str) -> None:
    assert alice.post("/calendar/holidays", data={"name": "The end", "days": day}).status_code < 500
    for page in ("/calendar/holidays", "/calendar", "/calendar/load"):
        assert alice.get(page).status_code == 200


@pytest.mark.parametrize("token", ["é", "%ff", "x" * 5000])
def test_a_token_that_is_none_opens_no_calendar(app: Dashboard, acme: Tenant, people: People, token: str) -> None:
    assert visit(app, acme).get(f"/calendar/{people.alice}/{token}.ics").status_code == 404
