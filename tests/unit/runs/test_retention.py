"""Runs that ended long ago go with all that belongs to them, and nobody waits for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from dashboard.app import Dashboard
from dashboard.core.ids import new_id
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.emails.models import Delivery
from dashboard.runs.deletion import delete_tenant
from dashboard.runs.load import reconcile
from dashboard.runs.models import Artifact, ArtifactChunk, BulkAction, Purge, Run, RunEvent, RunLog
from dashboard.runs.retention import RUNS, Kept, Sweep, count_old, kept_by, next_sweep
from dashboard.schedules.models import Occurrence
from dashboard.tenants.actions import set_option
from tests.factories.ledger import enqueue_runs, load_of
from tests.factories.schedules import make_schedule
from tests.processes import wait_until
from worker.purging import LOOK_SECONDS, Purger

PARTS = (RunEvent, RunLog, Delivery, ArtifactChunk, Artifact)


@contextmanager
def system(app: Flask) -> Iterator[Session]:
    with app.app_context(), system_scope("test") as session:
        yield session


def make_old(app: Flask, tenant: Tenant, count: int = 1, *, days: int = 100, state: str = "succeeded") -> list[UUID]:
    """Return the ids of runs that were made and ended so many days ago; each has a line in every table of its own."""
    with system(app) as session:
        ids = list(session.scalars(_OLD, {"tenant": tenant.id, "count": count, "days": days, "state": state}))
        of_run = [{"tenant_id": tenant.id, "run_id": run_id} for run_id in ids]
        session.execute(sa.insert(RunEvent), [{**row, "state": state} for row in of_run])
        session.execute(sa.insert(RunLog), [{**row, "level": "info", "text": "It went well."} for row in of_run])
        session.execute(sa.insert(Delivery), [{**row, "id": new_id(), "address": "a@b.test"} for row in of_run])
        files = [{**row, "id": new_id(), "name": "report.csv", "media_type": "text/csv"} for row in of_run]
        session.execute(sa.insert(Artifact), files)
        chunks = [{**row, "artifact_id": row["id"], "position": 0, "data": b"a,b\n"} for row in files]
        for row in chunks:
            del row["id"], row["name"], row["media_type"]
        session.execute(sa.insert(ArtifactChunk), chunks)
    return ids


# The id says when a run was made, as `core.ids` makes it.
_OLD = sa.text("""
INSERT INTO run (id, tenant_id, name, job_type, state, created_at, finished_at)
SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM made) * 1000 AS bigint)), 12, '0') || '7'
        || substr(md5(random()::text), 1, 3) || '8' || substr(md5(random()::text), 1, 15) AS uuid),
    :tenant, 'Old', 'test.report', :state, made, made
FROM (SELECT now() - make_interval(days => :days) - make_interval(secs => n) AS made
    FROM generate_series(1, :count) AS n) AS old
RETURNING id
""")


def sweep(app: Flask, tenant: Tenant, **limits: Any) -> int:
    """Delete the tenant's old runs as beat does, and return how many."""
    walk, deleted = Sweep(kept(app, tenant), **limits), 0
    while not walk.is_done:
        with system(app) as session:
            deleted += walk.step(session)
    return deleted


def kept(app: Flask, tenant: Tenant) -> Kept:
    with system(app) as session:
        return kept_by(session, tenant.slug)[0]


def left(app: Flask) -> set[UUID]:
    with system(app) as session:
        return set(session.scalars(sa.select(Run.id)))


@pytest.mark.parametrize("state", ["succeeded", "failed", "dead", "cancelled", "timed_out", "interrupted", "skipped"])
def test_what_ended_long_ago_goes_with_all_that_belongs_to_it(app: Dashboard, acme: Tenant, state: str) -> None:
    make_old(app, acme, 3, state=state)
    (recent,) = make_old(app, acme, days=10, state=state)
    assert sweep(app, acme) == 3
    assert left(app) == {recent}
    with system(app) as session:
        assert [session.scalar(sa.select(sa.func.count()).select_from(part)) for part in PARTS] == [1] * len(PARTS)


@pytest.mark.parametrize("state", ["scheduled", "ready", "admitted", "running", "retrying"])
def test_what_has_not_ended_stays_however_old_it_is(app: Dashboard, acme: Tenant, state: str) -> None:
    (old,) = make_old(app, acme, state=state)
    assert sweep(app, acme) == 0
    assert left(app) == {old}


def test_a_run_that_waited_long_is_kept_from_its_end_on(app: Dashboard, acme: Tenant) -> None:
    (old,) = make_old(app, acme)
    with system(app) as session:
        session.execute(sa.update(Run).values(finished_at=sa.func.now()))
    assert sweep(app, acme) == 0
    assert left(app) == {old}


