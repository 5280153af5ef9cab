"""Probes, numbers and the doctor say how things are, also when parts are gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from prometheus_client.parser import text_string_to_metric_families

from config.settings import Settings
from dashboard.app import Dashboard, create_app
from dashboard.core.clock import utc_now
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.jobs import registry
from dashboard.runs.load import reconcile
from tests.application import disconnect
from tests.factories import make_tenant
from tests.factories.ledger import set_load
from tests.factories.processes import make_process
from tests.factories.runs import make_run
from tests.factories.schedules import make_schedule
from tests.flower import fake_flower
from tests.servers import PostgresAddress, temporary_postgres, temporary_valkey
from tests.smtp import mail_server

pytestmark = pytest.mark.usefixtures("slow_leases")

TOKEN = "a-token-for-prometheus"
NOWHERE = "http://127.0.0.1:9"
SLOW_LEASES = {"HEARTBEAT_SECONDS": "60", "LEASE_SECONDS": "240"}


@contextmanager
def app_with(environment: dict[str, str], **changes: str) -> Iterator[Dashboard]:
    app = create_app(Settings.from_env({**environment, **SLOW_LEASES, **changes}))
    app.testing = True
    yield app
    disconnect(app)


@contextmanager
def database_change(postgres: PostgresAddress, database: str, change: str, back: str) -> Iterator[None]:
    """Break something as the superuser, and mend it."""
    url = postgres.url("admin", database).replace("postgresql://", "postgresql+psycopg://")
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(change))
        try:
            yield
        finally:
            connection.execute(sa.text(back))


def examined(app: Dashboard, *options: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Run the doctor; return its exit code, and what it found by part."""
    result = app.test_cli_runner().invoke(args=["doctor", "--json", *options])
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(result.stdout)["checks"]:
        found.setdefault(finding["part"], []).append(finding)
    return result.exit_code, found


def statuses(found: dict[str, list[dict[str, Any]]], part: str) -> list[str]:
    return [finding["status"] for finding in found[part]]


def test_a_living_process_says_so_at_any_host(app: Dashboard) -> None:
    response = app.test_client().get("/healthz", base_url="http://10.0.0.1:5000")
    assert (response.status_code, response.json) == (200, {"status": "ok"})


def test_it_is_ready_with_database_schema_and_broker(app: Dashboard) -> None:
    response = app.test_client().get("/readyz")
    assert response.status_code == 200
    assert response.json == {"status": "ready", "checks": {"database": "ok", "migrations": "ok", "broker": "ok"}}


def test_it_is_not_ready_without_the_broker(app: Dashboard, environment: dict[str, str]) -> None:
    with app_with(environment, REDIS_URL="redis://127.0.0.1:9/0") as lonely:
        response = lonely.test_client().get("/readyz")
    assert response.status_code == 503
    assert response.json is not None
    assert response.json["checks"] == {"database": "ok", "migrations": "ok", "broker": "fail"}


def test_it_is_not_ready_without_the_database_and_shows_no_detail(environment: dict[str, str]) -> None:
    gone = "postgresql://stationmaster_app:secret@127.0.0.1:9/stationmaster"
    with app_with(environment, DATABASE_URL=gone, SYSTEM_DATABASE_URL=gone) as lonely:
        response = lonely.test_client().get("/readyz")
        assert lonely.test_client().get("/healthz").status_code == 200
    assert response.status_code == 503
    assert "secret" not in response.text
    assert "127.0.0.1" not in response.text


def test_probes_are_not_below_a_tenants_prefix(app: Dashboard, acme: Tenant) -> None:
    client = app.test_client()
    for path in ("healthz", "readyz", "metrics"):
        assert client.get(f"/acme/{path}", base_url="http://platform.test").status_code == 404


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic " + TOKEN, TOKEN, "Bearer ", "bearer " + TOKEN])
def test_numbers_are_for_who_has_the_token(environment: dict[str, str], header: str | None) -> None:
    with app_with(environment, METRICS_TOKEN=TOKEN) as measured:
        headers = {"Authorization": header} if header else {}
        assert measured.test_client().get("/metrics", headers=headers).status_code == 404


