"""Flower is seen only by its audience, only through the gateway, and never takes the dashboard down with it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from werkzeug.test import TestResponse

from dashboard.accounts.models import WebSession
from dashboard.accounts.sessions import FRESH_FOR
from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.monitor import upstream
from dashboard.monitor.upstream import CONNECTIONS
from dashboard.tenants.models import TenantRecord
from tests.factories import make_user
from tests.flower import BASIC_AUTH, FakeFlower, app_with_flower, fake_flower, flower_process, through
from tests.processes import DEADLINE_SECONDS, wait_until
from tests.signing_in import Browser, sign_in, visit

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
REVOKE = "/flower/api/task/revoke/6f9c2f44-90f0-4e0f-8c1b-0f6a3a9b7d10"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a Flower that is slow today; what happens when nobody waits any more has a test of its own."""
    monkeypatch.setattr(upstream, "CONNECT_S", DEADLINE_SECONDS)
    monkeypatch.setattr(upstream, "ANSWER_S", DEADLINE_SECONDS)


@pytest.fixture(scope="module")
def flower_url(environment: dict[str, str]) -> Iterator[str]:
    with flower_process(environment) as url:
        yield url


@pytest.fixture
def platform_app(app: Dashboard, environment: dict[str, str], flower_url: str) -> Iterator[Dashboard]:
    with app_with_flower(environment, flower_url) as connected:
        yield connected


@pytest.fixture
def operators_app(app: Dashboard, environment: dict[str, str], flower_url: str) -> Iterator[Dashboard]:
    with app_with_flower(environment, flower_url, audience="operators") as connected:
        yield connected


@pytest.fixture
def fake() -> Iterator[FakeFlower]:
    with fake_flower() as flower:
        yield flower


@pytest.fixture
def fake_app(environment: dict[str, str], fake: FakeFlower) -> Iterator[Dashboard]:
    with app_with_flower(environment, fake.url, audience="operators") as connected:
        yield connected


def person(app: Dashboard, word: str, acme: Tenant, globex: Tenant) -> str:
    """Make the person that `word` describes and return their address."""
    email = f"{word.replace(' ', '-')}@people.test"
    role, _, tenant = word.partition(" of ")
    ids = {"acme": acme.id, "globex": globex.id}
    make_user(app, email, owner=word == "platform owner", roles={ids[tenant]: role} if tenant else None)
    return email


@pytest.mark.parametrize(
    ("audience", "who", "expected"),
    [
        ("platform", "platform owner", 200),
        ("platform", "admin of globex", 404),
        ("platform", "operator of globex", 404),
        ("platform", "nobody", 404),
        ("operators", "platform owner", 200),
        ("operators", "admin of globex", 200),
        ("operators", "operator of globex", 200),
        ("operators", "viewer of globex", 404),
        ("operators", "stranger", 404),
        ("operators", "nobody", 404),
    ],
)
def test_only_its_audience_sees_it(
    app: Dashboard,
    platform_app: Dashboard,
    operators_app: Dashboard,
    acme: Tenant,
    globex: Tenant,
    audience: str,
    who: str,
    expected: int,
) -> None:
    connected = platform_app if audience == "platform" else operators_app
    browser = visit(connected, None)
    if who != "nobody":
        browser = sign_in(connected, None, person(app, who, acme, globex))
    assert through(browser, "/flower/workers").status_code == expected
    assert through(browser, "/flower/static/js/flower.js").status_code == expected


def test_a_role_in_a_tenant_of_another_host_opens_nothing(
    app: Dashboard, operators_app: Dashboard, acme: Tenant, initech: Tenant
) -> None:
    make_user(app, "both@people.test", roles={initech.id: "admin", acme.id: "viewer"})
    at_acme = sign_in(operators_app, acme, "both@people.test")
    at_initech = sign_in(operators_app, initech, "both@people.test")
    assert through(at_acme, "/flower/workers").status_code == 404
    assert through(at_initech, "/flower/workers").status_code == 200


def test_a_suspended_tenants_operators_see_nothing(
    app: Dashboard, operators_app: Dashboard, acme: Tenant, globex: Tenant
) -> None:
    browser = sign_in(operators_app, None, person(app, "operator of globex", acme, globex))
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(TenantRecord).where(TenantRecord.id == globex.id).values(suspended_at=sa.func.now()))
    assert through(browser, "/flower/workers").status_code == 404


def test_it_is_not_below_a_tenants_prefix(
    app: Dashboard, operators_app: Dashboard, acme: Tenant, globex: Tenant
) -> None:
    browser = sign_in(operators_app, globex, person(app, "admin of globex", acme, globex))
    assert through(browser, "/globex/flower/workers").status_code == 404
    assert through(browser, "/flower/workers").status_code == 200