def test_each_tenant_says_how_long_it_keeps_its_runs(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    with system(app) as session:
        set_option(session, globex.id, "RETENTION_DAYS", "7")
    (ours,) = make_old(app, acme, days=10)
    make_old(app, globex, days=10)
    assert (sweep(app, acme), sweep(app, globex)) == (0, 1)
    assert left(app) == {ours}


def test_bulk_actions_go_as_long_after_their_end_as_runs_do(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    with system(app) as session:
        fields = {"action": "retry", "filter": {"states": ["failed"]}, "estimate": 1}
        moments = {"old": "100 days", "recent": "10 days"}
        ended = {name: sa.func.now() - sa.cast(age, sa.Interval) for name, age in moments.items()}
        bulks = {
            "old": BulkAction(tenant_id=acme.id, finished_at=ended["old"], **fields),
            "recent": BulkAction(tenant_id=acme.id, finished_at=ended["recent"], **fields),
            "open": BulkAction(tenant_id=acme.id, created_at=ended["old"], **fields),
            "another's": BulkAction(tenant_id=globex.id, finished_at=ended["old"], **fields),
        }
        session.add_all(bulks.values())
        session.flush()
        names = {bulk.id: name for name, bulk in bulks.items()}
    sweep(app, acme)
    with system(app) as session:
        assert {names[kept] for kept in session.scalars(sa.select(BulkAction.id))} == {"recent", "open", "another's"}


def test_many_runs_and_many_rows_of_one_go_in_small_steps(app: Dashboard, acme: Tenant) -> None:
    (mailing,) = make_old(app, acme)
    with system(app) as session:
        many = [
            {"id": new_id(), "tenant_id": acme.id, "run_id": mailing, "address": f"{number}@b.test"}
            for number in range(500)
        ]
        session.execute(sa.insert(Delivery), many)
    make_old(app, acme, 1000)
    steps: list[int] = []
    walk = Sweep(kept(app, acme), runs=40, rows=60)
    while not walk.is_done:
        with system(app) as session:
            steps.append(walk.step(session))
    assert sum(steps) == 1001
    assert max(steps) <= 40
    assert left(app) == set()


def test_a_run_that_somebody_holds_is_left_for_the_next_time_and_holds_up_none(app: Dashboard, acme: Tenant) -> None:
    held, *others = sorted(make_old(app, acme, 5))
    with system(app) as somebody:
        somebody.execute(sa.select(Run.id).where(Run.id == held).with_for_update())
        assert sweep(app, acme) == len(others)
        assert left(app) == {held}
    assert sweep(app, acme) == 1


def test_a_run_with_a_row_that_somebody_holds_is_left_for_the_next_time(app: Dashboard, acme: Tenant) -> None:
    held, *others = sorted(make_old(app, acme, 5))
    with system(app) as somebody:
        somebody.execute(sa.select(Delivery.id).where(Delivery.run_id == held).with_for_update())
        assert sweep(app, acme) == len(others)
        assert left(app) == {held}
    assert sweep(app, acme) == 1


def test_children_outlive_their_parent_and_forget_it(app: Dashboard, acme: Tenant) -> None:
    (parent,) = make_old(app, acme)
    (child,) = enqueue_runs(app, acme)
    with system(app) as session:
        session.execute(sa.update(Run).where(Run.id == child).values(parent_id=parent))
    assert sweep(app, acme) == 1
    with system(app) as session:
        assert session.get_one(Run, child).parent_id is None


def test_a_run_with_a_child_that_somebody_holds_is_left_for_the_next_time(app: Dashboard, acme: Tenant) -> None:
    parent, *others = sorted(make_old(app, acme, 5))
    (child,) = enqueue_runs(app, acme)
    with system(app) as session:
        session.execute(sa.update(Run).where(Run.id == child).values(parent_id=parent))
    with system(app) as somebody:
        somebody.execute(sa.select(Run.id).where(Run.id == child).with_for_update())
        assert sweep(app, acme) == len(others)
        assert left(app) == {parent, child}
    assert sweep(app, acme) == 1


def test_a_run_with_many_children_lets_them_go_in_small_steps(app: Dashboard, acme: Tenant) -> None:
    (parent,) = make_old(app, acme)
    children = enqueue_runs(app, acme, 25)
    with system(app) as session:
        session.execute(sa.update(Run).where(Run.id.in_(children)).values(parent_id=parent))
    walk = Sweep(kept(app, acme), rows=10)
    freed = []
    while not walk.is_done:
        with system(app) as session:
            walk.step(session)
            freed.append(session.scalar(sa.select(sa.func.count()).where(Run.parent_id.is_(None), Run.id != parent)))
    assert freed[:3] == [10, 20, 25]
    assert left(app) == set(children)


def test_the_command_tries_again_when_another_sweep_holds_it_up(app: Dashboard, acme: Tenant) -> None:
    make_old(app, acme, 3)
    with ThreadPoolExecutor(1) as pool:
        with system(app) as somebody:
            assert Sweep(kept(app, acme), runs=1).step(somebody) == 1
            purging = pool.submit(app.test_cli_runner().invoke, args=["runs", "purge", "--tenant", "acme", "--json"])
            first = wait_until(lambda: waiting(app))
            wait_until(lambda: waiting(app) - first)
        result = purging.result()
    assert (result.exit_code, left(app)) == (0, set())


def waiting(app: Flask) -> set[datetime]:
    """Return when the transactions began that wait for a lock."""
    with system(app) as session:
        return set(session.scalars(_WAITING))


_WAITING = sa.text("""
SELECT xact_start FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
""")


def test_an_occurrence_outlives_its_run_so_that_it_never_fires_again(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme)
    (old,) = make_old(app, acme)
    with system(app) as session:
        occurrence = Occurrence(
            tenant_id=acme.id, schedule_id=schedule.id, occurrence="2026-01-01T09:00:00+00:00", decision="run", rev=1
        )
        session.add(occurrence)
        session.flush()
        session.execute(
            sa.update(Run).where(Run.id == old).values(schedule_id=schedule.id, occurrence_id=occurrence.id)
        )
    assert sweep(app, acme) == 1
    with system(app) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Occurrence)) == 1


