"""Beat's program starts, says what keeps it from it, and stops as it is asked to, by either of its two names."""

from __future__ import annotations

import signal
import socket
from datetime import timedelta
from signal import Signals

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.models import Process
from scripts.embedded import HOST
from tests.factories.schedules import make_schedule, runs
from tests.processes import BEAT, BEAT_READY, beat_process, celery, running, start_process, wait_until
from tests.worker.ledger_probes import PLUGIN

pytestmark = pytest.mark.xdist_group("beat")

NAMES = {"its own": list(BEAT), "Celery's": [*celery("beat"), "--pidfile="]}


def stopped(app: Dashboard, pid: int) -> bool:
    """Whether the beat has said farewell."""
    with app.app_context(), system_scope("test") as session:
        said = sa.select(Process.stopped_at).where(Process.kind == "beat", Process.pid == pid)
        return session.scalar(said) is not None


@pytest.mark.parametrize("farewell", [signal.SIGTERM, signal.SIGINT])
def test_a_beat_that_is_asked_to_stop_says_farewell_and_fails_nothing(
    app: Dashboard, acme: Tenant, environment: dict[str, str], farewell: Signals
) -> None:
    make_schedule(app, acme, due_for=timedelta(), every_seconds=1, job_type="test.empty", params={})
    with beat_process(environment, plugins=[PLUGIN]) as beat:
        wait_until(lambda: runs(app), explain=beat.output)
        beat.signal(farewell)
        wait_until(lambda: not beat.is_running, explain=beat.output)
        assert beat.popen.returncode == 0
        assert "beat_has_stopped" in beat.output()
        assert "Traceback" not in beat.output()
        assert stopped(app, beat.pid)


def test_a_beat_that_is_told_twice_still_says_farewell(app: Dashboard, environment: dict[str, str]) -> None:
    """Heroku tells every process of a dyno, and so does the one that watches it."""
    with beat_process(environment) as beat:
        beat.signal(signal.SIGTERM)
        beat.signal(signal.SIGTERM)
        wait_until(lambda: not beat.is_running, explain=beat.output)
        assert beat.popen.returncode == 0
        assert stopped(app, beat.pid)


@pytest.mark.parametrize("name", NAMES)
def test_by_either_name_it_plans_and_follows_plugins(
    app: Dashboard, acme: Tenant, environment: dict[str, str], name: str
) -> None:
    make_schedule(app, acme, due_for=timedelta(), job_type="test.empty", params={})
    with running(NAMES[name], {**environment, "PLUGINS": PLUGIN}) as beat:
        wait_until(lambda: runs(app), explain=beat.output)


def test_a_beat_without_settings_says_what_is_missing(environment: dict[str, str]) -> None:
    given = {name: value for name, value in environment.items() if name not in {"SECRET_KEY", "REDIS_URL"}}
    said = refusal(given)
    assert "SECRET_KEY: is not set" in said
    assert "REDIS_URL: is not set" in said


def test_a_beat_whose_plugin_is_missing_says_so(environment: dict[str, str]) -> None:
    assert "PLUGINS names 'acme.jobs'" in refusal({**environment, "PLUGINS": "acme.jobs"})


def refusal(environment: dict[str, str]) -> str:
    """Return what a beat says that does not start."""
    beat = start_process(BEAT, environment)
    try:
        wait_until(lambda: not beat.is_running, explain=beat.output)
        assert beat.popen.returncode == 1
        assert "Traceback" not in beat.output()
        return beat.output()
    finally:
        beat.kill_group()
        beat.log.unlink()


def test_a_beat_that_starts_before_its_servers_waits_and_says_so(environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))  # and nobody listens
        nobody = f"{HOST}:{taken.getsockname()[1]}"
        away = dict.fromkeys(("DATABASE_URL", "SYSTEM_DATABASE_URL"), f"postgresql://app:secret@{nobody}/nowhere")
        with beat_process({**environment, **away, "REDIS_URL": f"redis://{nobody}/0"}) as beat:
            beat.wait_for("database_is_away")
            beat.wait_for("broker_is_away")
            beat.signal(signal.SIGTERM)
            wait_until(lambda: not beat.is_running, explain=beat.output)
            assert beat.popen.returncode == 0


def test_the_least_level_of_its_log_can_be_said(environment: dict[str, str]) -> None:
    with running([*BEAT, "--loglevel", "debug"], environment, ready=BEAT_READY) as beat:
        beat.wait_for("system_scope")
