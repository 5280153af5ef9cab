"""The application without pages knows of tenants and job types what beat needs to know."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.settings import Settings
from dashboard.app import Dashboard
from dashboard.bare import create_bare_app
from dashboard.core.tenancy import Tenant, resolver_of
from dashboard.emails.message import EmailMessage
from dashboard.jobs.registry import all_job_types
from tests.application import disconnect


class OneAtATime(EmailMessage):
    """A plugin's mail, of which no two for the same page are on their way at once."""

    key = "test.one_at_a_time"
    concurrency_key = "page:{link}"


@pytest.fixture
def bare(app: Dashboard, settings: Settings) -> Iterator[Dashboard]:
    bare = create_bare_app(settings)
    yield bare
    disconnect(bare)


def test_it_has_no_page_and_no_command_of_ours(bare: Dashboard) -> None:
    assert list(bare.url_map.iter_rules()) == []
    assert set(bare.cli.commands) <= {"db"}


def test_it_finds_tenants_with_their_settings(bare: Dashboard, app: Dashboard, acme: Tenant) -> None:
    found = resolver_of(bare).by_id(acme.id)
    known = resolver_of(app).by_id(acme.id)
    assert found is not None
    assert known is not None
    assert found.values == known.values
    assert found.roots == known.roots


def test_it_knows_the_job_types(bare: Dashboard) -> None:
    assert "email.message" in {job.key for job in all_job_types()}


def test_it_gives_a_run_the_same_concurrency_key_as_the_application_with_pages(bare: Dashboard, app: Dashboard) -> None:
    stored = {"to": ["pat@acme.example"], "subject": "Hello", "body": "Text", "link": "/runs"}
    keys = []
    for each in (bare, app):
        with each.app_context():
            keys.append(OneAtATime.key_for(stored, OneAtATime.version))
    assert keys == ["page:/runs", "page:/runs"]
