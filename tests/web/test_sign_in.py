"""Signing in and out: the same words for everybody, no lock-out, and no way around."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher

from config.settings import Settings
from dashboard.accounts import passwords
from dashboard.accounts.models import Credential, User, WebSession
from dashboard.app import Dashboard, create_app
from dashboard.core.clock import database_now
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.extensions import limiter
from tests.application import disconnect
from tests.factories import make_user
from tests.factories.people import People
from tests.pages import read_page
from tests.signing_in import PASSWORD, Browser, hash_of, sign_in, visit

SESSION = "__Host-stationmaster-session"
PLAIN_SESSION = "stationmaster-session"


def cookie(browser: Browser, name: str = SESSION, host: str = "jobs.acme.test") -> str:
    found = browser.get_cookie(name, domain=host)
    assert found is not None
    return str(found.value)


@pytest.mark.parametrize("place", ["own host", "prefix", "port", "platform"])
def test_people_sign_in_wherever_the_application_is_mounted(
    app: Dashboard, acme: Tenant, globex: Tenant, initech: Tenant, place: str
) -> None:
    tenant = {"own host": acme, "prefix": globex, "port": initech, "platform": None}[place]
    make_user(app, "ada@x.test", roles={tenant.id: "admin"} if tenant else {})
    browser = sign_in(app, tenant, "ada@x.test")
    assert browser.get("/sessions").status_code == 200
    assert browser.post("/sign-out").location == urlsplit(browser.root).path + "/sign-in"
    assert browser.get("/sessions").status_code == 303


def test_a_visitor_is_led_to_the_form_and_back(app: Dashboard, globex: Tenant, people: People) -> None:
    browser = visit(app, globex)
    asked = browser.get("/settings?tab=1")
    assert asked.location == "/globex/sign-in?next=/globex/settings?tab%3D1"
    browser.take_token()
    form = {"email": "mallory@globex.test", "password": PASSWORD}
    answer = browser.post(asked.location.removeprefix("/globex"), data=form)
    assert (answer.status_code, answer.location) == (303, "/globex/settings?tab=1")


def test_htmx_is_told_and_not_led_away(app: Dashboard, acme: Tenant) -> None:
    assert visit(app, acme).get("/runs", headers={"HX-Request": "true"}).status_code == 401


@pytest.mark.parametrize(
    "target",
    [
        "/\\evil.test", "//evil.test", "///evil.test", "/..//evil.test", "/%0d%0aSet-Cookie:x=1", "/\r\nX: y",
        "https://evil.test", "javascript:alert(1)", "/nowhere", "settings", "/\tevil", "\\\\evil.test", "/.//evil.test",
    ],
)  # fmt: skip
def test_next_leads_nowhere_but_to_our_own_pages(app: Dashboard, acme: Tenant, people: People, target: str) -> None:
    browser = visit(app, acme)
    browser.take_token()
    form = {"email": "alice@acme.test", "password": PASSWORD}
    assert browser.post(f"/sign-in?next={quote(target)}", data=form).location == "/"


def test_a_wrong_password_and_an_unknown_person_get_the_same_answer(
    app: Dashboard, acme: Tenant, people: People
) -> None:
    wrong = visit(app, acme).sign_in("alice@acme.test", "not it at all")
    unknown = visit(app, acme).sign_in("nobody@acme.test", "not it at all")
    assert wrong.status_code == unknown.status_code == 422
    assert "not it at all" not in wrong.text
    assert 'value="alice@acme.test"' in wrong.text
    assert strip(wrong.text, "alice") == strip(unknown.text, "nobody")


def strip(page: str, name: str) -> str:
    """Leave out what differs between any two pages: the typed name and the tokens."""
    for token in dict.fromkeys(part.partition('"')[0] for part in page.split('name="csrf_token" value="')[1:]):
        page = page.replace(token, "")
    return page.replace(f"{name}@acme.test", "")


@pytest.mark.parametrize("email", ["alice@acme.test", "nobody@acme.test", "", "a" * 5000])
def test_every_attempt_costs_one_hash(
    app: Dashboard, acme: Tenant, people: People, monkeypatch: pytest.MonkeyPatch, email: str
) -> None:
    passwords.matches(None, "warm")
    seen = []
    verify = PasswordHasher.verify

    def counting(self: PasswordHasher, stored: str, password: str) -> bool:
        seen.append(stored)
        return verify(self, stored, password)

    monkeypatch.setattr(PasswordHasher, "verify", counting)
    visit(app, acme).sign_in(email, "wrong, and long enough")
    assert len(seen) == 1


def test_a_disabled_person_does_not_get_in(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = sign_in(app, acme, "victor@acme.test")
    with app.app_context(), system_scope("test") as session:
        session.get_one(User, people.victor).disabled_at = database_now(session)
    assert browser.get("/sessions").status_code == 303
    assert visit(app, acme).sign_in("victor@acme.test").status_code == 422


def test_an_old_hash_is_renewed_at_sign_in(app: Dashboard, acme: Tenant) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    user_id = make_user(app, "old@acme.test", password_hash=weak, roles={acme.id: "viewer"})
    sign_in(app, acme, "old@acme.test")
    with app.app_context(), system_scope("test") as session:
        renewed = session.get_one(Credential, user_id).password_hash
    assert renewed != weak
    assert not passwords.is_outdated(renewed)


def test_signing_in_gives_a_new_session_and_empties_the_old(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = visit(app, acme)
    planted = browser.take_token()
    browser.sign_in("alice@acme.test")
    first = cookie(browser)
    browser.sign_in("alice@acme.test")
    assert cookie(browser) != first
    assert browser.post("/sign-out", csrf=False, headers={"X-CSRFToken": planted}).status_code == 400
    thief = visit(app, acme)
    thief.set_cookie(SESSION, first, domain="jobs.acme.test", secure=True)
    assert thief.get("/sessions").status_code == 303


def test_a_session_opens_nothing_after_sign_out(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = sign_in(app, acme, "alice@acme.test")
    token = cookie(browser)
    browser.post("/sign-out")
    browser.set_cookie(SESSION, token, domain="jobs.acme.test", secure=True)
    assert browser.get("/sessions").status_code == 303


def test_a_session_is_worth_nothing_on_another_host(app: Dashboard, acme: Tenant, people: People) -> None:
    token = cookie(sign_in(app, acme, "alice@acme.test"))
    elsewhere = visit(app, None)
    elsewhere.set_cookie(PLAIN_SESSION, token, domain="platform.test")
    assert elsewhere.get("/sessions").status_code == 303


def test_a_visitors_cookie_is_worth_nothing_on_another_host(app: Dashboard, acme: Tenant, people: People) -> None:
    signed = visit(app, None)
    token = signed.take_token()
    there = visit(app, acme)
    there.set_cookie(
        "__Host-stationmaster-visitor",
        cookie(signed, "stationmaster-visitor", "platform.test"),
        domain="jobs.acme.test",
        secure=True,
    )
    there.token = token
    assert there.post("/sign-in", data={"email": "alice@acme.test", "password": PASSWORD}).status_code == 400


def test_the_platform_and_its_prefixes_share_a_sign_in(app: Dashboard, globex: Tenant, people: People) -> None:
    browser = sign_in(app, globex, "mallory@globex.test")
    browser.root = app.config["PLATFORM_ROOT"]
    page = browser.get("/tenants")
    assert "http://platform.test/globex/" in read_page(page).links


def test_the_cookie_is_hidden_from_scripts_and_other_sites(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = visit(app, acme)
    answer = browser.sign_in("alice@acme.test")
    line = next(value for value in answer.headers.getlist("Set-Cookie") if value.startswith(SESSION + "="))
    flags = {part.strip().partition("=")[0] for part in line.split(";")}
    assert {"Secure", "HttpOnly", "Path", "SameSite", "Max-Age"} <= flags
    assert "Domain" not in flags
    assert "Path=/;" in line + ";"


def test_no_cache_keeps_what_a_person_saw(app: Dashboard, acme: Tenant, people: People) -> None:
    answer = sign_in(app, acme, "alice@acme.test").get("/sessions")
    assert "no-store" in answer.headers["Cache-Control"]
    assert "Cookie" in answer.headers["Vary"]


def test_only_a_hash_of_the_token_is_kept(app: Dashboard, acme: Tenant, people: People) -> None:
    token = cookie(sign_in(app, acme, "alice@acme.test"))
    with app.app_context(), system_scope("test") as session:
        rows = session.execute(sa.text("SELECT web_session::text FROM web_session")).scalars().all()
    assert rows
    assert not any(token in row or token.encode().hex() in row for row in rows)


def test_a_visitor_leaves_nothing_in_the_database(app: Dashboard, acme: Tenant) -> None:
    browser = visit(app, acme)
    browser.get("/sign-in")
    browser.get("/runs")
    with app.app_context(), system_scope("test") as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(WebSession)) == 0


def test_a_session_ends_when_it_was_not_used_for_long(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = sign_in(app, acme, "alice@acme.test")
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(WebSession).values(expires_at=sa.text("now() - interval '1 second'")))
    assert browser.get("/sessions").status_code == 303


def test_using_a_session_keeps_it_alive(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = sign_in(app, acme, "alice@acme.test")
    with app.app_context(), system_scope("test") as session:
        hour = sa.text("now() - interval '1 hour'")
        session.execute(sa.update(WebSession).values(seen_at=hour, expires_at=sa.text("now() + interval '1 minute'")))
    answer = browser.get("/sessions")
    assert SESSION in answer.headers["Set-Cookie"]
    with app.app_context(), system_scope("test") as session:
        row = session.scalars(sa.select(WebSession)).one()
        assert row.expires_at - database_now(session) > app.permanent_session_lifetime * 0.99


def test_guessing_is_slowed_down_and_says_until_when(app: Dashboard, acme: Tenant) -> None:
    make_user(app, "slow@acme.test", password_hash=hash_of(PASSWORD), roles={acme.id: "viewer"})
    browser = visit(app, acme)
    answers = [browser.sign_in("slow@acme.test", f"wrong password {number}") for number in range(6)]
    assert [answer.status_code for answer in answers] == [422] * 5 + [429]
    assert "Try again in" in answers[-1].text
    assert 0 <= int(answers[-1].headers["Retry-After"]) <= 60


def test_an_address_written_differently_is_not_a_new_account(app: Dashboard, acme: Tenant) -> None:
    browser = visit(app, acme)
    spellings = [f"{' ' * number}SPELLED@acme.test{' ' * 300}{number}" for number in range(5)]
    assert [browser.sign_in(spelling, "wrong").status_code for spelling in spellings] == [422] * 5
    assert browser.sign_in("spelled@acme.test", "wrong").status_code == 429


def test_guessing_from_elsewhere_does_not_lock_out_the_owner_of_a_known_browser(app: Dashboard, acme: Tenant) -> None:
    make_user(app, "target@acme.test", password_hash=hash_of(PASSWORD), roles={acme.id: "viewer"})
    own = sign_in(app, acme, "target@acme.test")
    own.post("/sign-out")
    attacks = [visit(app, acme).sign_in("target@acme.test", f"wrong password {number}") for number in range(6)]
    assert attacks[-1].status_code == 429
    assert own.sign_in("target@acme.test").status_code == 303


def test_guessing_many_accounts_from_one_address_is_slowed_down(app: Dashboard, acme: Tenant) -> None:
    browser = visit(app, acme)
    browser.take_token()  # once: all attempts have to come within a minute
    forms = [{"email": f"user{number}@many.test", "password": "wrong password"} for number in range(21)]
    assert [browser.post("/sign-in", data=form).status_code for form in forms] == [422] * 20 + [429]


def test_the_right_password_is_never_slowed_down(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = visit(app, acme)
    assert {browser.sign_in("olivia@acme.test").status_code for _ in range(8)} == {303}


def test_attempts_are_counted_while_redis_is_away(environment: dict[str, str], app: Dashboard, acme: Tenant) -> None:
    with_redis = dict(vars(limiter))  # the limiter is one for the process: give it back as it was
    lonely = create_app(Settings.from_env({**environment, "REDIS_URL": "redis://127.0.0.1:1/0"}))
    try:
        browser = visit(lonely, acme)
        codes = [browser.sign_in("lonely@acme.test", f"wrong password {number}").status_code for number in range(6)]
        assert codes == [422] * 5 + [429]
    finally:
        vars(limiter).update(with_redis)
        disconnect(lonely)


def test_a_person_who_is_signed_in_may_go_on_or_out(app: Dashboard, acme: Tenant, people: People) -> None:
    page = sign_in(app, acme, "alice@acme.test").get("/sign-in")
    assert "You are signed in" in page.text
    assert "/sign-out" in [form.get("action") for form in read_page(page).forms]
