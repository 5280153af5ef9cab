"""A run's page shows the run that started it and those that it started, for as long as one of them moves."""

from __future__ import annotations

import pytest

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from dashboard.runs.board import CHILDREN
from tests.factories import make_user
from tests.factories.runs import make_run
from tests.signing_in import Browser, sign_in


@pytest.fixture
def vera(app: Dashboard, acme: Tenant) -> Browser:
    """A viewer of Acme's."""
    make_user(app, "vera@acme.test", roles={acme.id: "viewer"})
    return sign_in(app, acme, "vera@acme.test")


@pytest.mark.parametrize(("state", "live"), [("running", "Live: every"), ("succeeded", "Live: finished")])
def test_a_parents_page_is_live_until_its_children_have_ended(
    app: Dashboard, acme: Tenant, vera: Browser, state: str, live: str
) -> None:
    parent = make_run(app, acme, "succeeded", name="The whole")
    child = make_run(app, acme, state, name="A part", parent_id=parent.id)
    page = vera.get(f"/runs/{parent.id}").text
    assert live in page
    assert f'href="/runs/{child.id}"' in page
    assert f'href="/runs/{parent.id}"' in vera.get(f"/runs/{child.id}").text


def test_of_many_children_the_first_are_listed(app: Dashboard, acme: Tenant, vera: Browser) -> None:
    parent = make_run(app, acme, "succeeded")
    for _ in range(CHILDREN + 1):
        make_run(app, acme, "succeeded", name="A part", parent_id=parent.id)
    page = vera.get(f"/runs/{parent.id}").text
    assert page.count('id="relative-') == CHILDREN
    assert f"these are the first {CHILDREN}" in page
