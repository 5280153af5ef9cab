"""Gives the chaos tests an installation of their own, with servers that they may stop and kill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import redis

from scripts.embedded import DATABASE
from tests.application import empty
from tests.chaos.site import Site, installed


@pytest.fixture(scope="session")
def ground(environment: dict[str, str]) -> Iterator[Site]:
    with installed(environment) as site:
        yield site


@pytest.fixture
def site(ground: Site) -> Iterator[Site]:
    """The installation with both servers up; the processes of the test, and what they left, are gone after it."""
    with ExitStack() as stack:
        ground.stack = stack
        yield ground
    for server in (ground.postgres, ground.valkey):
        if server.pid is None:
            server.start()
    empty(ground.app, ground.postgres.address, DATABASE)
    with redis.Redis.from_url(ground.valkey.url()) as client:
        client.flushall()