def test_without_flower_there_is_nothing_there(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    browser = sign_in(app, None, person(app, "platform owner", acme, globex))
    assert through(browser, "/flower/workers").status_code == 404


@pytest.fixture
def owner(app: Dashboard, platform_app: Dashboard, acme: Tenant, globex: Tenant) -> Browser:
    return sign_in(platform_app, None, person(app, "platform owner", acme, globex))


@pytest.mark.parametrize("page", ["", "workers", "workers?json=1", "tasks", "broker"])
def test_the_real_flowers_pages_are_shown(owner: Browser, page: str) -> None:
    response = through(owner, f"/flower/{page}")
    assert response.status_code == 200
    assert response.mimetype == ("application/json" if "json" in page else "text/html")


def test_the_policy_allows_the_real_flowers_one_inline_script_and_no_other(owner: Browser) -> None:
    response = through(owner, "/flower/workers")
    scripts = re.findall(r"<script(?![^>]*src)[^>]*>(.*?)</script>", response.text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    policy = response.headers["Content-Security-Policy"]
    assert len(digests) == 1
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert "unsafe" not in policy
    assert "frame-ancestors 'self'" in policy


def test_an_answer_has_our_headers_and_none_of_flowers(owner: Browser) -> None:
    headers = through(owner, "/flower/workers").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "private, no-store"
    assert {"Server", "Set-Cookie", "Etag", "Access-Control-Allow-Origin"}.isdisjoint(headers.keys())


def test_a_large_page_is_compressed_for_who_takes_it(owner: Browser) -> None:
    response = through(owner, "/flower/workers", headers={"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert b"Flower" in gzip.decompress(response.data)
    assert "Accept-Encoding" in response.headers["Vary"]


def test_its_static_files_come_from_the_package_and_are_kept(owner: Browser) -> None:
    page = through(owner, "/flower/workers").text
    links = re.findall(r'(?:src|href)="(/flower/static/[^"]+)"', page)
    assert len(links) >= 8
    for link in links:
        response = through(owner, link)
        assert (response.status_code, response.cache_control.max_age) == (200, 31_536_000)


@pytest.mark.parametrize(
    "path",
    [
        "/flower/metrics",
        "/flower/healthcheck",
        "/flower/logout",
        "/flower/api/tasks",
        "/flower/api/task/types",
        "/flower/api/task/info/6f9c2f44",
        "/flower/api/task/result/6f9c2f44",
        "/flower/api/queues/length",
        "/flower/worker/../api/tasks",
        "/flower/worker/..%2fapi%2ftasks",
        "/flower/worker/%2e%2e/api/tasks",
        "/flower/worker/..",
        "/flower/worker/%252e%252e",
        "/flower/./api/tasks",
        "/flower/tasks/",
        "/flower/tasks%00",
        "/flower/tasks%0d%0aX-Injected:1",
        "/flower/worker/a%3fjson=1",
        "/flower/worker/a%23b",
        "/flower/worker/a\\b",
        "/flower/static/../templates/base.html",
        "/flower/static/%2e%2e/app.py",
        "/flower/static/",
    ],
)
def test_what_is_not_listed_is_not_there(
    app: Dashboard, fake_app: Dashboard, fake: FakeFlower, acme: Tenant, globex: Tenant, path: str
) -> None:
    browser = sign_in(fake_app, None, person(app, "platform owner", acme, globex))
    assert through(browser, path).status_code in {404, 405}
    assert fake.asked == []


@pytest.mark.parametrize("act", ["apply", "async-apply", "send-task", "abort", "info", "result"])
def test_nobody_starts_tasks_past_the_ledger(
    app: Dashboard, fake_app: Dashboard, fake: FakeFlower, acme: Tenant, globex: Tenant, act: str
) -> None:
    browser = sign_in(fake_app, None, person(app, "platform owner", acme, globex))
    response = through(browser, f"/flower/api/task/{act}/runs.execute", method="POST", headers=SAME_ORIGIN)
    assert response.status_code == 404
    assert fake.asked == []


def test_the_address_without_a_slash_leads_to_it(owner: Browser) -> None:
    response = through(owner, "/flower")
    assert (response.status_code, response.headers["Location"]) == (303, "/flower/")


@pytest.mark.parametrize("given", ["0", "0.001", "-1", "", "x"])
def test_a_refresh_without_a_pause_is_slowed_down(owner: Browser, given: str) -> None:
    response = through(owner, f"/flower/workers?autorefresh={given}")
    assert (response.status_code, response.headers["Location"]) == (303, "/flower/workers?autorefresh=5")


def test_only_harmless_headers_and_our_credentials_reach_it(
    app: Dashboard, fake_app: Dashboard, fake: FakeFlower, acme: Tenant, globex: Tenant
) -> None:
    browser = sign_in(fake_app, None, person(app, "operator of globex", acme, globex))
    headers = {
        "Authorization": "Bearer somebody-else",
        "X-Forwarded-Host": "evil.test",
        "X-Real-Ip": "10.0.0.1",
        "X-Custom": "1",
        "Accept": "text/html",
        **SAME_ORIGIN,
    }
    through(browser, "/flower/workers?json=1&secret=1", headers=headers)
    (asked,) = fake.asked
    assert asked.path == "/flower/workers?json=1"
    assert asked.headers["Host"] == "platform.test"
    assert base64.b64decode(asked.headers["Authorization"].removeprefix("Basic ")).decode() == BASIC_AUTH
    assert {name.lower() for name in asked.headers} <= {
        "host", "authorization", "accept", "accept-encoding", "sec-fetch-site", "user-agent", "connection",
    }  # fmt: skip


def test_nothing_of_its_headers_but_the_media_type_reaches_the_browser(
    app: Dashboard, fake_app: Dashboard, fake: FakeFlower, acme: Tenant, globex: Tenant
) -> None:
    fake.headers |= {"Set-Cookie": "_xsrf=1; Path=/", "Refresh": "0; url=//evil.test", "X-Own": "1"}
    browser = sign_in(fake_app, None, person(app, "operator of globex", acme, globex))
    response = through(browser, "/flower/workers")
    assert response.status_code == 200
    assert {"Refresh", "X-Own", "Set-Cookie"}.isdisjoint(response.headers.keys())


@pytest.mark.parametrize(
    ("status", "content_type"), [(401, "text/plain"), (302, "text/html"), (500, "text/html"), (200, "image/svg+xml")]
)
def test_an_answer_that_is_none_for_a_browser_becomes_502(
    app: Dashboard, fake_app: Dashboard, fake: FakeFlower, acme: Tenant, globex: Tenant, status: int, content_type: str
) -> None:
    fake.status = status
    fake.headers = {"Content-Type": content_type, "Location": "//evil.test", "WWW-Authenticate": "Basic"}
    browser = sign_in(fake_app, None, person(app, "operator of globex", acme, globex))
    response = through(browser, "/flower/workers")
    assert response.status_code == 502
    assert {"Location", "WWW-Authenticate"}.isdisjoint(response.headers.keys())


def test_it_hides_its_navigation_in_our_frame_and_its_controls_from_those_who_may_not(
    app: Dashboard, operators_app: Dashboard, acme: Tenant, globex: Tenant
) -> None:
    browser = sign_in(operators_app, None, person(app, "operator of globex", acme, globex))
    framed = through(browser, "/flower/workers", headers={"Sec-Fetch-Dest": "iframe"}).text
    alone = through(browser, "/flower/workers").text
    assert "css/flower/framed.css" in framed
    assert "css/flower/framed.css" not in alone
    assert "css/flower/read-only.css" in alone


def test_an_operator_searches_tasks_and_does_nothing_else(
    app: Dashboard, fake_app: Dashboard, fake: FakeFlower, acme: Tenant, globex: Tenant
) -> None:
    fake.headers, fake.body = {"Content-Type": "application/json"}, b"{}"
    browser = sign_in(fake_app, None, person(app, "operator of globex", acme, globex))
    search = through(browser, "/flower/tasks/datatable", method="POST", data={"draw": "1"}, headers=SAME_ORIGIN)
    assert search.status_code == 200
    assert fake.asked[-1].body == "draw=1"
    assert through(browser, REVOKE, method="POST", headers=SAME_ORIGIN).status_code == 403
    assert len(fake.asked) == 1


@pytest.fixture
def acting_owner(app: Dashboard, fake_app: Dashboard, fake: FakeFlower, acme: Tenant, globex: Tenant) -> Browser:
    fake.headers, fake.body = {"Content-Type": "application/json"}, b'{"message": "Revoked"}'
    return sign_in(fake_app, None, person(app, "platform owner", acme, globex))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.test"},
        {"Origin": "http://platform.test.evil.test"},
        {"Origin": "null"},
    ],
)
def test_a_post_from_elsewhere_is_refused(acting_owner: Browser, fake: FakeFlower, headers: dict[str, str]) -> None:
    assert through(acting_owner, REVOKE, method="POST", headers=headers).status_code == 403
    assert fake.asked == []


def test_an_old_browser_is_known_by_its_origin(acting_owner: Browser) -> None:
    response = through(acting_owner, REVOKE, method="POST", headers={"Origin": "http://platform.test"})
    assert response.status_code == 200


def test_a_control_needs_a_fresh_sign_in(app: Dashboard, acting_owner: Browser, fake: FakeFlower) -> None:
    with app.app_context(), system_scope("test") as session:
        long_ago = sa.func.now() - (FRESH_FOR + timedelta(minutes=1))
        session.execute(sa.update(WebSession).values(signed_in_at=long_ago))
    response = through(acting_owner, REVOKE, method="POST", headers=SAME_ORIGIN)
    assert response.status_code == 403
    assert "Sign in again" in response.text
    assert fake.asked == []


def test_terminating_is_sent_with_a_signal_that_ends_our_workers_children(
    acting_owner: Browser, fake: FakeFlower
) -> None:
    data = {"terminate": "true", "signal": "SIGTERM", "taskid": "other"}
    through(acting_owner, REVOKE + "?signal=SIGHUP", method="POST", data=data, headers=SAME_ORIGIN)
    (asked,) = fake.asked
    assert asked.path == REVOKE
    assert asked.body == "terminate=true&signal=SIGKILL"


def test_a_control_leaves_an_audit_row(app: Dashboard, acting_owner: Browser) -> None:
    path = "/flower/api/worker/pool/grow/celery@station-1"
    through(acting_owner, path, method="POST", data={"n": "3", "workername": "celery@station-1"}, headers=SAME_ORIGIN)
    with app.app_context(), system_scope("test") as session:
        entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.action.startswith("flower."))).one()
    assert (entry.action, entry.subject_kind, entry.subject_name) == (
        "flower.worker.pool.grow",
        "worker",
        "celery@station-1",
    )
    assert entry.actor_name == "platform-owner@people.test"
    assert entry.details == {"n": "3", "workername": "celery@station-1"}