def test_the_tenants_counters_stay_right(app: Dashboard, acme: Tenant) -> None:
    enqueue_runs(app, acme, 2)
    make_old(app, acme, 3)
    sweep(app, acme)
    assert (load_of(app, acme).ready, load_of(app, acme).running) == (2, 0)
    with system(app) as session:
        assert reconcile(session) == []


def test_beat_sweeps_every_tenant_in_turn_and_then_rests(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    make_old(app, acme, 2)
    make_old(app, globex, 2)
    purger = Purger()
    with app.app_context():
        while purger.step() < LOOK_SECONDS:
            pass
    assert left(app) == set()
    with system(app) as session:
        assert sorted(session.scalars(sa.select(Purge.deleted))) == [2, 2]
        assert next_sweep(session) is None


def test_beat_sweeps_on_when_a_tenant_is_deleted_in_the_middle(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    make_old(app, acme, RUNS + 1)
    purger = Purger()
    with app.app_context():
        purger.step()
        delete_tenant(acme.id)
        make_old(app, globex, 2)
        while purger.step() < LOOK_SECONDS:
            pass
    assert left(app) == set()


def test_the_question_for_old_runs_uses_the_index_and_reads_no_more_than_it_takes(
    app: Dashboard, acme: Tenant, globex: Tenant, analyze: Callable[[], None]
) -> None:
    make_old(app, acme, 300)
    # Were all runs ours, or all of ours in this state, the index on ids or the one on ours would be as good.
    make_old(app, acme, 3000, state="failed")
    make_old(app, globex, 3000)
    analyze()
    walk = Sweep(kept(app, acme), runs=10)
    walk._states = ["succeeded"]
    with system(app) as session:
        # So few could all be read and sorted.
        for other in ("seqscan", "bitmapscan"):
            session.execute(sa.text(f"SET LOCAL enable_{other} = off"))
        query = walk._victims(session.scalar(sa.select(sa.func.now())))  # type: ignore[arg-type]
        compiled = query.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
        plan = "\n".join(session.scalars(sa.text(f"EXPLAIN {compiled}")))
    assert "ix_run_tenant_id_state_id" in plan, plan
    assert "Sort" not in plan, plan


def test_the_command_counts_first_and_deletes_when_it_is_told(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    make_old(app, acme, 3)
    make_old(app, globex, 2)
    runner = app.test_cli_runner()
    counted = json.loads(runner.invoke(args=["runs", "purge", "--dry-run", "--json"]).stdout)
    assert [(row["tenant"], row["kept_days"], row["would_delete"]) for row in counted] == [
        ("acme", 90, 3),
        ("globex", 90, 2),
    ]
    assert len(left(app)) == 5
    deleted = json.loads(runner.invoke(args=["runs", "purge", "--tenant", "acme", "--json"]).stdout)
    assert [(row["tenant"], row["deleted"]) for row in deleted] == [("acme", 3)]
    assert len(left(app)) == 2


def test_the_command_says_that_there_is_no_such_tenant(app: Dashboard) -> None:
    result = app.test_cli_runner().invoke(args=["runs", "purge", "--tenant", "nobody"])
    assert result.exit_code == 1
    assert "There is no tenant 'nobody'" in result.stderr


def test_what_is_counted_is_what_is_deleted(app: Dashboard, acme: Tenant) -> None:
    make_old(app, acme, 3)
    make_old(app, acme, 1, state="failed")
    make_old(app, acme, 1, state="ready")
    with system(app) as session:
        assert count_old(session, kept(app, acme)) == {"succeeded": 3, "failed": 1}
    assert sweep(app, acme) == 4
