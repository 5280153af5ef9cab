"""Admins invite people by their address, and learn about nobody who has not agreed."""

from __future__ import annotations

import re
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from dashboard.accounts.models import Invitation, Membership
from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from tests.factories.people import People
from tests.signing_in import Browser, make_stale, sign_in

MALLORY = "mallory@globex.test"
NOBODY = "nobody@elsewhere.test"


@pytest.fixture
def alice(app: Dashboard, acme: Tenant, people: People) -> Browser:
    return sign_in(app, acme, "alice@acme.test")


@pytest.fixture
def mallory(app: Dashboard, people: People) -> Browser:
    """Mallory on the platform, where she chooses among her organisations."""
    return sign_in(app, None, MALLORY)


def open_invitations(app: Dashboard) -> dict[str, UUID]:
    with app.app_context(), system_scope("test") as session:
        return {row.email: row.id for row in session.scalars(sa.select(Invitation))}


def role_of(app: Dashboard, tenant: Tenant, user_id: UUID) -> str | None:
    with app.app_context(), system_scope("test") as session:
        membership = session.get(Membership, (tenant.id, user_id))
        return membership.role if membership else None


def recorded(app: Dashboard) -> list[tuple[str, str, str, UUID | None]]:
    with app.app_context(), system_scope("test") as session:
        entries = session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id)).all()
        return [(entry.action, entry.actor_name, entry.subject_name, entry.tenant_id) for entry in entries]


def test_a_person_is_invited_and_accepts(
    app: Dashboard, acme: Tenant, alice: Browser, mallory: Browser, people: People
) -> None:
    alice.post("/settings/invitations", data={"email": "Mallory@Globex.test", "role": "operator"})
    assert role_of(app, acme, people.mallory) is None
    page = mallory.get("/tenants").text
    assert "Acme asks you to become a member" in page
    (invitation_id,) = open_invitations(app).values()
    assert (
        "You are a member now."
        in mallory.post(f"/tenants/invitations/{invitation_id}/acceptances", follow_redirects=True).text
    )
    assert role_of(app, acme, people.mallory) == "operator"
    assert sign_in(app, acme, MALLORY).get("/").status_code == 200
    assert open_invitations(app) == {}
    assert recorded(app) == [
        ("member.invite", "Alice", "Mallory@Globex.test", acme.id),
        ("member.accept", "Mallory", "Mallory@Globex.test", acme.id),
    ]


def test_a_person_may_decline(app: Dashboard, acme: Tenant, alice: Browser, mallory: Browser, people: People) -> None:
    alice.post("/settings/invitations", data={"email": MALLORY, "role": "admin"})
    mallory.post(f"/tenants/invitations/{open_invitations(app)[MALLORY]}/refusals")
    assert role_of(app, acme, people.mallory) is None
    assert open_invitations(app) == {}
    assert recorded(app)[-1] == ("member.decline", "Mallory", MALLORY, acme.id)


def test_an_admin_cannot_tell_whether_an_address_is_anybodys(app: Dashboard, alice: Browser) -> None:
    pages = []
    for email in (MALLORY, NOBODY):
        answer = alice.post("/settings/invitations", data={"email": email, "role": "viewer"})
        assert (answer.status_code, answer.location) == (303, "/settings#members")
        pages.append(without_what_varies(alice.get("/settings").text, email))
        alice.post(f"/settings/invitations/{open_invitations(app)[email]}/withdrawals")
        alice.get("/settings")
    assert pages[0] == pages[1]


def without_what_varies(page: str, email: str) -> str:
    page = page.replace(email, "ADDRESS")
    page = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", page)
    page = re.sub(r'name="csrf_token" value="[^"]*"', "TOKEN", page)
    page = re.sub(r'"X-CSRFToken": ?"[^"]*"', "TOKEN", page)
    return re.sub(r"<time .*?</time>", "TIME", page)


