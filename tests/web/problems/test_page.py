"""The problems page gathers what needs a person, says what it means and what to do, and lets operators act on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.clock import database_now
from dashboard.core.ids import new_id
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.emails.models import Delivery
from dashboard.problems.board import KINDS
from dashboard.runs.load import reconcile
from dashboard.runs.models import Run
from dashboard.schedules.models import Occurrence, Schedule
from tests.factories import make_user
from tests.factories.ledger import run_of, set_load
from tests.factories.people import People
from tests.factories.processes import make_process
from tests.factories.runs import make_run
from tests.factories.schedules import make_schedule, planned, stored
from tests.signing_in import Browser, sign_in

pytestmark = pytest.mark.usefixtures("slow_leases")

POLL = {"HX-Request": "true"}
FULL, GONE = "f" * 16, "a" * 16


@pytest.fixture
def operator(app: Dashboard, acme: Tenant, people: People) -> Browser:
    return sign_in(app, acme, "olivia@acme.test")


@pytest.fixture
def viewer(app: Dashboard, acme: Tenant, people: People) -> Browser:
    return sign_in(app, acme, "victor@acme.test")


@pytest.fixture
def station(app: Dashboard) -> None:
    """A beat and a worker that live."""
    make_process(app, "beat")
    make_process(app, "worker")


def fail(app: Dashboard, tenant: Tenant, fingerprint: str = FULL, state: str = "failed", **values: Any) -> Run:
    error = {"error_type": "MailboxFull", "error_message": f"Mailbox {fingerprint[:1]} is full"}
    return make_run(app, tenant, state, fingerprint=fingerprint, **{**error, **values})


def audited(app: Dashboard) -> list[str]:
    with app.app_context(), system_scope("test") as session:
        query = sa.select(AuditEntry.action).where(AuditEntry.actor_kind == "user")
        return list(session.scalars(query.order_by(AuditEntry.id)))


def add(app: Dashboard, row: object) -> None:
    with app.app_context(), system_scope("test") as session:
        session.add(row)


def make_uncertain(app: Dashboard, tenant: Tenant, address: str = "peter@acme.example") -> Delivery:
    run = make_run(app, tenant, "succeeded", name="Weekly letter", job_type="email.message")
    mail = Delivery(id=new_id(), tenant_id=tenant.id, run_id=run.id, address=address, state="uncertain")
    add(app, mail)
    return mail


def make_occurrence(app: Dashboard, schedule: Schedule, **values: Any) -> None:
    with app.app_context(), system_scope("test") as session:
        now = database_now(session)
        fields = {"occurrence": now.isoformat(), "nominal": now, "decision": "skip", "rev": 1}
        session.add(Occurrence(tenant_id=schedule.tenant_id, schedule_id=schedule.id, **{**fields, **values}))


def tab_count(page: str, key: str) -> str:
    """Return the count beside a tab."""
    tabs = page[page.index('<nav class="tabs"') :]
    return tabs.split(f'?view={key}"')[1].split('<span class="count')[1].split(">")[1].split("<")[0]


@pytest.mark.usefixtures("station")
def test_where_there_is_no_problem_it_says_what_would_be_here(operator: Browser) -> None:
    assert "No problems" in operator.get("/problems").text


@pytest.mark.usefixtures("station")
@pytest.mark.parametrize("key", list(KINDS))
def test_each_kind_says_what_it_means_what_to_do_and_that_there_is_none(operator: Browser, key: str) -> None:
    page = operator.get(f"/problems?view={key}").text.replace("&#39;", "'")
    for sentence in (KINDS[key].meaning, KINDS[key].advice, KINDS[key].nothing):
        assert sentence in page


def test_failures_of_one_kind_are_one_row(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, name="Nightly letter")
    fail(app, acme, error_message="Mailbox 1 is full", schedule_id=schedule.id)
    newest = fail(app, acme, error_message="Mailbox 2 is full")
    fail(app, acme, GONE, "dead", error_message="Server gone")
    page = operator.get("/problems?view=failures").text
    assert page.count('id="group-') == 2
    assert tab_count(page, "failures") == "2"
    assert "Mailbox 2 is full" in page
    assert "Mailbox 1 is full" not in page
    assert f"/runs/{newest.id}" in page
    assert f'/runs?state=failed&amp;fingerprint={FULL}">2</a>' in page
    assert "Nightly letter" in page
    assert page.index("Server gone") < page.index("Mailbox 2 is full")


def test_the_link_of_a_kind_lists_its_runs(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    fail(app, acme, name="Full one")
    fail(app, acme, GONE, name="Gone one")
    page = operator.get(f"/runs?state=failed&fingerprint={FULL}").text
    assert "Full one" in page
    assert "Gone one" not in page


def test_a_count_stops_at_a_thousand(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    run = fail(app, acme)
    columns = "tenant_id, name, job_type, params, state, finished_at, fingerprint"
    copies = sa.text(
        f"INSERT INTO run (id, {columns}) SELECT gen_random_uuid(), {columns} FROM run, generate_series(1, 1200)"
    )
    with app.app_context(), system_scope("test") as session:
        session.execute(copies)
    page = operator.get("/problems?view=failures").text
    assert f'fingerprint={FULL}">1,000+</a>' in page
    assert run_of(app, run.id).state == "failed"


def test_pages_of_kinds_follow_each_other(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    for number in range(53):
        fail(app, acme, f"{number:016}", error_message=f"Error number {number:02}.")
    first = operator.get("/problems?view=failures").text
    older = first.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0].replace("&amp;", "&")
    second = operator.get(older).text
    assert (first.count('id="group-'), second.count('id="group-')) == (50, 3)
    assert "Error number 52." in first
    assert "Error number 02." in second
    assert operator.get("/problems").text.count('id="group-') == 5


def test_a_kind_that_is_dismissed_is_back_when_it_happens_again(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    fail(app, acme)
    answer = operator.post("/problems/dismissals", data={"fingerprint": FULL}, follow_redirects=True)
    assert "Dismissed, until it happens again." in answer.text
    assert 'id="group-' not in answer.text
    assert 'id="group-' in operator.get("/problems?view=failures&dismissed=1").text
    fail(app, acme)
    assert 'id="group-' in operator.get("/problems?view=failures").text
    operator.post("/problems/dismissals", data={"fingerprint": FULL})
    assert 'id="group-' not in operator.get("/problems?view=failures").text
    operator.post("/problems/restorations", data={"fingerprint": FULL})
    assert 'id="group-' in operator.get("/problems?view=failures").text
    assert audited(app) == ["problem.dismiss", "problem.dismiss", "problem.restore"]


def test_a_kind_that_is_nobodys_cannot_be_dismissed(
    app: Dashboard, operator: Browser, acme: Tenant, globex: Tenant
) -> None:
    fail(app, globex)
    for path in ("/problems/dismissals", "/problems/restorations"):
        assert operator.post(path, data={"fingerprint": FULL}).status_code == 404
    assert 'id="group-' not in operator.get("/problems").text
    assert 'id="group-' in sign_in(app, globex, "mallory@globex.test").get("/problems").text


def test_an_interrupted_run_waits_for_a_person(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    run = make_run(app, acme, "interrupted", name="Bank file", reason="worker_died")
    page = operator.get("/problems?view=interrupted").text
    assert "Bank file" in page
    assert f"/runs/{run.id}/retries" in page
    assert f"/runs/{run.id}#mark-done" in page


def test_dead_letters_are_run_again_one_or_all(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    dead = [fail(app, acme, state="dead", name=f"Letter {number}") for number in range(2)]
    failed = fail(app, acme, GONE)
    page = operator.get("/problems?view=dead").text
    assert f"/runs/{dead[0].id}/retries" in page
    assert "/runs/bulk-retries/new?state=dead" in page
    assert "Run 2 runs again?" in operator.get("/runs/bulk-retries/new?state=dead").text
    operator.post("/runs/bulk-retries", data={"state": "dead"})
    assert [run_of(app, run.id).state for run in (*dead, failed)] == ["ready", "ready", "failed"]


def test_an_uncertain_mail_is_settled_here(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    mail = make_uncertain(app, acme)
    page = operator.get("/problems?view=mails").text
    assert "peter@acme.example" in page
    assert "Weekly letter" in page
    back = operator.post(f"/deliveries/{mail.id}/confirmations", data={"back": "problems"})
    assert back.headers["Location"].endswith("/problems?view=mails")
    assert "peter@acme.example" not in operator.get("/problems?view=mails").text


def test_a_schedule_that_stopped_says_why(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, name="Broken one", problem="There is no job type 'gone'.")
    page = operator.get("/problems?view=schedules").text
    assert "There is no job type &#39;gone&#39;." in page
    assert f"/schedules/{schedule.id}/edit" in page


def test_a_schedule_whose_owner_left_is_taken_over(
    app: Dashboard, operator: Browser, acme: Tenant, people: People
) -> None:
    gone = make_user(app, "gone@acme.test")
    schedule = make_schedule(app, acme, name="Orphan", owner_id=gone)
    make_schedule(app, acme, name="Cared for", owner_id=people.victor)
    page = operator.get("/problems?view=schedules").text
    assert "Orphan" in page
    assert "Cared for" not in page
    operator.post(f"/problems/schedules/{schedule.id}/owners")
    assert stored(app, schedule).owner_id == people.olivia
    assert 'id="ownerless-' not in operator.get("/problems?view=schedules").text
    assert audited(app) == ["schedule.take_over"]


def test_a_fire_that_was_missed_or_late_is_listed_and_one_in_time_is_not(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    fires: dict[str, dict[str, Any]] = {
        "Too late": {"reason": "missed_window", "count": 3},
        "Slow": {"decision": "run", "lateness_ms": 125_000},
        "In time": {"decision": "run", "lateness_ms": 900},
        "Paused": {"reason": "paused"},
    }
    for name, values in fires.items():
        make_occurrence(app, make_schedule(app, acme, name=name), **values)
    page = operator.get("/problems?view=fires").text
    assert "Too late" in page
    assert "3 times." in page
    assert "Planned 2 min 5 s after its time." in page
    assert "In time" not in page
    assert ">Paused<" not in page
    assert tab_count(page, "fires") == "2"


def test_a_fire_missed_a_week_ago_is_not_listed_any_more(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    make_occurrence(app, make_schedule(app, acme, name="Long ago"), reason="missed_window")
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text("UPDATE occurrence SET id = '00000000-0000-7000-8000-000000000001'"))
    assert "Long ago" not in operator.get("/problems?view=fires").text


@pytest.mark.usefixtures("station")
def test_a_scheduler_that_does_not_look_is_told_above_every_page(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    make_schedule(app, acme, name="Waiting", due_for=timedelta(minutes=5))
    for path in ("/", "/runs", "/problems"):
        assert "The scheduler is late: a schedule should have fired 5 min" in operator.get(path).text
    assert "Waiting" in operator.get("/problems?view=fires").text
    planned(app)
    assert "The scheduler is late" not in operator.get("/runs").text


def test_a_station_without_beat_or_worker_is_told_above_every_page(app: Dashboard, operator: Browser) -> None:
    page = operator.get("/runs").text
    assert "The scheduler is not running" in page
    assert "No worker is running" in page
    make_process(app, "beat")
    page = operator.get("/runs").text
    assert "The scheduler is not running" not in page
    assert "No worker is running" in page
    make_process(app, "worker")
    assert 'aria-label="Alerts"' not in operator.get("/runs").text


@pytest.mark.parametrize("gone", [{"silent_for": timedelta(minutes=5)}, {"stopped_at": sa.func.now()}])
def test_a_worker_that_is_silent_or_stopped_does_not_count(
    app: Dashboard, operator: Browser, gone: dict[str, Any]
) -> None:
    make_process(app, "beat")
    make_process(app, "worker", **gone)
    assert "No worker is running" in operator.get("/").text


@pytest.mark.usefixtures("station")
def test_another_tenants_late_schedule_alarms_nobody_here(app: Dashboard, operator: Browser, globex: Tenant) -> None:
    make_schedule(app, globex, due_for=timedelta(minutes=5))
    assert "The scheduler is late" not in operator.get("/").text


@pytest.mark.usefixtures("station")
def test_counters_that_drifted_are_told_here_for_a_day(
    app: Dashboard, operator: Browser, acme: Tenant, globex: Tenant
) -> None:
    set_load(app, acme, ready=7)
    with app.app_context(), system_scope("test") as session:
        assert [drift.tenant_id for drift in reconcile(session)] == [acme.id]
    assert "have been set right" in operator.get("/problems").text
    assert "have been set right" not in operator.get("/runs").text
    assert "have been set right" not in sign_in(app, globex, "mallory@globex.test").get("/problems").text
    set_load(app, acme, drifted_at=sa.text("now() - interval '25 hours'"))
    assert "have been set right" not in operator.get("/problems").text


@pytest.mark.usefixtures("station")
def test_the_navigation_counts_what_needs_somebody(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    link = '<span>Problems</span><span class="count tone-bad">{}</span>'
    assert "<span>Problems</span></a>" in operator.get("/runs").text
    fail(app, acme)
    fail(app, acme)
    make_uncertain(app, acme)
    assert link.format(2) in operator.get("/runs").text


@pytest.mark.usefixtures("station")
def test_the_poll_gets_the_panel_alone_and_304_while_nothing_changed(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    panel = operator.get("/problems", headers=POLL)
    assert panel.text.lstrip().startswith('<section id="problems-panel"')
    tag = {**POLL, "HX-PTag": panel.headers["HX-PTag"]}
    assert operator.get("/problems", headers=tag).status_code == 304
    make_schedule(app, acme, problem="It is broken.")
    assert operator.get("/problems", headers=tag).status_code == 200


def test_the_overview_names_what_needs_somebody(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    fail(app, acme, name="Letters")
    fail(app, acme, name="Letters")
    page = operator.get("/").text
    needs = page[page.index("Needs you") :]
    assert "Letters" in needs
    assert "2 alike" in needs
    assert "No worker is running" in needs


def test_a_viewer_sees_everything_and_has_no_buttons(app: Dashboard, viewer: Browser, acme: Tenant) -> None:
    fail(app, acme, state="dead")
    fail(app, acme, GONE, "interrupted")
    make_uncertain(app, acme)
    make_schedule(app, acme, problem="It is broken.")
    page = viewer.get("/problems").text
    for words in ("MailboxFull", "peter@acme.example", "It is broken."):
        assert words in page
    panel = page[page.index('id="problems-panel"') : page.index("</main>")]
    assert "<form" not in panel
    assert viewer.post("/problems/dismissals", data={"fingerprint": FULL}).status_code == 403


def test_an_address_with_nonsense_opens_the_page(operator: Browser) -> None:
    assert operator.get("/problems?view=nonsense&before=1&dismissed=x").status_code == 200


# Two thousand rows of each table, of which two are a problem: then no other index is as good. Of the runs a fourth
# failed, for the index of states finds a few as well.
HISTORY = (
    """
