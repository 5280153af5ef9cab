"""Tenants never see each other: row-level security, roles and the ORM's own wall; also where there is only one role."""

from __future__ import annotations

from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError

from dashboard.app import Dashboard
from dashboard.audit.actions import record
from dashboard.core.errors import NoTenant, WrongTenant
from dashboard.core.orm import Base, db, system_scope, tenant_session
from dashboard.core.tenancy import Binding, Tenant, bound
from dashboard.runs.models import Run

PLATFORM_TABLES = {"credential", "web_session", "dispatch_clock", "tenant_change", "process", "alembic_version"}

three_roles_only = pytest.mark.parametrize("app", ["app"], indirect=True)
"""For what only roles can do: the one role of a host that gives one owns the tables."""


@pytest.fixture(params=["app", "one_credential_app"])
def app(request: pytest.FixtureRequest) -> Dashboard:
    """The application with three database roles, and with one."""
    running: Dashboard = request.getfixturevalue(request.param)
    return running


def make_run(tenant: Tenant) -> None:
    with bound(Binding.of(tenant)), tenant_session() as session:
        session.add(Run(name="Report", job_type="test.report", state="ready"))


def test_every_table_with_tenants_rows_forces_row_level_security(app: Dashboard) -> None:
    with app.app_context(), system_scope("test") as session:
        rows = session.execute(
            sa.text(
                "SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, count(p.polname)"
                " FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid"
                " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace GROUP BY 1, 2, 3"
            )
        ).all()
    walled = {name for name, enabled, forced, policies in rows if enabled and forced and policies}
    assert walled == {name for name, *_ in rows} - PLATFORM_TABLES


def test_every_model_with_a_tenant_id_is_walled_by_its_table(app: Dashboard) -> None:
    with_tenant = {name for name, table in Base.metadata.tables.items() if "tenant_id" in table.columns}
    assert with_tenant.isdisjoint(PLATFORM_TABLES)


def test_no_view_runs_with_its_owners_rights(app: Dashboard) -> None:
    with app.app_context(), system_scope("test") as session:
        views = session.scalars(
            sa.text(
                "SELECT relname FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace"
            )
        ).all()
    assert views == []


@three_roles_only
@pytest.mark.parametrize("role", ["stationmaster_app", "stationmaster_system", "stationmaster_owner"])
def test_no_role_of_ours_can_pass_the_wall(app: Dashboard, role: str) -> None:
    with app.app_context(), system_scope("test") as session:
        row = session.execute(
            sa.text("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = :role"), {"role": role}
        ).one()
    assert tuple(row) == (False, False)


def test_a_transaction_without_a_tenant_is_refused(app: Dashboard) -> None:
    with app.app_context(), pytest.raises(NoTenant):
        db.session.execute(sa.select(Run))


@pytest.mark.parametrize(
    "query",
    [
        sa.select(Run.id),
        sa.text("SELECT id FROM run"),
        sa.select(Run.__table__.c.id),
        sa.text("SELECT run_id FROM run_event"),
    ],
    ids=["orm", "text", "core", "child"],
)
def test_one_tenant_sees_no_row_of_another(app: Dashboard, acme: Tenant, globex: Tenant, query: sa.Executable) -> None:
    with app.app_context():
        make_run(acme)
        with bound(Binding.of(globex)):
            assert db.session.execute(query).all() == []


def test_a_row_cannot_be_written_for_another_tenant(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    with app.app_context(), bound(Binding.of(globex)), pytest.raises(WrongTenant), tenant_session() as session:
        session.add(Run(tenant_id=acme.id, name="Report", job_type="test.report", state="ready"))


def test_sql_cannot_write_for_another_tenant_either(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    insert = sa.insert(Run.__table__).values(  # type: ignore[arg-type]
        id=uuid4(), tenant_id=acme.id, name="Report", job_type="test.report", state="ready"
    )
    with (
        app.app_context(),
        bound(Binding.of(globex)),
        pytest.raises(ProgrammingError, match="row-level security"),
        tenant_session() as session,
    ):
        session.execute(insert)


def test_a_bulk_update_reaches_only_the_bound_tenants_rows(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    with app.app_context():
        make_run(acme)
        with bound(Binding.of(globex)), tenant_session() as session:
            session.execute(sa.text("UPDATE run SET name = 'Stolen'"))
        with system_scope("test") as session:
            assert session.scalars(sa.select(Run.name)).all() == ["Report"]


@three_roles_only
@pytest.mark.parametrize(
    "sentence",
    [
        "SELECT * FROM credential",
        "SELECT * FROM web_session",
        "TRUNCATE run",
        "DELETE FROM audit_entry",
        "CREATE TABLE mine ()",
    ],
)
def test_the_app_role_is_refused_what_is_not_its_own(app: Dashboard, acme: Tenant, sentence: str) -> None:
    with (
        app.app_context(),
        bound(Binding.of(acme)),
        pytest.raises(ProgrammingError, match="permission denied"),
        tenant_session() as session,
    ):
        session.execute(sa.text(sentence))


@pytest.mark.parametrize(
    "sentence",
    [
        "UPDATE audit_entry SET action = 'nothing'",
        "UPDATE audit_entry SET actor_name = '', subject_name = '', address = '', details = '{}'",
        "DELETE FROM audit_entry",
    ],
)
def test_an_audit_entry_can_not_be_changed_even_by_the_system(app: Dashboard, acme: Tenant, sentence: str) -> None:
    with app.app_context(), system_scope("test") as session:
        record(session, "schedule.pause", subject=("schedule", None, "Report"), tenant_id=acme.id)
        session.flush()
        with pytest.raises(sa.exc.DBAPIError, match="never changed"):
            session.execute(sa.text(sentence))
        session.rollback()


@three_roles_only
def test_no_setting_opens_the_wall_between_roles(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    with app.app_context():
        make_run(acme)
        with bound(Binding.of(globex)), tenant_session() as session:
            session.execute(sa.text("SELECT set_config('app.scope', 'system', true)"))
            assert session.execute(sa.text("SELECT id FROM run")).all() == []


def test_a_scope_left_on_a_pooled_connection_opens_nothing(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    with app.app_context():
        make_run(acme)
        db.engine.dispose()
        with db.engine.connect() as connection:
            connection.execute(sa.text("SET app.scope = 'system'"))
            connection.commit()
        with bound(Binding.of(globex)), tenant_session() as session:
            assert session.execute(sa.text("SELECT id FROM run")).all() == []


def test_the_system_sees_every_tenants_rows(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    with app.app_context():
        make_run(acme)
        make_run(globex)
        with system_scope("test") as session:
            assert set(session.scalars(sa.text("SELECT tenant_id FROM run"))) == {acme.id, globex.id}
