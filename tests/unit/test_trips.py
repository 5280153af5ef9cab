"""A trip is one transaction for the bound tenant, over a connection that is kept while it lives."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from config.settings import Settings
from dashboard.app import Dashboard, create_app
from dashboard.core.errors import NoTenant
from dashboard.core.tenancy import Binding, Tenant, bound
from dashboard.core.trips import Trips, system_line, tenant_call, tenant_statement, trips_of
from dashboard.runs import leases
from dashboard.runs.dispatcher import Pace, admit
from dashboard.runs.leases import Outcome
from tests.application import disconnect
from tests.factories.ledger import enqueue_runs, make_worker, run_of
from tests.servers import PostgresAddress

LEASE = timedelta(seconds=30)
WHO = """
SELECT set_config('app.tenant_id', %(tenant)s, true), set_config('app.user_id', %(user)s, true), pg_backend_pid()
"""
ONE_MORE = "UPDATE tenant_load SET version = version + 1 RETURNING tenant_id, version"


@pytest.fixture
def in_acme(app: Dashboard, acme: Tenant) -> Iterator[None]:
    trips_of(app).dispose(close=True)
    with app.app_context(), bound(Binding.of(acme)):
        yield


def connection_used() -> int:
    return int(tenant_call(WHO, {})[2])


@pytest.mark.usefixtures("in_acme")
def test_a_call_tells_the_database_for_whom_it_is(acme: Tenant) -> None:
    assert tenant_call(WHO, {})[:2] == (str(acme.id), "")
    assert tenant_statement("SELECT app_tenant()", {}) == [(acme.id,)]


@pytest.mark.usefixtures("in_acme")
def test_what_one_trip_bound_is_unbound_for_the_next() -> None:
    tenant_call(WHO, {})
    assert tenant_call("SELECT current_setting('app.tenant_id'), %(tenant)s::text, %(user)s::text", {})[0] == ""


@pytest.mark.usefixtures("in_acme")
def test_a_connection_is_used_again_by_calls_and_statements_in_turn() -> None:
    first = connection_used()
    assert tenant_statement("SELECT pg_backend_pid()", {}) == [(first,)]
    assert connection_used() == first


@pytest.mark.usefixtures("in_acme")
def test_one_that_the_server_ended_is_replaced_before_anybody_is_refused(postgres: PostgresAddress) -> None:
    before = connection_used()
    with psycopg.connect(postgres.url("admin"), autocommit=True) as admin:  # with a timeout it waits until it is gone
        assert admin.execute("SELECT pg_terminate_backend(%s, 60000)", (before,)).fetchone() == (True,)
    assert connection_used() != before


@pytest.mark.usefixtures("in_acme")
def test_an_error_is_psycopgs_and_ends_nothing_but_its_own_trip() -> None:
    with pytest.raises(psycopg.errors.DivisionByZero, match="division by zero"):
        tenant_call("SELECT 1 / 0, %(tenant)s::text, %(user)s::text", {})
    with pytest.raises(psycopg.errors.UndefinedFunction):
        tenant_call("SELECT no_such_function(%(tenant)s, %(user)s)", {})
    with pytest.raises(psycopg.DataError, match="NUL"):
        tenant_call("SELECT %(tenant)s::text, %(user)s::text, %(text)s::text", {"text": "a\0b"})
    assert connection_used()


@pytest.mark.usefixtures("in_acme")
def test_who_finds_all_lines_in_use_waits_for_one_and_is_refused_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    trips = Trips(1)
    monkeypatch.setattr("dashboard.core.trips.CONNECT_TIMEOUT_SECONDS", 0.1)
    with trips.line() as first, pytest.raises(psycopg.OperationalError, match="stay in use"), trips.line():
        pass
    with trips.line() as again:
        assert again is first
    trips.dispose(close=True)


@pytest.fixture
def behind_pooler(environment: dict[str, str], app: Dashboard) -> Iterator[Dashboard]:
    """The application where a pooler hands each transaction another connection; `app` has the tables."""
    direct = {"DIRECT_DATABASE_URL": environment["SYSTEM_DATABASE_URL"]}
    pooled = create_app(Settings.from_env({**environment, **direct}))
    yield pooled
    disconnect(pooled)


@pytest.mark.parametrize("is_pooled", [False, True], ids=["directly", "behind a pooler"])
def test_a_run_goes_its_way_and_nothing_is_prepared_where_a_pooler_stands_between(
    app: Dashboard, behind_pooler: Dashboard, acme: Tenant, *, is_pooled: bool
) -> None:
    used = behind_pooler if is_pooled else app
    make_worker(app, 4)
    (run_id,) = enqueue_runs(app, acme)
    with used.app_context():
        trips_of(used).dispose(close=True)
        with system_line("test") as line:
            (admitted,) = admit(line, lease=LEASE, pace=Pace())
        with bound(Binding.of(acme)):
            assert leases.claim(run_id, admitted.fence, lease=LEASE, worker="w") is not None
            assert leases.finish(run_id, admitted.fence, Outcome(state="succeeded", result={"rows": 3}))
            prepared = tenant_statement("SELECT name FROM pg_prepared_statements", {})
    assert run_of(app, run_id).result == {"rows": 3}
    assert len(prepared) == (0 if is_pooled else 4)


def one_more(error: Exception | None = None) -> dict[UUID, int]:
    """Count up every tenant's version and return it, unless there is an error."""
    with system_line("test") as line:
        versions: dict[UUID, int] = dict(line.ask(ONE_MORE, {}))
        if error:
            raise error
    return versions


