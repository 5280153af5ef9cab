"""What an operator does to a run is allowed or refused by its state, and audited."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from werkzeug.exceptions import NotFound

from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.errors import Refused
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Binding, Tenant, bound
from dashboard.runs import actions
from dashboard.runs.states import PROBLEM_STATES, RUN_STATES, WAITING_STATES
from tests.factories.ledger import load_of, run_of, timeline_of
from tests.factories.runs import make_run


def audited(app: Dashboard) -> list[str]:
    with app.app_context(), system_scope("test") as session:
        return list(session.scalars(sa.select(AuditEntry.action)))


@pytest.mark.parametrize("state", sorted(WAITING_STATES))
def test_a_run_that_waits_is_cancelled_at_once(app: Dashboard, acme: Tenant, state: str) -> None:
    run = make_run(app, acme, state)
    with app.app_context(), bound(Binding.of(acme)):
        assert actions.cancel(run.id).state == "cancelled"
    assert run_of(app, run.id).finished_at is not None
    assert timeline_of(app, run.id)[-1] == "cancelled"
    assert (load_of(app, acme).ready, load_of(app, acme).running) == (0, 0)
    assert audited(app) == ["run.cancel"]


@pytest.mark.parametrize("state", sorted(PROBLEM_STATES))
def test_a_run_that_failed_runs_again_as_if_it_were_new(app: Dashboard, acme: Tenant, state: str) -> None:
    run = make_run(app, acme, state, max_attempts=3, error_message="no", attempt=3)
    with app.app_context(), bound(Binding.of(acme)):
        actions.retry(run.id)
    again = run_of(app, run.id)
    assert (again.state, again.attempt, again.max_attempts) == ("ready", 0, 3)
    assert (again.error_message, again.finished_at) == ("", None)
    assert load_of(app, acme).ready == 1
    assert audited(app) == ["run.retry"]


@pytest.mark.parametrize("state", sorted(set(RUN_STATES) - PROBLEM_STATES))
def test_running_again_what_did_not_fail_is_refused_with_a_sentence(app: Dashboard, acme: Tenant, state: str) -> None:
    run = make_run(app, acme, state)
    with app.app_context(), bound(Binding.of(acme)), pytest.raises(Refused, match=r"^This run .*\.$"):
        actions.retry(run.id)
    assert run_of(app, run.id).state == state
    assert audited(app) == []


def test_another_tenants_run_is_not_found(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    run = make_run(app, acme)
    with app.app_context(), bound(Binding.of(globex)):
        with pytest.raises(NotFound):
            actions.cancel(run.id)
        with pytest.raises(NotFound):
            actions.retry(run.id)
    assert run_of(app, run.id).state == "ready"
