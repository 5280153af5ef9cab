"""A tenant's limits: platform owners set them, its people see them, and what waits says why."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.models import DispatchClock, Process
from tests.factories import make_user
from tests.factories.ledger import enqueue_runs, load_of, set_load
from tests.factories.people import People
from tests.factories.processes import make_process
from tests.signing_in import Browser, sign_in

pytestmark = pytest.mark.usefixtures("slow_leases")

POLL = {"HX-Request": "true"}
LIMITS = {"weight": "2.5", "max_running": "4", "rate_per_minute": "60", "runs_per_day": "1,000"}
NOTHING_LEFT = sa.text("now() + interval '2 minutes'")  # and so for a minute, until the first start comes back
NOTHING_LEFT_TODAY = sa.text("now() + interval '1 day'")


@pytest.fixture
def root(app: Dashboard, people: People) -> Browser:
    return sign_in(app, None, "root@platform.test")


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "oscar@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "oscar@acme.test")


def flask(app: Dashboard, *words: str) -> tuple[int, str]:
    result = app.test_cli_runner().invoke(args=["tenants", "limits", *words])
    return result.exit_code, result.stdout + result.stderr


def audited(app: Dashboard) -> list[AuditEntry]:
    with app.app_context(), system_scope("test") as session:
        return list(session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id)))


def test_an_owner_sets_limits_in_the_back_office(app: Dashboard, root: Browser, acme: Tenant, people: People) -> None:
    answer = root.post("/platform/tenants/limits/", data={"id": str(acme.id), **LIMITS})
    assert answer.status_code == 303
    load = load_of(app, acme)
    assert (load.weight, load.max_running, load.rate_per_minute, load.runs_per_day) == (2.5, 4, 60, 1000)
    (entry,) = audited(app)
    assert (entry.action, entry.actor_id, entry.tenant_id) == ("tenant.limits", people.root, acme.id)
    assert entry.details["runs_per_day"] == {"before": None, "after": 1000}


def test_an_empty_field_takes_a_limit_away(app: Dashboard, root: Browser, acme: Tenant) -> None:
    set_load(app, acme, max_running=3)
    root.post("/platform/tenants/limits/", data={"id": str(acme.id), "weight": "1", "max_running": ""})
    assert load_of(app, acme).max_running is None


def test_what_will_not_do_is_said_beside_its_field_and_kept(app: Dashboard, root: Browser, acme: Tenant) -> None:
    data = {"id": str(acme.id), "weight": "0", "max_running": "many", "rate_per_minute": "60"}
    answer = root.post("/platform/tenants/limits/", data=data)
    assert answer.status_code == 422
    assert 'value="many"' in answer.text
    assert "Give a whole number from 1 to 10,000, or nothing." in answer.text
    assert "1 is the usual share" in answer.text
    assert load_of(app, acme).rate_per_minute is None


def test_nobody_but_an_owner_sets_limits(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    visitor = sign_in(app, None, "oscar@acme.test")
    assert visitor.post("/platform/tenants/limits/", data={"id": str(acme.id), **LIMITS}).status_code == 404
    assert load_of(app, acme).max_running is None


def test_a_pause_is_shown_to_the_tenants_people_on_every_page_and_on_what_waits(
    app: Dashboard, root: Browser, operator: Browser, acme: Tenant
) -> None:
    (run_id,) = enqueue_runs(app, acme)
    data = {"id": str(acme.id), "reason": "The database moves tonight."}
    assert root.post("/platform/tenants/run-pauses/", data=data).status_code == 303
    assert "The database moves tonight." in operator.get("/schedules").text
    words = "waits: this organisation&#39;s runs are paused by the platform: The database moves tonight"
    assert words in operator.get("/runs").text
    assert words in operator.get(f"/runs/{run_id}").text
    assert words in operator.get("/").text
    root.post("/platform/tenants/run-resumptions/", data={"id": str(acme.id)})
    assert "The database moves tonight." not in operator.get("/runs").text
    assert [entry.action for entry in audited(app)] == ["tenant.pause_runs", "tenant.resume_runs"]


def test_a_page_that_is_open_hears_of_a_pause_and_of_its_end_and_the_list_of_tenants_shows_it(
    app: Dashboard, root: Browser, operator: Browser, acme: Tenant
) -> None:
    tag = operator.get("/runs").headers["HX-PTag"]
    times = root.get("/platform/tenants/").text.count("<time")
    root.post("/platform/tenants/run-pauses/", data={"id": str(acme.id), "reason": "The database moves tonight."})
    assert root.get("/platform/tenants/").text.count("<time") == times + 1
    paused = operator.get("/runs", headers={**POLL, "HX-PTag": tag})
    assert "The database moves tonight." in paused.text
    root.post("/platform/tenants/run-resumptions/", data={"id": str(acme.id)})
    going = operator.get("/runs", headers={**POLL, "HX-PTag": paused.headers["HX-PTag"]})
    assert '<div id="alerts" hx-swap-oob="outerMorph">' in going.text
    assert "The database moves tonight." not in going.text
    assert root.get("/platform/tenants/").text.count("<time") == times


def test_a_tenant_that_was_paused_starts_level_with_the_others(app: Dashboard, acme: Tenant) -> None:
    flask(app, "acme", "--pause", "Unpaid.")
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(DispatchClock).values(vtime=5000))
    flask(app, "acme", "--unpause")
    assert load_of(app, acme).vtime == 5000
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(DispatchClock).values(vtime=0))


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201])
def test_a_pause_needs_a_reason(root: Browser, acme: Tenant, reason: str) -> None:
    data = {"id": str(acme.id), "reason": reason}
    answer = root.post("/platform/tenants/run-pauses/", data=data, follow_redirects=True)
    assert "Say why" in answer.text


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"rate_per_minute": 60, "minute_full_at": NOTHING_LEFT}, "quota reached, 60 starts a minute"),
        ({"runs_per_day": 9, "day_full_at": NOTHING_LEFT_TODAY}, "quota reached, 9 starts a day"),
        ({"max_running": 4, "running": 4}, "waits: 4 of this organisation&#39;s runs are going on, its limit"),
    ],
)
def test_what_waits_for_a_quota_says_so(
    app: Dashboard, operator: Browser, acme: Tenant, limits: dict[str, object], words: str
) -> None:
    (run_id,) = enqueue_runs(app, acme)
    assert "quota reached" not in operator.get("/runs").text
    set_load(app, acme, **limits)
    set_load(app, acme, version=7)
    assert words in operator.get("/runs").text
    assert words in operator.get(f"/runs/{run_id}").text
    assert ("waits until" in operator.get("/runs").text) is ("full_at" in str(limits))


@pytest.mark.parametrize(
    ("max_running", "running", "silent_for", "waits"),
    [
        (None, 1, 0, False),
        (None, 2, 0, True),
        (4, 2, 0, False),
        (4, 3, 0, True),
        (None, 2, 600, False),
    ],
    ids=["below its share", "its share", "a limit of its own", "never all slots", "no worker"],
)
def test_what_waits_for_the_share_of_its_organisation_says_so(
    app: Dashboard,
    operator: Browser,
    acme: Tenant,
    max_running: int | None,
    running: int,
    silent_for: int,
    waits: bool,
) -> None:
    make_process(app, slots=4, silent_for=timedelta(seconds=silent_for))
    (run_id,) = enqueue_runs(app, acme)
    set_load(app, acme, max_running=max_running, running=running, version=7)
    words = f"{running} of this organisation&#39;s runs are going on, its share of the 4 that the workers do at once"
    for page in ("/", "/runs", f"/runs/{run_id}", "/monitor"):
        assert (words in operator.get(page).text) is waits


def test_people_see_their_quotas_and_what_is_used(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    assert "Limits" not in operator.get("/").text
    half = sa.text("now() + interval '30 seconds'")  # until then one start of two is used
    set_load(app, acme, max_running=4, running=3, rate_per_minute=2, minute_full_at=half, version=1)
    page = operator.get("/").text
    assert "3 of 4" in page
    assert "Starts a minute" in page
    assert "1 of 2" in page


def test_an_admin_finds_the_quotas_in_the_settings_read_only(app: Dashboard, acme: Tenant) -> None:
    make_user(app, "ada@acme.test", roles={acme.id: "admin"})
    admin = sign_in(app, acme, "ada@acme.test")
    assert "No limit of its own is set" in admin.get("/settings").text
    set_load(app, acme, runs_per_day=500)
    page = admin.get("/settings").text
    assert "0 of 500" in page
    assert 'name="runs_per_day"' not in page


def test_limits_are_set_and_shown_on_the_command_line(app: Dashboard, acme: Tenant) -> None:
    code, out = flask(app, "acme", "--weight", "3", "--runs-per-day", "500", "--max-running", "6", "--json")
    assert code == 0
    assert json.loads(out)["runs_per_day"] == 500
    code, out = flask(app, "acme", "--max-running", "none", "--pause", "Unpaid.", "--json")
    assert code == 0
    shown = json.loads(flask(app, "acme", "--json")[1])
    assert (shown["weight"], shown["max_running"], shown["runs_per_day"], shown["paused"]) == (
        3.0,
        None,
        500,
        "Unpaid.",
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["acme", "--weight", "heavy"], 2, "weight: Give a number from 0.01 to 100"),
        (["acme", "--max-running", "0"], 2, "max_running: Give a whole number"),
        (["acme", "--unpause"], 1, "The runs of Acme are not paused."),
        (["nobody"], 1, "There is no tenant nobody."),
    ],
)
def test_a_limit_that_will_not_do_is_refused_with_words(
    app: Dashboard, acme: Tenant, words: list[str], code: int, said: str
) -> None:
    answer = flask(app, *words)
    assert answer[0] == code
    assert said in answer[1]


def test_what_waits_because_nobody_works_says_so_on_a_page_that_was_open_before(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    make_process(app, "beat")
    make_process(app)
    (run_id,) = enqueue_runs(app, acme)
    pages = ("/", "/runs", f"/runs/{run_id}", "/monitor")
    tags = {page: operator.get(page, headers=POLL).headers["HX-PTag"] for page in pages}
    for kind, words, alert in (
        ("beat", "waits: the scheduler is not running.", "nothing that waits is started"),
        ("worker", "waits: no worker is running.", "No worker is running: what is due waits."),
    ):
        silence(app, kind)
        for page in pages:
            answer = operator.get(page, headers={**POLL, "HX-PTag": tags[page]})
            tags[page] = answer.headers["HX-PTag"]
            assert words in answer.text, page
            assert alert in answer.text.partition('<div id="alerts" hx-swap-oob="outerMorph">')[2], page
            assert operator.get(page, headers={**POLL, "HX-PTag": tags[page]}).status_code == 304


def silence(app: Dashboard, kind: str) -> None:
    """Let every process of the kind have stopped."""
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Process).where(Process.kind == kind).values(stopped_at=sa.func.now()))