def test_the_real_flower_takes_a_control_from_the_gateway(owner: Browser) -> None:
    response = through(owner, REVOKE, method="POST", data={"terminate": "true"}, headers=SAME_ORIGIN)
    assert response.status_code == 200
    assert response.json is not None
    assert response.json["message"].startswith("Revoked")


def test_while_flower_hangs_the_dashboard_answers_and_more_requests_are_turned_away(
    app: Dashboard, fake_app: Dashboard, fake: FakeFlower, acme: Tenant, globex: Tenant
) -> None:
    browser = sign_in(fake_app, None, person(app, "operator of globex", acme, globex))
    cookies = {"Cookie": "; ".join(f"{cookie.key}={cookie.value}" for cookie in (browser._cookies or {}).values())}
    fake.hangs = True
    answers: list[TestResponse] = []

    def ask() -> None:
        client = fake_app.test_client(use_cookies=False)
        answers.append(client.get("/flower/workers", base_url="http://platform.test", headers=cookies))

    waiting = [threading.Thread(target=ask) for _ in range(CONNECTIONS)]
    for thread in waiting:
        thread.start()
    wait_until(lambda: len(fake.asked) == CONNECTIONS)
    turned_away = through(browser, "/flower/workers", headers={"X-Requested-With": "XMLHttpRequest"})
    assert turned_away.status_code == 503
    assert turned_away.mimetype == "text/plain"
    assert turned_away.headers["Retry-After"] == "5"
    assert fake_app.test_client().get("/healthz").status_code == 200
    fake.hangs = False
    fake.release.set()
    for thread in waiting:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * CONNECTIONS
    assert through(browser, "/flower/workers").status_code == 200


def test_a_flower_that_hangs_is_given_up_in_time(
    app: Dashboard,
    fake_app: Dashboard,
    fake: FakeFlower,
    acme: Tenant,
    globex: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    browser = sign_in(fake_app, None, person(app, "operator of globex", acme, globex))
    fake.hangs = True
    with monkeypatch.context() as impatient:
        impatient.setattr(upstream, "ANSWER_S", 0.5)
        assert through(browser, "/flower/workers").status_code == 502
    fake.hangs = False
    assert through(browser, "/flower/workers").status_code == 200


def test_a_flower_that_is_not_there_is_said_so(
    app: Dashboard, environment: dict[str, str], acme: Tenant, globex: Tenant
) -> None:
    with app_with_flower(environment, "http://127.0.0.1:9", audience="operators") as lonely:
        browser = sign_in(lonely, None, person(app, "operator of globex", acme, globex))
        response = through(browser, "/flower/workers")
    assert response.status_code == 502
    assert "Flower does not answer" in response.text
