"""What is told of the runs ahead is what will run: a limit counts real runs, and a skipped fire is not the next."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant
from dashboard.schedules.models import Schedule
from tests.factories import make_user
from tests.factories.schedules import echo_form, make_schedule
from tests.signing_in import Browser, sign_in


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


def test_a_skipped_fire_uses_up_no_run_and_the_page_shows_the_one_that_will_run(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    nine = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=2)
    fields: dict[str, Any] = {"kind": "cron", "crons": ["0 9 * * *"], "every_seconds": None, "timezone": "UTC"}
    schedule = make_schedule(app, acme, next_at=nine, runs_left=1, start_at=nine, **fields)
    path = f"/schedules/{schedule.id}"
    assert len(re.findall(r'id="fire-\d+"', operator.get(path).text)) == 1
    operator.post(f"{path}/fires/skips", data={"nominal": nine.isoformat()})
    page = operator.get(path).text
    told = [datetime.fromtimestamp(int(at), UTC) for at in re.findall(r'id="fire-(\d+)"', page)]
    assert told == [nine, nine + timedelta(days=1)]
    assert page.count("skipped by hand") == 1


def test_a_change_of_time_or_limit_gains_and_loses_no_more_than_may_still_run(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    ten = datetime.now(UTC).replace(hour=10, minute=0, second=0, microsecond=0) + timedelta(days=1)
    fields: dict[str, Any] = {"kind": "cron", "crons": ["0 10 * * *"], "every_seconds": None, "timezone": "UTC"}
    schedule = make_schedule(app, acme, next_at=ten, runs_left=1, **fields)

    def compared(**changes: str) -> list[str]:
        form = echo_form(schedule_id=schedule.id, timezone="UTC", **changes)
        page = operator.post("/schedules/previews", data=form, headers={"HX-Request": "true"}).text
        return re.findall(r"Fires (?:gained|lost)</span><span>(\d+)", page)

    assert compared(crons="0 11 * * *", runs_left="1") == ["1", "1"]
    assert compared(crons="0 10 * * *", runs_left="20") == ["19", "0"]
    assert compared(crons="0 10 * * *", runs_left="1") == []


@pytest.mark.parametrize("page", ["/schedules", "/"])
def test_the_next_run_is_neither_a_skipped_fire_nor_one_that_was_moved_away(
    app: Dashboard, operator: Browser, acme: Tenant, page: str
) -> None:
    hour = timedelta(hours=1)
    first = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + 2 * hour
    fields: dict[str, Any] = {"every_seconds": 7200, "anchor": first, "next_at": first, "start_at": first}
    skipped, moved = (
        make_schedule(app, acme, name="Skipped", **fields),
        make_schedule(app, acme, name="Moved", **fields),
    )
    operator.post(f"/schedules/{skipped.id}/fires/skips", data={"nominal": first.isoformat()})
    to = first + hour
    asked = {"schedule": str(moved.id), "nominal": first.isoformat(), "rev": "1", "typed": "y"}
    assert operator.post("/calendar/moves", data={**asked, "to": f"{to:%Y-%m-%dT%H:%M}"}).status_code == 303
    told = operator.get(page).text
    row = "next" if page == "/" else "schedule"

    def next_of(schedule: Schedule) -> datetime:
        _, _, line = told.partition(f'id="{row}-{schedule.id}"')
        found = re.search(r'<time[^>]* datetime="([^"]+)"', line)
        assert found is not None
        return datetime.fromisoformat(found[1])

    assert (next_of(skipped), next_of(moved)) == (first + 2 * hour, to)
