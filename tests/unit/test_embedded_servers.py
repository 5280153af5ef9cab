"""The servers that come with the development requirements start, keep data, survive a crash and say what is wrong."""

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from scripts.embedded import HOST, ROOT, PostgresServer, ServerError, ValkeyServer, temporary_folder
from tests.servers import temporary_postgres, wait_until

STARTS_A_SERVER_AND_DIES = """
import os, signal, sys
from pathlib import Path
from scripts.embedded import PostgresServer
server = PostgresServer(Path(sys.argv[1]), durable=False)
server.start()
print(server.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with temporary_postgres() as running:
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    place = temporary_folder()
    yield place
    shutil.rmtree(place)


def rows(server: PostgresServer, question: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.url("owner"), autocommit=True) as connection:
        return connection.execute(question).fetchall()


def keep(server: PostgresServer, word: str) -> None:
    with psycopg.connect(server.url("owner"), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        connection.execute("INSERT INTO words VALUES (%s)", [word])


def test_the_three_roles_sign_in_and_none_is_above_row_level_security(server: PostgresServer) -> None:
    question = "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolcanlogin"
    privileges = {name: flags for name, *flags in rows(server, question) if name != "postgres"}
    assert privileges == {f"stationmaster_{role}": [False] * 4 for role in ("owner", "system", "app")}
    for role in ("owner", "system", "app"):
        with psycopg.connect(server.url(role)) as connection:
            assert connection.info.user == f"stationmaster_{role}"


def test_only_the_owner_may_create_tables(server: PostgresServer) -> None:
    with psycopg.connect(server.url("app")) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("CREATE TABLE mine ()")


def test_a_wrong_password_is_refused(server: PostgresServer) -> None:
    wrong = server.url("app").replace(server.address.passwords["app"], "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_a_restart_keeps_the_data(server: PostgresServer) -> None:
    keep(server, "kept")
    server.stop()
    server.start()
    assert ("kept",) in rows(server, "SELECT word FROM words")


def test_a_killed_server_starts_again_with_what_was_committed(server: PostgresServer) -> None:
    keep(server, "committed")
    server.kill()
    server.start()
    assert ("committed",) in rows(server, "SELECT word FROM words")


def test_new_passwords_take_effect_at_the_next_start(server: PostgresServer) -> None:
    server.stop()
    renewed = PostgresServer(server.folder, passwords=dict.fromkeys(("owner", "system", "app"), "new"), durable=False)
    with renewed, psycopg.connect(renewed.url("system")) as connection:
        assert connection.info.password == "new"
    server.start()


def test_a_second_server_in_the_same_folder_is_refused_with_a_sentence(server: PostgresServer) -> None:
    with pytest.raises(ServerError, match=r"already runs in .* stop the other"):
        PostgresServer(server.folder, durable=False).start()


def test_a_taken_port_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as occupant:
        occupant.bind((HOST, 0))
        occupant.listen()
        port = occupant.getsockname()[1]
        with pytest.raises(ServerError, match=rf"^Port {port} .* Valkey .* is taken by another program\.$"):
            ValkeyServer(tmp_path, port=port).start()


def test_data_of_another_major_version_is_refused_with_a_sentence(folder: Path) -> None:
    server = PostgresServer(folder, durable=False)
    with server:
        pass
    (server.data / "PG_VERSION").write_text("14\n")
    with pytest.raises(ServerError, match="was written by PostgreSQL 14"):
        server.start()


def test_it_counts_the_clients_that_others_have_open(server: PostgresServer) -> None:
    # Whoever asked before may still be leaving: the server counts it until it is gone.
    assert wait_until(lambda: server.clients() == 0, timeout_s=60)
    with psycopg.connect(server.url("app")):
        assert wait_until(lambda: server.clients() == 1, timeout_s=60)


def test_valkey_answers_and_counts_its_clients(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path, durable=False) as server, redis.Redis.from_url(server.url()) as client:
        assert client.ping()
        assert server.clients() == 1


def test_valkey_keeps_its_data_over_a_restart_when_durable(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path)
    with server, redis.Redis.from_url(server.url()) as client:
        client.set("word", "kept")
    with server, redis.Redis.from_url(server.url()) as client:
        assert client.get("word") == b"kept"


def test_a_server_ends_with_the_process_that_started_it(folder: Path) -> None:
    starter = subprocess.run(
        [sys.executable, "-c", STARTS_A_SERVER_AND_DIES, folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert starter.returncode == -signal.SIGKILL, starter.stderr
    pid_file = folder / "data" / "postmaster.pid"
    assert wait_until(lambda: not pid_file.exists(), timeout_s=60)
