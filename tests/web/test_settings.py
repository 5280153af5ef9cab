"""Admins set what their tenant may set; secrets stay secret, and a mail server needs the password."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant, resolver_of
from dashboard.tenants.models import TenantSetting
from dashboard.tenants.options import OPTIONS
from dashboard.tenants.registry import TenantRegistry
from tests.factories.people import People
from tests.signing_in import PASSWORD, Browser, make_stale, sign_in

SECRET = "canary-4711-secret"
SERVER = {"SMTP_HOST": "smtp.acme.test", "SMTP_PORT": "465", "SMTP_TLS": "tls", "SMTP_USER": "acme"}


@pytest.fixture
def alice(app: Dashboard, acme: Tenant, people: People) -> Browser:
    return sign_in(app, acme, "alice@acme.test")


def settings_of(app: Dashboard, slug: str = "acme") -> dict[str, object]:
    tenant = resolver_of(app).by_slug(slug)
    assert tenant is not None
    return dict(tenant.values)


def own_keys(app: Dashboard, tenant: Tenant) -> set[str]:
    with app.app_context(), system_scope("test") as session:
        return set(session.scalars(sa.select(TenantSetting.key).where(TenantSetting.tenant_id == tenant.id)))


def test_the_form_has_every_option(alice: Browser) -> None:
    page = alice.get("/settings").text
    assert [option.key for option in OPTIONS if f'name="{option.key}"' not in page] == []


def test_a_setting_counts_at_once(app: Dashboard, alice: Browser) -> None:
    assert alice.post("/settings", data={"BRAND_NAME": "Acme Works", "SEND_RATE": "77"}).status_code == 303
    assert settings_of(app)["SEND_RATE"] == 77
    assert "Acme Works" in alice.get("/settings").text


def test_only_what_was_changed_becomes_the_tenants_own(app: Dashboard, acme: Tenant, alice: Browser) -> None:
    shown = {option.key: str(settings_of(app)[option.key]) for option in OPTIONS if not option.secret}
    before = own_keys(app, acme)
    alice.post("/settings", data={**shown, "TIMEZONE": "Europe/Berlin"})
    assert own_keys(app, acme) == before | {"TIMEZONE"}


def test_a_setting_follows_the_default_again(app: Dashboard, acme: Tenant, alice: Browser) -> None:
    alice.post("/settings", data={"SEND_RATE": "77"})
    alice.post("/settings/resets", data={"reset": "SEND_RATE"})
    assert settings_of(app)["SEND_RATE"] == 300
    assert "SEND_RATE" not in own_keys(app, acme)


def test_wrong_values_come_back_with_words_and_change_nothing(app: Dashboard, acme: Tenant, alice: Browser) -> None:
    before = own_keys(app, acme)
    typed = {"SEND_RATE": "0", "RETENTION_DAYS": "many", "TIMEZONE": "Mars/Olympus", "MAIL_SENDER": "a@b\r\nBcc: c@d"}
    answer = alice.post("/settings", data={**typed, "BRAND_NAME": "Kept"})
    assert answer.status_code == 422
    assert "Send rate must be at least 1." in answer.text
    assert "Keep finished runs for must be a whole number." in answer.text
    assert 'value="many"' in answer.text
    assert 'value="Kept"' in answer.text
    assert own_keys(app, acme) == before


def test_a_key_that_is_no_option_is_ignored(app: Dashboard, acme: Tenant, alice: Browser) -> None:
    before = own_keys(app, acme)
    alice.post("/settings", data={"SECRET_KEY": "mine", "weight": "100", "tenant_id": "x", "is_platform_owner": "1"})
    assert own_keys(app, acme) == before
    assert alice.post("/settings/resets", data={"reset": "SECRET_KEY"}).status_code == 422


def test_a_secret_is_encrypted_and_never_shown_again(app: Dashboard, acme: Tenant, alice: Browser) -> None:
    answer = alice.post("/settings", data={**SERVER, "SMTP_PASSWORD": SECRET}, follow_redirects=True)
    assert SECRET not in answer.text
    assert SECRET not in alice.get("/settings").text
    with app.app_context(), system_scope("test") as session:
        rows = session.execute(sa.text("SELECT s::text FROM tenant_setting s UNION SELECT a::text FROM audit_entry a"))
        assert not any(SECRET in row or SECRET.encode().hex() in row for row in rows.scalars())
    assert "canary" not in repr(resolver_of(app).by_id(acme.id))


def test_an_empty_secret_keeps_the_one_that_is_set(app: Dashboard, alice: Browser) -> None:
    alice.post("/settings", data={**SERVER, "SMTP_PASSWORD": SECRET})
    alice.post("/settings", data={**SERVER, "SMTP_PASSWORD": "", "SMTP_PORT": "587"})
    assert settings_of(app)["SMTP_PASSWORD"].get_secret_value() == SECRET  # type: ignore[attr-defined]


def test_a_secret_can_be_forgotten(app: Dashboard, alice: Browser) -> None:
    alice.post("/settings", data={**SERVER, "SMTP_PASSWORD": SECRET})
    alice.post("/settings", data={"clear:SMTP_PASSWORD": "y"})
    assert settings_of(app)["SMTP_PASSWORD"].get_secret_value() == ""  # type: ignore[attr-defined]


def test_a_rejected_form_does_not_repeat_the_secret(alice: Browser) -> None:
    answer = alice.post("/settings", data={**SERVER, "SMTP_PORT": "0", "SMTP_PASSWORD": SECRET})
    assert answer.status_code == 422
    assert SECRET not in answer.text


def test_a_mail_server_is_changed_only_with_the_password(app: Dashboard, alice: Browser) -> None:
    make_stale(app)
    refused = alice.post("/settings", data={**SERVER, "BRAND_NAME": "Typed"})
    assert refused.status_code == 422
    assert "To change the mail server, enter your own password here." in refused.text
    assert 'value="Typed"' in refused.text
    assert settings_of(app)["SMTP_HOST"] == ""
    alice.post("/settings", data={**SERVER, "current_password": PASSWORD})
    assert settings_of(app)["SMTP_HOST"] == "smtp.acme.test"


def test_other_settings_need_no_password_again(app: Dashboard, alice: Browser) -> None:
    make_stale(app)
    assert alice.post("/settings", data={"SEND_RATE": "9"}).status_code == 303


def test_resetting_a_mail_server_needs_the_password_too(app: Dashboard, alice: Browser) -> None:
    alice.post("/settings", data=SERVER)
    make_stale(app)
    assert "/confirm-password" in str(alice.post("/settings/resets", data={"reset": "SMTP_HOST"}).location)
    assert settings_of(app)["SMTP_HOST"] == "smtp.acme.test"


@pytest.fixture
def platform_server(app: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mail server of the platform's, which tenants without their own use."""
    known = resolver_of(app)
    assert isinstance(known, TenantRegistry)
    server = {"SMTP_HOST": "mail.platform.test", "SMTP_PORT": 2525, "SMTP_USER": "platform"}
    fallback = {**known.fallback, **server, "SMTP_PASSWORD": SecretStr(SECRET)}
    monkeypatch.setitem(app.extensions, "tenants", TenantRegistry(app, fallback))


