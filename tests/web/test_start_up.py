"""No process of ours starts as a database role that passes the walls between tenants."""

from __future__ import annotations

import sys

import psycopg
import pytest

from config.roles import refuse_wall_passers
from config.settings import Settings
from scripts.embedded import free_port
from tests.processes import BEAT, celery, start_process, wait_until
from tests.servers import PostgresAddress

PROGRAMS = {
    "web": [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py", "dashboard.wsgi:app"],
    "worker": [*celery("worker"), "--pool=solo"],
    "beat": list(BEAT),
}
REFUSAL = (
    "signs in as postgres, who passes every wall between tenants. Use a role that is neither superuser nor BYPASSRLS"
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_process_refuses_to_start_as_superuser(
    environment: dict[str, str], postgres: PostgresAddress, database: str, program: str
) -> None:
    careless = {**environment, "DATABASE_URL": postgres.url("admin", database), "PORT": str(free_port())}
    process = start_process(PROGRAMS[program], careless)
    try:
        wait_until(lambda: not process.is_running, explain=process.output)
        assert process.popen.returncode == 1
        assert f"DATABASE_URL {REFUSAL}" in process.output()
        assert "Traceback" not in process.output()
    finally:
        process.kill_group()


def test_the_system_may_be_no_superuser_either(
    environment: dict[str, str], postgres: PostgresAddress, database: str
) -> None:
    careless = {**environment, "SYSTEM_DATABASE_URL": postgres.url("admin", database)}
    with pytest.raises(SystemExit, match="SYSTEM_DATABASE_URL signs in as postgres"):
        refuse_wall_passers(Settings.from_env(careless))


def test_a_role_that_bypasses_row_level_security_is_no_better(
    environment: dict[str, str], postgres: PostgresAddress, database: str
) -> None:
    with psycopg.connect(postgres.url("admin", database), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS bypasser")
        connection.execute("CREATE ROLE bypasser LOGIN BYPASSRLS PASSWORD 'secret'")
    careless = {**environment, "DATABASE_URL": f"postgresql://bypasser:secret@127.0.0.1:{postgres.port}/{database}"}
    with pytest.raises(SystemExit, match="DATABASE_URL signs in as bypasser"):
        refuse_wall_passers(Settings.from_env(careless))


def test_ordinary_roles_may_start(environment: dict[str, str], one_credential: dict[str, str]) -> None:
    refuse_wall_passers(Settings.from_env(environment))
    refuse_wall_passers(Settings.from_env(one_credential))


def test_a_database_that_is_away_keeps_nobody_from_starting(environment: dict[str, str]) -> None:
    away = dict.fromkeys(("DATABASE_URL", "SYSTEM_DATABASE_URL"), "postgresql://app:secret@127.0.0.1:9/nowhere")
    refuse_wall_passers(Settings.from_env({**environment, **away}))
