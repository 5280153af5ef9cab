"""A mailing's page says what became of each recipient's mail."""

from __future__ import annotations

from uuid import UUID

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.emails import delivery
from dashboard.emails.models import Delivery
from tests.factories import make_user
from tests.factories.mailings import acting, make_mail_run
from tests.signing_in import Browser, sign_in

STATES = ("sent", "bounced", "deferred", "uncertain", "pending", "claimed", "handing")


@pytest.fixture
def viewer(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "victor@acme.test", roles={acme.id: "viewer"})
    return sign_in(app, acme, "victor@acme.test")


def make_mailing(app: Dashboard, tenant: Tenant, *addresses: str) -> UUID:
    run = make_mail_run(app, tenant, *addresses)
    with acting(app, tenant):
        delivery.freeze_audience(run.id, addresses, domain="jobs.acme.test")
    return run.id


def set_state(app: Dashboard, address: str, **values: object) -> None:
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Delivery).where(Delivery.address == address).values(**values))


def test_it_lists_each_recipient_with_a_state_in_words(app: Dashboard, acme: Tenant, viewer: Browser) -> None:
    run_id = make_mailing(app, acme, *(f"{state}@acme.example" for state in STATES))
    for state in STATES:
        set_state(app, f"{state}@acme.example", state=state, error="It is <full>." if state == "bounced" else "")
    page = viewer.get(f"/runs/{run_id}").text
    for state in STATES:
        assert f"{state}@acme.example" in page
    for word in ("Bounced", "Uncertain", "Handing over", "It is &lt;full&gt;."):
        assert word in page


def test_of_many_it_shows_first_those_that_were_not_sent(app: Dashboard, acme: Tenant, viewer: Browser) -> None:
    addresses = [f"{number:03}@acme.example" for number in range(150)]
    run_id = make_mailing(app, acme, *addresses)
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Delivery).values(state="sent"))
    set_state(app, "149@acme.example", state="bounced")
    page = viewer.get(f"/runs/{run_id}").text
    assert page.index(">149@acme.example<") < page.index(">000@acme.example<")
    assert "And 50 more." in page


def test_before_the_run_starts_it_says_why_there_is_nobody(app: Dashboard, acme: Tenant, viewer: Browser) -> None:
    run = make_mail_run(app, acme)
    assert "They are written down when the run starts." in viewer.get(f"/runs/{run.id}").text


def test_the_timeline_of_a_mailing_stands_above_its_recipients(app: Dashboard, acme: Tenant, viewer: Browser) -> None:
    run = make_mail_run(app, acme)
    page = viewer.get(f"/runs/{run.id}").text
    assert page.index("<h2>Timeline</h2>") < page.index('<h2 id="deliveries-title">Recipients</h2>')


def test_another_tenants_mailing_is_not_there(app: Dashboard, globex: Tenant, acme: Tenant, viewer: Browser) -> None:
    run_id = make_mailing(app, globex, "secret@globex.example")
    assert viewer.get(f"/runs/{run_id}").status_code == 404
