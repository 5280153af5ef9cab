"""The scheduler itself is watched: what should have been planned by now and was not."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.orm import db, system_scope
from dashboard.core.tenancy import Binding, Tenant, bound
from dashboard.schedules.watchdog import bark, overdue
from tests.factories.schedules import make_schedule, planned


def test_a_schedule_that_nobody_planned_for_a_minute_is_overdue(app: Dashboard, acme: Tenant) -> None:
    """N11: beat may hang; the pages still know."""
    late = make_schedule(app, acme, due_for=timedelta(seconds=90))
    make_schedule(app, acme, due_for=timedelta(seconds=5))
    make_schedule(app, acme, due_for=timedelta(seconds=90), paused_at=sa.func.now())
    with app.app_context(), system_scope("test") as session:
        (found,) = overdue(session)
    assert (found.schedule_id, found.tenant_id, found.name) == (late.id, acme.id, late.name)
    assert found.late >= timedelta(seconds=90)


def test_a_tenants_page_sees_its_own_alone(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    make_schedule(app, acme, due_for=timedelta(seconds=90))
    with app.app_context(), bound(Binding.of(globex)):
        assert overdue(db.session()) == []
    with app.app_context(), bound(Binding.of(acme)):
        assert len(overdue(db.session())) == 1


def test_planning_ends_it(app: Dashboard, acme: Tenant) -> None:
    make_schedule(app, acme, due_for=timedelta(seconds=90))
    planned(app)
    with app.app_context(), system_scope("test") as session:
        assert overdue(session) == []


def test_it_is_said_in_the_log_once_for_all(app: Dashboard, acme: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        make_schedule(app, acme, due_for=timedelta(seconds=90))
    with caplog.at_level(logging.ERROR), app.app_context(), system_scope("test") as session:
        bark(session)
    assert len(caplog.records) == 1
    assert "'count': 3" in caplog.text


def test_a_planner_that_works_is_not_barked_at(app: Dashboard, acme: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    make_schedule(app, acme)
    with caplog.at_level(logging.ERROR), app.app_context(), system_scope("test") as session:
        bark(session)
    assert caplog.records == []
