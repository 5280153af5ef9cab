"""Gives every test real servers: one PostgreSQL for the whole run, one database and one Valkey per xdist worker."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.servers import PostgresAddress, temporary_postgres, temporary_valkey

pytest_plugins = ("tests.application",)

_servers = pytest.StashKey[ExitStack]()
_address = pytest.StashKey[PostgresAddress]()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Start PostgreSQL before the xdist workers, in the process that outlives them all."""
    stack = config.stash[_servers] = ExitStack()
    config.stash[_address] = stack.enter_context(temporary_postgres()).address


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker where PostgreSQL is."""
    address = node.config.stash[_address]
    node.workerinput["postgres"] = {"port": address.port, "passwords": dict(address.passwords)}


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what pytest_xdist_setupnodes started."""
    if _servers in config.stash:
        config.stash[_servers].close()


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[PostgresAddress]:
    """The PostgreSQL of this test run, shared by all xdist workers; `url(role, database)` leads to it."""
    shared = getattr(pytestconfig, "workerinput", {}).get("postgres")
    if shared:
        yield PostgresAddress(**shared)
    else:
        with temporary_postgres() as server:
            yield server.address


@pytest.fixture(scope="session")
def database(pytestconfig: pytest.Config, postgres: PostgresAddress) -> Iterator[str]:
    """The name of an empty database that belongs to this xdist worker alone."""
    worker = getattr(pytestconfig, "workerinput", {}).get("workerid", "main")
    name = f"test_{worker}"
    postgres.create_database(name)
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a Valkey that belongs to this xdist worker alone."""
    with temporary_valkey() as server:
        yield server.url()
