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
from dashboard.tenants import registry
from tests.application import disconnect
from tests.processes import wait_until
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


def test_a_change_that_is_not_committed_holds_up_nobody_elses(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    rename = sa.text("UPDATE tenant SET name = 'Renamed' WHERE id = :id")
    with app.app_context(), ExitStack() as stack:
        slow = stack.enter_context(system_scope("test"))
        slow.execute(rename, {"id": acme.id})
        with system_scope("test") as quick:
            quick.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
            quick.execute(rename, {"id": globex.id})
