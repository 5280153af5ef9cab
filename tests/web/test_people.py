"""People are deleted, disabled and given passwords, and members change, from the command line and the back office."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.accounts.models import Credential, Membership, User, WebSession
from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.schedules.models import Schedule
from tests.command_line import answer, flask
from tests.factories import make_user
from tests.factories.people import People
from tests.factories.schedules import echo_form
from tests.pages import read_page, text_of
from tests.signing_in import Browser, sign_in, visit

NEW_PASSWORD = "quite another sentence"


def rows(app: Dashboard, *columns: Any) -> list[tuple[Any, ...]]:
    with app.app_context(), system_scope("test") as session:
        return [tuple(row) for row in session.execute(sa.select(*columns))]


def entries(app: Dashboard, *actions: str) -> list[tuple[Any, ...]]:
    """What the trail says of people: action, tenant, actor, subject, details."""
    wanted = (AuditEntry.action, AuditEntry.tenant_id, AuditEntry.actor_kind, AuditEntry.subject_name)
    query = sa.select(*wanted, AuditEntry.details).where(AuditEntry.action.in_(actions)).order_by(AuditEntry.action)
    with app.app_context(), system_scope("test") as session:
        return [tuple(row) for row in session.execute(query)]


def refusal(app: Dashboard, *words: str, stdin: str = "") -> tuple[int, str]:
    result = flask(app, *words, stdin=stdin)
    assert (result.stdout, "Traceback" in result.stderr) == ("", False)
    return result.exit_code, result.stderr


@pytest.fixture
def root(app: Dashboard, people: People) -> Browser:
    return sign_in(app, None, "root@platform.test")


def test_a_deleted_person_is_out_and_what_they_made_goes_on(
    app: Dashboard, acme: Tenant, globex: Tenant, people: People
) -> None:
    gone = make_user(app, "ada@acme.test", roles={acme.id: "operator", globex.id: "viewer"})
    ada = sign_in(app, acme, "ada@acme.test")
    ada.post("/schedules", data=echo_form())
    ((schedule_id,),) = rows(app, Schedule.id)
    ada.post(f"/schedules/{schedule_id}/pauses", data={"reason": "Stocktaking"})
    deleted = answer(app, "users", "delete", "ADA@acme.test", "--yes")
    assert (deleted["email"], deleted["was_member_of"]) == ("ada@acme.test", ["acme", "globex"])
    assert ada.get("/schedules").status_code == 303
    for column in (User.id, Membership.user_id, Credential.user_id, WebSession.user_id):
        assert (gone,) not in rows(app, column)
    with app.app_context(), system_scope("test") as session:
        kept = session.scalars(sa.select(Schedule)).one()
    assert (kept.owner_id, kept.paused_by_id, kept.paused_reason) == (None, None, "Stocktaking")


def test_what_a_deleted_person_did_stays_readable_with_their_name(app: Dashboard, acme: Tenant, people: People) -> None:
    make_user(app, "ada@acme.test", roles={acme.id: "operator"})
    sign_in(app, acme, "ada@acme.test").post("/schedules", data=echo_form())
    ((schedule_id,),) = rows(app, Schedule.id)
    answer(app, "users", "delete", "ada@acme.test", "--yes")
    alice = sign_in(app, acme, "alice@acme.test")
    trail = text_of(alice.get("/audit").text)
    assert "Ada schedule.create Hourly echo" in trail
    assert "System member.remove ada@acme.test" in trail
    assert "by Former member" in text_of(alice.get(f"/schedules/{schedule_id}/revisions").text)
    problems = alice.get("/problems?view=schedules")
    assert f"/schedules/{schedule_id}" in read_page(problems).links
    alice.post(f"/problems/schedules/{schedule_id}/owners")
    with app.app_context(), system_scope("test") as session:
        assert session.get_one(Schedule, schedule_id).owner_id == people.alice


def test_deleting_a_person_is_audited_on_the_platform_and_in_each_tenant(
    app: Dashboard, acme: Tenant, people: People
) -> None:
    answer(app, "users", "delete", "olivia@acme.test", "--yes")
    assert entries(app, "member.remove", "user.delete") == [
        ("member.remove", acme.id, "system", "olivia@acme.test", {"role": "operator"}),
        ("user.delete", None, "system", "olivia@acme.test", {"name": "Olivia", "memberships": ["acme"]}),
    ]


def test_a_person_is_deleted_only_when_that_is_meant(app: Dashboard, acme: Tenant, people: People) -> None:
    before = rows(app, User.id), rows(app, Membership.user_id)
    code, said = refusal(app, "users", "delete", "olivia@acme.test")
    assert code == 1
    assert said == (
        "Error: Nothing is changed yet: olivia@acme.test would go for good, as a member of acme. Add --yes to do it.\n"
    )
    assert (rows(app, User.id), rows(app, Membership.user_id)) == before
    assert entries(app, "user.delete", "member.remove") == []


def test_the_only_admin_of_a_tenant_is_not_deleted(app: Dashboard, acme: Tenant, people: People) -> None:
    code, said = refusal(app, "users", "delete", "alice@acme.test", "--yes")
    assert (code, said) == (1, "Error: alice@acme.test is the only admin of acme. Make somebody else an admin first.\n")
    answer(app, "members", "change", "olivia@acme.test", "acme", "--role", "admin")
    answer(app, "users", "delete", "alice@acme.test", "--yes")
    assert (people.alice,) not in rows(app, User.id)


@pytest.mark.parametrize("act", [("delete", "--yes"), ("disable",)], ids=["delete", "disable"])
def test_the_last_platform_owner_stays(app: Dashboard, people: People, act: tuple[str, ...]) -> None:
    make_user(app, "retired@platform.test", owner=True)
    answer(app, "users", "disable", "retired@platform.test")
    verb, *more = act
    code, said = refusal(app, "users", verb, "root@platform.test", *more)
    assert (code, said) == (1, "Error: root@platform.test is the last platform owner. Make somebody else one first.\n")
    make_user(app, "second@platform.test", owner=True)
    answer(app, "users", verb, "root@platform.test", *more)


def test_an_owner_deletes_a_person_in_the_back_office(app: Dashboard, root: Browser, people: People) -> None:
    forms = [each for each in read_page(root.get("/platform/people/")).forms if each.get("data-confirm")]
    assert "Delete Olivia (olivia@acme.test) for good?" in str([form["data-confirm"] for form in forms])
    root.post("/platform/people/delete/", data={"id": str(people.olivia)})
    assert (people.olivia,) not in rows(app, User.id)
    assert [entry[2:4] for entry in entries(app, "user.delete")] == [("user", "olivia@acme.test")]


def test_an_owner_deletes_neither_themselves_nor_a_tenants_only_admin(
    app: Dashboard, root: Browser, people: People
) -> None:
    before = rows(app, User.id)
    for person, said in ((people.root, "lose the back office yourself"), (people.alice, "only admin of acme")):
        page = root.post("/platform/people/delete/", data={"id": str(person)}, follow_redirects=True).text
        assert said in page
    assert rows(app, User.id) == before


def test_a_new_password_ends_all_sessions(app: Dashboard, acme: Tenant, people: People) -> None:
    victor = sign_in(app, acme, "victor@acme.test")
    said = flask(app, "users", "password", "victor@acme.test", "--password-stdin", stdin=f"{NEW_PASSWORD}\n")
    assert (said.exit_code, said.output.count(NEW_PASSWORD)) == (0, 0)
    assert victor.get("/runs").status_code == 303
    assert visit(app, acme).sign_in("victor@acme.test", NEW_PASSWORD).status_code == 303
    assert entries(app, "user.password") == [("user.password", None, "system", "victor@acme.test", {})]


def test_a_disabled_person_is_out_until_they_are_enabled(app: Dashboard, acme: Tenant, people: People) -> None:
    victor = sign_in(app, acme, "victor@acme.test")
    assert answer(app, "users", "disable", "victor@acme.test")["disabled"] is True
    assert victor.get("/runs").status_code == 303
    assert refusal(app, "users", "disable", "victor@acme.test") == (
        1,
        "Error: victor@acme.test is disabled already.\n",
    )
    assert answer(app, "users", "enable", "victor@acme.test")["disabled"] is False
    assert sign_in(app, acme, "victor@acme.test").get("/runs").status_code == 200
    assert refusal(app, "users", "enable", "victor@acme.test") == (1, "Error: victor@acme.test is not disabled.\n")


def test_a_members_role_is_changed_and_a_member_removed(app: Dashboard, acme: Tenant, people: People) -> None:
    victor = sign_in(app, acme, "victor@acme.test")
    changed = answer(app, "members", "change", "victor@acme.test", "acme", "--role", "admin")
    assert changed == {"email": "victor@acme.test", "tenant": "acme", "role": "admin"}
    assert victor.get("/settings").status_code == 200
    assert answer(app, "members", "remove", "victor@acme.test", "acme") == changed
    assert victor.get("/settings").status_code == 404
    assert entries(app, "member.change", "member.remove") == [
        ("member.change", acme.id, "system", "victor@acme.test", {"before": "viewer", "after": "admin"}),
        ("member.remove", acme.id, "system", "victor@acme.test", {"role": "admin"}),
    ]


def test_adding_a_member_again_changes_their_role(app: Dashboard, acme: Tenant, people: People) -> None:
    answer(app, "members", "add", "victor@acme.test", "acme", "--role", "operator")
    change = ("member.change", acme.id, "system", "victor@acme.test", {"before": "viewer", "after": "operator"})
    assert entries(app, "member.add", "member.change") == [change]


@pytest.mark.parametrize(
    "words",
    [
        ("remove", "alice@acme.test", "acme"),
        ("change", "alice@acme.test", "acme", "--role", "viewer"),
        ("add", "alice@acme.test", "acme", "--role", "operator"),
    ],
    ids=["remove", "change", "add"],
)
def test_no_command_takes_a_tenants_last_admin(
    app: Dashboard, acme: Tenant, people: People, words: tuple[str, ...]
) -> None:
    code, said = refusal(app, "members", *words)
    assert (code, said) == (1, "Error: This is the only admin. Make somebody else an admin first.\n")
    assert ("admin",) in rows(app, Membership.role)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["users", "delete", "nobody@acme.test", "--yes"], 1, "Nobody signs in as nobody@acme.test. See: flask users"),
        (["users", "disable", ""], 1, "Nobody signs in as"),
        (["users", "enable", "nobody@acme.test"], 1, "Nobody signs in as"),
        (["users", "password", "nobody@acme.test", "--password-stdin"], 1, "Nobody signs in as"),
        (["users", "password", "victor@acme.test", "--password-stdin"], 2, "password: Use 10 to 200 characters"),
        (["users", "password", "victor@acme.test"], 2, "--password-stdin"),
        (["members", "change", "victor@acme.test", "acme", "--role", "king"], 2, "Invalid value"),
        (["members", "change", "mallory@globex.test", "acme", "--role", "admin"], 1, "is no member of acme. See:"),
        (["members", "remove", "nobody@acme.test", "acme"], 1, "Nobody signs in as"),
        (["members", "remove", "victor@acme.test", "nowhere"], 1, "There is no tenant nowhere"),
    ],
)
def test_an_error_is_a_sentence_on_stderr(
    app: Dashboard, acme: Tenant, people: People, words: list[str], code: int, said: str
) -> None:
    exit_code, told = refusal(app, *words)
    assert exit_code == code
    assert said in told
