"""The back office: for platform owners who just gave their password, through audited actions only."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.accounts.models import Membership, User
from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant, resolver_of
from dashboard.runs.models import Process
from dashboard.tenants.models import TenantRecord
from tests.factories.people import People
from tests.pages import read_page
from tests.signing_in import PASSWORD, Browser, make_stale, sign_in, visit

VIEWS = ("tenants", "people", "memberships", "processes", "audit")
READ_ONLY = ("processes", "audit")
NEW_TENANT = {
    "name": "Umbrella",
    "slug": "umbrella",
    "roots": "https://jobs.umbrella.test\nhttp://platform.test/umbrella",
    "timezone": "Europe/Berlin",
}


@pytest.fixture
def root(app: Dashboard, people: People) -> Browser:
    with app.app_context(), system_scope("test") as session:
        session.add(Process(kind="worker", name="worker@test", host="test", pid=1))
    return sign_in(app, None, "root@platform.test")


def entries(app: Dashboard) -> list[AuditEntry]:
    with app.app_context(), system_scope("test") as session:
        return list(session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id)))


def count(app: Dashboard, model: type[Any]) -> int:
    with app.app_context(), system_scope("test") as session:
        return session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def test_it_begins_with_the_tenants(root: Browser) -> None:
    assert root.get("/platform/").location == "/platform/tenants/"


@pytest.mark.parametrize("view", VIEWS)
def test_every_link_on_every_page_leads_somewhere(root: Browser, view: str) -> None:
    root.post("/platform/tenants/new/", data=NEW_TENANT)
    page = root.get(f"/platform/{view}/")
    assert page.status_code == 200
    links = [link for link in read_page(page).links if link.startswith("/platform/")]
    assert links
    assert {root.get(link).status_code for link in links} <= {200, 303}


def test_a_person_with_an_old_sign_in_is_asked_for_the_password(app: Dashboard, root: Browser) -> None:
    make_stale(app)
    asked = root.get("/platform/people/?search=a")
    assert asked.location == "/confirm-password?next=/platform/people/?search%3Da"
    assert root.post("/platform/tenants/new/", data=NEW_TENANT).location == "/confirm-password?next=/platform/"
    root.post("/confirm-password", data={"password": PASSWORD})
    assert root.get("/platform/people/").status_code == 200


def test_an_owner_who_is_none_any_more_finds_nothing(app: Dashboard, root: Browser, people: People) -> None:
    with app.app_context(), system_scope("test") as session:
        session.get_one(User, people.root).is_platform_owner = False
    assert root.get("/platform/tenants/").status_code == 404


def test_a_tenant_is_created_and_works_at_once(app: Dashboard, root: Browser) -> None:
    assert root.post("/platform/tenants/new/", data=NEW_TENANT).status_code == 302
    tenant = resolver_of(app).by_slug("umbrella")
    assert tenant is not None
    assert [each.url for each in tenant.roots] == ["https://jobs.umbrella.test", "http://platform.test/umbrella"]
    assert tenant.values["TIMEZONE"] == "Europe/Berlin"
    assert visit(app, tenant).get("/sign-in").status_code == 200


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("slug", "Umbrella!", "Use 2 to 40 small letters"),
        ("slug", "flower", "is reserved"),
        ("slug", "sign-in", "is reserved"),
        ("slug", "acme", "is taken"),
        ("slug", "acrne", "is taken"),
        ("slug", "g1obex", "is taken"),
        ("name", " ", "Give a name of 1 to 80"),
        ("name", "x" * 81, "Give a name of 1 to 80"),
        ("roots", "ftp://x.test", "is no root"),
        ("roots", "https://user@x.test", "is no root"),
        ("roots", "https://x.test/../up", "is no root"),
        ("roots", "https://x.test/static", "/static is reserved"),
        ("roots", "http://platform.test", "own address"),
        ("roots", "https://jobs.acme.test", "belongs to another tenant"),
        ("timezone", "Mars/Olympus", "Not a valid choice"),
    ],
)
def test_a_tenant_that_will_not_do_is_refused_with_words(
    app: Dashboard, root: Browser, field: str, value: str, words: str
) -> None:
    before = count(app, TenantRecord)
    answer = root.post("/platform/tenants/new/", data={**NEW_TENANT, field: value})
    assert answer.status_code == 422
    assert words in answer.text
    assert count(app, TenantRecord) == before


def test_a_tenant_is_suspended_and_resumed(app: Dashboard, root: Browser, acme: Tenant, people: People) -> None:
    alice = sign_in(app, acme, "alice@acme.test")
    root.post("/platform/tenants/suspensions/", data={"id": str(acme.id), "reason": "Unpaid"})
    assert alice.get("/settings").status_code == 303
    alice.sign_in("alice@acme.test")
    assert alice.get("/settings").status_code == 403
    page = root.get(f"/platform/tenants/details/?id={acme.id}")
    assert "Unpaid" in page.text
    root.post("/platform/tenants/resumptions/", data={"id": str(acme.id)})
    assert alice.get("/settings").status_code == 200
    assert [(entry.action, entry.actor_id, entry.tenant_id) for entry in entries(app)] == [
        ("tenant.suspend", people.root, acme.id),
        ("tenant.resume", people.root, acme.id),
    ]


@pytest.mark.parametrize("reason", ["", "   "])
def test_a_suspension_needs_a_reason(root: Browser, acme: Tenant, reason: str) -> None:
    data = {"id": str(acme.id), "reason": reason}
    assert "Say why" in root.post("/platform/tenants/suspensions/", data=data, follow_redirects=True).text


@pytest.mark.parametrize("tenant_id", ["", "x", "01900000-0000-7000-8000-000000000000"])
def test_a_tenant_that_is_not_there_can_not_be_suspended(root: Browser, tenant_id: str) -> None:
    answer = root.post("/platform/tenants/suspensions/", data={"id": tenant_id, "reason": "Because"})
    assert answer.status_code in {303, 404}


def test_a_person_is_created_and_can_sign_in(app: Dashboard, root: Browser, acme: Tenant) -> None:
    data = {"email": "new@acme.test", "name": "New", "password": PASSWORD}
    assert root.post("/platform/people/new/", data=data).status_code == 302
    root.post("/platform/memberships/new/", data={"email": "NEW@acme.test", "slug": "acme", "role": "operator"})
    assert sign_in(app, acme, "new@acme.test").get("/runs").status_code == 200


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("email", "no address", "Write an address"), ("email", "Alice@ACME.test", "belongs to somebody"),
     ("password", "short", "Use 10 to 200 characters"), ("name", "", "Fill this in")],
)  # fmt: skip
def test_a_person_who_will_not_do_is_refused_with_words(root: Browser, field: str, value: str, words: str) -> None:
    data = {"email": "new@acme.test", "name": "New", "password": PASSWORD, field: value}
    answer = root.post("/platform/people/new/", data=data)
    assert answer.status_code == 422
    assert words in answer.text


def test_a_disabled_person_is_out_at_once(app: Dashboard, root: Browser, acme: Tenant, people: People) -> None:
    victor = sign_in(app, acme, "victor@acme.test")
    root.post(f"/platform/people/edit/?id={people.victor}", data={"name": "Victor", "is_disabled": "y"})
    assert victor.get("/runs").status_code == 303
    assert "checked" in root.get(f"/platform/people/edit/?id={people.victor}").text


def test_a_new_password_from_the_owner_ends_the_sessions(
    app: Dashboard, root: Browser, acme: Tenant, people: People
) -> None:
    victor = sign_in(app, acme, "victor@acme.test")
    root.post(f"/platform/people/edit/?id={people.victor}", data={"name": "Victor", "password": "a brand new one"})
    assert victor.get("/runs").status_code == 303
    assert visit(app, acme).sign_in("victor@acme.test", "a brand new one").status_code == 303


def test_an_owner_can_not_lock_themselves_out(root: Browser, people: People) -> None:
    answer = root.post(f"/platform/people/edit/?id={people.root}", data={"name": "Root"})
    assert "You would lose the back office yourself." in answer.text
    assert root.get("/platform/people/").status_code == 200


def test_a_membership_is_changed_and_removed(app: Dashboard, root: Browser, acme: Tenant, people: People) -> None:
    victor = sign_in(app, acme, "victor@acme.test")
    key = f"{acme.id},{people.victor}"
    root.post(f"/platform/memberships/edit/?id={key}", data={"role": "admin"})
    assert victor.get("/settings").status_code == 200
    root.post("/platform/memberships/delete/", data={"id": key})
    assert victor.get("/settings").status_code == 404


def test_removing_asks_first(root: Browser) -> None:
    page = read_page(root.get("/platform/memberships/"))
    forms = [form for form in page.forms if "/delete/" in (form.get("action") or "")]
    assert forms
    assert all(form["data-confirm"] for form in forms)
    assert "End the membership of Alice in Acme? It takes effect at once." in [form["data-confirm"] for form in forms]


def test_no_tenant_loses_its_last_admin(app: Dashboard, root: Browser, acme: Tenant, people: People) -> None:
    before = count(app, Membership)
    data = {"id": f"{acme.id},{people.alice}"}
    assert "only admin" in root.post("/platform/memberships/delete/", data=data, follow_redirects=True).text
    assert count(app, Membership) == before


@pytest.mark.parametrize("view", [*READ_ONLY, "tenants"])
def test_what_is_read_only_stays_so(app: Dashboard, root: Browser, acme: Tenant, view: str) -> None:
    before = [count(app, model) for model in (TenantRecord, Process, AuditEntry)]
    for path in ("delete/", "action/", "edit/", "ajax/update/"):
        data = {
            "id": str(acme.id),
            "action": "delete",
            "rowid": str(acme.id),
            "list_form_pk": str(acme.id),
            "name": "X",
        }
        assert root.post(f"/platform/{view}/{path}?id={acme.id}", data=data).status_code in {302, 404}
    assert [count(app, model) for model in (TenantRecord, Process, AuditEntry)] == before


@pytest.mark.parametrize("path", ["export/csv/", "ajax/lookup/?name=user&query=a", "export/json/"])
def test_nothing_leaves_by_export_or_lookup(root: Browser, path: str) -> None:
    answer = root.get(f"/platform/people/{path}")
    assert answer.status_code in {302, 404}
    assert "acme.test" not in answer.text


@pytest.mark.parametrize("target", ["///evil.test", "//evil.test", "/\\evil.test", "https://evil.test", "javascript:x"])
def test_it_leads_nowhere_else(root: Browser, target: str) -> None:
    assert root.get("/platform/people/new/", query_string={"url": target}).status_code == 400


def test_a_form_without_its_token_is_refused(app: Dashboard, root: Browser) -> None:
    before = count(app, TenantRecord)
    assert root.post("/platform/tenants/new/", data=NEW_TENANT, csrf=False).status_code == 400
    assert count(app, TenantRecord) == before


@pytest.mark.parametrize("key", ["x", "", "1", "01900000-0000-7000-8000-000000000000", "a,b,c"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_made_up_id_finds_nothing(root: Browser, view: str, key: str) -> None:
    assert root.get(f"/platform/{view}/details/", query_string={"id": key}).status_code in {302, 404}


def test_the_trail_shows_who_did_what(root: Browser) -> None:
    root.post("/platform/tenants/new/", data=NEW_TENANT)
    page = root.get("/platform/audit/?search=tenant.create").text
    assert "Umbrella" in page
    assert "Root" in page