@pytest.mark.usefixtures("platform_server")
def test_the_platforms_mail_password_never_reaches_a_tenants_server(app: Dashboard, alice: Browser) -> None:
    assert settings_of(app)["SMTP_HOST"] == "mail.platform.test"
    alice.post("/settings", data={"SMTP_HOST": "smtp.acme.test"})
    given = settings_of(app)
    assert (given["SMTP_HOST"], given["SMTP_USER"]) == ("smtp.acme.test", "")
    assert given["SMTP_PASSWORD"].get_secret_value() == ""  # type: ignore[attr-defined]


@pytest.mark.usefixtures("platform_server")
def test_the_platforms_server_can_not_be_bent(app: Dashboard, alice: Browser) -> None:
    answer = alice.post("/settings", data={"SMTP_TLS": "none", "SMTP_PORT": "25"})
    assert "Port belongs to a mail server of your own: name that first." in answer.text
    assert settings_of(app)["SMTP_PORT"] == 2525


def test_what_the_form_showed_belongs_to_a_new_server(app: Dashboard, acme: Tenant, alice: Browser) -> None:
    alice.post("/settings", data={"SMTP_HOST": "smtp.acme.test", "SMTP_PORT": "587", "SMTP_TLS": "starttls"})
    assert {"SMTP_HOST", "SMTP_PORT", "SMTP_TLS"} <= own_keys(app, acme)


def test_giving_the_server_up_gives_up_all_that_belongs_to_it(app: Dashboard, acme: Tenant, alice: Browser) -> None:
    alice.post("/settings", data={**SERVER, "SMTP_PASSWORD": SECRET})
    alice.post("/settings", data={**SERVER, "SMTP_HOST": ""})
    assert not {key for key in own_keys(app, acme) if key.startswith("SMTP_")}


def test_every_change_is_recorded_with_its_author(app: Dashboard, acme: Tenant, alice: Browser, people: People) -> None:
    alice.post("/settings", data={"SEND_RATE": "77", **SERVER, "SMTP_PASSWORD": SECRET})
    with app.app_context(), system_scope("test") as session:
        entries = {entry.subject_name: entry for entry in session.scalars(sa.select(AuditEntry))}
    rate = entries["SEND_RATE"]
    assert (rate.action, rate.actor_id, rate.actor_name) == ("setting.change", people.alice, "Alice")
    assert (rate.tenant_id, rate.details) == (acme.id, {"before": None, "after": 77})
    assert entries["SMTP_PASSWORD"].details == {}


def test_the_roots_are_shown_and_can_not_be_changed(alice: Browser) -> None:
    page = alice.get("/settings").text
    assert "https://jobs.acme.test" in page
    assert "http://platform.test/acme" in page


def test_the_only_admin_stays_one(alice: Browser, people: People) -> None:
    for path in (f"/settings/members/{people.alice}", f"/settings/members/{people.alice}/removals"):
        answer = alice.post(path, data={"role": "viewer"}, follow_redirects=True)
        assert "This is the only admin. Make somebody else an admin first." in answer.text
    assert alice.get("/settings").status_code == 200


def test_a_role_that_is_none_is_refused(alice: Browser, people: People) -> None:
    assert alice.post(f"/settings/members/{people.olivia}", data={"role": "owner"}).status_code == 422


def test_what_happens_to_members_is_recorded(app: Dashboard, acme: Tenant, alice: Browser, people: People) -> None:
    alice.post(f"/settings/members/{people.victor}", data={"role": "operator"})
    alice.post(f"/settings/members/{people.victor}/removals")
    with app.app_context(), system_scope("test") as session:
        entries = session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id)).all()
    assert [(entry.action, entry.subject_name, entry.tenant_id) for entry in entries] == [
        ("member.change", "victor@acme.test", acme.id),
        ("member.remove", "victor@acme.test", acme.id),
    ]


def test_names_are_shown_as_text(app: Dashboard, acme: Tenant, alice: Browser) -> None:
    alice.post("/settings", data={"BRAND_NAME": "<script>alert(1)</script>"})
    page = alice.get("/settings").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
