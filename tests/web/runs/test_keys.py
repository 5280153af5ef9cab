"""Concurrency keys: who gives them to runs, who waits for whom, and how an operator releases one."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from werkzeug.test import TestResponse

from dashboard.accounts.models import Membership
from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import db, system_scope
from dashboard.core.tenancy import Tenant
from dashboard.jobs import registry
from dashboard.jobs.actions import start_run
from dashboard.jobs.context import RunContext
from dashboard.jobs.registry import JobType
from dashboard.runs.models import Run
from dashboard.schedules.models import Schedule
from tests.factories import make_user
from tests.factories.ledger import load_of, run_of, timeline_of
from tests.factories.mailings import acting
from tests.factories.people import People
from tests.factories.runs import make_run
from tests.factories.schedules import make_schedule, planned, runs
from tests.signing_in import Browser, sign_in

KEY = "import:Globex"


class Import(JobType):
    key = "test.import"
    label = "Import"
    concurrency_key = "import:{customer}"

    class Params(BaseModel):
        customer: str
        rows: int = 10

    def run(self, ctx: RunContext, params: Params) -> None: ...


@pytest.fixture(autouse=True)
def _job_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_job_types", dict(registry._job_types))
    registry.register(Import)


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


def held_and_waiting(app: Dashboard, tenant: Tenant, state: str = "running") -> tuple[Run, Run]:
    return (
        make_run(app, tenant, state, name="First", concurrency_key=KEY),
        make_run(app, tenant, "ready", name="Second", concurrency_key=KEY),
    )


def test_a_run_that_is_started_gets_the_key_that_its_job_type_makes_of_its_parameters(
    app: Dashboard, acme: Tenant
) -> None:
    with acting(app, acme):
        run_id = start_run(db.session(), Import.key, {"customer": "Globex"}).id
        db.session.commit()
    assert run_of(app, run_id).concurrency_key == KEY


LONG = "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))
"""A text that PostgreSQL cannot make small enough for an index entry."""


def test_a_key_that_is_too_long_for_an_index_is_told_from_others_by_a_hash(app: Dashboard, acme: Tenant) -> None:
    with acting(app, acme):
        keys = [start_run(db.session(), Import.key, {"customer": LONG + end}).concurrency_key for end in "aab"]
        db.session.commit()
    same, again, other = map(str, keys)
    assert same == again != other
    assert len(same) == registry.LONGEST_KEY
    assert same.startswith("import:一丁")


def test_a_schedule_with_such_a_key_is_planned_as_any_other(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    due = timedelta(seconds=5)
    make_schedule(app, acme, due_for=due, job_type=Import.key, params={"customer": LONG})
    make_schedule(app, globex, due_for=due)
    assert planned(app).runs == 2


@pytest.mark.parametrize("overlap", ["skip", "allow"])
def test_a_planned_run_gets_it_too_whatever_its_schedule_says_of_overlap(
    app: Dashboard, acme: Tenant, overlap: str
) -> None:
    due = timedelta(seconds=5)
    make_schedule(app, acme, due_for=due, job_type=Import.key, params={"customer": "Globex"}, overlap=overlap)
    planned(app)
    assert [run.concurrency_key for run in runs(app)] == [KEY]


def test_a_schedules_own_key_goes_first(app: Dashboard, acme: Tenant) -> None:
    due = timedelta(seconds=5)
    params = {"customer": "Globex"}
    make_schedule(app, acme, due_for=due, job_type=Import.key, params=params, concurrency_key="mine")
    planned(app)
    assert [run.concurrency_key for run in runs(app)] == ["mine"]


def test_a_schedule_that_skips_knows_its_run_before_by_the_same_key(app: Dashboard, acme: Tenant) -> None:
    due = timedelta(seconds=5)
    schedule = make_schedule(app, acme, due_for=due, job_type=Import.key, params={"customer": "Globex"})
    make_run(app, acme, "running", schedule_id=schedule.id, concurrency_key=KEY)
    planned(app)
    assert len(runs(app)) == 1


def test_who_waits_sees_for_whom(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    holder, waiting = held_and_waiting(app, acme)
    page = operator.get(f"/runs/{waiting.id}").text
    assert "Waits for" in page
    assert f"/runs/{holder.id}" in page
    assert f"<code>{KEY}</code>" in page
    assert "Waits for" not in operator.get(f"/runs/{holder.id}").text


def test_releasing_the_key_ends_the_holder_so_that_the_next_one_can_start(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    holder, waiting = held_and_waiting(app, acme)
    answer = operator.post(f"/runs/{holder.id}/releases", follow_redirects=True)
    assert "Whoever waits for the key starts now." in answer.text
    assert (run_of(app, holder.id).state, run_of(app, holder.id).reason) == ("interrupted", "released")
    assert timeline_of(app, holder.id)[-1] == "interrupted"
    assert run_of(app, waiting.id).state == "ready"
    assert (load_of(app, acme).ready, load_of(app, acme).running) == (1, 0)
    with app.app_context(), system_scope("test") as session:
        entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.subject_id == holder.id)).one()
    assert (entry.action, entry.details["key"]) == ("run.release_key", KEY)


def test_the_holders_own_page_offers_it_too_because_a_schedule_that_skips_leaves_nobody_waiting(
    app: Dashboard, acme: Tenant, people: People
) -> None:
    holder, waiting = held_and_waiting(app, acme)
    operator = sign_in(app, acme, "olivia@acme.test")
    address = f'action="/runs/{holder.id}/releases"'
    assert address in operator.get(f"/runs/{holder.id}").text
    assert operator.get(f"/runs/{waiting.id}").text.count(address) == 1
    assert address not in sign_in(app, acme, "victor@acme.test").get(f"/runs/{holder.id}").text
    operator.post(f"/runs/{holder.id}/releases")
    page = operator.get(f"/runs/{holder.id}").text
    assert address not in page
    assert "cut off in the middle" in page


def test_the_timeline_names_who_acted_also_when_they_have_left(app: Dashboard, acme: Tenant, people: People) -> None:
    holder, _ = held_and_waiting(app, acme)
    operator = sign_in(app, acme, "olivia@acme.test")
    assert "By " not in operator.get(f"/runs/{holder.id}").text
    operator.post(f"/runs/{holder.id}/releases")
    viewer = sign_in(app, acme, "victor@acme.test")
    assert "By Olivia." in viewer.get(f"/runs/{holder.id}").text
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.delete(Membership).where(Membership.user_id == people.olivia))
    assert "By somebody who is no member any more." in viewer.get(f"/runs/{holder.id}").text


@pytest.mark.parametrize(
    ("state", "said"), [("admitted", "Cancel it instead."), ("succeeded", "holds no key"), ("ready", "holds no key")]
)
def test_what_does_not_run_cannot_be_released(
    app: Dashboard, operator: Browser, acme: Tenant, state: str, said: str
) -> None:
    run = make_run(app, acme, state, concurrency_key=KEY)
    assert said in operator.post(f"/runs/{run.id}/releases", follow_redirects=True).text
    assert run_of(app, run.id).state == state


def test_a_run_without_a_key_cannot_be_released(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    run = make_run(app, acme, "running")
    assert "holds no key" in operator.post(f"/runs/{run.id}/releases", follow_redirects=True).text
    assert run_of(app, run.id).state == "running"


def test_a_viewer_sees_who_holds_the_key_and_may_not_release_it(app: Dashboard, acme: Tenant, people: People) -> None:
    holder, waiting = held_and_waiting(app, acme)
    viewer = sign_in(app, acme, "victor@acme.test")
    page = viewer.get(f"/runs/{waiting.id}").text
    assert "Waits for" in page
    assert "/releases" not in page
    assert viewer.post(f"/runs/{holder.id}/releases").status_code == 403


def test_an_interrupted_run_is_marked_done_with_a_note(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    run = make_run(app, acme, "interrupted", reason="worker_died")
    assert "Mark done" in operator.get(f"/runs/{run.id}").text
    operator.post(f"/runs/{run.id}/confirmations", data={"note": "The bank has the file."})
    assert (run_of(app, run.id).state, run_of(app, run.id).reason) == ("succeeded", "marked_done")
    assert "The bank has the file." in operator.get(f"/runs/{run.id}").text
    with app.app_context(), system_scope("test") as session:
        entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.subject_id == run.id)).one()
    assert (entry.action, entry.details) == ("run.mark_done", {"note": "The bank has the file."})


@pytest.mark.parametrize(
    ("state", "note", "said"),
    [("interrupted", "  ", "Say in a few words"), ("failed", "I looked", "Only a run that was interrupted")],
)
def test_what_cannot_be_marked_done_is_told_in_a_sentence(
    app: Dashboard, operator: Browser, acme: Tenant, state: str, note: str, said: str
) -> None:
    run = make_run(app, acme, state)
    assert said in operator.post(f"/runs/{run.id}/confirmations", data={"note": note}, follow_redirects=True).text
    assert run_of(app, run.id).state == state


def save(operator: Browser, key: str) -> TestResponse:
    fields = {"job_type": "test.echo", "name": "Stock", "when": "cron", "crons": "weekdays at 9", "params-word": "hi"}
    return operator.post("/schedules", data={**fields, "concurrency_key": key})


def test_an_operator_gives_a_schedule_a_key_that_others_share(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    page = save(operator, "warehouse").headers["Location"]
    with app.app_context(), system_scope("test") as session:
        schedule = session.scalars(sa.select(Schedule)).one()
    assert schedule.concurrency_key == "warehouse"
    operator.post(f"/schedules/{schedule.id}/runs")
    assert [run.concurrency_key for run in runs(app)] == ["warehouse"]
    assert 'value="warehouse"' in operator.get(f"{page}/edit").text


@pytest.mark.parametrize(("job_type", "given"), [(Import.key, True), ("test.echo", False)])
def test_the_editor_says_that_a_key_of_ones_own_replaces_the_job_types(
    operator: Browser, job_type: str, given: bool
) -> None:
    page = operator.get(f"/schedules/new?job_type={job_type}").text
    assert ("It takes the place of import:{customer}" in page) is given


@pytest.mark.parametrize("key", ["schedule:1", "backfill:1"])
def test_a_key_that_is_ours_is_refused_beside_it(operator: Browser, key: str) -> None:
    answer = save(operator, key)
    assert answer.status_code == 422
    assert "schedule: and backfill: are taken." in answer.text
    assert f'value="{key}"' in answer.text
