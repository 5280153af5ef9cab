"""A person who chose a time zone is shown times in it wherever they sign in; others are not."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

from dashboard.accounts.models import User
from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from tests.factories import make_user
from tests.factories.people import People
from tests.signing_in import PASSWORD, Browser, hash_of, sign_in, visit

KOLKATA = {"timezone": "Asia/Kolkata"}
"""A zone whose clock never changes: its label is IST all year."""

ADDRESS = "both@x.test"


@pytest.fixture
def both(app: Dashboard, acme: Tenant, globex: Tenant) -> str:
    """Somebody who is a member of Acme, which goes by UTC, and of Globex, which goes by Tokyo's clock."""
    roles = {acme.id: "viewer", globex.id: "viewer"}
    make_user(app, ADDRESS, password_hash=hash_of(PASSWORD), roles=roles)
    return ADDRESS


def zones_shown(browser: Browser) -> set[str]:
    """The zones that times of the account page are labelled with."""
    return set(re.findall(r'<span class="zone">([^<]+)</span></time>', browser.get("/sessions").text))


def chosen(browser: Browser) -> list[str]:
    return re.findall(r'<option value="([^"]*)" selected>', browser.get("/sessions").text)


def changes(app: Dashboard) -> list[AuditEntry]:
    with app.app_context(), system_scope("test") as session:
        query = sa.select(AuditEntry).where(AuditEntry.action == "user.timezone").order_by(AuditEntry.id)
        return list(session.scalars(query))


def test_without_a_choice_times_are_in_each_organisations_zone(
    app: Dashboard, acme: Tenant, globex: Tenant, both: str
) -> None:
    assert zones_shown(sign_in(app, acme, both)) == {"UTC"}
    assert zones_shown(sign_in(app, globex, both)) == {"JST"}


def test_the_choice_follows_a_person_to_every_browser_organisation_and_to_the_platform(
    app: Dashboard, acme: Tenant, globex: Tenant, both: str
) -> None:
    there = sign_in(app, globex, both)
    here = sign_in(app, acme, both)
    assert here.post("/time-zone", data=KOLKATA).location == "/sessions"
    assert [zones_shown(browser) for browser in (here, there, sign_in(app, None, both))] == [{"IST"}] * 3
    assert chosen(there) == ["Asia/Kolkata"]


def test_nobody_else_is_shown_times_in_it(app: Dashboard, acme: Tenant, people: People) -> None:
    olivia = sign_in(app, acme, "olivia@acme.test")
    sign_in(app, acme, "alice@acme.test").post("/time-zone", data=KOLKATA)
    assert (zones_shown(olivia), chosen(olivia)) == ({"UTC"}, [""])


def test_no_choice_again_means_the_organisations_zone(app: Dashboard, globex: Tenant, both: str) -> None:
    browser = sign_in(app, globex, both)
    browser.post("/time-zone", data=KOLKATA)
    browser.post("/time-zone", data={"timezone": ""})
    assert zones_shown(browser) == {"JST"}


def test_what_was_chosen_in_the_menu_of_this_browser_goes_first_and_the_form_says_so(
    app: Dashboard, acme: Tenant, both: str
) -> None:
    browser = sign_in(app, acme, both)
    assert "times stay in" not in browser.post("/time-zone", data=KOLKATA, follow_redirects=True).text
    browser.set_cookie("zone", "Asia/Tokyo", domain="jobs.acme.test")
    assert zones_shown(browser) == {"JST"}
    assert "times stay in Asia/Tokyo" in browser.post("/time-zone", data=KOLKATA, follow_redirects=True).text
    browser.set_cookie("zone", "Mars/Olympus", domain="jobs.acme.test")
    assert zones_shown(browser) == {"IST"}


def test_the_menus_first_choice_is_what_applies_without_it(app: Dashboard, globex: Tenant, both: str) -> None:
    browser = sign_in(app, globex, both)
    first = re.compile(r'data-zone-choice="home"[^>]*title="([^"]+)"')
    assert first.findall(browser.get("/sessions").text) == ["Asia/Tokyo"]
    browser.post("/time-zone", data=KOLKATA)
    assert first.findall(browser.get("/sessions").text) == ["Asia/Kolkata"]


def test_the_menu_leads_whoever_has_a_zone_of_their_own_back_to_the_organisations(
    app: Dashboard, globex: Tenant, both: str
) -> None:
    back = re.compile(r'data-zone-choice="organisation"[^>]*title="([^"]+)"')
    browser = sign_in(app, globex, both)
    for own, offered in (("", []), ("Asia/Kolkata", ["Globex: Asia/Tokyo"]), ("Asia/Tokyo", [])):
        browser.post("/time-zone", data={"timezone": own})
        assert back.findall(browser.get("/sessions").text) == offered


def test_the_way_back_leads_to_the_organisation_whose_page_it_is_and_the_platform_is_none(
    app: Dashboard, acme: Tenant, globex: Tenant, both: str
) -> None:
    browsers = [sign_in(app, tenant, both) for tenant in (acme, globex, None)]
    browsers[0].post("/time-zone", data=KOLKATA)
    for browser, domain in zip(browsers, ("jobs.acme.test", "platform.test", "platform.test"), strict=True):
        browser.set_cookie("zone", "organisation", domain=domain)
    assert [zones_shown(browser) for browser in browsers] == [{"UTC"}, {"JST"}, {"IST"}]


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "GMT", "asia/kolkata"])
def test_what_is_no_zone_is_refused_beside_the_field(app: Dashboard, acme: Tenant, both: str, zone: str) -> None:
    browser = sign_in(app, acme, both)
    browser.post("/time-zone", data=KOLKATA)
    answer = browser.post("/time-zone", data={"timezone": zone})
    assert answer.status_code == 422
    assert re.search(r'id="field-timezone-error">.*Choose a time zone from the list', answer.text)
    assert chosen(browser) == ["Asia/Kolkata"]


def test_a_zone_that_is_none_any_more_counts_for_nothing(app: Dashboard, globex: Tenant, both: str) -> None:
    browser = sign_in(app, globex, both)
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(User).where(User.email == both).values(timezone="Europe/Atlantis"))
    assert zones_shown(browser) == {"JST"}


def test_it_takes_a_person_and_a_form_of_this_page(app: Dashboard, acme: Tenant, both: str) -> None:
    stranger = visit(app, acme)
    stranger.take_token()
    assert stranger.post("/time-zone", data=KOLKATA).location == "/sign-in"
    browser = sign_in(app, acme, both)
    assert browser.post("/time-zone", data=KOLKATA, csrf=False).status_code == 400
    assert chosen(browser) == [""]


def test_a_change_is_recorded_for_the_person_and_no_tenant_and_only_where_it_is_one(
    app: Dashboard, acme: Tenant, people: People
) -> None:
    browser = sign_in(app, acme, "alice@acme.test")
    for zone in ("", "Asia/Kolkata", "Asia/Kolkata", ""):
        browser.post("/time-zone", data={"timezone": zone})
    entries = changes(app)
    assert [entry.details for entry in entries] == [
        {"before": "", "after": "Asia/Kolkata"},
        {"before": "Asia/Kolkata", "after": ""},
    ]
    assert {(entry.actor_id, entry.subject_id, entry.tenant_id) for entry in entries} == {
        (people.alice, people.alice, None)
    }
