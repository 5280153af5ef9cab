"""A schedule whose job cannot be run as it is stored is held, says why, and goes on by itself once it can."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel

from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.jobs import registry
from dashboard.jobs.context import RunContext
from dashboard.jobs.registry import JobType
from dashboard.schedules.models import Schedule
from tests.factories import make_user
from tests.factories.job_types import Echo
from tests.factories.schedules import let_pass, make_schedule, occurrences, planned, runs, stored
from tests.signing_in import Browser, sign_in
from worker.watchdog import Watchdog

GONE = "Its job cannot be run. There is no job type 'acme.lamp': its plugin is missing, or its name is misspelt."
STANDS_STILL = {"job_type": "acme.lamp", "params": {"colour": "red"}, "every_seconds": 3600}


class Lamp(JobType):
    """Light a lamp, in its second version."""

    key = "acme.lamp"
    label = "Light a lamp"
    version = 2

    class Params(BaseModel):
        """How it shines; its first version had a colour alone."""

        colour: str
        watts: int

    def run(self, ctx: RunContext, params: Any) -> None:
        """Do nothing: it never runs here."""

    def migrate(self, old: dict[str, Any]) -> dict[str, Any]:
        """Give the old ones what they burned, if they say that they were lamps."""
        if old["colour"] == "black":
            raise RuntimeError("Nobody thought of that.")
        return old if "oil" in old["colour"] else {**old, "watts": 60}


@pytest.fixture(autouse=True)
def _plugins_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_job_types", dict(registry._job_types))


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


def watched(app: Dashboard) -> None:
    """Let beat look after its schedules once."""
    with app.app_context():
        Watchdog().step()


def entries(app: Dashboard) -> list[tuple[str, str, str, Any]]:
    with app.app_context(), system_scope("test") as session:
        rows = session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id))
        return [(each.actor_kind, each.action, each.subject_name, each.details) for each in rows]


def problem(app: Dashboard, schedule: Schedule) -> str:
    return stored(app, schedule).problem


def test_it_is_held_while_its_plugin_is_away(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5), job_type="acme.lamp")
    assert planned(app).runs == 0
    assert problem(app, schedule) == GONE
    watched(app)
    assert problem(app, schedule) == GONE


def test_it_goes_on_by_its_policy_when_its_plugin_is_back(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5), **STANDS_STILL)
    planned(app)
    registry.register(Lamp)
    watched(app)
    assert stored(app, schedule).state == "active"
    assert entries(app) == [("system", "schedule.mend", "Minutely", {"reason": "Its job can be run again."})]
    let_pass(app, timedelta(hours=1))
    assert planned(app).runs == 1
    assert [run.job_type for run in runs(app)] == ["acme.lamp"]
    assert [each.reason for each in occurrences(app)] == ["invalid", ""]


def test_parameters_that_no_longer_fit_hold_it_too(app: Dashboard, acme: Tenant) -> None:
    unknown = make_schedule(app, acme, due_for=timedelta(seconds=5), params={"word": "hi", "wrod": "ho"})
    missing = make_schedule(app, acme, due_for=timedelta(seconds=5), params={"times": 3})
    make_schedule(app, acme, due_for=timedelta(seconds=5), params={"word": "a parameter with a default may be absent"})
    assert planned(app).runs == 1
    no_longer = "Its job cannot be run. Its parameters no longer fit: edit them. "
    assert problem(app, unknown) == f"{no_longer}wrod: Is not a parameter of this job type."
    assert problem(app, missing) == f"{no_longer}Word: Fill this in."


def test_older_parameters_are_carried_over_before_they_are_judged(app: Dashboard, acme: Tenant) -> None:
    registry.register(Lamp)
    fits = make_schedule(app, acme, due_for=timedelta(seconds=5), job_type="acme.lamp", params={"colour": "red"})
    fails = make_schedule(app, acme, due_for=timedelta(seconds=5), job_type="acme.lamp", params={"colour": "oil"})
    breaks = make_schedule(app, acme, due_for=timedelta(seconds=5), job_type="acme.lamp", params={"colour": "black"})
    assert planned(app).runs == 1
    assert problem(app, fits) == ""
    assert problem(app, fails).endswith("Watts: Fill this in.")
    assert problem(app, breaks).endswith("could not carry its older parameters over: Nobody thought of that.")


def test_what_is_held_for_another_reason_stays_so(app: Dashboard, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5), kind="cron", crons=["99 * * * *"])
    planned(app)
    before = problem(app, schedule)
    watched(app)
    assert problem(app, schedule) == before != ""


def test_its_page_and_its_editor_say_what_is_missing(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5), job_type="acme.lamp")
    planned(app)
    page = operator.get(f"/schedules/{schedule.id}").text
    assert "its plugin is missing, or its name is misspelt. It does not fire until that is mended." in page
    assert "misspelt.." not in page
    answer = operator.get(f"/schedules/{schedule.id}/edit", follow_redirects=True)
    assert answer.status_code == 200
    assert "Without it nobody knows what to ask for" in answer.text


@pytest.mark.parametrize("door", ["runs", "backfills"])
def test_nothing_is_started_by_hand_either(app: Dashboard, operator: Browser, acme: Tenant, door: str) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(minutes=5), params={"times": 3}, paused_at=sa.func.now())
    typed = {"start": "2020-01-01T00:00", "end": "2020-01-01T01:00", "mode": "missing"}
    answer = operator.post(f"/schedules/{schedule.id}/{door}", data=typed, follow_redirects=True)
    assert "no longer fit: edit them. Word: Fill this in." in answer.text
    assert runs(app) == []


def test_the_editor_asks_with_the_parameters_carried_over(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    registry.register(Lamp)
    schedule = make_schedule(app, acme, job_type="acme.lamp", params={"colour": "red"})
    page = operator.get(f"/schedules/{schedule.id}/edit").text
    assert 'name="params-watts" value="60"' in page or 'value="60" name="params-watts"' in page


def test_the_editor_opens_whatever_a_parameter_was_before(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    """A plugin that turned a number into a list, without a new version."""

    class Lists(Echo):
        """It takes lines."""

        key = "acme.lists"

        class Params(BaseModel):
            """What was a number."""

            lines: list[str]

    registry.register(Lists)
    schedule = make_schedule(app, acme, job_type="acme.lists", params={"lines": 41})
    assert "41</textarea>" in operator.get(f"/schedules/{schedule.id}/edit").text
    assert operator.get(f"/schedules/{schedule.id}").status_code == 200
