"""Gives every test real servers: one PostgreSQL for the whole run, one database and one Valkey per xdist worker."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.chromium import MISSING, SUITE, find_chromium
from tests.scheduling import GroupScheduling
from tests.servers import PostgresAddress, temporary_postgres, temporary_valkey

pytest_plugins = ("tests.application",)

# The same examples on every machine, however slow: what fails on one fails on all.
# Others come with: --hypothesis-profile=roam
settings.register_profile("roam", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("roam"), derandomize=True)
settings.load_profile("same")

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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    """Keep the tests of a group in one xdist worker."""
    return GroupScheduling(config, log)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave the browser suite out where there is no browser; continuous integration must have one."""
    without = collection_path.is_relative_to(SUITE) and os.environ.get("CI") != "true" and not find_chromium()
    return True if without else None


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what pytest_xdist_setupnodes started, and say as the last thing which suite did not run."""
    if _servers in config.stash:
        config.stash[_servers].close()
    if not hasattr(config, "workerinput") and _asks_for_browser(config) and not find_chromium():
        print(MISSING)


def _asks_for_browser(config: pytest.Config) -> bool:
    asked = [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]
    return any(SUITE.is_relative_to(path) or path.is_relative_to(SUITE) for path in asked)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser that playwright is to start."""
    path = find_chromium()
    if path is None:
        pytest.fail(MISSING)
    return path


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
