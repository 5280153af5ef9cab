"""Who acts in a tenant when no browser is there: a member as themselves, everything else as a named nobody."""

from __future__ import annotations

from uuid import uuid4

import pytest
import sqlalchemy as sa

from dashboard.accounts.signing_in import user_for
from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import SYSTEM, Actor, Binding, Tenant, bound
from dashboard.core.zones import display_zone
from tests.factories import make_user
from tests.factories.people import People
from tests.statements import statements_of
from worker.context import rebuilt


def acting(app: Dashboard, tenant: Tenant, actor: Actor) -> tuple[str, bool]:
    with app.app_context(), bound(Binding.of(tenant, actor=actor)):
        user = user_for(actor)
    return user.name, user.is_authenticated


def test_a_member_acts_as_themselves(app: Dashboard, acme: Tenant, people: People) -> None:
    assert acting(app, acme, Actor(kind="user", id=people.olivia)) == ("Olivia", True)


@pytest.mark.parametrize("who", ["stranger", "nobody", "disabled"])
def test_somebody_who_is_no_member_any_more_is_nobody(app: Dashboard, acme: Tenant, people: People, who: str) -> None:
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text("UPDATE user_account SET disabled_at = now() WHERE email = 'victor@acme.test'"))
    user_id = {"stranger": people.mallory, "nobody": uuid4(), "disabled": people.victor}[who]
    assert acting(app, acme, Actor(kind="user", id=user_id)) == ("Former member", False)


def test_a_task_learns_the_zone_of_who_asked_by_the_question_it_asks_anyway(app: Dashboard, acme: Tenant) -> None:
    asha = make_user(app, "asha@acme.test", roles={acme.id: "viewer"}, timezone="Asia/Kolkata")
    with statements_of(app) as asked:
        for actor, zone in ((Actor(kind="user", id=asha), "Asia/Kolkata"), (Actor(kind="schedule", id=asha), "UTC")):
            with rebuilt(app, Binding.of(acme, actor=actor), "test", None):
                before = [*asked]
                assert str(display_zone()) == zone
                assert asked == before
    assert len([statement for statement in asked if "user_account" in statement]) == 1


def test_a_schedule_and_the_system_are_nobody_by_name(app: Dashboard, acme: Tenant) -> None:
    assert acting(app, acme, Actor(kind="schedule", id=uuid4())) == ("Schedule", False)
    assert acting(app, acme, SYSTEM) == ("System", False)
