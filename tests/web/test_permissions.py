"""Every route, every verb, every role: who may do what, and that another tenant's rows are not there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
from werkzeug.routing import Rule

from dashboard.accounts.access import GRANTS, Action, Role, policy_of
from dashboard.accounts.models import Invitation, WebSession
from dashboard.app import Dashboard
from dashboard.core.clock import database_now
from dashboard.core.orm import Base, system_scope
from dashboard.core.tenancy import Tenant
from dashboard.emails.models import Delivery
from dashboard.runs.models import BulkAction
from dashboard.schedules.models import Backfill, Blackout, HolidayCalendar
from tests.factories.people import People
from tests.factories.runs import make_run
from tests.factories.schedules import make_schedule
from tests.signing_in import Browser, sign_in, visit

UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}
WORDS = {action.value for action in Action}
OTHER_POLICIES = {"public", "signed_in", "platform_owner", "flower_audience"}
ROLES = {"alice@acme.test": Role.ADMIN, "olivia@acme.test": Role.OPERATOR, "victor@acme.test": Role.VIEWER}
FORM = {"nominal": "2027-01-04T09:00:00+00:00", "to": "2027-01-04T10:00"}
ENDS_THE_SESSION = {"sessions.destroy", "sessions.revoke_all"}


@dataclass(frozen=True, slots=True)
class Door:
    """One verb of one route, with ids of another tenant's things filled in."""

    endpoint: str
    method: str
    path: str
    policy: str | None
    has_id: bool


@pytest.fixture
def foreign(app: Dashboard, globex: Tenant, people: People) -> dict[str, UUID]:
    """Ids of Globex's things, by the names that routes give them."""
    sign_in(app, globex, "mallory@globex.test")
    schedule, run = make_schedule(app, globex), make_run(app, globex)
    with app.app_context(), system_scope("test") as session:
        session_id = session.scalars(sa.select(WebSession.id).where(WebSession.user_id == people.mallory)).one()
        invitation = Invitation(tenant_id=globex.id, email="nobody@elsewhere.test", role="viewer")
        now = database_now(session)
        backfill = Backfill(
            tenant_id=globex.id, schedule_id=schedule.id, start_at=now, end_at=now, mode="missing", total=1
        )
        bulk = BulkAction(tenant_id=globex.id, action="retry", filter={"states": ["failed"]}, estimate=1)
        delivery = Delivery(tenant_id=globex.id, run_id=run.id, address="a@b.test", state="uncertain")
        calendar = HolidayCalendar(tenant_id=globex.id, name="Company days", days=["2030-12-24"])
        blackout = Blackout(tenant_id=globex.id, name="Move", start_at=now, end_at=now + timedelta(days=1))
        session.add_all([invitation, backfill, bulk, delivery, calendar, blackout])
        session.flush()
    return {
        "run_id": run.id,
        "delivery_id": delivery.id,
        "schedule_id": schedule.id,
        "backfill_id": backfill.id,
        "bulk_id": bulk.id,
        "calendar_id": calendar.id,
        "blackout_id": blackout.id,
        "user_id": people.mallory,
        "session_id": session_id,
        "invitation_id": invitation.id,
    }


def doors(app: Dashboard, ids: dict[str, UUID]) -> Iterator[Door]:
    """Every door of the application but those of hosts, which bind no tenant."""
    adapter = app.url_map.bind("test")
    for rule in sorted(app.url_map.iter_rules(), key=str):
        if rule.rule.split("/")[1] in {"flower", "healthz", "readyz", "metrics"}:
            continue
        path = adapter.build(rule.endpoint, {name: ids.get(name, "csv") for name in rule.arguments})
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            policy = policy_of(app.view_functions[rule.endpoint])
            yield Door(rule.endpoint, method, path, policy, bool(rule.arguments & ids.keys()))


def knock(browser: Browser, door: Door) -> int:
    """Try the door, with a form that reaches as far as the row."""
    return browser.open(door.path, method=door.method, data=FORM if door.method in UNSAFE else None).status_code


def contents(app: Dashboard) -> dict[str, str]:
    """Return what every table holds, but for the sessions, which remember when they were used."""
    rows = "SELECT coalesce(string_agg(t::text, '|' ORDER BY t::text), '') FROM {} t"
    tables = [table for table in Base.metadata.tables if table != "web_session"]
    with app.app_context(), system_scope("test") as session:
        return {table: session.execute(sa.text(rows.format(table))).scalar_one() for table in tables}


def test_every_view_declares_who_may_see_it(app: Dashboard) -> None:
    undeclared = [rule.endpoint for rule in app.url_map.iter_rules() if not declared(app, rule)]
    assert undeclared == []


def declared(app: Dashboard, rule: Rule) -> bool:
    return (policy_of(app.view_functions[rule.endpoint]) or "") in WORDS | OTHER_POLICIES


@pytest.mark.parametrize("word", sorted(WORDS | OTHER_POLICIES))
def test_every_policy_is_in_the_documentation(word: str) -> None:
    assert f"`{word}`" in (Path(__file__).parents[2] / "docs/security.md").read_text()


def test_every_kind_of_id_in_a_path_is_tried(app: Dashboard, foreign: dict[str, UUID]) -> None:
    named = {name for rule in app.url_map.iter_rules() for name in rule.arguments}
    assert named - foreign.keys() == {"path", "name", "export_type", "token"}