INSERT INTO run (id, tenant_id, name, job_type, state, fingerprint, finished_at)
SELECT gen_random_uuid(), :tenant, 'R', 'test.echo', CASE WHEN n < 500 THEN 'failed' ELSE 'succeeded' END, 'y' || n,
    now()
FROM generate_series(1, 2000) AS n
""",
    """
INSERT INTO delivery (id, tenant_id, run_id, address, state)
SELECT gen_random_uuid(), :tenant, id, 'a@b.test',
    CASE WHEN fingerprint IN ('y1', 'y2') THEN 'uncertain' ELSE 'sent' END
FROM run
""",
    """
INSERT INTO schedule (id, tenant_id, name, kind, job_type, next_at, problem)
SELECT gen_random_uuid(), :tenant, 'S', 'interval', 'test.echo', now(), CASE WHEN n < 3 THEN 'It broke.' ELSE '' END
FROM generate_series(1, 2000) AS n
""",
    """
INSERT INTO occurrence (id, tenant_id, schedule_id, occurrence, nominal, decision, reason, rev)
SELECT gen_random_uuid(), :tenant, id, 'now', now(), 'skip', CASE problem WHEN '' THEN 'paused' ELSE 'invalid' END, 1
FROM schedule
""",
)


def test_every_kind_is_found_by_an_index(app: Dashboard, acme: Tenant, analyze: Callable[[], None]) -> None:
    """However long the history is: no kind is found by reading a whole table."""
    queries = {
        "ix_run_fingerprint": "SELECT 1 FROM run WHERE tenant_id = '{0}' AND fingerprint > 'x'"
        " AND state IN ('dead', 'failed', 'interrupted', 'timed_out') ORDER BY fingerprint, finished_at DESC LIMIT 1",
        "ix_delivery_uncertain": "SELECT 1 FROM delivery WHERE tenant_id = '{0}' AND state = 'uncertain' LIMIT 1",
        "ix_schedule_attention": "SELECT 1 FROM schedule WHERE tenant_id = '{0}'"
        " AND (problem <> '' OR is_failing) AND archived_at IS NULL LIMIT 1",
        "ix_occurrence_missed": "SELECT 1 FROM occurrence WHERE tenant_id = '{0}' AND"
        " (reason IN ('missed_window', 'coalesced', 'invalid') OR lateness_ms >= 60000) ORDER BY id DESC LIMIT 1",
    }
    with app.app_context(), system_scope("test") as session:
        for statement in HISTORY:
            session.execute(sa.text(statement), {"tenant": acme.id} if ":tenant" in statement else {})
    analyze()
    with app.app_context(), system_scope("test") as session:
        for index, query in queries.items():
            plan = "\n".join(session.scalars(sa.text(f"EXPLAIN {query.format(acme.id)}")))
            assert index in plan, plan
