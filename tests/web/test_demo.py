"""`flask demo` fills the dashboard with tenants that work, as often as it is run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from config.settings import Settings
from dashboard.accounts.models import Membership, User
from dashboard.app import Dashboard, create_app
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant, resolver_of
from dashboard.demo.story import PASSWORD, PEOPLE, TENANTS
from dashboard.runs.models import Run, TenantLoad
from dashboard.schedules.models import Schedule
from dashboard.tenants.registry import forget_cached
from tests.application import disconnect
from tests.signing_in import visit

PLACE = {"DEVELOPMENT": "1", "PLATFORM_ROOT": "http://localhost:5000", "SMTP_PORT": "8025"}


@contextmanager
def developed(environment: dict[str, str], **changes: str) -> Iterator[Dashboard]:
    app = create_app(Settings.from_env({**environment, **PLACE, **changes}))
    app.testing = True
    yield app
    disconnect(app)


@pytest.fixture
def development(app: Dashboard, environment: dict[str, str]) -> Iterator[Dashboard]:
    with developed(environment) as started:
        yield started


def demo(app: Dashboard, *words: str) -> Any:
    result = app.test_cli_runner().invoke(args=["demo", "--json", *words])
    assert (result.exit_code, result.stderr) == (0, "")
    forget_cached(app)
    return json.loads(result.stdout)


def tenant(app: Dashboard, slug: str) -> Tenant:
    found = resolver_of(app).by_slug(slug)
    assert found is not None
    return found


def counts(app: Dashboard) -> list[int]:
    with app.app_context(), system_scope("test") as session:
        return [
            session.scalar(sa.select(sa.func.count()).select_from(model)) or 0
            for model in (User, Membership, Schedule, Run, AuditEntry)
        ]


def test_it_is_where_its_last_lines_say(development: Dashboard) -> None:
    result = development.test_cli_runner().invoke(args=["demo"])
    assert result.exit_code == 0
    for words in (
        "http://localhost:5000/acme",
        "http://globex.localhost:5000",
        "olivia@acme.example",
        "gus@globex.example",
        PASSWORD,
    ):
        assert words in result.stdout


@pytest.mark.parametrize("email", [person.email for person in PEOPLE])
def test_everybody_in_it_can_sign_in(development: Dashboard, email: str) -> None:
    demo(development)
    slug = next((slug for person in PEOPLE if person.email == email for slug in person.roles), None)
    browser = visit(development, tenant(development, slug) if slug else None)
    assert browser.sign_in(email, PASSWORD).status_code == 303
    for path in ("/", "/runs", "/schedules", "/monitor") if slug else ("/tenants",):
        assert browser.get(path, follow_redirects=True).status_code == 200


def test_the_audit_trail_names_who_made_its_schedules(development: Dashboard) -> None:
    demo(development)
    with development.app_context(), system_scope("test") as session:
        made = sa.select(AuditEntry.actor_name).where(AuditEntry.action == "schedule.create").distinct()
        assert set(session.scalars(made)) == {"Olivia Ames", "Gus Okafor"}


def test_running_it_again_changes_nothing(development: Dashboard) -> None:
    demo(development)
    before = counts(development)
    demo(development)
    assert counts(development) == before


def test_it_follows_ports_that_moved(development: Dashboard, environment: dict[str, str]) -> None:
    demo(development)
    with developed(environment, PLATFORM_ROOT="http://localhost:5001", SMTP_PORT="8099") as moved:
        places = demo(moved)["tenants"]
        acme, globex = tenant(moved, "acme"), tenant(moved, "globex")
    assert [place["url"] for place in places] == ["http://localhost:5001/acme", "http://globex.localhost:5001"]
    assert (acme.roots[0].url, globex.roots[0].url) == ("http://localhost:5001/acme", "http://globex.localhost:5001")
    assert (acme.values["SMTP_HOST"], acme.values["SMTP_PORT"], acme.values["SMTP_TLS"]) == ("127.0.0.1", 8099, "none")


def test_a_mail_server_that_somebody_set_is_left_alone(development: Dashboard) -> None:
    demo(development)
    development.test_cli_runner().invoke(args=["tenants", "set", "acme", "SMTP_HOST", "smtp.acme.example"])
    demo(development)
    assert tenant(development, "acme").values["SMTP_HOST"] == "smtp.acme.example"


def test_it_has_schedules_of_every_kind_and_runs_that_failed(development: Dashboard) -> None:
    demo(development)
    with development.app_context(), system_scope("test") as session:
        schedules = session.scalars(sa.select(Schedule)).all()
        states = set(session.scalars(sa.select(Run.state)))
        loads = session.execute(sa.select(TenantLoad.ready, TenantLoad.running)).all()
    assert {schedule.name for schedule in schedules} == {each.name for told in TENANTS for each in told.schedules}
    assert {schedule.kind for schedule in schedules} == {"once", "interval", "cron"}
    assert {schedule.state for schedule in schedules} == {"active", "paused"}
    assert states == {"succeeded", "failed", "dead"}
    assert [tuple(load) for load in loads] == [(0, 0), (0, 0)]


def test_it_is_refused_outside_development(app: Dashboard, environment: dict[str, str]) -> None:
    result = app.test_cli_runner().invoke(args=["demo"])
    assert result.exit_code == 1
    assert "belongs in development" in result.stderr
    assert counts(app) == [0, 0, 0, 0, 0]


def test_it_can_be_had_outside_development_by_who_really_wants_it(app: Dashboard, environment: dict[str, str]) -> None:
    with developed(environment, DEVELOPMENT="0") as production:
        assert len(demo(production, "--yes-really")["tenants"]) == 2
