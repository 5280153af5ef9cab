"""Holds a process of ours at a known point of its way, so that a test may kill it there and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import psycopg
import redis

from dashboard.runs.dispatcher import ADMISSION_LOCK
from tests.chaos.site import Site
from tests.processes import wait_until

LONGEST_PAUSE_MS = 120_000


def _waits(connection: psycopg.Connection, query: str) -> bool:
    waiting = connection.execute(
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s LIMIT 1", [query]
    )
    return waiting.fetchone() is not None


@contextmanager
def before_a_plan_is_committed(site: Site) -> Iterator[None]:
    """A planner has written occurrences and runs, and waits for the schedules' table to say where they go on."""
    with psycopg.connect(site.postgres.url("admin")) as lock, psycopg.connect(site.postgres.url("admin")) as look:
        look.autocommit = True
        lock.execute("LOCK TABLE schedule IN SHARE MODE")
        wait_until(lambda: _waits(look, "%SET next_at = reached.next_at%"))
        yield


@contextmanager
def before_runs_are_admitted(site: Site) -> Iterator[None]:
    """A plan is committed, and the dispatcher waits for its turn."""
    with psycopg.connect(site.postgres.url("admin")) as lock, psycopg.connect(site.postgres.url("admin")) as look:
        look.autocommit = True
        lock.execute("SELECT pg_advisory_xact_lock(%s)", [ADMISSION_LOCK])
        wait_until(lambda: _waits(look, "%pg_advisory_xact_lock%"))
        yield


@contextmanager
def before_messages_are_published(site: Site) -> Iterator[None]:
    """Runs are admitted, which is committed, and the broker takes no message; those of a dead sender are dropped."""
    with psycopg.connect(site.postgres.url("admin"), autocommit=True) as look, _paused_writes(site):
        (began,) = look.execute("SELECT clock_timestamp()").fetchone() or (None,)
        admitted = "SELECT FROM run_event WHERE state = 'admitted' AND at > %s LIMIT 1"
        wait_until(lambda: look.execute(admitted, [began]).fetchone() is not None)
        yield


@contextmanager
def _paused_writes(site: Site) -> Iterator[None]:
    with redis.Redis.from_url(site.valkey.url()) as client:
        client.execute_command("CLIENT", "PAUSE", LONGEST_PAUSE_MS, "WRITE")
        try:
            yield
        finally:
            client.execute_command("CLIENT", "UNPAUSE")


POINTS: tuple[Callable[[Site], AbstractContextManager[None]], ...] = (
    before_a_plan_is_committed,
    before_runs_are_admitted,
    before_messages_are_published,
)
