"""What operators do to many runs at once: counted first, done batch by batch, audited, and to nobody else's runs."""

from __future__ import annotations

import json
from collections import Counter
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from click.testing import Result

from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs import bulk
from dashboard.runs.models import BulkAction, Run, RunEvent
from tests.factories import make_user
from tests.factories.ledger import enqueue_runs, load_of, run_of, timeline_of
from tests.factories.people import People
from tests.factories.runs import make_run
from tests.pages import read_page
from tests.processes import wait_until
from tests.signing_in import Browser, sign_in
from worker.bulk import BulkWork


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "BATCH", 3)


def states(app: Dashboard) -> Counter[str]:
    with app.app_context(), system_scope("test") as session:
        return Counter(session.scalars(sa.select(Run.state)))


def audited(app: Dashboard) -> list[tuple[str, dict[str, Any]]]:
    with app.app_context(), system_scope("test") as session:
        query = sa.select(AuditEntry).where(AuditEntry.subject_kind == "bulk_action").order_by(AuditEntry.id)
        return [(entry.action, entry.details) for entry in session.scalars(query)]


def only_bulk(app: Dashboard) -> BulkAction:
    with app.app_context(), system_scope("test") as session:
        return session.scalars(sa.select(BulkAction)).one()


def work(app: Dashboard) -> int:
    """Do all that beat would; return how many batches it took."""
    batches, step = 0, BulkWork().step
    with app.app_context():
        while step() == 0.0:
            batches += 1
    return batches


def failures(app: Dashboard, tenant: Tenant, count: int, **values: Any) -> list[UUID]:
    return [make_run(app, tenant, "failed", error_message="Mailbox full", **values).id for _ in range(count)]


