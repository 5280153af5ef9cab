"""The embedded servers leave after whoever still needs them, and not much later."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from scripts.embedded import ROOT, PostgresServer, ValkeyServer, free_port, is_free, temporary_folder
from scripts.serve import embedded_postgres, embedded_valkey
from tests.processes import DEADLINE_SECONDS

SERVES = """
import sys
from pathlib import Path
from scripts.embedded import PostgresServer, ValkeyServer
from scripts import serve as serving
from scripts.serve import serve
kind, folder, port, patience = sys.argv[1:]
serving.PATIENCE_S = float(patience)
if kind == "postgres":
    passwords = dict.fromkeys(("owner", "system", "app"), "known")
    serve(PostgresServer(Path(folder), port=int(port), passwords=passwords, durable=False))
else:
    serve(ValkeyServer(Path(folder), port=int(port), durable=False))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    place = temporary_folder()
    yield place
    shutil.rmtree(place)


@contextmanager
def started(kind: str, folder: Path, port: int, patience: float = DEADLINE_SECONDS) -> Iterator[subprocess.Popen[str]]:
    """The process that honcho would run, once its server listens; it waits for clients for `patience` seconds."""
    command = [sys.executable, "-c", SERVES, kind, str(folder), str(port), str(patience)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        assert "listens on" in process.stdout.readline()
        yield process


def test_postgresql_stays_for_a_client_that_is_still_working(folder: Path) -> None:
    port = free_port()
    url = f"postgresql://stationmaster_app:known@127.0.0.1:{port}/stationmaster"
    with started("postgres", folder, port) as process, psycopg.connect(url) as connection:
        process.send_signal(signal.SIGTERM)
        for _ in range(20):
            assert connection.execute("SELECT pg_sleep(0.05)").fetchone()
        with psycopg.connect(url) as another:
            assert another.execute("SELECT 1").fetchone() == (1,)
        connection.close()
        assert process.wait(DEADLINE_SECONDS) == 0
    assert is_free(port)


def test_postgresql_leaves_in_the_end_though_a_client_stays(folder: Path) -> None:
    port = free_port()
    with started("postgres", folder, port, patience=0.5) as process:
        connection = psycopg.connect(f"postgresql://stationmaster_app:known@127.0.0.1:{port}/stationmaster")
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        connection.close()


def test_valkey_stays_for_a_client_that_is_still_working(folder: Path) -> None:
    port = free_port()
    with started("valkey", folder, port) as process:
        with redis.Redis(port=port, socket_timeout=DEADLINE_SECONDS) as client:
            client.ping()
            process.send_signal(signal.SIGTERM)
            for number in range(200):
                assert client.set("working", number)
        assert process.wait(DEADLINE_SECONDS) == 0
    assert is_free(port)


def test_a_server_that_dies_ends_its_process_so_that_somebody_notices(folder: Path) -> None:
    with started("valkey", folder, free_port()) as process:
        (server,) = psutil.Process(process.pid).children()
        server.kill()
        assert process.wait(DEADLINE_SECONDS) != 0


def test_an_address_elsewhere_is_somebody_elses_server() -> None:
    elsewhere = {
        "POSTGRES_PORT": "54320",
        "DATABASE_URL": "postgresql://u@db.example:54320/x",
        "REDIS_PORT": "63790",
        "REDIS_URL": "redis://127.0.0.1:6379/0",
    }
    assert embedded_postgres(elsewhere) is None
    assert embedded_valkey(elsewhere) is None


def test_our_own_addresses_are_served_with_the_passwords_in_them() -> None:
    database = "127.0.0.1:54320/stationmaster"
    environment = {
        "POSTGRES_PORT": "54320",
        "DATABASE_URL": f"postgresql://stationmaster_app:a-b@{database}",
        "SYSTEM_DATABASE_URL": f"postgresql://stationmaster_system:c_d@{database}",
        "OWNER_DATABASE_URL": f"postgresql://stationmaster_owner:e@{database}",
        "REDIS_PORT": "63790",
        "REDIS_URL": "redis://127.0.0.1:63790/0",
    }
    postgres, valkey = embedded_postgres(environment), embedded_valkey(environment)
    assert isinstance(postgres, PostgresServer)
    assert isinstance(valkey, ValkeyServer)
    assert postgres.address.passwords == {"app": "a-b", "system": "c_d", "owner": "e"}
    assert (postgres.port, valkey.port) == (54320, 63790)