def test_without_a_token_there_are_no_numbers(app: Dashboard) -> None:
    assert app.test_client().get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


def test_numbers_tell_what_waits_runs_and_lives(
    app: Dashboard, environment: dict[str, str], acme: Tenant, globex: Tenant
) -> None:
    make_run(app, acme, "ready")
    make_run(app, acme, "ready")
    make_run(app, globex, "succeeded")
    make_process(app, slots=4, busy=1)
    make_process(app, "beat")
    make_process(app, name="worker@lost", silent_for=timedelta(minutes=5))
    with app_with(environment, METRICS_TOKEN=TOKEN) as measured:
        response = measured.test_client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert samples["stationmaster_runs_ready", "acme"] == 2
    assert samples["stationmaster_runs_active", "ready"] == 2
    assert samples["stationmaster_processes_alive", "worker"] == 1
    assert samples["stationmaster_processes_alive", "beat"] == 1
    assert samples["stationmaster_slots", "free"] == 3
    assert samples["stationmaster_schedules_overdue",] == 0
    assert samples["stationmaster_purge_silence_seconds",] == 0
    assert samples["stationmaster_table_bytes", "run"] > 0


def test_the_doctor_is_content_with_a_whole_system(app: Dashboard) -> None:
    make_process(app)
    make_process(app, "beat")
    code, found = examined(app)
    assert code == 0
    assert {finding["status"] for findings in found.values() for finding in findings} == {"ok"}
    assert set(found) == {
        "database", "walls", "migrations", "broker", "clock", "tzdata", "workers", "beat", "schedules", "plugins",
        "counters",
        "flower",
    }  # fmt: skip


def test_the_doctor_tells_people_what_to_do(app: Dashboard) -> None:
    result = app.test_cli_runner().invoke(args=["doctor"])
    assert result.exit_code == 1
    assert "celery -A worker.main worker" in result.stdout
    assert "python -m worker.beat" in result.stdout


def test_the_doctor_misses_a_worker_that_fell_silent(app: Dashboard) -> None:
    make_process(app, silent_for=timedelta(minutes=5))
    make_process(app, "beat", silent_for=timedelta(minutes=5))
    code, found = examined(app)
    assert code == 1
    assert statuses(found, "workers") == statuses(found, "beat") == ["fail"]


def test_the_doctor_misses_a_worker_for_a_queue(app: Dashboard) -> None:
    make_process(app, queues=["default", "bulk"])
    _, found = examined(app)
    assert "email" in found["workers"][0]["sentence"]


def test_the_doctor_sees_that_the_planner_is_late(app: Dashboard, acme: Tenant) -> None:
    make_process(app, "beat")
    make_schedule(app, acme, due_for=timedelta(minutes=5))
    code, found = examined(app)
    assert (code, statuses(found, "schedules")) == (1, ["fail"])
    assert "1 schedule overdue, the first by 5 min" in found["schedules"][0]["sentence"]


