"""A deleted tenant is gone with all that it had; only the audit trail still says that something was done."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from click.testing import Result
from werkzeug.exceptions import HTTPException

from dashboard.accounts.models import Invitation, User
from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.clock import database_now
from dashboard.core.orm import Base, system_scope
from dashboard.core.tenancy import Tenant, resolver_of
from dashboard.emails.models import Delivery
from dashboard.runs import deletion
from dashboard.runs.models import Artifact, ArtifactChunk, BulkAction, RunLog
from dashboard.schedules.models import Blackout, HolidayCalendar
from tests.factories.people import People
from tests.factories.runs import make_run
from tests.factories.schedules import make_schedule, planned
from tests.signing_in import sign_in


def fill(app: Dashboard, tenant: Tenant) -> None:
    """Give a tenant rows in many tables, by its people's acts and beside them."""
    make_schedule(app, tenant, due_for=timedelta(minutes=1))
    planned(app)
    runs = [make_run(app, tenant, state) for state in ("ready", "running", "succeeded", "failed")]
    with app.app_context(), system_scope("test") as session:
        of_run = {"tenant_id": tenant.id, "run_id": runs[2].id}
        file = Artifact(**of_run, name="rows.csv", media_type="text/csv")
        now = database_now(session)
        session.add_all(
            [
                RunLog(**of_run, level="info", text="It went well."),
                Delivery(**of_run, address="a@b.test", state="sent"),
                file,
                HolidayCalendar(tenant_id=tenant.id, name="Company days", days=["2030-12-24"]),
                Blackout(tenant_id=tenant.id, name="Move", start_at=now, end_at=now + timedelta(days=1)),
                BulkAction(tenant_id=tenant.id, action="retry", filter={"states": ["failed"]}, estimate=1),
                Invitation(tenant_id=tenant.id, email="nobody@elsewhere.test", role="viewer"),
            ]
        )
        session.flush()
        session.add(ArtifactChunk(**of_run, artifact_id=file.id, position=0, data=b"a,b\n"))


def rows_of(app: Dashboard, tenant_id: UUID) -> dict[str, int]:
    """Return how many rows each table has of the tenant, for every table that has any."""
    with app.app_context(), system_scope("test") as session:
        counts = {
            table.name: session.scalar(sa.select(sa.func.count()).where(table.c.tenant_id == tenant_id)) or 0
            for table in Base.metadata.sorted_tables
            if "tenant_id" in table.columns
        }
    return {name: count for name, count in counts.items() if count}


def delete(app: Dashboard, *words: str, typed: str = "") -> Result:
    return app.test_cli_runner().invoke(args=["tenants", "delete", *words], input=typed)


def test_all_that_a_tenant_has_is_gone_and_nothing_of_anothers(
    app: Dashboard, acme: Tenant, globex: Tenant, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "RUNS", 2)
    sign_in(app, acme, "alice@acme.test").post("/settings", data={"BRAND_NAME": "Acme and sons"})
    for tenant in (acme, globex):
        fill(app, tenant)
    before, theirs = rows_of(app, acme.id), rows_of(app, globex.id)
    assert len(before) > 15
    done = delete(app, "acme", "--confirm", "acme", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"tenant": "acme", "runs": before["run"]})
    assert set(rows_of(app, acme.id)) == {"audit_entry"}
    assert rows_of(app, globex.id) == theirs
    assert resolver_of(app).by_slug("acme") is None


def test_the_audit_trail_keeps_what_was_done_and_no_names(app: Dashboard, acme: Tenant, people: People) -> None:
    sign_in(app, acme, "alice@acme.test").post("/settings", data={"BRAND_NAME": "Acme and sons"})
    delete(app, "acme", "--confirm", "acme")
    with app.app_context(), system_scope("test") as session:
        told = list(session.scalars(sa.select(AuditEntry).where(AuditEntry.tenant_id == acme.id)))
        farewell = session.scalars(sa.select(AuditEntry).where(AuditEntry.action == "tenant.delete")).one()
        assert session.scalar(sa.select(User.id).where(User.email == "alice@acme.test")) is not None
    assert {"setting.change", "tenant.suspend"} <= {entry.action for entry in told}
    assert {(entry.actor_name, entry.subject_name, entry.address, str(entry.details)) for entry in told} == {
        ("", "", "", "{}")
    }
    assert (farewell.tenant_id, farewell.subject_id, farewell.subject_name) == (None, acme.id, "acme")


def test_its_people_are_signed_out_and_its_address_is_nobodys(app: Dashboard, acme: Tenant, people: People) -> None:
    alice = sign_in(app, acme, "alice@acme.test")
    delete(app, "acme", "--confirm", "acme")
    try:
        status = alice.get("/runs").status_code
    except HTTPException as error:
        status = error.code or 0
    assert status == 421


@pytest.mark.parametrize("typed", ["", "acm", "ACME", "globex"])
def test_nothing_is_deleted_unless_the_short_name_is_typed(app: Dashboard, acme: Tenant, typed: str) -> None:
    done = delete(app, "acme", typed=f"{typed}\n")
    assert done.exit_code == 1
    assert "Nothing was deleted" in done.stderr
    left = resolver_of(app).by_slug("acme")
    assert left is not None
    assert left.id == acme.id


def test_who_types_the_short_name_when_asked_deletes_it(app: Dashboard, acme: Tenant) -> None:
    done = delete(app, "acme", typed="acme\n")
    assert (done.exit_code, "is deleted, with 0 runs" in done.stdout) == (0, True)


def test_a_tenant_that_there_is_not_is_said_so(app: Dashboard) -> None:
    done = delete(app, "nobody", "--confirm", "nobody")
    assert (done.exit_code, "There is no tenant nobody" in done.stderr) == (1, True)
