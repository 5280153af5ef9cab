"""The real PostgreSQL and Valkey that tests run on, thrown away afterwards."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from scripts.embedded import PostgresAddress, PostgresServer, ValkeyServer, temporary_folder, wait_until

__all__ = [
    "PostgresAddress",
    "PostgresServer",
    "ValkeyServer",
    "temporary_postgres",
    "temporary_valkey",
    "wait_until",
]


@contextmanager
def temporary_postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL with the three roles and an empty database `stationmaster`."""
    folder = temporary_folder()
    try:
        with PostgresServer(folder, durable=False) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def temporary_valkey() -> Iterator[ValkeyServer]:
    """A running Valkey that writes nothing to disk."""
    folder = temporary_folder()
    try:
        with ValkeyServer(folder, durable=False) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)