def test_a_visitor_is_asked_to_sign_in(app: Dashboard, acme: Tenant, foreign: dict[str, UUID]) -> None:
    browser = visit(app, acme)
    browser.take_token()
    for door in doors(app, foreign):
        if door.policy != "public":
            expected = {404} if door.policy == "platform_owner" else {303}
            assert knock(browser, door) in expected, door


def test_a_stranger_finds_nothing(app: Dashboard, acme: Tenant, foreign: dict[str, UUID]) -> None:
    browser = sign_in(app, acme, "mallory@globex.test")
    for door in doors(app, foreign):
        if door.policy != "public":
            assert knock(browser, door) == 404, door


@pytest.mark.parametrize("email", list(ROLES))
def test_a_member_may_do_what_their_role_says_and_nothing_with_another_tenants_things(
    app: Dashboard, acme: Tenant, foreign: dict[str, UUID], email: str
) -> None:
    before = {table: text for table, text in contents(app).items() if table != "credential"}
    browser = sign_in(app, acme, email)
    for door in doors(app, foreign):
        if door.endpoint in ENDS_THE_SESSION or door.policy == "public":
            continue
        status = knock(browser, door)
        if door.policy in WORDS and Action(door.policy) not in GRANTS[ROLES[email]]:
            assert status == 403, door
        elif door.policy == "platform_owner" or (door.has_id and door.policy != Action.EDIT_MEMBERS):
            assert status == 404, door
        else:
            assert status < 500, door
    after = contents(app)
    for table in ("run", "schedule", "delivery", "membership", "user_account", "credential"):
        assert before.get(table, after[table]) == after[table]


def test_the_members_of_another_tenant_can_not_be_touched(
    app: Dashboard, acme: Tenant, foreign: dict[str, UUID], people: People
) -> None:
    browser = sign_in(app, acme, "alice@acme.test")
    before = contents(app)["membership"]
    browser.post(f"/settings/members/{people.mallory}", data={"role": "viewer"})
    answer = browser.post(f"/settings/members/{people.mallory}/removals", follow_redirects=True)
    assert "This person is not a member any more." in answer.text
    assert contents(app)["membership"] == before


def test_tenants_pages_are_not_there_on_the_platform(app: Dashboard, foreign: dict[str, UUID]) -> None:
    browser = sign_in(app, None, "alice@acme.test")
    for door in doors(app, foreign):
        if door.policy in WORDS:
            expected = {302, 303} if door.endpoint == "overview.index" else {404}
            assert knock(browser, door) in expected, door


def test_the_back_office_is_not_there_for_anybody_else(app: Dashboard, foreign: dict[str, UUID]) -> None:
    browser = sign_in(app, None, "alice@acme.test")
    before = contents(app)
    for door in doors(app, foreign):
        if door.policy == "platform_owner":
            assert knock(browser, door) == 404, door
    assert contents(app) == before


def test_the_back_office_is_not_there_inside_a_tenant_even_for_its_owners(
    app: Dashboard, acme: Tenant, foreign: dict[str, UUID]
) -> None:
    browser = sign_in(app, acme, "root@platform.test")
    for door in doors(app, foreign):
        if door.policy == "platform_owner":
            assert knock(browser, door) == 404, door


def test_looking_changes_nothing(app: Dashboard, acme: Tenant, foreign: dict[str, UUID]) -> None:
    browsers = [sign_in(app, acme, "alice@acme.test"), sign_in(app, None, "root@platform.test")]
    before = contents(app)
    for browser in browsers:
        for door in doors(app, foreign):
            if door.method == "GET":
                assert knock(browser, door) < 500, door
    assert contents(app) == before


def test_a_role_counts_from_the_next_request(app: Dashboard, acme: Tenant, people: People) -> None:
    olivia, alice = sign_in(app, acme, "olivia@acme.test"), sign_in(app, acme, "alice@acme.test")
    assert olivia.get("/settings").status_code == 403
    alice.post(f"/settings/members/{people.olivia}", data={"role": "admin"})
    assert olivia.get("/settings").status_code == 200
    alice.post(f"/settings/members/{people.olivia}/removals")
    assert olivia.get("/settings").status_code == 404


def test_a_suspended_tenant_says_so_to_its_members_only(app: Dashboard, acme: Tenant, people: People) -> None:
    victor, mallory = sign_in(app, acme, "victor@acme.test"), sign_in(app, acme, "mallory@globex.test")
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text("UPDATE tenant SET suspended_at = now() WHERE slug = 'acme'"))
    app.extensions["tenants"].forget()
    answer = victor.get("/runs")
    assert answer.status_code == 403
    assert "suspended" in answer.text
    assert mallory.get("/runs").status_code == 404
    assert visit(app, acme).get("/sign-in").status_code == 200


@pytest.mark.parametrize("host", ["evil.test", "jobs.acme.test.evil.test", "platform.test:81", "a b", ""])
def test_a_forged_host_is_answered_by_nobody(app: Dashboard, acme: Tenant, host: str) -> None:
    answer = app.test_client().get("/sign-in", headers={"Host": host})
    assert answer.status_code in {400, 421}
    assert "Acme" not in answer.text


@pytest.mark.parametrize("header", ["X-Forwarded-Host", "X-Forwarded-Prefix", "X-Original-Host", "Forwarded"])
def test_a_forged_header_reaches_no_link(app: Dashboard, acme: Tenant, people: People, header: str) -> None:
    page = sign_in(app, acme, "alice@acme.test").get("/settings", headers={header: "evil.test"})
    assert page.status_code == 200
    assert "evil.test" not in page.text
