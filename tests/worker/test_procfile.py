"""The Procfile's own lines under honcho, and stopped as Heroku stops a dyno: nothing is lost, nothing fails."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from honcho.environ import parse_procfile

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from tests.factories.ledger import enqueue_runs, states_of, timeline_of
from tests.factories.schedules import make_schedule, runs
from tests.processes import ROOT, RunningProcess, running, wait_until
from tests.worker.ledger_probes import AGAIN, PLUGIN, effects_of, job, starts_of, until_ready, until_started

pytestmark = pytest.mark.xdist_group("procfile")

FLEET = ("worker", "beat")
HEROKU_SECONDS = 30.0


@pytest.fixture
def procfile(tmp_path: Path) -> Path:
    """The lines of the processes that work, as they are in the Procfile."""
    lines = parse_procfile((ROOT / "Procfile").read_text()).processes
    path = tmp_path / "Procfile"
    path.write_text("".join(f"{name}: {lines[name]}\n" for name in FLEET))
    return path


@pytest.fixture
def settings_of_fleet(environment: dict[str, str]) -> dict[str, str]:
    """Short runs have three of honcho's five seconds to end, and what is handed back has two."""
    own = {"PLUGINS": PLUGIN, "WORKER_CONCURRENCY": "3", "SOFT_SHUTDOWN_SECONDS": "3"}
    return {**environment, **own, "PATH": f"{Path(sys.executable).parent}:/bin"}


@contextmanager
def fleet(app: Dashboard, procfile: Path, environment: Mapping[str, str]) -> Iterator[RunningProcess]:
    """Two workers and two beats that honcho runs; what is left of them at the end is killed."""
    honcho = [sys.executable, "-m", "honcho", "-f", str(procfile), "-d", str(ROOT), "-e", "/dev/null"]
    with running([*honcho, "start", "-c", "worker=2,beat=2"], environment) as process:
        try:
            process.wait_for("celery@")
            wait_until(lambda: process.output().count(" ready.") >= 2, explain=process.output)
            until_ready(app, workers=2)
            yield process
        finally:
            for left in everything_under(process):
                left.kill()


def everything_under(process: RunningProcess) -> list[Any]:
    try:
        return list(psutil.Process(process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def as_honcho_stops(process: RunningProcess) -> None:
    """Ctrl-C or SIGTERM to honcho, which passes it on and kills after five seconds."""
    process.signal(signal.SIGTERM)
    wait_until(lambda: not process.is_running, explain=process.output)


def as_heroku_stops(process: RunningProcess) -> None:
    """SIGTERM to every process of the dyno at once, and SIGKILL after half a minute to what is left."""
    members = everything_under(process)
    for member in members:
        if member.is_running():
            member.terminate()
    psutil.wait_procs(members, timeout=HEROKU_SECONDS)
    for member in members:
        if member.is_running():
            member.kill()
    wait_until(lambda: not process.is_running, explain=process.output)


@pytest.mark.parametrize("stop", [as_honcho_stops, as_heroku_stops], ids=["honcho", "Heroku"])
def test_a_restart_in_the_middle_of_the_work_loses_nothing_and_fails_nothing(
    app: Dashboard,
    acme: Tenant,
    procfile: Path,
    settings_of_fleet: dict[str, str],
    gate: Path,
    stop: Callable[[RunningProcess], None],
) -> None:
    with fleet(app, procfile, settings_of_fleet) as first:
        (long,) = enqueue_runs(app, acme, **job("sleep_again", gate=str(gate)), **AGAIN)
        until_started(app, long, first)
        short = enqueue_runs(app, acme, 30, **job("sleep_once", seconds=0.3))
        wait_until(lambda: "succeeded" in states_of(app, short), explain=first.output)
        stop(first)
    gate.touch()
    with fleet(app, procfile, settings_of_fleet) as second:
        wanted = [long, *short]
        wait_until(lambda: set(states_of(app, wanted)) == {"succeeded"}, explain=lambda: explain(app, wanted, second))
        assert {effects_of(app, run_id) for run_id in wanted} == {1}
        assert {starts_of(app, run_id) for run_id in short} == {1}
        assert starts_of(app, long) == 2


def explain(app: Dashboard, wanted: list[UUID], process: RunningProcess) -> str:
    unfinished = [run_id for run_id, state in zip(wanted, states_of(app, wanted), strict=True) if state != "succeeded"]
    return f"{[timeline_of(app, run_id) for run_id in unfinished]}\n{process.output()}"


def test_with_two_beats_and_two_workers_each_instant_of_a_schedule_runs_once(
    app: Dashboard, acme: Tenant, procfile: Path, settings_of_fleet: dict[str, str]
) -> None:
    with fleet(app, procfile, settings_of_fleet) as process:
        make_schedule(app, acme, due_for=timedelta(), every_seconds=1, job_type="test.quiet", overlap="allow")
        wait_until(lambda: sum(run.state == "succeeded" for run in runs(app)) >= 5, explain=process.output)
        fired = [run.occurrence_id for run in runs(app)]
        assert len(fired) == len(set(fired))
        assert None not in fired
        assert {timeline_of(app, run.id).count("running") for run in runs(app) if run.state == "succeeded"} == {1}
