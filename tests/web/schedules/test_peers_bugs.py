"""Bugs that other schedulers had and this one never may, by the numbers that docs/scheduling.md gives them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from config.settings import Settings
from dashboard.app import Dashboard
from dashboard.core.clock import database_now
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.load import SCHEDULES
from dashboard.runs.models import Run
from dashboard.runs.retention import Kept, Sweep
from dashboard.schedules.models import Schedule
from dashboard.schedules.planner import plan
from tests.factories import make_user
from tests.factories.schedules import echo_form, make_schedule, occurrences, planned, runs, stored
from tests.processes import DEADLINE_SECONDS
from tests.signing_in import Browser, sign_in
from worker.listening import Listener

MINUTE = timedelta(minutes=1)


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


@pytest.fixture
def planner_is_woken(app: Dashboard, settings: Settings) -> Iterator[threading.Event]:
    """Set when beat would be woken to plan; the wake-up of the listener's own start is over."""
    woken = threading.Event()
    listener = Listener(settings, {SCHEDULES: woken.set})
    listener.start()
    assert woken.wait(DEADLINE_SECONDS)
    woken.clear()
    yield woken
    listener.stop()


def form(**changes: Any) -> dict[str, Any]:
    return echo_form(**{"when": "interval", "every_count": "1", "every_unit": "hours", **changes})


def only_schedule(app: Dashboard) -> Schedule:
    with app.app_context(), system_scope("test") as session:
        return session.scalars(sa.select(Schedule)).one()


def rewind(app: Dashboard, schedule: Schedule) -> None:
    """Put a schedule back to where it was, as a restored backup would, and end its runs."""
    with app.app_context(), system_scope("test") as session:
        row = session.get_one(Schedule, schedule.id)
        row.next_at, row.cursor = schedule.next_at, schedule.cursor
        session.execute(sa.update(Run).values(state="succeeded", finished_at=sa.func.now()))


def test_n6_a_running_beat_hears_of_every_save(
    app: Dashboard, operator: Browser, planner_is_woken: threading.Event
) -> None:
    """No restart, and no waiting for its next look."""
    operator.post("/schedules", data=form())
    assert planner_is_woken.wait(DEADLINE_SECONDS)
    schedule = only_schedule(app)
    for path, data in (
        (f"/schedules/{schedule.id}", form(rev=schedule.rev, every_count="2")),
        (f"/schedules/{schedule.id}/pauses", {"reason": ""}),
        (f"/schedules/{schedule.id}/resumptions", {}),
    ):
        planner_is_woken.clear()
        assert operator.post(path, data=data).status_code == 303, path
        assert planner_is_woken.wait(DEADLINE_SECONDS), path


def test_n6_an_edit_takes_nothing_from_the_history(app: Dashboard, operator: Browser) -> None:
    operator.post("/schedules", data=form())
    schedule = only_schedule(app)
    assert schedule.next_at is not None
    planned(app, at=schedule.next_at)
    before = [(row.id, row.nominal, row.rev) for row in occurrences(app)]
    assert len(before) == 1
    edited = form(rev=only_schedule(app).rev, every_count="2")
    assert operator.post(f"/schedules/{schedule.id}", data=edited).status_code == 303
    assert [(row.id, row.nominal, row.rev) for row in occurrences(app)] == before
    assert [run.occurrence_id for run in runs(app)] == [before[0][0]]


def test_n14_a_plan_that_could_not_be_committed_is_made_again_and_only_once(app: Dashboard, acme: Tenant) -> None:
    make_schedule(app, acme, due_for=timedelta(seconds=5))
    with pytest.raises(OperationalError), app.app_context(), system_scope("test") as session:  # noqa: PT012
        assert plan(session, database_now(session)).runs == 1
        pid = session.scalar(sa.text("SELECT pg_backend_pid()"))
        cut_off(app, pid)
    assert runs(app) == []
    assert [planned(app).runs, planned(app).runs] == [1, 0]
    assert len(occurrences(app)) == 1


def cut_off(app: Dashboard, pid: int) -> None:
    with app.app_context(), system_scope("test") as session:
        assert session.scalar(sa.text("SELECT pg_terminate_backend(:pid, 60000)"), {"pid": pid})


def test_n15_what_was_decided_outlives_the_run_and_keeps_it_from_coming_back(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5))
    planned(app)
    rewind(app, schedule)
    with app.app_context(), system_scope("test") as session:
        sweep = Sweep(Kept(acme.id, acme.slug, 0))
        while not sweep.is_done:
            sweep.step(session)
    assert runs(app) == []
    assert [row.decision for row in occurrences(app)] == ["run"]
    planned(app)
    assert runs(app) == []
    assert stored(app, schedule).state == "active"


def test_n15_archiving_keeps_the_history(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5))
    planned(app)
    assert operator.post(f"/schedules/{schedule.id}/archivings").status_code == 303
    assert stored(app, schedule).state == "archived"
    assert (len(occurrences(app)), len(runs(app))) == (1, 1)


def test_n18_the_form_of_one_schedule_reads_no_others(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, params={"word": "hi", "times": 1})
    for number in range(30):
        make_schedule(app, acme, name=f"Other {number}")
    for path in (f"/schedules/{schedule.id}/edit", "/schedules/new"):
        page = operator.get(path)
        assert page.status_code == 200
        assert "Other " not in page.text