def test_the_doctor_names_what_plugins_bring_and_what_none_brings(
    app: Dashboard, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_brought", {"acme.jobs": ("acme.one", "acme.two"), "acme": ()})
    make_schedule(app, acme, job_type="gone.plugin")
    make_schedule(app, acme, job_type="older.plugin", archived_at=sa.func.now())
    make_schedule(app, acme)
    _, found = examined(app)
    assert [(each["status"], each["sentence"]) for each in found["plugins"]] == [
        ("warn", "Schedules need job types that nothing here brings: gone.plugin."),
        ("ok", "acme.jobs brings acme.one, acme.two; acme brings no job type."),
    ]


def test_the_doctor_and_the_numbers_tell_of_counters_that_drifted(
    app: Dashboard, environment: dict[str, str], acme: Tenant
) -> None:
    set_load(app, acme, ready=7)
    with app.app_context(), system_scope("test") as session:
        reconcile(session)
    _, found = examined(app)
    assert statuses(found, "counters") == ["warn"]
    with app_with(environment, METRICS_TOKEN=TOKEN) as measured:
        numbers = measured.test_client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    assert 'stationmaster_counter_drifts_total{tenant="acme"} 1.0' in numbers


def test_the_doctor_sees_time_zone_rules_that_differ(app: Dashboard) -> None:
    make_process(app, tzdata="2019.1")
    _, found = examined(app)
    assert statuses(found, "tzdata") == ["fail"]


def test_the_doctor_sees_that_the_broker_is_gone(app: Dashboard, environment: dict[str, str]) -> None:
    with temporary_valkey() as server:
        url = server.url()
        with app_with(environment, REDIS_URL=url) as connected:
            assert statuses(examined(connected)[1], "broker") == ["ok"]
    with app_with(environment, REDIS_URL=url) as lonely:
        code, found = examined(lonely)
    assert code == 1
    assert statuses(found, "broker") == ["fail"]
    assert statuses(found, "migrations") == ["ok"]


def test_the_doctor_sees_that_the_database_is_gone_and_repeats_itself_not(environment: dict[str, str]) -> None:
    with temporary_postgres() as server:
        urls = {
            "DATABASE_URL": server.address.url("app", "stationmaster"),
            "SYSTEM_DATABASE_URL": server.address.url("system", "stationmaster"),
        }
        with app_with(environment, **urls) as empty:
            _, found = examined(empty)
            assert statuses(found, "database") == ["ok", "ok"]
            assert statuses(found, "migrations") == ["fail"]
            assert "flask db upgrade" in found["migrations"][0]["advice"]
    with app_with(environment, **urls) as lonely:
        code, found = examined(lonely)
    assert code == 1
    assert statuses(found, "database") == ["fail", "fail"]
    assert set(found) == {"database", "broker", "flower"}


def test_the_doctor_refuses_a_superuser(
    environment: dict[str, str], app: Dashboard, postgres: PostgresAddress, database: str
) -> None:
    with app_with(environment, DATABASE_URL=postgres.url("admin", database)) as careless:
        _, found = examined(careless)
    assert "passes every wall" in found["database"][0]["sentence"]


def test_the_doctor_sees_a_wall_that_is_down(app: Dashboard, postgres: PostgresAddress, database: str) -> None:
    with database_change(
        postgres, database, "ALTER TABLE run NO FORCE ROW LEVEL SECURITY", "ALTER TABLE run FORCE ROW LEVEL SECURITY"
    ):
        _, found = examined(app)
    assert statuses(found, "walls") == ["fail"]
    assert "run" in found["walls"][0]["sentence"]


def test_the_doctor_asks_flower(app: Dashboard, environment: dict[str, str]) -> None:
    with fake_flower() as fake, app_with(environment, FLOWER_URL=fake.url) as connected:
        assert statuses(examined(connected)[1], "flower") == ["ok"]
        assert fake.asked[0].path == "/flower/healthcheck"
    with app_with(environment, FLOWER_URL=NOWHERE) as lonely:
        assert statuses(examined(lonely)[1], "flower") == ["fail"]


def test_the_doctor_sees_a_clock_that_is_wrong(app: Dashboard) -> None:
    assert statuses(examined(app)[1], "clock") == ["ok"]
    with time_machine.travel(utc_now() + timedelta(minutes=1)):
        assert statuses(examined(app)[1], "clock") == ["fail"]


def test_the_doctor_greets_each_tenants_mail_server(app: Dashboard) -> None:
    with mail_server() as server:
        make_tenant(app, "acme", "http://platform.test/acme", **server.settings())
        make_tenant(app, "globex", "http://platform.test/globex", **server.settings(SMTP_PORT=9))
        _, found = examined(app, "--mail")
    assert statuses(found, "mail") == ["ok", "fail"]
    assert found["mail"][1]["sentence"].startswith("globex: ")
    assert server.mails == []
