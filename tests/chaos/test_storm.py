"""Everything dies in turn while many runs are worked off; and a mistake in the claim would be seen."""

from __future__ import annotations

import random
from uuid import UUID

import pytest
import sqlalchemy as sa

from dashboard.core.orm import system_scope
from dashboard.runs.load import reconcile
from dashboard.runs.models import TenantLoad
from tests.chaos.site import Site
from tests.chaos.storm import SLOTS, WORKERS, Storm, held
from tests.chaos.witness import what_was_seen, witness
from tests.processes import wait_until

pytestmark = pytest.mark.xdist_group("chaos")


def test_no_run_is_lost_and_none_is_doubled_while_everything_dies_in_turn(site: Site) -> None:
    storm = Storm(site, random.Random(27))
    report = storm.blow(kills=len(storm.fleet.weapons), runs=220)
    assert report.is_sound, f"{report}\n{storm.said()}"
    assert report.succeeded + report.listed == report.runs
    assert report.started_twice <= WORKERS * SLOTS * report.kills


def test_a_counter_that_a_beat_has_set_right_meanwhile_is_counted(site: Site) -> None:
    storm = Storm(site, random.Random(1))
    with site.app.app_context(), system_scope("test") as session:
        session.execute(sa.update(TenantLoad).where(TenantLoad.tenant_id == storm.tenants[0].id).values(ready=3))
        reconcile(session)
    with witness() as port:
        report = storm.report([], 0, port)
    assert (report.counter_drift, report.is_sound) == (1, False)


def held_before(storm: Storm, runs: int, port: int) -> list[UUID]:
    """Put runs into the ledger while all workers are held, until the first messages are too late for their runs."""
    wait_until(storm.is_attended, explain=storm.said)
    with held(storm.fleet.workers):
        wanted = storm.enqueue(runs, port)
        wait_until(lambda: storm.holding(wanted), explain=storm.said)
        wait_until(lambda: not storm.holding(wanted), explain=storm.said)
    return wanted


def held_beyond_leases(storm: Storm, runs: list[UUID]) -> bool:
    """Hold all workers until nothing is theirs any more; False if nothing was: all had ended, none had begun yet."""
    with held(storm.fleet.workers):
        begun = storm.holding(runs)
        wait_until(lambda: not begun & storm.holding(runs), explain=storm.said)
    return bool(begun)


def test_a_claim_that_compares_nothing_turns_this_suite_red(site: Site) -> None:
    storm = Storm(site, random.Random(1), ("tests.chaos.broken_claim",))
    with witness() as port:
        storm.fleet.start()
        runs = held_before(storm, 160, port)
        assert not storm.report(runs, 1, port, patience=10.0).is_sound


def test_the_claim_as_it_is_survives_the_same_and_workers_that_are_held_at_work(site: Site) -> None:
    storm = Storm(site, random.Random(1))
    with witness() as port:
        storm.fleet.start()
        runs = held_before(storm, 160, port)
        wait_until(lambda: what_was_seen(port).effects, explain=storm.said)
        wait_until(lambda: held_beyond_leases(storm, runs), explain=storm.said)
        report = storm.report(runs, 1, port)
    assert report.is_sound, report
