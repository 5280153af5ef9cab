"""Threads that outlive every outage: they wait, say so once, and go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from config.settings import Settings
from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.load import RUNS, SCHEDULES, notify
from dashboard.runs.models import Process
from tests.factories.ledger import enqueue_runs
from worker.listening import Listener
from worker.loops import LONGEST_PAUSE_SECONDS, Loop
from worker.presence import Presence

DEADLINE = 60.0


class Steps:
    """Answers each step from a script: seconds to wait, or an error to raise."""

    def __init__(self, *answers: float | Exception) -> None:
        self.answers = list(answers)
        self.done = threading.Event()

    def __call__(self) -> float:
        answer = self.answers.pop(0)
        if not self.answers:
            self.done.set()
        if isinstance(answer, Exception):
            raise answer
        return answer


def away() -> OperationalError:
    return OperationalError("SELECT 1", None, Exception("connection refused\nIs the server running?"))


def test_an_outage_is_told_once_in_one_line_and_so_is_its_end(app: Dashboard) -> None:
    loop = Loop("work", app, Steps(away(), away(), away(), 1.0, 1.0))
    with capture_logs() as lines:
        pauses = [loop.once() for _ in range(5)]
    assert [(line["event"], line.get("reason")) for line in lines if line["event"] != "system_scope"] == [
        ("database_is_away", "connection refused"),
        ("goes_on", None),
    ]
    assert pauses[0] < pauses[1] < pauses[2] <= LONGEST_PAUSE_SECONDS
    assert pauses[3:] == [1.0, 1.0]


def test_a_mistake_in_a_step_does_not_end_the_loop(app: Dashboard) -> None:
    loop = Loop("work", app, Steps(ValueError("oops"), 1.0))
    assert [loop.once(), loop.once()] == [LONGEST_PAUSE_SECONDS, 1.0]


def test_a_loop_that_is_woken_steps_at_once(app: Dashboard) -> None:
    steps = Steps(3600.0, 3600.0)
    loop = Loop("work", app, steps)
    loop.start()
    loop.wake()
    assert steps.done.wait(DEADLINE)
    loop.stop()


@pytest.fixture
def heard(app: Dashboard, settings: Settings) -> Iterator[dict[str, threading.Event]]:
    """What a listener was told; each word once for its start."""
    events = {RUNS: threading.Event(), SCHEDULES: threading.Event()}
    listener = Listener(settings, {word: event.set for word, event in events.items()})
    listener.start()
    assert all(event.wait(DEADLINE) for event in events.values())
    for event in events.values():
        event.clear()
    yield events
    listener.stop()


def test_a_committed_run_is_heard_of_at_once(app: Dashboard, acme: Tenant, heard: dict[str, threading.Event]) -> None:
    enqueue_runs(app, acme)
    assert heard[RUNS].wait(DEADLINE)
    assert not heard[SCHEDULES].is_set()


def test_a_listener_whose_connection_is_cut_listens_again(app: Dashboard, heard: dict[str, threading.Event]) -> None:
    with app.app_context(), system_scope("test") as session:
        cut = session.scalars(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'stationmaster listener' AND datname = current_database()"
            )
        ).all()
    assert cut
    assert heard[SCHEDULES].wait(DEADLINE)
    heard[SCHEDULES].clear()
    with app.app_context(), system_scope("test") as session:
        notify(session, SCHEDULES)
    assert heard[SCHEDULES].wait(DEADLINE)


def test_a_process_has_one_row_that_says_how_it_is_and_when_it_left(app: Dashboard) -> None:
    presence = Presence(app, "worker", "worker@test", 3600.0, lambda: {"slots": 4, "queues": ["default"]})
    with app.app_context():
        presence.tell()
        presence.tell()
    presence.stop()
    with app.app_context(), system_scope("test") as session:
        (row,) = session.scalars(sa.select(Process)).all()
    assert (row.name, row.slots, row.queues) == ("worker@test", 4, ["default"])
    assert row.stopped_at is not None
    assert row.skew_ms is not None