def test_an_invitation_can_be_withdrawn(app: Dashboard, acme: Tenant, alice: Browser, mallory: Browser) -> None:
    alice.post("/settings/invitations", data={"email": MALLORY, "role": "viewer"})
    invitation_id = open_invitations(app)[MALLORY]
    alice.post(f"/settings/invitations/{invitation_id}/withdrawals")
    answer = mallory.post(f"/tenants/invitations/{invitation_id}/acceptances", follow_redirects=True)
    assert "This invitation is not open any more." in answer.text
    again = alice.post(f"/settings/invitations/{invitation_id}/withdrawals", follow_redirects=True)
    assert "This invitation is not open any more." in again.text
    assert recorded(app)[-1] == ("member.withdraw", "Alice", MALLORY, acme.id)


def test_an_invitation_that_nobody_answers_ends(
    app: Dashboard, acme: Tenant, alice: Browser, mallory: Browser, people: People
) -> None:
    alice.post("/settings/invitations", data={"email": MALLORY, "role": "viewer"})
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Invitation).values(created_at=sa.text("now() - interval '15 days'")))
    assert "Acme asks you" not in mallory.get("/tenants").text
    assert MALLORY not in alice.get("/settings").text
    mallory.post(f"/tenants/invitations/{open_invitations(app)[MALLORY]}/acceptances")
    assert role_of(app, acme, people.mallory) is None


def test_asking_again_begins_anew_with_the_new_role(app: Dashboard, alice: Browser, mallory: Browser) -> None:
    for role in ("viewer", "admin"):
        alice.post("/settings/invitations", data={"email": MALLORY, "role": role})
    assert len(open_invitations(app)) == 1
    assert ">admin<" in mallory.get("/tenants").text


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"email": "no address", "role": "viewer"}, "Write an address like"),
        ({"email": "victor@ACME.test", "role": "viewer"}, "is a member already"),
        ({"email": NOBODY, "role": "owner"}, "Choose one of"),
    ],
)
def test_what_cannot_be_asked_comes_back_with_words(
    app: Dashboard, alice: Browser, typed: dict[str, str], sentence: str
) -> None:
    answer = alice.post("/settings/invitations", data=typed)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert f'value="{typed["email"]}"' in answer.text
    assert open_invitations(app) == {}


def test_inviting_needs_the_password_again(app: Dashboard, alice: Browser) -> None:
    make_stale(app)
    answer = alice.post("/settings/invitations", data={"email": MALLORY, "role": "admin"})
    assert "/confirm-password" in str(answer.location)
    assert open_invitations(app) == {}


def test_only_admins_invite(app: Dashboard, acme: Tenant, people: People) -> None:
    browser = sign_in(app, acme, "olivia@acme.test")
    assert browser.post("/settings/invitations", data={"email": MALLORY, "role": "admin"}).status_code == 403


def test_nobody_answers_for_another_person_or_in_a_tenant(
    app: Dashboard, acme: Tenant, globex: Tenant, alice: Browser, mallory: Browser
) -> None:
    alice.post("/settings/invitations", data={"email": NOBODY, "role": "admin"})
    path = f"/tenants/invitations/{open_invitations(app)[NOBODY]}/acceptances"
    assert "not open any more" in mallory.post(path, follow_redirects=True).text
    assert (
        "not open any more" in mallory.post(path.replace(path.split("/")[3], str(uuid4())), follow_redirects=True).text
    )
    assert sign_in(app, globex, MALLORY).post(path).status_code == 404
    assert open_invitations(app).keys() == {NOBODY}


def test_a_role_that_was_given_meanwhile_counts(
    app: Dashboard, acme: Tenant, alice: Browser, mallory: Browser, people: People
) -> None:
    alice.post("/settings/invitations", data={"email": MALLORY, "role": "admin"})
    with app.app_context(), system_scope("test") as session:
        session.add(Membership(tenant_id=acme.id, user_id=people.mallory, role="viewer"))
    mallory.post(f"/tenants/invitations/{open_invitations(app)[MALLORY]}/acceptances")
    assert role_of(app, acme, people.mallory) == "viewer"


def test_a_flood_of_invitations_is_stopped(app: Dashboard, alice: Browser) -> None:
    for number in range(30):
        alice.post("/settings/invitations", data={"email": f"{number}@elsewhere.test", "role": "viewer"})
    assert alice.post("/settings/invitations", data={"email": NOBODY, "role": "viewer"}).status_code == 429
    assert len(open_invitations(app)) == 30
