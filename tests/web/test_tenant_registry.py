"""A process remembers tenants' records, and one look at a counter tells it whether they still stand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import sqlalchemy as sa

from config.settings import Settings
from dashboard.app import Dashboard, create_app
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant, resolver_of
from dashboard.runs import limits
from dashboard.tenants import registry
from tests.application import disconnect
from tests.factories import make_user
from tests.processes import wait_until
from tests.signing_in import sign_in
from tests.statements import statements_of

CHANGES = {
    "its name": "UPDATE tenant SET name = 'Renamed' WHERE id = :id",
    "its address": "UPDATE tenant_root SET prefix = '/elsewhere' WHERE tenant_id = :id",
    "a new setting": "INSERT INTO tenant_setting (tenant_id, key, value) VALUES (:id, 'SEND_RATE', '7')",
    "its last address": "DELETE FROM tenant_root WHERE tenant_id = :id",
}


@pytest.fixture
def other(app: Dashboard, settings: Settings) -> Iterator[Dashboard]:
    """The application in another process, as far as memory goes."""
    other = create_app(settings)
    yield other
    disconnect(other)
    app.extensions["celery"].set_default()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen_by_another_process(app: Dashboard, other: Dashboard, acme: Tenant, change: str) -> None:
    remembered = resolver_of(other).by_id(acme.id)
    assert remembered is not None
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text(change), {"id": acme.id})
    wait_until(lambda: resolver_of(other).by_id(acme.id) != remembered)


def test_while_nothing_changes_one_look_is_all_that_many_tenants_cost(
    other: Dashboard, acme: Tenant, globex: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenants = [acme.id, globex.id]
    before = [resolver_of(other).by_id(tenant_id) for tenant_id in tenants]
    monkeypatch.setattr(registry, "FRESH_FOR", 0.0)
    with statements_of(other) as asked:
        assert [resolver_of(other).by_id(tenant_id) for tenant_id in tenants] == before
    looks = [statement for statement in asked if " FROM " in statement.replace("\n", " ")]
    assert len(looks) == len(tenants)
    assert all("tenant_change" in statement for statement in looks)


def test_an_open_page_hears_of_a_pause_and_its_end_though_its_process_hears_of_them_late(
    app: Dashboard, other: Dashboard, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_user(app, "oscar@acme.test", roles={acme.id: "operator"})
    operator = sign_in(app, acme, "oscar@acme.test")
    poll = {"HX-Request": "true", "HX-PTag": operator.get("/runs").headers["HX-PTag"]}
    for is_paused in (True, False):
        monkeypatch.setattr(registry, "FRESH_FOR", 600.0)
        with other.app_context(), system_scope("test") as session:
            if is_paused:
                limits.pause_runs(session, acme.id, "Unpaid.")
            else:
                limits.resume_runs(session, acme.id)
        poll["HX-PTag"] = operator.get("/runs", headers=poll).headers["HX-PTag"]  # what it remembers is older
        monkeypatch.setattr(registry, "FRESH_FOR", 0.0)
        answer = operator.get("/runs", headers=poll)
        assert answer.status_code == 200
        assert ("has paused this organisation" in answer.text) is is_paused
        poll["HX-PTag"] = answer.headers["HX-PTag"]


def test_a_change_that_is_not_committed_holds_up_nobody_elses(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    rename = sa.text("UPDATE tenant SET name = 'Renamed' WHERE id = :id")
    with app.app_context(), ExitStack() as stack:
        slow = stack.enter_context(system_scope("test"))
        slow.execute(rename, {"id": acme.id})
        with system_scope("test") as quick:
            quick.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
            quick.execute(rename, {"id": globex.id})