def test_it_says_how_many_there_are_before_it_does_anything(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    failures(app, acme, 3)
    make_run(app, acme, "dead", name="Out of tries")
    make_run(app, acme, "succeeded")
    page = operator.get("/runs/bulk-retries/new").text
    assert "Run 4 runs again?" in page
    assert "Out of tries" in page
    assert states(app) == {"failed": 3, "dead": 1, "succeeded": 1}


def test_all_that_failed_run_again(app: Dashboard, operator: Browser, acme: Tenant, globex: Tenant) -> None:
    failed, foreign = failures(app, acme, 3), failures(app, globex, 1)
    make_run(app, acme, "succeeded")
    page = operator.post("/runs/bulk-retries", follow_redirects=True).text
    assert "3 runs will run again as workers get free." in page
    assert [run_of(app, each).state for each in failed] == ["ready"] * 3
    assert run_of(app, failed[0]).error_message == ""
    assert run_of(app, foreign[0]).state == "failed"
    assert load_of(app, acme).ready == 3
    assert audited(app) == [("run.retry_all", {"states": ["dead", "failed", "interrupted", "timed_out"], "done": 3})]


def test_the_timeline_says_who_did_it(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    (run_id,) = failures(app, acme, 1)
    operator.post("/runs/bulk-retries")
    with app.app_context(), system_scope("test") as session:
        event = session.scalars(
            sa.select(RunEvent).where(RunEvent.run_id == run_id, RunEvent.state == "ready").order_by(RunEvent.id)
        ).all()
    assert (event[-1].actor_kind, event[-1].note) == ("user", "Run again, with others.")


def test_only_what_matches_runs_again(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    invoices, export = failures(app, acme, 2, name="Invoices"), failures(app, acme, 1, name="Export")
    assert "Run 2 runs again?" in operator.get("/runs/bulk-retries/new?q=invoices").text
    operator.post("/runs/bulk-retries", data={"q": "invoices"})
    assert {run_of(app, each).state for each in invoices} == {"ready"}
    assert run_of(app, export[0]).state == "failed"


def test_all_failures_that_are_alike_run_again(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    alike, other = failures(app, acme, 2, fingerprint="a" * 16), failures(app, acme, 1, fingerprint="b" * 16)
    operator.post("/runs/bulk-retries", data={"fingerprint": "a" * 16})
    assert {run_of(app, each).state for each in alike} == {"ready"}
    assert run_of(app, other[0]).state == "failed"


def test_the_ticked_ones_alone_run_again(app: Dashboard, operator: Browser, acme: Tenant, globex: Tenant) -> None:
    failed, (foreign,) = failures(app, acme, 3), failures(app, globex, 1)
    ticked = {"id": [str(failed[0]), str(failed[2]), str(foreign), "nonsense"]}
    page = operator.get("/runs/bulk-retries/new", query_string={**ticked, "ticked": "1"})
    assert "Run 2 runs again?" in page.text
    operator.post("/runs/bulk-retries", data=ticked)
    assert [run_of(app, each).state for each in failed] == ["ready", "failed", "ready"]
    assert run_of(app, foreign).state == "failed"


def test_ticking_nothing_is_no_way_to_mean_everything(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    failures(app, acme, 1)
    answer = operator.get("/runs/bulk-retries/new?ticked=1", follow_redirects=True)
    assert "Tick the runs first." in answer.text


def test_where_nothing_matches_it_says_so_and_has_no_button(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    make_run(app, acme, "succeeded")
    page = operator.get("/runs/bulk-retries/new")
    assert "there is nothing to run again" in page.text
    assert "/runs/bulk-retries" not in [form.get("action") for form in read_page(page).forms]
    answer = operator.post("/runs/bulk-retries", follow_redirects=True)
    assert "there is nothing to run again" in answer.text
    assert audited(app) == []


def test_what_waits_is_cancelled_and_what_runs_is_asked_to_stop(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    waiting = enqueue_runs(app, acme, 2)
    running, done = make_run(app, acme, "running"), make_run(app, acme, "succeeded")
    assert "Cancel 3 runs?" in operator.get("/runs/bulk-cancellations/new").text
    answer = operator.post("/runs/bulk-cancellations", follow_redirects=True)
    assert "Cancelled 3 runs." in answer.text
    assert {run_of(app, each).state for each in waiting} == {"cancelled"}
    assert run_of(app, running.id).cancel_requested_at is not None
    assert timeline_of(app, running.id)[-1] == "running"
    assert run_of(app, done.id).state == "succeeded"
    assert (load_of(app, acme).ready, load_of(app, acme).running) == (0, 1)


@pytest.mark.usefixtures("small_batches")
def test_what_is_more_than_a_batch_goes_on_in_beat(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    failures(app, acme, 8)
    answer = operator.post("/runs/bulk-retries", follow_redirects=True)
    assert "3 of about 8" in answer.text
    assert states(app) == {"ready": 3, "failed": 5}
    assert "3 of about 8" in operator.get("/runs").text
    assert work(app) == 2
    assert states(app) == {"ready": 8}
    begun, ended = audited(app)
    assert (begun[0], begun[1]["estimate"]) == ("run.retry_all_begun", 8)
    assert (ended[0], ended[1]["done"]) == ("run.retry_all", 8)
    assert only_bulk(app).finished_at is not None
    assert load_of(app, acme).ready == 8


@pytest.mark.usefixtures("small_batches")
def test_what_fails_again_meanwhile_is_not_run_again_and_again(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    failures(app, acme, 5)
    operator.post("/runs/bulk-retries")
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text("UPDATE run SET state = 'failed', finished_at = now() WHERE state = 'ready'"))
    work(app)
    assert states(app) == {"failed": 3, "ready": 2}
    assert only_bulk(app).done == 5


@pytest.mark.usefixtures("small_batches")
def test_it_can_be_stopped(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    failures(app, acme, 8)
    operator.post("/runs/bulk-retries")
    answer = operator.post(f"/runs/bulk/{only_bulk(app).id}/stops", follow_redirects=True)
    assert "Stopped after 3 runs." in answer.text
    assert work(app) == 0
    assert states(app) == {"ready": 3, "failed": 5}
    again = operator.post(f"/runs/bulk/{only_bulk(app).id}/stops", follow_redirects=True)
    assert "This has ended already." in again.text


@pytest.mark.usefixtures("small_batches")
def test_a_run_that_somebody_holds_for_a_moment_is_not_forgotten(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    failures(app, acme, 4)
    operator.post("/runs/bulk-retries")
    beat = Thread(target=work, args=(app,))
    with app.app_context(), system_scope("test") as holder:
        (held,) = holder.scalars(sa.select(Run).where(Run.state == "failed").with_for_update()).all()
        beat.start()
        wait_until(lambda: somebody_waits(app))
    beat.join()
    assert run_of(app, held.id).state == "ready"
    assert only_bulk(app).done == 4


def somebody_waits(app: Dashboard) -> bool:
    with app.app_context(), system_scope("test") as session:
        return bool(session.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")))


def test_its_page_asks_no_more_when_it_has_ended(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    failures(app, acme, 1)
    operator.post("/runs/bulk-retries")
    page = operator.get(f"/runs/bulk/{only_bulk(app).id}").text
    assert "Done: 1 run" in page
    assert "hx-trigger" not in page


def test_the_audit_trail_leads_to_it(app: Dashboard, acme: Tenant, people: People) -> None:
    failures(app, acme, 1)
    sign_in(app, acme, "olivia@acme.test").post("/runs/bulk-retries")
    page = sign_in(app, acme, "alice@acme.test").get("/audit").text
    assert "<code>run.retry_all</code>" in page
    assert f"/runs/bulk/{only_bulk(app).id}" in page
    assert "Olivia" in page


def test_a_viewer_has_no_button_and_may_not(app: Dashboard, acme: Tenant, people: People) -> None:
    failures(app, acme, 1)
    viewer = sign_in(app, acme, "victor@acme.test")
    assert "bulk-retries" not in viewer.get("/runs").text
    for path in ("/runs/bulk-retries", "/runs/bulk-cancellations"):
        assert viewer.get(f"{path}/new").status_code == 403
        assert viewer.post(path).status_code == 403
    assert states(app) == {"failed": 1}


def test_another_tenants_bulk_action_is_not_there(app: Dashboard, acme: Tenant, people: People) -> None:
    failures(app, acme, 1)
    sign_in(app, acme, "olivia@acme.test").post("/runs/bulk-retries")
    bulk_id = only_bulk(app).id
    globex = app.extensions["tenants"].by_slug("globex")
    mallory = sign_in(app, globex, "mallory@globex.test")
    assert mallory.get(f"/runs/bulk/{bulk_id}").status_code == 404
    assert mallory.post(f"/runs/bulk/{bulk_id}/stops").status_code == 404


def flask(app: Dashboard, *words: str) -> Result:
    return app.test_cli_runner().invoke(args=["runs", *words, "--tenant", "acme"])


def test_the_command_line_counts_first_if_it_is_asked_to(app: Dashboard, acme: Tenant) -> None:
    alike = failures(app, acme, 2, fingerprint="a" * 16)
    failures(app, acme, 1)
    shown = flask(app, "show", str(alike[0]), "--json")
    assert json.loads(shown.stdout)["fingerprint"] == "a" * 16
    result = flask(app, "retry", "--fingerprint", "a" * 16, "--dry-run", "--json")
    assert json.loads(result.stdout) == {"would": "retry", "runs": 2, "failed": 2}
    assert flask(app, "retry", "--state", "failed", "--dry-run").stdout == "3 runs would run again.\n"
    assert states(app) == {"failed": 3}


@pytest.mark.usefixtures("small_batches")
def test_the_command_line_does_it_to_the_end(app: Dashboard, acme: Tenant) -> None:
    failures(app, acme, 8)
    assert flask(app, "retry", "--state", "failed").stdout == "8 runs will run again.\n"
    assert states(app) == {"ready": 8}
    assert flask(app, "cancel", "--state", "ready").stdout == "8 runs cancelled.\n"
    assert states(app) == {"cancelled": 8}
    assert [action for action, _ in audited(app)][-1] == "run.cancel_all"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["retry"], 2, "Name a run, or choose many"),
        (["cancel"], 2, "Name a run, or choose many"),
        (["cancel", "--dry-run"], 2, "Name a run, or choose many"),
        (["retry", str(uuid4()), "--state", "failed"], 2, "not both"),
        (["cancel", str(uuid4()), "--dry-run"], 2, "not both"),
        (["retry", "--state", "failed"], 1, "there is nothing to run again"),
    ],
)
def test_the_command_line_does_nothing_that_was_not_asked_for(
    app: Dashboard, acme: Tenant, words: list[str], code: int, said: str
) -> None:
    enqueue_runs(app, acme)
    result = flask(app, *words)
    assert (result.exit_code, said in result.stderr) == (code, True)
    assert states(app) == {"ready": 1}


@pytest.mark.parametrize("field", ["id", "schedule", "state"])
@pytest.mark.parametrize("act", ["bulk-cancellations", "bulk-retries"])
def test_a_choice_that_names_nothing_never_means_everything(
    app: Dashboard, acme: Tenant, operator: Browser, act: str, field: str
) -> None:
    for state in ("ready", "failed"):
        make_run(app, acme, state=state)
    before = states(app)
    assert operator.get(f"/runs/{act}/new", query_string={field: "cut-off"}).status_code == 422
    assert operator.post(f"/runs/{act}", data={field: "cut-off"}).status_code == 422
    assert states(app) == before
