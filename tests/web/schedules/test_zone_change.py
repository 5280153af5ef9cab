"""Whoever moves a tenant to another time zone sees first which schedules move."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dashboard.app import Dashboard
from dashboard.core.tenancy import Tenant, resolver_of
from dashboard.schedules.models import Schedule
from dashboard.tenants.registry import forget_cached
from tests.factories import make_user
from tests.factories.schedules import make_schedule, runs, stored
from tests.signing_in import Browser, sign_in

TOKYO = "Asia/Tokyo"


@pytest.fixture
def admin(app: Dashboard, globex: Tenant) -> Browser:
    make_user(app, "ada@globex.test", roles={globex.id: "admin"})
    return sign_in(app, globex, "ada@globex.test")


@pytest.fixture
def daily(app: Dashboard, globex: Tenant) -> Schedule:
    """A schedule for 09:00 every day, in the tenant's zone."""
    local = datetime.now(ZoneInfo(TOKYO)).replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=1)
    fields: dict[str, Any] = {"kind": "cron", "crons": ["0 9 * * *"], "every_seconds": None}
    return make_schedule(app, globex, name="Morning report", next_at=local.astimezone(UTC), **fields)


def zone(app: Dashboard) -> Any:
    forget_cached(app)
    with app.app_context():
        tenant = resolver_of(app).by_slug("globex")
        return tenant.values["TIMEZONE"] if tenant else None


def test_the_settings_page_shows_what_moves_before_it_is_applied(
    app: Dashboard, admin: Browser, daily: Schedule
) -> None:
    answer = admin.post("/settings", data={"TIMEZONE": "America/New_York", "SEND_RATE": "77"}, follow_redirects=True)
    assert "1 schedule moves" in answer.text
    assert "Morning report" in answer.text
    assert re.search(r"09:00 JST.*09:00 E[SD]T", answer.text, re.DOTALL)
    assert re.search(r"1[34] h later|1[01] h earlier", answer.text)
    assert "Saved all but the time zone." in answer.text
    assert zone(app) == TOKYO
    assert stored(app, daily).next_at == daily.next_at


def test_confirming_applies_it_and_fires_nothing(app: Dashboard, admin: Browser, daily: Schedule) -> None:
    answer = admin.post("/settings/zones", data={"to": "America/New_York"}, follow_redirects=True)
    assert "The time zone is America/New_York now. 1 schedule moved." in answer.text
    assert zone(app) == "America/New_York"
    moved = stored(app, daily).next_at
    assert moved is not None
    assert moved.astimezone(ZoneInfo("America/New_York")).hour == 9
    assert runs(app) == []


def test_going_back_to_the_default_asks_too(app: Dashboard, admin: Browser, daily: Schedule) -> None:
    answer = admin.post("/settings/resets", data={"reset": "TIMEZONE"}, follow_redirects=True)
    assert "From Asia/Tokyo to UTC" in answer.text
    assert zone(app) == TOKYO
    admin.post("/settings/zones", data={})
    assert zone(app) == "UTC"


def test_where_nothing_moves_nobody_is_asked(app: Dashboard, admin: Browser, globex: Tenant) -> None:
    make_schedule(app, globex, name="Counts time")
    make_schedule(app, globex, name="Has its own zone", kind="cron", crons=["0 9 * * *"], timezone=TOKYO)
    admin.post("/settings", data={"TIMEZONE": "America/New_York"})
    assert zone(app) == "America/New_York"


def test_only_admins_are_shown_and_change_it_and_a_zone_must_exist(
    app: Dashboard, admin: Browser, globex: Tenant
) -> None:
    make_user(app, "oskar@globex.test", roles={globex.id: "operator"})
    operator = sign_in(app, globex, "oskar@globex.test")
    assert operator.get("/settings/zones/new?to=UTC").status_code == 403
    assert operator.post("/settings/zones", data={"to": "UTC"}).status_code == 403
    assert admin.get("/settings/zones/new?to=Mars/Olympus").status_code == 404
    assert admin.post("/settings/zones", data={"to": "Mars/Olympus"}).status_code == 404
    assert zone(app) == TOKYO


def command(app: Dashboard, *more: str) -> Any:
    words = ["tenants", "set", "globex", "TIMEZONE", "America/New_York", *more]
    return app.test_cli_runner().invoke(args=words)


def test_the_command_line_lists_what_would_move_and_changes_nothing(app: Dashboard, daily: Schedule) -> None:
    result = command(app)
    assert result.exit_code == 1
    assert re.search(r"Morning report +\w+ \d{4}-\d\d-\d\d 09:00 JST +\w+ \d{4}-\d\d-\d\d 09:00 E", result.stdout)
    assert "Nothing is changed yet: 1 schedule would move. Add --yes to do it." in result.stderr
    assert zone(app) == TOKYO
    (row,) = json.loads(command(app, "--json").stdout)
    assert (row["schedule"], row["next_at"][11:16]) == ("Morning report", "00:00")


def test_the_command_line_does_it_with_yes(app: Dashboard, daily: Schedule) -> None:
    result = command(app, "--yes")
    assert (result.exit_code, result.stdout) == (0, "TIMEZONE is set. 1 schedule moved.\n")
    assert zone(app) == "America/New_York"
    assert stored(app, daily).next_at != daily.next_at
