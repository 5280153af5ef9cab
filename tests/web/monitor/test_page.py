"""The Monitor page shows a tenant its runs beside Flower or beside the fleet, and nothing of other tenants."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from dashboard.app import Dashboard
from dashboard.core.clock import utc_now
from dashboard.core.tenancy import Tenant
from tests.factories import make_user
from tests.factories.processes import make_process
from tests.factories.runs import make_run
from tests.flower import app_with_flower
from tests.pages import text_of
from tests.servers import PostgresAddress
from tests.signing_in import Browser, sign_in
from tests.stopped_clock import stopped_clock

pytestmark = pytest.mark.usefixtures("slow_leases")

NOWHERE = "http://127.0.0.1:9"
POLL = {"HX-Request": "true", "HX-Request-Type": "partial"}


def member(app: Dashboard, tenant: Tenant, role: str) -> Browser:
    make_user(app, f"{role}@people.test", roles={tenant.id: role})
    return sign_in(app, tenant, f"{role}@people.test")


@pytest.fixture
def connected(app: Dashboard, environment: dict[str, str]) -> Iterator[Dashboard]:
    with app_with_flower(environment, NOWHERE, audience="operators") as with_flower:
        yield with_flower


def test_an_operator_sees_runs_beside_flower(connected: Dashboard, acme: Tenant) -> None:
    make_run(connected, acme, "failed", name="Invoice reminders")
    page = member(connected, acme, "operator").get("/monitor")
    assert page.status_code == 200
    assert "Invoice reminders" in page.text
    assert 'src="/flower/workers?autorefresh=5"' in page.text


def test_a_viewer_sees_the_fleet_instead(connected: Dashboard, acme: Tenant) -> None:
    page = member(connected, acme, "viewer").get("/monitor")
    assert "/flower/" not in page.text
    assert "No worker is alive" in page.text


def test_an_operator_may_choose_the_fleet(connected: Dashboard, acme: Tenant) -> None:
    page = member(connected, acme, "operator").get("/monitor?view=fleet")
    assert "<iframe" not in page.text
    assert 'id="monitor-fleet"' in page.text


def test_without_flower_the_page_says_so(app: Dashboard, acme: Tenant) -> None:
    page = member(app, acme, "operator").get("/monitor")
    assert "FLOWER_URL is not set" in page.text
    assert 'id="monitor-fleet"' in page.text


def test_the_fleet_counts_only_the_tenants_own_work(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    make_process(app, name="worker@station-1", slots=8, busy=5)
    make_run(app, acme, "running", name="Ours", worker="worker@station-1")
    for _ in range(4):
        make_run(app, globex, "running", name="Theirs", worker="worker@station-1")
    make_run(app, globex, "ready", name="Theirs")
    page = text_of(member(app, acme, "viewer").get("/monitor").text)
    assert "Your runs 1 0 waiting for a slot" in page
    assert re.search(r"worker@station-1 default, email, bulk 8 1 ", page)
    assert "Theirs" not in page


def test_the_fleet_tells_waits_and_throughput_of_the_last_hour(app: Dashboard, acme: Tenant) -> None:
    now = utc_now()
    for wait in (1, 2, 3):
        make_run(
            app, acme, "succeeded", ready_at=now - timedelta(seconds=60 + wait), started_at=now - timedelta(seconds=60)
        )
    make_run(app, acme, "failed")
    page = text_of(member(app, acme, "viewer").get("/monitor").text)
    assert "Ended, last hour 4 1 failure" in page
    assert "Queue wait, median" in page


@pytest.mark.parametrize(
    ("silence", "state"),
    [(timedelta(0), "Online"), (timedelta(seconds=150), "Late"), (timedelta(minutes=5), "Offline")],
)
def test_a_worker_that_falls_silent_is_late_and_then_offline(
    app: Dashboard, acme: Tenant, silence: timedelta, state: str
) -> None:
    make_process(app, silent_for=silence)
    page = text_of(member(app, acme, "viewer").get("/monitor").text)
    assert re.search(rf"{state} .*worker@station-1", page)


def test_schedulers_tell_how_long_they_look_and_whether_their_clock_is_right(app: Dashboard, acme: Tenant) -> None:
    make_process(app, "beat", name="beat@one", tick_ms=3.4, skew_ms=12, tzdata="2026.2")
    make_process(app, "beat", name="beat@two", tick_ms=5000, skew_ms=-1800)
    page = text_of(member(app, acme, "viewer").get("/monitor").text)
    assert "beat@one 3 ms right 2026.2" in page
    assert "beat@two 5000 ms off by -1.8 s: set it" in page


def test_without_a_scheduler_the_fleet_says_what_to_start(app: Dashboard, acme: Tenant) -> None:
    assert "No scheduler is alive" in member(app, acme, "viewer").get("/monitor").text


def test_the_panel_is_what_the_page_holds_and_a_quiet_tick_is_304(
    app: Dashboard, acme: Tenant, postgres: PostgresAddress, database: str
) -> None:
    browser = member(app, acme, "viewer")
    with stopped_clock(app, postgres, database):  # with the next five minutes its charts move on
        make_process(app)
        panel = browser.get("/monitor", headers=POLL)
        assert panel.text.lstrip().startswith('<section id="monitor-panel"')
        tag = panel.headers["HX-PTag"]
        assert browser.get("/monitor", headers={**POLL, "HX-PTag": tag}).status_code == 304
        make_process(app, name="worker@station-2")
        assert browser.get("/monitor", headers={**POLL, "HX-PTag": tag}).status_code == 200


def test_only_who_may_act_is_offered_to(app: Dashboard, acme: Tenant) -> None:
    make_run(app, acme, "failed")
    make_run(app, acme, "ready")
    assert "/retries" not in member(app, acme, "viewer").get("/monitor").text
    page = member(app, acme, "operator").get("/monitor").text
    assert "/retries" in page
    assert "/cancellations" in page
