"""PostgreSQL stands still without going away: visitors are told in time, and the work goes on once it does."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.chaos.freezing import answer_of, frozen
from tests.chaos.site import Site
from tests.factories import make_user
from tests.factories.ledger import enqueue_runs, load_of, states_of
from tests.processes import ROOT, wait_until
from tests.signing_in import sign_in
from tests.worker.ledger_probes import AGAIN, effects_of, job, starts_of, until_started

CROWD = 16
"""More visitors than the web process has threads."""

pytestmark = pytest.mark.xdist_group("chaos")


def test_visitors_of_a_frozen_database_are_told_in_time(site: Site) -> None:
    tenant = site.tenant("acme")
    platform, home = site.environment["PLATFORM_ROOT"], tenant.roots[0].url
    web = site.start_web()
    make_user(site.app, "ada@acme.test", roles={tenant.id: "operator"})
    signed_in = {"Cookie": sign_in(site.app, tenant, "ada@acme.test").cookie_line}
    assert answer_of(f"{platform}/readyz")[0] == 200
    assert answer_of(f"{home}/runs", signed_in)[0] == 200
    with frozen(site.postgres), ThreadPoolExecutor(CROWD) as crowd:
        status, body = answer_of(f"{platform}/readyz")
        assert (status, '"database":"fail"' in body) == (503, True)
        for status, page in crowd.map(lambda _: answer_of(f"{home}/runs", signed_in), range(CROWD)):
            assert (status, "Not available right now" in page) == (503, True), web.output()
        assert answer_of(f"{home}/sign-in")[0] in {200, 503}
        assert answer_of(f"{platform}/healthz")[0] == 200
        assert answer_of(f"{platform}/readyz")[0] == 503
    wait_until(lambda: answer_of(f"{platform}/readyz")[0] == 200)
    status, page = answer_of(f"{home}/runs", signed_in)
    assert (status, "Not available" in page) == (200, False)


def test_the_doctor_sees_that_the_database_stands_still(site: Site) -> None:
    command = [sys.executable, "-m", "flask", "--app", "dashboard.wsgi", "doctor", "--json"]
    with frozen(site.postgres):
        done = subprocess.run(
            command, env=site.environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
    findings = [finding for finding in json.loads(done.stdout)["checks"] if finding["part"] == "database"]
    assert [finding["status"] for finding in findings] == ["fail", "fail"]
    assert "does not answer" in findings[0]["sentence"]


@pytest.mark.parametrize("key", ["sleep_again", "sleep_once"])
def test_runs_survive_a_database_that_is_frozen_for_longer_than_a_lease(site: Site, tmp_path: Path, key: str) -> None:
    """Nothing can renew its lease meanwhile; the worker lives, so that nobody may take the run for an orphan."""
    tenant, thawed = site.tenant("acme"), tmp_path / "thawed"
    beat, worker = site.start_beat(), site.start_worker(concurrency=6)
    again = AGAIN if key == "sleep_again" else {}
    begun = enqueue_runs(site.app, tenant, 3, **job(key, gate=str(thawed)), **again)
    for run_id in begun:
        until_started(site.app, run_id, beat, worker)
    waiting = enqueue_runs(site.app, tenant, 12, **job(key, seconds=0.1), **again)
    with frozen(site.postgres):
        time.sleep(float(site.environment["LEASE_SECONDS"]) + 2)
    thawed.touch()
    every = [*begun, *waiting, *enqueue_runs(site.app, tenant, **job("sleep_once"))]
    wait_until(
        lambda: set(states_of(site.app, every)) == {"succeeded"},
        explain=lambda: f"{states_of(site.app, every)}\n{beat.output()}\n{worker.output()}",
    )
    assert {(effects_of(site.app, run_id), starts_of(site.app, run_id)) for run_id in every} == {(1, 1)}
    assert (load_of(site.app, tenant).ready, load_of(site.app, tenant).running) == (0, 0)
