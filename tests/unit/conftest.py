"""Gives the unit tests an engine as the product has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from config import pooling
from tests.servers import PostgresAddress


@pytest.fixture
def engine(postgres: PostgresAddress, database: str) -> Iterator[sa.Engine]:
    """An engine whose kept connections are looked at before they are used."""
    url = postgres.url("owner", database).replace("postgresql://", "postgresql+psycopg://")
    engine = sa.create_engine(url, pool_events=[(pooling.check, "checkout")])
    yield engine
    engine.dispose()
