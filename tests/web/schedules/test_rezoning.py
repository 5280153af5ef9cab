"""Next fires stay right when a tenant changes its time zone, or the rules of time zones change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.clock import database_now, tzdata_version
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.schedules import rezoning
from dashboard.schedules.holidays import holidays_version
from dashboard.schedules.models import Schedule
from dashboard.schedules.rezoning import Shift, follow_tzdata, shifts
from dashboard.schedules.timing import rules_version
from dashboard.tenants.actions import reset_option, set_option
from tests.factories.schedules import make_schedule, occurrences, planned, runs, stored

NINE = ["0 9 * * *"]


def make_daily(app: Dashboard, tenant: Tenant, zone: str, **values: Any) -> Schedule:
    """Return a schedule for 09:00 every day, with the next fire that `zone` gives."""
    with app.app_context(), system_scope("test") as session:
        now = database_now(session)
    local = now.astimezone(ZoneInfo(zone)).replace(hour=9, minute=0, second=0, microsecond=0)
    local += timedelta(days=local <= now)
    fields = {"kind": "cron", "crons": NINE, "next_at": local.astimezone(UTC), "cursor": now, "tz_version": "2020.1"}
    return make_schedule(app, tenant, **{**fields, **values})


def local_hour(moment: datetime | None, zone: str) -> int:
    assert moment is not None
    return moment.astimezone(ZoneInfo(zone)).hour


def audited(app: Dashboard, action: str) -> list[dict[str, Any]]:
    with app.app_context(), system_scope("test") as session:
        return [entry.details for entry in session.scalars(sa.select(AuditEntry).where(AuditEntry.action == action))]


def change_zone(app: Dashboard, tenant: Tenant, zone: str) -> None:
    with app.app_context(), system_scope("test") as session:
        set_option(session, tenant.id, "TIMEZONE", zone)


def follow(app: Dashboard) -> None:
    after: UUID | None = None
    with app.app_context(), system_scope("test") as session:
        while after := follow_tzdata(session, database_now(session), after):
            pass


def test_schedules_without_a_zone_follow_their_tenant_to_another_one(app: Dashboard, globex: Tenant) -> None:
    with app.app_context(), system_scope("test") as session:
        begun = database_now(session)
    following = make_daily(app, globex, "Asia/Tokyo")
    staying = make_daily(app, globex, "Asia/Tokyo", timezone="Asia/Tokyo")
    change_zone(app, globex, "America/New_York")
    assert local_hour(stored(app, following).next_at, "America/New_York") == 9
    assert stored(app, staying).next_at == staying.next_at
    assert planned(app, at=begun).runs == 0
    assert audited(app, "schedule.rezone") == [{"from": "Asia/Tokyo", "to": "America/New_York", "schedules": 1}]


def test_following_the_default_again_moves_them_too(app: Dashboard, globex: Tenant) -> None:
    schedule = make_daily(app, globex, "Asia/Tokyo")
    with app.app_context(), system_scope("test") as session:
        reset_option(session, globex.id, "TIMEZONE")
    assert local_hour(stored(app, schedule).next_at, "UTC") == 9


def test_another_tenants_schedules_stay(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    schedule = make_daily(app, acme, "UTC")
    change_zone(app, globex, "America/New_York")
    assert stored(app, schedule).next_at == schedule.next_at


def test_a_preview_says_what_moves_and_changes_nothing(app: Dashboard, globex: Tenant) -> None:
    schedule = make_daily(app, globex, "Asia/Tokyo", name="Report")
    make_schedule(app, globex, name="Every minute, whatever the clock shows")
    with app.app_context(), system_scope("test") as session:
        (shift,) = shifts(session, globex.id, "America/New_York", database_now(session))
    assert isinstance(shift, Shift)
    assert (shift.schedule.name, shift.old) == ("Report", schedule.next_at)
    assert local_hour(shift.new, "America/New_York") == 9
    assert stored(app, schedule).next_at == schedule.next_at


def test_what_was_due_by_the_old_clock_is_listed_and_does_not_fire(app: Dashboard, globex: Tenant) -> None:
    make_schedule(app, globex, due_for=timedelta(minutes=2))
    change_zone(app, globex, "America/New_York")
    (skip,) = occurrences(app)
    assert (skip.reason, skip.count, runs(app)) == ("edited", 3, [])


def test_a_single_time_that_the_new_clock_has_passed_is_listed_and_never_runs(app: Dashboard, globex: Tenant) -> None:
    with app.app_context(), system_scope("test") as session:
        soon = database_now(session).replace(microsecond=0) + timedelta(hours=1)
    local = soon.astimezone(ZoneInfo("America/New_York")).replace(tzinfo=None)
    change_zone(app, globex, "America/New_York")
    schedule = make_schedule(
        app, globex, kind="once", every_seconds=None, anchor=None, once_local=local, next_at=soon, cursor=None
    )
    change_zone(app, globex, "Asia/Tokyo")
    (skip,) = occurrences(app)
    assert (skip.reason, skip.note) == ("edited", rezoning.TOO_LATE)
    assert stored(app, schedule).state == "completed"


def test_a_paused_schedule_resumes_by_the_new_clock_and_lists_all_it_missed(app: Dashboard, globex: Tenant) -> None:
    paused = make_schedule(
        app, globex, due_for=timedelta(minutes=5), paused_at=sa.func.now(), paused_until=sa.func.now()
    )
    change_zone(app, globex, "America/New_York")
    planned(app)
    (skip,) = occurrences(app)
    assert (skip.reason, skip.count) == ("paused", 6)
    assert stored(app, paused).state == "active"


def test_new_rules_of_time_zones_move_the_next_fire_once_with_an_audit_line(app: Dashboard, globex: Tenant) -> None:
    """The stored fire is an hour off, as older rules would have had it."""
    right = make_daily(app, globex, "Asia/Tokyo")
    assert right.next_at is not None
    wrong = make_daily(app, globex, "Asia/Tokyo", next_at=right.next_at + timedelta(hours=1))
    follow(app)
    follow(app)
    assert stored(app, wrong).next_at == right.next_at
    assert {stored(app, each).tz_version for each in (wrong, right)} == {rules_version()}
    assert audited(app, "schedule.follow_tzdata") == [
        {"tzdata": tzdata_version(), "holidays": holidays_version(), "moved": 1}
    ]


@pytest.mark.parametrize(
    ("stored_by", "ours", "follows"),
    [("2026.9", "2026.10", True), ("2026.10", "2026.9", False), ("2026.2", "2026.2.post1", True), ("", "2026.1", True)],
)
def test_the_tenth_release_of_a_year_is_newer_than_the_ninth(
    app: Dashboard, globex: Tenant, monkeypatch: pytest.MonkeyPatch, stored_by: str, ours: str, follows: bool
) -> None:
    monkeypatch.setattr("dashboard.schedules.rezoning.rules_version", lambda: ours)
    schedule = make_daily(app, globex, "Asia/Tokyo", tz_version=stored_by)
    follow(app)
    assert stored(app, schedule).tz_version == (ours if follows else stored_by)


def test_new_rules_of_holidays_move_what_keeps_them_also_an_interval(app: Dashboard, globex: Tenant) -> None:
    """The stored fire lies beyond a day that older rules took for a holiday."""
    older = f"{tzdata_version()}.0.1"
    noon: dict[str, Any] = {"every_seconds": 86_400, "days_off": ["2030-12-24"], "tz_version": older}
    interval = make_schedule(app, globex, **noon)
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Schedule).values(next_at=Schedule.next_at + timedelta(days=1)))
    follow(app)
    assert stored(app, interval).next_at == interval.next_at
    assert stored(app, interval).tz_version == rules_version()


def test_intervals_and_what_the_same_rules_gave_stay_as_they_are(app: Dashboard, globex: Tenant) -> None:
    interval = make_schedule(app, globex, tz_version="2020.1")
    known = make_daily(app, globex, "Asia/Tokyo", tz_version=rules_version(), next_at=datetime(2030, 1, 1, tzinfo=UTC))
    follow(app)
    assert stored(app, interval).next_at == interval.next_at
    assert stored(app, known).next_at == known.next_at
    assert audited(app, "schedule.follow_tzdata") == []


def test_a_local_time_that_has_run_by_the_older_rules_does_not_run_again(app: Dashboard, globex: Tenant) -> None:
    """Under the older rules 09:00 came an hour before it does now, and it ran."""
    with app.app_context(), system_scope("test") as session:
        now = database_now(session).replace(microsecond=0)
    zone = ZoneInfo("Asia/Tokyo")
    soon = now.astimezone(zone).replace(second=0) + timedelta(minutes=30)
    crons = [f"{soon.minute} {soon.hour} * * *"]
    ran_at = soon.astimezone(UTC) - timedelta(hours=1)
    schedule = make_daily(
        app, globex, "Asia/Tokyo", crons=crons, cursor=ran_at, next_at=ran_at + timedelta(days=1), tz_version="2020.1"
    )
    with app.app_context(), system_scope("test") as session:
        session.execute(
            sa.text(
                "INSERT INTO occurrence (id, tenant_id, schedule_id, occurrence, nominal, nominal_local, decision, rev)"
                " VALUES (gen_random_uuid(), :tenant, :schedule, :key, :nominal, :local, 'run', 1)"
            ),
            {
                "tenant": globex.id,
                "schedule": schedule.id,
                "key": ran_at.isoformat(),
                "nominal": ran_at,
                "local": f"{soon:%Y-%m-%d %H:%M:00} JST",
            },
        )
    follow(app)
    assert stored(app, schedule).next_at == soon + timedelta(days=1)
    planned(app, at=now + timedelta(hours=2))
    assert runs(app) == []
    assert occurrences(app)[-1].note == rezoning.HAS_RUN


@pytest.mark.parametrize("crons", [["99 * * * *"], NINE])
def test_a_rule_that_makes_no_sense_stops_neither(app: Dashboard, globex: Tenant, crons: list[str]) -> None:
    broken = make_daily(app, globex, "Asia/Tokyo", crons=crons)
    change_zone(app, globex, "America/New_York")
    follow(app)
    assert stored(app, broken).next_at is not None
