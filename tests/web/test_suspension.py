"""A suspended tenant's people are signed out, and nobody else is."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from dashboard.accounts.models import WebSession
from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.tenants import actions
from tests.factories import make_user
from tests.factories.people import People
from tests.signing_in import PASSWORD, Browser, hash_of, sign_in

BOTH = "carla@consultants.test"


@pytest.fixture
def carla(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    """A member of Acme and of Globex."""
    roles = {acme.id: "viewer", globex.id: "viewer"}
    make_user(app, BOTH, password_hash=hash_of(PASSWORD), roles=roles)


def suspend(app: Dashboard, tenant: Tenant) -> None:
    with app.app_context(), system_scope("test") as session:
        actions.suspend(session, tenant.id, "Unpaid since May.")


def is_signed_in(browser: Browser) -> bool:
    return browser.get("/sessions").status_code == 200


def test_at_its_own_host_everybody_is_signed_out(
    app: Dashboard, acme: Tenant, globex: Tenant, people: People, carla: None
) -> None:
    alice, carla_at_acme = sign_in(app, acme, "alice@acme.test"), sign_in(app, acme, BOTH)
    mallory, carla_at_globex = sign_in(app, globex, "mallory@globex.test"), sign_in(app, globex, BOTH)
    suspend(app, acme)
    assert [is_signed_in(browser) for browser in (alice, carla_at_acme)] == [False, False]
    assert [is_signed_in(browser) for browser in (mallory, carla_at_globex)] == [True, True]


def test_at_a_shared_host_those_who_belong_nowhere_else_are(
    app: Dashboard, acme: Tenant, globex: Tenant, people: People, carla: None
) -> None:
    mallory, alice = sign_in(app, globex, "mallory@globex.test"), sign_in(app, None, "alice@acme.test")
    both, root = sign_in(app, globex, BOTH), sign_in(app, None, "root@platform.test")
    suspend(app, globex)
    assert [is_signed_in(browser) for browser in (mallory, alice, root)] == [False, True, True]
    with app.app_context(), system_scope("test") as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(WebSession)) == 3
    assert both.get("/").status_code == 403


def test_an_owner_who_suspends_their_own_organisation_keeps_the_back_office(
    app: Dashboard, globex: Tenant, people: People
) -> None:
    make_user(app, "boss@platform.test", password_hash=hash_of(PASSWORD), owner=True, roles={globex.id: "admin"})
    boss = sign_in(app, None, "boss@platform.test")
    answer = boss.post("/platform/tenants/suspensions/", data={"id": str(globex.id), "reason": "Closing down."})
    assert answer.status_code == 303
    assert boss.get("/platform/tenants/").status_code == 200


def test_who_signs_in_again_reads_why_and_gets_no_further(app: Dashboard, acme: Tenant, people: People) -> None:
    suspend(app, acme)
    answer = sign_in(app, acme, "alice@acme.test").get("/runs")
    assert answer.status_code == 403
    assert "suspended" in answer.text


def test_what_cannot_be_suspended_signs_nobody_out(app: Dashboard, acme: Tenant, people: People) -> None:
    alice = sign_in(app, acme, "alice@acme.test")
    app.test_cli_runner().invoke(args=["tenants", "suspend", "acme", "--reason", " "])
    assert is_signed_in(alice)
    app.test_cli_runner().invoke(args=["tenants", "suspend", "acme", "--reason", "Unpaid."])
    assert not is_signed_in(alice)
