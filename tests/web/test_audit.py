"""Admins read who did what in their tenant: all of it, nothing of others, and safely."""

from __future__ import annotations

from uuid import uuid4

import pytest

from dashboard.app import Dashboard
from dashboard.audit.actions import record
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import SYSTEM, Actor, Tenant
from dashboard.trail.board import PAGE
from tests.factories.people import People
from tests.factories.runs import make_run
from tests.factories.schedules import make_schedule
from tests.pages import read_page
from tests.signing_in import Browser, sign_in


@pytest.fixture
def alice(app: Dashboard, acme: Tenant, people: People) -> Browser:
    return sign_in(app, acme, "alice@acme.test")


def make_entry(
    app: Dashboard,
    tenant: Tenant | None,
    action: str,
    name: str,
    *,
    actor: Actor = SYSTEM,
    by: str = "",
    **details: object,
) -> None:
    with app.app_context(), system_scope("test") as session:
        record(
            session,
            action,
            subject=("thing", uuid4(), name),
            tenant_id=tenant.id if tenant else None,
            actor=actor,
            actor_name=by,
            details=details,
        )


def test_before_anything_was_done_the_page_says_what_would_be_here(alice: Browser) -> None:
    assert "Nothing was done yet" in alice.get("/audit").text


def test_what_somebody_does_is_read_with_who_what_when_and_where_from(
    app: Dashboard, acme: Tenant, alice: Browser
) -> None:
    alice.post("/settings", data={"SEND_RATE": "77", "TIMEZONE": "Asia/Tokyo"})
    page = alice.get("/audit").text
    for word in (
        "Alice",
        "setting.change",
        "SEND_RATE",
        "before: –",
        "after: 77",
        alice.environ_base["REMOTE_ADDR"],
        "JST",
    ):
        assert word in page


def test_a_subject_leads_to_its_page_as_long_as_that_is_there(app: Dashboard, acme: Tenant, alice: Browser) -> None:
    schedule = make_schedule(app, acme, name="Nightly export")
    run = make_run(app, acme, "failed", name="Report")
    alice.post(f"/schedules/{schedule.id}/pauses", data={"reason": "Holiday"})
    alice.post(f"/runs/{run.id}/retries")
    with app.app_context(), system_scope("test") as session:
        record(session, "run.retry", subject=("run", uuid4(), "Long gone"), tenant_id=acme.id)
    page = alice.get("/audit")
    assert {f"/schedules/{schedule.id}", f"/runs/{run.id}"} <= set(read_page(page).links)
    assert "Long gone" in page.text
    assert page.text.count("row-link") == 2


def test_only_admins_read_it(app: Dashboard, acme: Tenant, people: People) -> None:
    for email in ("olivia@acme.test", "victor@acme.test"):
        browser = sign_in(app, acme, email)
        assert browser.get("/audit").status_code == 403
        assert "/audit" not in read_page(browser.get("/runs")).links
    assert sign_in(app, acme, "mallory@globex.test").get("/audit").status_code == 404
    assert sign_in(app, None, "root@platform.test").get("/audit").status_code == 404


def test_it_has_a_place_in_the_navigation(alice: Browser) -> None:
    assert "/audit" in read_page(alice.get("/")).links


def test_another_tenants_entries_and_the_platforms_are_not_there(
    app: Dashboard, globex: Tenant, alice: Browser, people: People
) -> None:
    make_entry(app, globex, "secret.act", "Hidden", actor=Actor(kind="user", id=people.mallory), by="Mallory")
    make_entry(app, None, "secret.act", "Hidden")
    for query in ("", "?q=hidden", "?action=secret.act", f"?person={people.mallory}"):
        assert "Hidden" not in alice.get(f"/audit{query}").text


@pytest.mark.parametrize(
    "query", ["q=olivia", "q=REPORT.send", "q=monthly", "action=report.send", "person={olivia}"], ids=str
)
def test_it_is_narrowed_by_person_action_and_subject(
    app: Dashboard, acme: Tenant, alice: Browser, people: People, query: str
) -> None:
    olivia = Actor(kind="user", id=people.olivia)
    make_entry(app, acme, "report.send", "Monthly figures", actor=olivia, by="Olivia")
    make_entry(app, acme, "member.add", "Somebody else", by="Root")
    page = alice.get("/audit?" + query.format(olivia=people.olivia)).text
    assert "Monthly figures" in page
    assert "Somebody else" not in page
    assert "All entries" in page


def test_a_search_means_its_characters(app: Dashboard, acme: Tenant, alice: Browser) -> None:
    make_entry(app, acme, "report.send", "Everything")
    assert "Nothing matches" in alice.get("/audit?q=%25").text
    assert "Nothing matches" in alice.get("/audit?q=e_e").text


def test_pages_follow_each_other_without_a_gap_or_a_repetition(app: Dashboard, acme: Tenant, alice: Browser) -> None:
    for number in range(PAGE + 2):
        make_entry(app, acme, "report.send", f"Report number {number};")
    first = alice.get("/audit?q=report")
    (older,) = [link for link in read_page(first).links if "before=" in link]
    assert "q=report" in older
    second = alice.get(older)
    shown = [[f"number {number};" in page.text for number in range(PAGE + 2)] for page in (first, second)]
    assert shown[0] == [False, False] + [True] * PAGE
    assert shown[1] == [True, True] + [False] * PAGE
    assert not [link for link in read_page(second).links if "before=" in link]


def test_an_address_that_was_made_up_opens_the_first_page(app: Dashboard, acme: Tenant, alice: Browser) -> None:
    make_entry(app, acme, "report.send", "Monthly figures")
    assert "Monthly figures" in alice.get("/audit?before=soon&person=me").text


def test_what_people_write_is_text(app: Dashboard, acme: Tenant, alice: Browser) -> None:
    evil = "<script>alert(1)</script>"
    make_entry(
        app, acme, evil, evil, actor=Actor(kind="user", id=uuid4()), by=evil, **{evil: evil, "more": {"x": evil}}
    )
    page = alice.get("/audit").text
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5
    assert "<script>alert" not in alice.get("/audit", query_string={"q": evil, "action": evil}).text


def test_details_are_words_and_moments_in_the_tenants_zone(app: Dashboard, globex: Tenant, people: People) -> None:
    make_entry(
        app,
        globex,
        "schedule.move",
        "Report",
        nominal="2026-11-25T09:00:00+00:00",
        dates=["2026-12-24", "2026-12-25"],
        is_first=True,
        nothing=None,
        long="x" * 500,
    )
    page = sign_in(app, globex, "mallory@globex.test").get("/audit").text
    assert "18:00 <span" in page
    assert "dates: 2026-12-24, 2026-12-25" in page
    assert "is first: yes" in page
    assert "nothing: –" in page
    assert "x" * 301 not in page


def test_who_has_no_name_is_called_by_what_they_are(app: Dashboard, acme: Tenant, alice: Browser) -> None:
    make_entry(app, acme, "report.send", "Report")
    make_entry(app, acme, "report.send", "Report", actor=Actor(kind="schedule", id=uuid4()))
    page = alice.get("/audit").text
    assert "<td>System</td>" in page
    assert "<td>Schedule</td>" in page
