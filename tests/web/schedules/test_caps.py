"""A tenant plans no more schedules, and none that fires more often, than the platform allows it."""

from __future__ import annotations

from typing import Any

import pytest

from dashboard.app import Dashboard
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.tenancy import Binding, Tenant, bound
from dashboard.schedules import actions
from dashboard.schedules.actions import ScheduleDraft
from tests.factories.job_types import Echo
from tests.factories.ledger import set_load
from tests.factories.schedules import make_schedule


def draft(**values: Any) -> ScheduleDraft:
    fields = {"name": "S", "job_type": Echo.key, "params": {"word": "hi"}, "kind": "cron", "crons": ["0 3 * * *"]}
    return ScheduleDraft(**{**fields, **values})


def problem(app: Dashboard, tenant: Tenant, **values: Any) -> dict[str, str]:
    """Return what saving such a schedule is refused with; nothing if it is saved."""
    with app.app_context(), bound(Binding.of(tenant)):
        try:
            actions.create(draft(**values))
        except InvalidInput as error:
            return dict(error.errors)
    return {}


def test_a_tenant_without_limits_plans_what_it_likes(app: Dashboard, acme: Tenant) -> None:
    assert problem(app, acme, kind="interval", crons=[], every_seconds=60) == {}


def test_a_minute_lies_between_two_fires_unless_the_platform_says_less(app: Dashboard, acme: Tenant) -> None:
    often = {"kind": "interval", "crons": [], "every_seconds": 15}
    assert problem(app, acme, **often) == {"every": "Give a period of at least one minute."}
    set_load(app, acme, least_period_seconds=20)
    assert problem(app, acme, **often) == {
        "every": "The platform allows a fire every 20 seconds at most. Let it fire less often."
    }
    set_load(app, acme, least_period_seconds=15)
    assert problem(app, acme, **often) == {}


def test_a_tenant_has_no_more_schedules_than_it_may(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    set_load(app, acme, max_schedules=1)
    make_schedule(app, globex)
    assert problem(app, acme) == {}
    assert "allows 1 schedule." in problem(app, acme)["name"]


def test_an_archived_schedule_takes_no_place_until_it_is_restored(app: Dashboard, acme: Tenant) -> None:
    set_load(app, acme, max_schedules=1)
    first = make_schedule(app, acme)
    with app.app_context(), bound(Binding.of(acme)):
        known = actions.get(first.id)
        assert known is not None
        actions.archive(known)
        actions.create(draft())
        with pytest.raises(Refused, match="allows 1 schedule"):
            actions.restore(known)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"kind": "interval", "crons": [], "every_seconds": 300}, "every"),
        ({"crons": ["*/5 * * * *"]}, "crons"),
        ({"crons": ["0 3 * * *", "5 3 * * *"]}, "crons"),
    ],
)
def test_a_schedule_fires_no_more_often_than_its_tenant_may(
    app: Dashboard, acme: Tenant, values: dict[str, Any], field: str
) -> None:
    set_load(app, acme, least_period_seconds=600)
    assert problem(app, acme, **values) == {
        field: "The platform allows a fire every 10 min at most. Let it fire less often."
    }


@pytest.mark.parametrize("values", [{"crons": ["*/10 * * * *"]}, {"kind": "interval", "every_seconds": 600}])
def test_a_schedule_may_fire_as_often_as_its_tenant_may(app: Dashboard, acme: Tenant, values: dict[str, Any]) -> None:
    set_load(app, acme, least_period_seconds=600)
    assert problem(app, acme, **values) == {}
