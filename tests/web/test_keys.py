"""Encryption keys are changed without losing a secret: all are encrypted anew, and the older keys can go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from pydantic import SecretStr

from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core import secrets
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant, resolver_of
from dashboard.jobs.params import load
from dashboard.keys import rotation
from dashboard.runs.models import Run
from dashboard.schedules.models import Schedule, ScheduleRevision
from dashboard.tenants.models import TenantSetting
from dashboard.tenants.registry import forget_cached
from tests.command_line import answer, flask
from tests.factories import make_user
from tests.factories.job_types import Echo
from tests.factories.runs import make_run
from tests.factories.schedules import echo_form
from tests.signing_in import Browser, sign_in

OLD, NEW, LOST = (SecretStr(Fernet.generate_key().decode()) for _ in range(3))


def use(app: Dashboard, *keys: SecretStr) -> None:
    secrets.init_app(app, keys)
    forget_cached(app)


def all_of(app: Dashboard, column: Any) -> Sequence[Any]:
    with app.app_context(), system_scope("test") as session:
        return session.scalars(sa.select(column)).all()


def password_in(app: Dashboard, params: Any) -> str:
    with app.app_context():
        opened: str = load(Echo.Params, params).password.get_secret_value()  # type: ignore[attr-defined]
        return opened


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    """With a secret in each place that keeps one, encrypted with the old key."""
    use(app, OLD)
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    browser = sign_in(app, acme, "olivia@acme.test")
    browser.post("/schedules", data=echo_form(**{"params-password": "hunter2-canary"}))
    (schedule_id,) = all_of(app, Schedule.id)
    browser.post(f"/schedules/{schedule_id}/runs")
    answer(app, "tenants", "set", "acme", "SMTP_HOST", "mail.acme.test")
    answer(app, "tenants", "set", "acme", "SMTP_PASSWORD", "-", stdin="smtp-canary\n")
    make_run(app, acme, "succeeded", params={"word": "no secret"})
    return browser


def found(app: Dashboard) -> dict[str, tuple[int, int, int]]:
    rows = answer(app, "secrets", "rotate")
    return {row["where"]: (row["secrets"], row["renewed"], row["unreadable"]) for row in rows}


def test_all_secrets_are_read_without_the_old_key_after_a_rotation(
    app: Dashboard, acme: Tenant, operator: Browser
) -> None:
    changed_at = all_of(app, Schedule.updated_at)
    use(app, NEW, OLD)
    one = (1, 1, 0)
    assert found(app) == {"settings": one, "schedules": one, "revisions of schedules": one, "runs": one}
    use(app, NEW)
    tenant = resolver_of(app).by_slug("acme")
    assert tenant is not None
    assert tenant.values["SMTP_PASSWORD"].get_secret_value() == "smtp-canary"
    kept = [*all_of(app, Schedule.params), *(fields["params"] for fields in all_of(app, ScheduleRevision.fields))]
    kept += [params for params in all_of(app, Run.params) if "password" in params]
    assert [password_in(app, params) for params in kept] == ["hunter2-canary"] * 3
    assert all_of(app, Schedule.updated_at) == changed_at


def test_what_the_newest_key_encrypted_stays_as_it_is(app: Dashboard, operator: Browser) -> None:
    columns = (TenantSetting.secret, Schedule.params, Schedule.updated_at, Run.params)
    before = [all_of(app, column) for column in columns]
    use(app, OLD, NEW)
    assert set(found(app).values()) == {(1, 0, 0)}
    assert [all_of(app, column) for column in columns] == before


def test_a_secret_whose_key_is_lost_is_counted_and_left(app: Dashboard, operator: Browser) -> None:
    before = all_of(app, Schedule.params)
    use(app, NEW, LOST)
    assert set(found(app).values()) == {(1, 0, 1)}
    assert all_of(app, Schedule.params) == before


def test_more_than_a_batch_is_gone_through(
    app: Dashboard, acme: Tenant, operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "BATCH", 2)
    (params,) = all_of(app, Schedule.params)
    for _ in range(4):
        make_run(app, acme, "succeeded", params=params)
    (schedule_id,) = all_of(app, Schedule.id)
    for rev in range(1, 5):
        operator.post(f"/schedules/{schedule_id}", data=echo_form(rev=rev))
    use(app, NEW, OLD)
    first, again = found(app), found(app)
    assert (first["runs"], first["revisions of schedules"]) == ((5, 5, 0), (5, 5, 0))
    assert (again["runs"], again["revisions of schedules"]) == ((5, 0, 0), (5, 0, 0))


def test_a_rotation_is_audited_without_the_secrets(app: Dashboard, operator: Browser) -> None:
    use(app, NEW, OLD)
    said = flask(app, "secrets", "rotate")
    assert said.stdout.splitlines()[1].split() == ["settings", "1", "1", "0"]
    with app.app_context(), system_scope("test") as session:
        entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.action == "secrets.rotate")).one()
    assert (entry.tenant_id, entry.actor_kind) == (None, "system")
    assert entry.details["runs"] == {"where": "runs", "secrets": 1, "renewed": 1, "unreadable": 0}
