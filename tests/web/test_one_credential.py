"""With one database credential everything works as with three roles; the doctor says that the wall is thinner."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from config.settings import Settings
from dashboard.app import Dashboard
from dashboard.core.clock import database_now
from dashboard.core.orm import system_scope, tenant_session
from dashboard.core.tenancy import Binding, Tenant, bound
from dashboard.core.trips import system_line
from dashboard.runs import dispatcher, leases
from dashboard.runs.dispatcher import Pace
from dashboard.runs.leases import Outcome
from dashboard.runs.models import Run
from dashboard.schedules.planner import plan
from tests.application import migrated
from tests.factories import make_tenant
from tests.factories.job_types import Echo
from tests.factories.ledger import enqueue_runs, make_worker, states_of
from tests.factories.people import People
from tests.factories.runs import make_run
from tests.factories.schedules import make_schedule
from tests.servers import PostgresAddress
from tests.signing_in import sign_in
from worker.lookout import Lookout


@pytest.fixture
def app(one_credential_app: Dashboard) -> Dashboard:
    """The application with one credential."""
    return one_credential_app


def test_the_planner_plans_for_every_tenant(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    for tenant in (acme, globex):
        make_schedule(app, tenant, due_for=timedelta(seconds=5), job_type=Echo.key)
    with app.app_context(), system_scope("test") as session:
        assert plan(session, database_now(session)).runs == 2
        assert set(session.scalars(sa.select(Run.tenant_id))) == {acme.id, globex.id}


def test_a_run_is_admitted_claimed_and_finished_for_its_own_tenant_alone(
    app: Dashboard, acme: Tenant, globex: Tenant
) -> None:
    make_worker(app, 4)
    (run_id,) = enqueue_runs(app, acme)
    lease = timedelta(seconds=30)
    with app.app_context():
        with system_line("test") as line:
            (admitted,) = dispatcher.admit(line, lease=lease, pace=Pace())
        with bound(Binding.of(globex)):
            assert leases.claim(run_id, admitted.fence, lease=lease, worker="theirs") is None
        with bound(Binding.of(acme)):
            claimed = leases.claim(run_id, admitted.fence, lease=lease, worker="ours")
            assert claimed is not None
            assert claimed.tenant_id == acme.id
        with bound(Binding.of(globex)):
            assert not leases.finish(run_id, admitted.fence, Outcome(state="succeeded"))
            with tenant_session() as session:  # on the connection that was acme's
                assert session.scalars(sa.select(Run.id)).all() == []
        with bound(Binding.of(acme)):
            assert leases.finish(run_id, admitted.fence, Outcome(state="succeeded"))
    assert states_of(app, [run_id]) == ["succeeded"]


def test_beat_sees_what_is_due_for_every_tenant(app: Dashboard, globex: Tenant) -> None:
    lookout = Lookout(app.extensions["settings"])
    assert lookout.look() == math.inf
    make_schedule(app, globex, due_for=timedelta(seconds=5), job_type=Echo.key)
    assert lookout.look() <= 0
    lookout.close()


def test_a_person_signs_in_and_sees_their_tenants_runs_only(
    app: Dashboard, acme: Tenant, globex: Tenant, people: People
) -> None:
    make_run(app, acme, name="Monthly report")
    make_run(app, globex, name="Secret plan")
    page = sign_in(app, acme, "olivia@acme.test").get("/runs").text
    assert "Monthly report" in page
    assert "Secret plan" not in page


def test_the_chooser_and_the_back_office_see_all_that_they_should(app: Dashboard, people: People) -> None:
    browser = sign_in(app, None, "root@platform.test")
    assert browser.get("/tenants").status_code == 200
    assert "Globex" in browser.get("/platform/tenants/").text


def test_the_doctor_says_that_the_wall_is_thinner(app: Dashboard) -> None:
    found = json.loads(app.test_cli_runner().invoke(args=["doctor", "--json"]).stdout)["checks"]
    assert [finding["status"] for finding in found if finding["part"] == "database"] == ["ok"]
    (intact, thinner) = [finding for finding in found if finding["part"] == "walls"]
    assert (intact["status"], thinner["status"]) == ("ok", "warn")
    assert "One database credential serves all scopes" in thinner["sentence"]


@pytest.fixture
def moving_database(postgres: PostgresAddress, database: str) -> Iterator[str]:
    """The name of a database whose host gives one role today and three tomorrow."""
    name = f"{database}_that_moves"
    postgres.create_database(name)
    yield name
    postgres.drop_database(name)


def test_a_database_may_get_roles_and_lose_them(
    environment: dict[str, str], one_credential: dict[str, str], postgres: PostgresAddress, moving_database: str
) -> None:
    three = environment | {
        f"{prefix}DATABASE_URL": postgres.url(role, moving_database)
        for prefix, role in {"": "app", "SYSTEM_": "system", "OWNER_": "owner"}.items()
    }
    one = one_credential | {"DATABASE_URL": postgres.url("owner", moving_database)}
    with migrated(Settings.from_env(one)) as app:
        acme = make_tenant(app, "acme", "https://jobs.acme.test")
        globex = make_tenant(app, "globex", "https://jobs.globex.test")
        make_run(app, acme)
    for variables in (one, three, one):
        with migrated(Settings.from_env(variables)) as app, app.app_context():
            with system_scope("test") as session:
                assert session.scalar(sa.text("SELECT count(*) FROM run")) == 1
            with bound(Binding.of(globex)), tenant_session() as session:
                assert session.scalar(sa.text("SELECT count(*) FROM run")) == 0
