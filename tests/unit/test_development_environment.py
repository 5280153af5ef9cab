"""What scripts/dev writes into .env and hands to the processes: secrets of its own, free ports, the caller's wishes."""

import json
import shlex
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from dotenv import dotenv_values
from honcho.environ import parse

from config.settings import Settings
from scripts.development import (
    NOTE,
    PREFERRED_PORTS,
    effective_environment,
    fresh_values,
    moved,
    remember_moves,
    settled,
    write_env,
)
from scripts.embedded import HOST, ServerError, free_port

DATABASES = ("DATABASE_URL", "SYSTEM_DATABASE_URL", "OWNER_DATABASE_URL")


@pytest.fixture
def written() -> dict[str, str]:
    """The values of a new .env on ports that are free, and no two of them the same."""
    with ExitStack() as probes:
        held = [probes.enter_context(socket.create_server((HOST, 0))) for _ in PREFERRED_PORTS]
        ports = [probe.getsockname()[1] for probe in held]
    return fresh_values(dict(zip(PREFERRED_PORTS, ports, strict=True)))


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program has."""
    with socket.socket() as occupant:
        occupant.bind((HOST, 0))
        occupant.listen()
        yield occupant.getsockname()[1]


def test_the_settings_accept_what_it_writes(written: dict[str, str]) -> None:
    settings = Settings.from_env(written)
    assert settings.allow_private_networks
    assert settings.flower_audience == "operators"
    assert settings.soft_shutdown_seconds == 2
    Fernet(written["ENCRYPTION_KEYS"])


def test_every_secret_is_new_each_time() -> None:
    first, second = (fresh_values(PREFERRED_PORTS) for _ in range(2))
    secret = {"SECRET_KEY", "ENCRYPTION_KEYS", "FLOWER_BASIC_AUTH", "METRICS_TOKEN", *DATABASES}
    assert {name for name in first if first[name] != second[name]} == secret


def test_honcho_dotenv_and_the_shell_read_the_same_from_it(tmp_path: Path) -> None:
    values = {"PLAIN": "word", "WORDS": "two words", "HASH": "a#b", "URL": "redis://h:1/0?a=b"}
    file = tmp_path / ".env"
    write_env(file, values)
    shown = f"import json, os; print(json.dumps({{name: os.environ[name] for name in {list(values)}}}))"
    command = f"set -a; . {shlex.quote(str(file))}; {sys.executable} -c {shlex.quote(shown)}"
    shell = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert json.loads(shell.stdout) == parse(file.read_text()) == dotenv_values(file) == values


def test_nobody_else_may_read_it_and_it_is_never_overwritten(tmp_path: Path) -> None:
    write_env(tmp_path / ".env", {"A": "1"})
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        write_env(tmp_path / ".env", {"A": "2"})


def test_the_callers_environment_wins_over_the_file(written: dict[str, str]) -> None:
    values = effective_environment(written, {"LOG_LEVEL": "DEBUG", "SMTP_HOST": "mail.example"})
    assert (values["LOG_LEVEL"], values["SMTP_HOST"]) == ("DEBUG", "mail.example")
    assert values["SECRET_KEY"] == written["SECRET_KEY"]


def test_a_database_of_ones_own_takes_none_of_the_embedded_roles_along(written: dict[str, str]) -> None:
    values = effective_environment(written, {"DATABASE_URL": "postgresql://me@db.example/mine"})
    assert values["DATABASE_URL"] == "postgresql://me@db.example/mine"
    assert "OWNER_DATABASE_URL" not in values
    assert "SYSTEM_DATABASE_URL" not in values


def test_a_taken_port_moves_with_every_address_that_names_it(written: dict[str, str], taken: int) -> None:
    busy = {name: value.replace(f":{written['PORT']}", f":{taken}") for name, value in written.items()}
    values = effective_environment(busy | {"PORT": str(taken)}, {})
    assert int(values["PORT"]) > taken
    assert values["PLATFORM_ROOT"] == f"http://localhost:{values['PORT']}"
    assert values["REDIS_URL"] == written["REDIS_URL"]


def test_a_moved_port_is_remembered_and_the_callers_own_settings_are_not(
    written: dict[str, str], taken: int, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    write_env(file, written | {"PORT": str(taken), "PLATFORM_ROOT": f"http://localhost:{taken}"})
    given = {"LOG_FORMAT": "json"}
    environment = effective_environment(parse(file.read_text()), given)
    remember_moves(file, environment, given)
    remembered = parse(file.read_text())
    assert remembered["PORT"] == environment["PORT"] != str(taken)
    assert remembered["PLATFORM_ROOT"] == environment["PLATFORM_ROOT"]
    assert remembered["LOG_FORMAT"] == "console"
    assert remembered["SECRET_KEY"] == written["SECRET_KEY"]
    assert file.read_text().startswith(NOTE)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_port_that_the_caller_gave_once_is_remembered_with_the_addresses_that_name_it(
    written: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    write_env(file, written)
    given = {"PORT": str(free_port())}
    remember_moves(file, effective_environment(written, given), given)
    remembered = parse(file.read_text())
    assert remembered["PORT"] == given["PORT"]
    assert remembered["PLATFORM_ROOT"] == f"http://localhost:{given['PORT']}"


def test_a_port_of_the_callers_choice_is_refused_when_taken(written: dict[str, str], taken: int) -> None:
    with pytest.raises(ServerError, match=rf"^Port {taken} is taken: set PORT to another one"):
        effective_environment(written, {"PORT": str(taken)})


def test_a_port_that_is_no_number_is_refused_with_a_sentence(written: dict[str, str]) -> None:
    with pytest.raises(ServerError, match="PORT is 'http': it must be a number from 1 to 65535"):
        effective_environment(written, {"PORT": "http"})


def test_a_file_without_a_database_is_refused_with_a_sentence(written: dict[str, str]) -> None:
    with pytest.raises(ServerError, match="has no DATABASE_URL"):
        effective_environment({**written, "DATABASE_URL": ""}, {})


def test_a_port_of_somebody_elses_server_is_left_alone(written: dict[str, str], taken: int) -> None:
    url = f"redis://{HOST}:{taken}/0"
    assert effective_environment(written, {"REDIS_URL": url})["REDIS_URL"] == url


def test_ports_are_all_different_even_when_two_want_the_same() -> None:
    port = free_port()
    chosen = settled({"PORT": port, "FLOWER_PORT": port}, lambda _: True)
    assert chosen["PORT"] == port
    assert chosen["FLOWER_PORT"] > port


def test_only_local_addresses_with_exactly_that_port_move() -> None:
    values = {"A": "http://localhost:5000/x", "B": "http://localhost:50001", "C": "http://db.example:5000", "D": "5000"}
    assert moved(values, "5000", 6000) == {**values, "A": "http://localhost:6000/x"}


def test_what_is_wrong_with_the_file_is_told_without_a_traceback() -> None:
    command = [sys.executable, "-m", "scripts.database"]
    done = subprocess.run(command, env={"SECRET_KEY": "short"}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "SECRET_KEY: must have at least" in done.stderr
    assert "Traceback" not in done.stderr
