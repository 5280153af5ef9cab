"""An operator schedules a mail in the browser; what is wrong with it stands beside the field."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
from werkzeug.test import TestResponse

from dashboard.app import Dashboard
from dashboard.core.ids import new_id
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.models import Run
from dashboard.schedules.models import Schedule
from tests.factories import make_user
from tests.signing_in import Browser, sign_in


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


def form(**changes: str) -> dict[str, Any]:
    return {
        "job_type": "email.message",
        "name": "Weekly report",
        "when": "cron",
        "crons": "weekdays at 9",
        "params-to": "olivia@acme.example\npeter@acme.example",
        "params-subject": "Report of {{ date }}",
        "params-format": "markdown",
        "params-body": "Hello {{ recipient.address }}",
        "params-link": "/runs?state=failed",
        "params-link_label": "See what failed",
        **changes,
    }


def schedules(app: Dashboard) -> list[Schedule]:
    with app.app_context(), system_scope("test") as session:
        return list(session.scalars(sa.select(Schedule)))


def test_the_form_of_a_mail_names_the_fields_it_may_use(operator: Browser) -> None:
    page = operator.get("/schedules/new?job_type=email.message").text
    assert 'name="params-to"' in page
    assert "{{ recipient.address }}" in page


def test_a_mail_is_saved_with_its_parameters(app: Dashboard, operator: Browser) -> None:
    assert operator.post("/schedules", data=form()).status_code == 303
    (schedule,) = schedules(app)
    assert schedule.params == {
        "to": ["olivia@acme.example", "peter@acme.example"],
        "subject": "Report of {{ date }}",
        "format": "markdown",
        "body": "Hello {{ recipient.address }}",
        "link": "/runs?state=failed",
        "link_label": "See what failed",
    }


def test_a_mail_that_is_sent_now_twice_by_one_form_is_one_run(app: Dashboard, operator: Browser) -> None:
    opened = form(when="now", schedule_id="01a1fe45-66fb-71ce-9e3f-7f50f3f9d3a8")
    first, again = (operator.post("/schedules", data=opened) for _ in range(2))
    assert first.location == again.location
    assert "started already" in operator.get(again.location.removeprefix("/acme")).text
    other = operator.post("/schedules", data={**opened, "params-to": "peter@acme.example"})
    assert other.location != first.location
    with app.app_context(), system_scope("test") as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Run)) == 2


def test_clicks_at_the_same_instant_send_a_mail_once(app: Dashboard, operator: Browser) -> None:
    for attempt in range(5):
        opened = form(when="now", schedule_id=str(new_id()), name=f"Report {attempt}")
        together = Barrier(4)
        with ThreadPoolExecutor(4) as crowd:
            answers = [crowd.submit(click, operator, together, opened) for _ in range(4)]
        assert len({answer.result().location for answer in answers}) == 1
    with app.app_context(), system_scope("test") as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Run)) == 5


def click(operator: Browser, together: Barrier, opened: dict[str, str]) -> TestResponse:
    """Send the form from a further tab of the operator's browser, when all tabs are ready."""
    tab = Browser(operator.application, operator.response_wrapper, use_cookies=True)
    tab.root, tab.token, tab._cookies = operator.root, operator.token, operator._cookies
    together.wait()
    return tab.post("/schedules", data=opened)


def test_an_unknown_field_is_told_beside_it_and_the_text_stays(app: Dashboard, operator: Browser) -> None:
    response = operator.post("/schedules", data=form(**{"params-body": "Dear {{ customer }}, hello"}))
    assert response.status_code == 422
    assert "There is no field {{ customer }}. There are: recipient.address" in response.text
    assert "Dear {{ customer }}, hello</textarea>" in response.text
    assert schedules(app) == []


@pytest.mark.parametrize("link", ["https://evil.example", "//evil.example", "/nowhere"])
def test_a_link_elsewhere_is_refused(app: Dashboard, operator: Browser, link: str) -> None:
    response = operator.post("/schedules", data=form(**{"params-link": link}))
    assert response.status_code == 422
    assert "Give the path of a page of this dashboard, like /runs." in response.text
    assert schedules(app) == []
