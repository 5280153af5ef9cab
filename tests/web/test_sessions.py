"""A person sees where they are signed in, ends it, and changes their password."""

from __future__ import annotations

import re

import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from tests.factories import make_user
from tests.factories.people import People
from tests.pages import read_page
from tests.signing_in import PASSWORD, Browser, hash_of, make_stale, sign_in, visit

NEW_PASSWORD = "another four plain words"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def removal_links(browser: Browser) -> list[str]:
    actions = [form.get("action") or "" for form in read_page(browser.get("/sessions")).forms]
    return [action for action in actions if action.count("/") == 3]


def test_a_person_sees_and_ends_their_other_sessions(app: Dashboard, acme: Tenant, people: People) -> None:
    here = sign_in(app, acme, "alice@acme.test")
    there = visit(app, None)
    there.sign_in("alice@acme.test", headers={"User-Agent": FIREFOX})
    page = here.get("/sessions")
    assert "Firefox on Linux" in page.text
    assert "platform.test" in page.text
    [link] = removal_links(here)
    assert here.post(link).status_code == 303
    assert there.get("/sessions").status_code == 303
    assert here.get("/sessions").status_code == 200


def test_each_part_of_the_account_page_has_a_heading(app: Dashboard, acme: Tenant, people: People) -> None:
    page = sign_in(app, acme, "alice@acme.test").get("/sessions").text
    found = re.findall(r'"card-head"><h2[^>]*>([^<]+)</h2>', page)
    assert found == ["Where you are signed in", "Time zone", "Change your password"]


def test_a_person_sees_only_their_own_sessions(app: Dashboard, acme: Tenant, people: People) -> None:
    sign_in(app, acme, "olivia@acme.test")
    assert removal_links(sign_in(app, acme, "alice@acme.test")) == []


def test_signing_out_everywhere_ends_this_session_too(app: Dashboard, acme: Tenant, people: People) -> None:
    here, there = sign_in(app, acme, "alice@acme.test"), sign_in(app, acme, "alice@acme.test")
    assert here.post("/sessions/removals").location == "/sign-in"
    assert [browser.get("/sessions").status_code for browser in (here, there)] == [303, 303]


def test_a_changed_password_ends_every_other_session(app: Dashboard, acme: Tenant, people: People) -> None:
    here, there = sign_in(app, acme, "alice@acme.test"), sign_in(app, acme, "alice@acme.test")
    assert here.post("/password", data={"current": PASSWORD, "password": NEW_PASSWORD}).status_code == 303
    assert here.get("/sessions").status_code == 200
    assert there.get("/sessions").status_code == 303
    assert visit(app, acme).sign_in("alice@acme.test").status_code == 422
    assert visit(app, acme).sign_in("alice@acme.test", NEW_PASSWORD).status_code == 303


def test_a_changed_password_is_recorded_for_the_person_and_no_tenant(
    app: Dashboard, acme: Tenant, people: People
) -> None:
    browser = sign_in(app, acme, "alice@acme.test")
    browser.post("/password", data={"current": PASSWORD, "password": NEW_PASSWORD})
    with app.app_context(), system_scope("test") as session:
        entry = session.scalars(sa.select(AuditEntry)).one()
    assert (entry.action, entry.actor_id, entry.tenant_id) == ("user.password", people.alice, None)
    assert (entry.actor_name, entry.details) == ("Alice", {})


def test_the_password_now_must_be_right(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = sign_in(app, acme, "alice@acme.test")
    answer = browser.post("/password", data={"current": "wrong and long", "password": NEW_PASSWORD})
    assert answer.status_code == 422
    assert "This is not your password." in answer.text


def test_an_easy_password_is_refused(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = sign_in(app, acme, "alice@acme.test")
    for easy in ("short", "aaaaaaaaaaaa", "alice@acme.test", "x" * 201):
        assert browser.post("/password", data={"current": PASSWORD, "password": easy}).status_code == 422


def test_guessing_the_password_of_a_session_left_open_is_slowed_down(app: Dashboard, acme: Tenant) -> None:
    make_user(app, "open@acme.test", password_hash=hash_of(PASSWORD), roles={acme.id: "admin"})
    browser = sign_in(app, acme, "open@acme.test")
    codes = [browser.post("/confirm-password", data={"password": f"guess {number}"}).status_code for number in range(6)]
    assert codes == [422] * 5 + [429]


def test_confirming_the_password_leads_back(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = sign_in(app, acme, "alice@acme.test")
    make_stale(app)
    assert browser.post(f"/settings/members/{people.olivia}", data={"role": "viewer"}).location == (
        "/confirm-password?next=/settings"
    )
    answer = browser.post("/confirm-password?next=/settings", data={"password": PASSWORD})
    assert answer.location == "/settings"
    assert browser.post(f"/settings/members/{people.olivia}", data={"role": "viewer"}).location == "/settings#members"


def test_the_chooser_lists_a_persons_tenants_and_no_others(
    app: Dashboard, acme: Tenant, globex: Tenant, initech: Tenant
) -> None:
    make_user(app, "both@x.test", password_hash=hash_of(PASSWORD), roles={acme.id: "viewer", globex.id: "admin"})
    page = sign_in(app, None, "both@x.test").get("/tenants")
    assert {"https://jobs.acme.test/", "http://platform.test/globex/"} <= set(read_page(page).links)
    assert "Initech" not in page.text
    assert "/platform/" not in read_page(page).links


def test_platform_owners_also_get_the_back_office(app: Dashboard, people: People) -> None:
    page = sign_in(app, None, "root@platform.test").get("/tenants")
    assert "/platform/" in read_page(page).links
    assert "You are not a member of an organisation yet" in page.text
