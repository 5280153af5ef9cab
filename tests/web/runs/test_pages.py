"""The pages of runs, as operators use them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.models import Run
from dashboard.runs.states import ACTIVE_STATES, PROBLEM_STATES, RUN_STATES
from tests.factories import make_user
from tests.factories.runs import make_run
from tests.signing_in import Browser, sign_in

POLL = {"HX-Request": "true"}


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


@pytest.fixture
def viewer(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "victor@acme.test", roles={acme.id: "viewer"})
    return sign_in(app, acme, "victor@acme.test")


def stored(app: Dashboard, run_id: UUID) -> Run:
    with app.app_context(), system_scope("test") as session:
        return session.get_one(Run, run_id)


def soon(**later: Any) -> datetime:
    return datetime.now(UTC) + timedelta(**later)


def test_an_empty_list_explains_itself(operator: Browser) -> None:
    assert "No runs yet" in operator.get("/runs").text


@pytest.mark.parametrize("state", RUN_STATES)
def test_a_run_in_every_state_can_be_listed_and_opened(
    app: Dashboard, operator: Browser, acme: Tenant, state: str
) -> None:
    not_before = soon(hours=1) if state in {"scheduled", "retrying"} else None
    run = make_run(app, acme, state, name=f"Report {state}", not_before=not_before)
    assert f"Report {state}" in operator.get("/runs").text
    assert str(run.id) in operator.get(f"/runs/{run.id}").text


def test_a_result_is_shown_for_people(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    result = {
        "page": "https://jobs.acme.test/runs",
        "script": "javascript:alert(1)",
        "totals": {"late": [1, None]},
        "<b>": '<i>"',
        "complete": True,
        "missing": None,
        "sent": 0,
    }
    run = make_run(app, acme, "succeeded", result=result)
    page = operator.get(f"/runs/{run.id}").text
    assert '<a href="https://jobs.acme.test/runs" rel="noopener noreferrer">https://jobs.acme.test/runs</a>' in page
    assert "<dd>javascript:alert(1)</dd>" in page
    assert "<dd><code>{&#34;late&#34;: [1, null]}</code></dd>" in page
    assert "<dt>&lt;b&gt;</dt><dd>&lt;i&gt;&#34;</dd>" in page
    assert "<dt>complete</dt><dd>Yes</dd>" in page
    assert '<dt>missing</dt><dd><span class="none">–</span></dd>' in page
    assert "<dt>sent</dt><dd>0</dd>" in page


def test_a_run_that_waits_for_another_attempt_does_not_go_on_counting_its_time(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    run = make_run(app, acme, "retrying", not_before=soon(hours=1), lasted=7200)
    assert "<dt>Duration</dt><dd>–</dd>" in operator.get(f"/runs/{run.id}").text


def test_what_a_run_waited_for_another_attempt_when_it_was_cancelled_is_no_duration(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    run = make_run(app, acme, "retrying", not_before=soon(hours=1), lasted=7200)
    operator.post(f"/runs/{run.id}/cancellations")
    assert "<dt>Duration</dt><dd>–</dd>" in operator.get(f"/runs/{run.id}").text


def test_a_run_that_runs_again_shows_no_times_of_before(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    run = make_run(app, acme, "failed", started_at=soon(days=-1), finished_at=soon(days=-1, seconds=2))
    operator.post(f"/runs/{run.id}/retries")
    operator.post(f"/runs/{run.id}/cancellations")
    page = operator.get(f"/runs/{run.id}").text
    for name in ("Started", "Waited"):
        assert f'<dt>{name}</dt><dd><span class="none">–</span></dd>' in page
    assert "<dt>Duration</dt><dd>–</dd>" in page


def test_a_run_that_waits_for_a_worker_again_has_not_waited_no_time(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    run = make_run(app, acme, "admitted", attempt=1, ready_at=soon(seconds=-1), lasted=60)
    assert '<dt>Waited</dt><dd><span class="none">–</span></dd>' in operator.get(f"/runs/{run.id}").text


def test_the_tabs_count_and_filter(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    make_run(app, acme, "succeeded", name="Went well")
    make_run(app, acme, "failed", name="Went wrong")
    page = operator.get("/runs?state=failed").text
    assert "Went wrong" in page
    assert "Went well" not in page


def test_a_search_finds_by_name_and_by_error_and_takes_no_wildcards(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    make_run(app, acme, "failed", name="Invoices", error_message="Mailbox full")
    make_run(app, acme, "succeeded", name="Export")
    assert "Invoices" in operator.get("/runs?q=mailbox").text
    assert "No run matches" in operator.get("/runs?q=%25").text


def test_an_address_with_nonsense_opens_the_list(operator: Browser) -> None:
    assert operator.get("/runs?state=nonsense&before=1&schedule=x&live=fast").status_code == 200


def test_pages_follow_each_other_without_gap_or_repeat(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    made = [make_run(app, acme, "succeeded", name=f"Number {number:03}") for number in range(60)]
    first = operator.get("/runs").text
    second = operator.get(f"/runs?before={made[10].id}").text
    shown = (
        [run for run in made if f'id="run-{run.id}"' in first],
        [run for run in made if f'id="run-{run.id}"' in second],
    )
    assert [len(each) for each in shown] == [50, 10]


def test_the_poll_gets_the_panel_alone_and_304_while_nothing_changed(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    run = make_run(app, acme, "ready")
    panel = operator.get("/runs", headers=POLL)
    assert panel.text.lstrip().startswith('<section id="runs-panel"')
    tag = {**POLL, "HX-PTag": panel.headers["HX-PTag"]}
    assert operator.get("/runs", headers=tag).status_code == 304
    operator.post(f"/runs/{run.id}/cancellations")
    assert operator.get("/runs", headers=tag).status_code == 200


def test_a_finished_run_asks_no_more(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    done, busy = make_run(app, acme, "succeeded"), make_run(app, acme, "running")
    assert "hx-trigger" not in operator.get(f"/runs/{done.id}", headers=POLL).text
    assert 'hx-trigger="every 2s"' in operator.get(f"/runs/{busy.id}", headers=POLL).text


def test_a_run_that_starts_within_the_minute_is_watched_closely(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    make_run(app, acme, "scheduled", not_before=soon(seconds=55))
    assert 'hx-trigger="every 2s"' in operator.get("/runs", headers=POLL).text


@pytest.mark.parametrize("state", sorted(ACTIVE_STATES - {"running"}))
def test_a_waiting_run_is_cancelled_at_once(app: Dashboard, operator: Browser, acme: Tenant, state: str) -> None:
    run = make_run(app, acme, state, not_before=soon(hours=1))
    operator.post(f"/runs/{run.id}/cancellations")
    assert stored(app, run.id).state == "cancelled"


def test_a_running_run_is_asked_to_stop(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    run = make_run(app, acme, "running")
    page = operator.post(f"/runs/{run.id}/cancellations", follow_redirects=True).text
    assert "Asked to stop" in page
    assert stored(app, run.id).cancel_requested_at is not None


def test_cancelling_what_has_ended_is_an_answer_not_a_crash(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    run = make_run(app, acme, "succeeded")
    page = operator.post(f"/runs/{run.id}/cancellations", follow_redirects=True)
    assert page.status_code == 200
    assert stored(app, run.id).state == "succeeded"


@pytest.mark.parametrize("state", sorted(PROBLEM_STATES))
def test_a_failed_run_is_run_again_by_one_click(app: Dashboard, operator: Browser, acme: Tenant, state: str) -> None:
    run = make_run(app, acme, state, error_message="Mailbox full")
    operator.post(f"/runs/{run.id}/retries")
    assert stored(app, run.id).state == "ready"


def test_what_an_operator_does_is_in_the_audit_trail(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    run = make_run(app, acme, "ready")
    operator.post(f"/runs/{run.id}/cancellations")
    with app.app_context(), system_scope("test") as session:
        entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.subject_id == run.id)).one()
    assert (entry.action, entry.actor_kind, entry.tenant_id) == ("run.cancel", "user", acme.id)


def test_a_viewer_sees_no_buttons_and_is_refused(app: Dashboard, viewer: Browser, acme: Tenant) -> None:
    run = make_run(app, acme, "ready")
    page = viewer.get(f"/runs/{run.id}").text
    assert "cancellations" not in page
    assert viewer.post(f"/runs/{run.id}/cancellations").status_code == 403
    assert viewer.post(f"/runs/{run.id}/retries").status_code == 403


def test_another_tenants_run_is_not_there(app: Dashboard, operator: Browser, globex: Tenant) -> None:
    run = make_run(app, globex, "failed", name="Globex secret")
    assert operator.get(f"/runs/{run.id}").status_code == 404
    assert operator.post(f"/runs/{run.id}/retries").status_code == 404
    assert "Globex secret" not in operator.get("/runs?q=secret").text


def test_what_a_job_wrote_is_shown_and_not_run(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    evil = "<script>alert(1)</script>"
    run = make_run(app, acme, "failed", name=evil, error_message=evil, error_traceback=evil, progress_note=evil)
    for path in ("/", "/runs", f"/runs/{run.id}"):
        assert evil not in operator.get(path).text


def test_the_overview_counts_the_day_and_says_what_needs_a_person(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    for state in ("succeeded", "succeeded", "succeeded", "failed"):
        make_run(app, acme, state, name=f"Day {state}")
    page = operator.get("/").text
    assert "75.0%" in page
    assert "1 failed" in page
    assert page.count("Day failed") >= 2


def test_a_new_tenants_overview_offers_the_first_step(operator: Browser) -> None:
    page = operator.get("/").text
    assert "Nothing has run yet" in page
    assert "Nothing is due" in page


def test_why_runs_wait_is_said_once_above_them_and_in_full(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    for _ in range(3):
        make_run(app, acme)
    for page in ("/", "/runs", "/monitor"):
        assert operator.get(page).text.count("waits: no worker is running.") == 1


@pytest.mark.parametrize(
    ("error_type", "message", "shown"),
    [
        ("KeyError", "'customer'", "KeyError: &#39;customer&#39;"),
        ("SystemExit", "3", "SystemExit: 3"),
        ("ValueError", "ValueError", ">ValueError<"),
        ("SupplierAway", "The supplier does not answer.", ">The supplier does not answer.<"),
    ],
)
def test_an_error_of_one_word_is_shown_with_its_type(
    app: Dashboard, operator: Browser, acme: Tenant, error_type: str, message: str, shown: str
) -> None:
    run = make_run(app, acme, "dead", error_type=error_type, error_message=message)
    for page in ("/", "/runs", f"/runs/{run.id}", "/problems?view=dead"):
        assert shown in operator.get(page).text


def test_no_bar_is_full_before_the_work_is_done(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    make_run(app, acme, "running", progress_done=5, progress_total=0)
    assert "<progress aria-label" in operator.get("/runs").text
    failed = make_run(app, acme, "failed", progress_done=5, progress_total=0, progress_note="rows")
    page = operator.get(f"/runs/{failed.id}").text
    assert "Came to 5: rows" in page
    assert "<progress" not in page


@pytest.mark.parametrize(("state", "warns"), [("interrupted", True), ("failed", False)])
def test_who_runs_an_interrupted_run_again_is_warned_wherever_they_do_it(
    app: Dashboard, operator: Browser, acme: Tenant, state: str, *, warns: bool
) -> None:
    run = make_run(app, acme, state)
    for page in ("/", "/runs", f"/runs/{run.id}", "/monitor"):
        assert ("may be done twice" in operator.get(page).text) is warns