def test_the_systems_line_sees_every_tenant_and_commits_at_the_end(
    app: Dashboard, acme: Tenant, globex: Tenant
) -> None:
    with app.app_context():
        before = one_more()
        with pytest.raises(OverflowError):
            one_more(OverflowError())
        after = one_more()
    assert before.keys() == {acme.id, globex.id}
    assert {each: version - before[each] for each, version in after.items()} == {acme.id: 1, globex.id: 1}


def test_several_questions_are_one_transaction_and_each_sees_what_was_done_before(app: Dashboard, acme: Tenant) -> None:
    with app.app_context():
        before = one_more()[acme.id]
        with system_line("test") as line:
            first, second = line.ask_all((ONE_MORE, {}), (ONE_MORE, {}))
            assert [dict(first), dict(second)] == [{acme.id: before + 1}, {acme.id: before + 2}]
            assert one_more_is_blocked(acme)
        assert one_more()[acme.id] == before + 3


def one_more_is_blocked(tenant: Tenant) -> bool:
    """Whether another transaction holds the tenant's row."""
    with system_line("test") as line:
        free = "SELECT tenant_id FROM tenant_load WHERE tenant_id = %(id)s FOR UPDATE SKIP LOCKED"
        return not line.ask(free, {"id": tenant.id})


def test_an_error_among_several_questions_undoes_all_and_leaves_no_line_behind(app: Dashboard, acme: Tenant) -> None:
    with app.app_context():
        before = one_more()[acme.id]
        with pytest.raises(psycopg.errors.DivisionByZero), system_line("test") as line:
            line.ask_all((ONE_MORE, {}), ("SELECT 1 / 0", {}), (ONE_MORE, {}))
        assert line.driver.closed
        assert one_more()[acme.id] == before + 1


def test_a_transaction_in_which_nothing_is_asked_is_none(app: Dashboard) -> None:
    with app.app_context():
        with system_line("test") as line:
            pass
        assert line.driver.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with system_line("test") as again:
            assert again is line


def test_without_a_tenant_there_is_no_trip(app: Dashboard) -> None:
    with app.app_context(), pytest.raises(NoTenant):
        tenant_call("SELECT %(tenant)s, %(user)s", {})
