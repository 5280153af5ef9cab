"""However many tenants and runs wait, an admission touches a few rows: a million of them are the proof."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, LiteralString

import psycopg
import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.trips import system_line, trips_of
from dashboard.runs import dispatcher
from dashboard.runs.dispatcher import Pace
from dashboard.runs.fairness import Window, pick
from dashboard.runs.ledger import RunRequest, enqueue_all
from tests.application import on_database_of_its_own
from tests.factories import make_tenant
from tests.factories.backlog import pile_up
from tests.factories.ledger import enqueue_runs, make_worker
from tests.servers import PostgresAddress

pytestmark = pytest.mark.xdist_group("a million runs")

TENANTS, EACH = 1000, 1000
WINDOW = Window(queues=("bulk", "default", "email"), rooms=(10, 10, 10), free=10, bulk=9, share=5, most=9)
LEASE = timedelta(hours=1)  # longer than the tests take: their worker says only at the beginning that it lives


@pytest.fixture(scope="module")
def crowded(postgres: PostgresAddress, database: str, environment: dict[str, str]) -> Iterator[Dashboard]:
    """The application on a database of its own, in which a thousand tenants have a thousand ready runs each."""
    name = f"{database}_crowded"
    engine = sa.create_engine(postgres.url("admin", name).replace("postgresql://", "postgresql+psycopg://"))
    with on_database_of_its_own(postgres, environment, name) as app:
        with engine.connect() as connection:
            pile_up(connection, TENANTS, EACH)
        make_worker(app, WINDOW.free)
        engine.dispose()
        yield app


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def scans(
    connection: psycopg.Connection[Any], statement: LiteralString, values: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Return how the statement came to the rows of each table, as the dispatcher has it planned."""
    (((found,),),) = connection.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statement, values).fetchall()
    return [node for node in nodes(found["Plan"]) if "Relation Name" in node]


def touched(scans: list[Mapping[str, Any]], table: str) -> int:
    """Return how many rows of the table were looked at."""
    return sum(
        int((scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)) * scan["Actual Loops"])
        for scan in scans
        if scan["Relation Name"] == table and scan["Node Type"].endswith("Scan")
    )


@pytest.mark.parametrize("bulk", [9, 0], ids=["with room for bulk", "with room for interactive runs only"])
def test_choosing_among_a_million_ready_runs_touches_a_few_rows_through_indexes(crowded: Dashboard, bulk: int) -> None:
    with crowded.app_context(), system_line("test") as line:
        look = dispatcher.take_turn(line, LEASE)
        assert look is not None
        found = scans(line.driver, dispatcher.NEAREST, dispatcher.limits_of(replace(WINDOW, bulk=bulk), look.now))
    assert {scan["Node Type"] for scan in found} <= {"Index Scan", "Index Only Scan"}
    assert {scan["Index Name"] for scan in found if scan["Relation Name"] == "run"} <= {
        "ix_run_ready",
        "ix_run_lease",
        "uq_run_concurrency_key",
    }
    assert touched(found, "run") < 200
    assert touched(found, "tenant_load") < 100
    assert touched(found, "tenant") < 100


def admission(app: Dashboard) -> tuple[int, list[Mapping[str, Any]]]:
    """Return how many runs are chosen, and how the statement that admits them came to its rows."""
    with app.app_context(), system_line("test") as line:
        look = dispatcher.take_turn(line, LEASE)
        assert look is not None
        chosen = pick(dispatcher.backlogs(line, WINDOW, look.now), WINDOW, look.now)
        values = {"ids": [each.run.id for each in chosen], "tags": [each.tag for each in chosen], "lease": LEASE}
        found = scans(line.driver, dispatcher.ADMIT, values)
        line.ask("ROLLBACK", {})
    return len(chosen), found


def test_admitting_touches_the_chosen_rows_and_their_tenants(crowded: Dashboard) -> None:
    chosen, found = admission(crowded)
    assert chosen == WINDOW.bulk
    assert touched(found, "run") < 50
    assert touched(found, "tenant_load") < 50


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(["DELETE FROM run_event", "DELETE FROM run", "ANALYZE"], id="an empty table"),
        pytest.param(["UPDATE run SET state = 'succeeded'", "VACUUM ANALYZE"], id="a quiet night"),
    ],
)
def test_a_backlog_that_statistics_know_nothing_of_is_not_read(
    app: Dashboard, as_superuser: Callable[..., None], before: list[str]
) -> None:
    tenant = make_tenant(app, "acme", "https://acme.test")
    enqueue_runs(app, tenant, 2000)
    as_superuser(*before)
    with app.app_context(), system_scope("test") as session:
        request = RunRequest(tenant_id=tenant.id, name="Nightly report", job_type="test.report")
        enqueue_all(session, [replace(request, concurrency_key=str(number)) for number in range(2000)])
    with app.app_context(), system_line("test") as line:
        look = dispatcher.take_turn(line, LEASE)
        assert look is not None
        looked = scans(line.driver, dispatcher.LOOK, {"lease": LEASE})
        near = scans(line.driver, dispatcher.NEAREST, dispatcher.limits_of(WINDOW, look.now))
    chosen, admitted = admission(app)
    assert chosen == WINDOW.share
    assert max(touched(each, "run") for each in (looked, near, admitted)) < 50


READ = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'run'"


def test_what_a_dispatcher_planned_while_it_was_idle_reads_no_backlog(
    app: Dashboard, as_superuser: Callable[..., None]
) -> None:
    """PostgreSQL plans a question anew five times, and keeps the next plan until the table is counted again."""
    tenant = make_tenant(app, "acme", "https://acme.test")
    enqueue_runs(app, tenant, 2000)
    trips_of(app).dispose(close=True)
    as_superuser("UPDATE run SET state = 'succeeded'", "UPDATE tenant_load SET ready = 0", "VACUUM ANALYZE")
    for _ in range(10):
        with app.app_context(), system_line("test") as line:
            assert dispatcher.admit(line, lease=LEASE, pace=Pace()) == []
    enqueue_runs(app, tenant, 2000)
    with app.app_context(), system_line("test") as line:
        ((before,),) = line.ask(READ, {})
        assert dispatcher.take_turn(line, LEASE)
        ((after,),) = line.ask(READ, {})
    assert after - before < 50


def test_a_thousand_tenants_get_their_turns(crowded: Dashboard) -> None:
    with crowded.app_context(), system_line("test") as line:
        turns = [run.tenant_id for _ in range(3) for run in dispatcher.admit(line, lease=LEASE, pace=Pace())]
        line.ask("ROLLBACK", {})
    assert len(turns) == len(set(turns)) == WINDOW.bulk
