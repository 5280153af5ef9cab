"""Holiday calendars: their pages, the schedules that follow them, and what the planner leaves out because of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from holidays.countries.germany import Germany

from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.clock import database_now
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.schedules.models import HolidayCalendar, Schedule
from tests.factories import make_user
from tests.factories.schedules import echo_form, make_schedule, occurrences, planned, runs, stored
from tests.signing_in import Browser, sign_in

TODAY = datetime.now(UTC).date()
DAY = timedelta(days=1)


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


def make_calendar(app: Dashboard, tenant: Tenant, *days: str, place: str = "", name: str = "Company days") -> UUID:
    with app.app_context(), system_scope("test") as session:
        calendar = HolidayCalendar(tenant_id=tenant.id, name=name, place=place, days=list(days))
        session.add(calendar)
        session.flush()
        return calendar.id


def the_calendar(app: Dashboard) -> HolidayCalendar:
    with app.app_context(), system_scope("test") as session:
        return session.scalars(sa.select(HolidayCalendar)).one()


def posted(**changes: Any) -> dict[str, Any]:
    return {"name": "Company days", "country": "", "region": "", "days": "2026-12-24 Company day", **changes}


def daily(app: Dashboard, tenant: Tenant, *lines: str, calendar: UUID | None = None, **values: Any) -> Schedule:
    """A schedule at noon UTC of every day that leaves out `lines`; tomorrow's fire is its next."""
    noon = datetime.combine(TODAY + DAY, datetime.min.time(), UTC) + timedelta(hours=12)
    fields = {"kind": "cron", "crons": ["0 12 * * *"], "every_seconds": None, "next_at": noon, "timezone": "UTC"}
    held = {"days_off": list(lines), "holiday_calendars": [calendar] if calendar else []}
    return make_schedule(app, tenant, **{**fields, **held, "cursor": noon - DAY, **values})


def schedule_form(**changes: Any) -> dict[str, Any]:
    return echo_form(**{"name": "Noon", "crons": "0 12 * * *", "timezone": "UTC", **changes})


def test_an_empty_list_explains_itself_and_offers_the_first_step(operator: Browser) -> None:
    page = operator.get("/calendar/holidays").text
    assert "No holiday calendars yet" in page
    assert "/calendar/holidays/new" in page


def test_own_days_are_pasted_and_kept(app: Dashboard, operator: Browser) -> None:
    response = operator.post(
        "/calendar/holidays", data=posted(days="24.12.2026; Eve\n2026-12-28 to 2026-12-31 Shutdown")
    )
    assert response.status_code == 303
    assert the_calendar(app).days == ["2026-12-24 Eve", "2026-12-28/2026-12-31 Shutdown"]
    page = operator.get(f"/calendar/holidays/{the_calendar(app).id}").text
    assert "2026-12-28 to 2026-12-31 Shutdown" in page


def test_a_country_shows_its_regions_and_its_next_holidays(app: Dashboard, operator: Browser) -> None:
    operator.post("/calendar/holidays", data=posted(name="Bavaria", country="DE", region="BY", days=""))
    assert the_calendar(app).place == "DE-BY"
    page = operator.get(f"/calendar/holidays/{the_calendar(app).id}").text
    assert '<option value="BY" selected>Bayern</option>' in page
    assert "Epiphany" in page
    assert "public holidays of Germany (Bayern)" in operator.get("/calendar/holidays").text


def test_choosing_a_country_brings_its_regions_without_leaving_the_form(operator: Browser) -> None:
    part = operator.get("/calendar/holidays/regions?country=US&region=BY&days=nonsense").text
    assert '<option value="CA">California</option>' in part
    assert "<html" not in part


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": " "}, "Give the calendar a name."),
        ({"days": ""}, "Choose a country, or list days of your own, or both."),
        ({"days": "soon"}, "Line 1, “soon”"),
        ({"country": "XX"}, "No public holidays are known"),
        ({"country": "DE", "region": "CA"}, "Germany has no region “CA”."),
    ],
)
def test_a_form_with_mistakes_comes_back_as_it_was_typed(operator: Browser, changes: dict[str, str], told: str) -> None:
    response = operator.post("/calendar/holidays", data=posted(**changes))
    assert response.status_code == 422
    assert told in response.text
    assert f">\n{changes.get('days', '2026-12-24 Company day')}</textarea>" in response.text


def test_two_calendars_cannot_have_one_name(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    make_calendar(app, acme, "2026-12-24")
    response = operator.post("/calendar/holidays", data=posted())
    assert response.status_code == 422
    assert "Another calendar has this name." in response.text


def test_the_second_of_two_saves_is_told_so(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    calendar = make_calendar(app, acme, "2026-12-24")
    assert operator.post(f"/calendar/holidays/{calendar}", data=posted(rev="1", name="First")).status_code == 303
    second = operator.post(f"/calendar/holidays/{calendar}", data=posted(rev="1", name="Second"))
    assert second.status_code == 409
    assert "Somebody changed this calendar" in second.text
    assert the_calendar(app).name == "First"


def test_a_schedule_names_its_calendars_in_the_editor(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    calendar = make_calendar(app, acme, f"{TODAY}/{TODAY + 2 * DAY} Shutdown", place="DE")
    assert f'value="{calendar}"' in operator.get("/schedules/new").text
    assert operator.post("/schedules", data=schedule_form(holiday_calendars=str(calendar))).status_code == 303
    with app.app_context(), system_scope("test") as session:
        schedule = session.scalars(sa.select(Schedule)).one()
    assert (schedule.holiday_calendars, schedule.days_off[-1]) == ([calendar], "DE")
    assert schedule.next_at is not None
    assert schedule.next_at.date() > TODAY + 2 * DAY
    page = operator.get(f"/schedules/{schedule.id}").text
    assert "not on public holidays of Germany, 1 own entry" in page
    assert "Noon" in operator.get(f"/calendar/holidays/{calendar}").text


def test_the_history_of_a_schedule_tells_its_calendars_by_name(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    calendar = make_calendar(app, acme, "2030-12-24")
    location = operator.post("/schedules", data=schedule_form()).location.partition("/schedules/")[2]
    operator.post(f"/schedules/{location}", data=schedule_form(rev="1", holiday_calendars=str(calendar)))
    page = operator.get(f"/schedules/{location}/revisions").text
    assert "Not on the holidays of" in page
    assert "Company days" in page


@pytest.mark.parametrize("named", [str(UUID(int=7)), "nonsense"])
def test_a_calendar_that_is_gone_cannot_be_named(operator: Browser, named: str) -> None:
    response = operator.post("/schedules", data=schedule_form(holiday_calendars=named))
    assert response.status_code == 422


def test_another_tenants_calendar_cannot_be_named(app: Dashboard, operator: Browser, globex: Tenant) -> None:
    calendar = make_calendar(app, globex, "2026-12-24")
    assert operator.post("/schedules", data=schedule_form(holiday_calendars=str(calendar))).status_code == 422
    assert "Company days" not in operator.get("/calendar/holidays").text


def test_a_single_time_on_a_day_off_is_refused_with_its_name(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    calendar = make_calendar(app, acme, f"{TODAY + DAY} Stocktaking")
    once = {"when": "once", "once_local": f"{TODAY + DAY}T12:00", "holiday_calendars": str(calendar)}
    response = operator.post("/schedules", data=schedule_form(**once))
    assert response.status_code == 422
    assert "This is a day off: Stocktaking." in response.text


def test_the_ledger_says_which_holiday_left_a_fire_out(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = daily(app, acme, f"{TODAY} Company day")
    today_noon = datetime.combine(TODAY, datetime.min.time(), UTC) + timedelta(hours=12)
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.update(Schedule).values(cursor=today_noon - DAY, next_at=today_noon + DAY))
    planned(app, at=today_noon + DAY + timedelta(seconds=1))
    assert [(row.decision, row.reason, row.note, row.nominal) for row in occurrences(app)] == [
        ("skip", "holiday", "Company day", today_noon),
        ("run", "", "", today_noon + DAY),
    ]
    assert "It is a holiday: Company day." in operator.get(f"/schedules/{schedule.id}").text


def test_an_extra_date_runs_on_a_holiday(app: Dashboard, acme: Tenant) -> None:
    schedule = daily(app, acme, f"{TODAY + DAY} Company day", extra_dates=[TODAY + DAY])
    assert schedule.next_at is not None
    planned(app, at=schedule.next_at)
    assert [(row.decision, row.nominal) for row in occurrences(app)] == [("run", schedule.next_at)]


def test_a_changed_calendar_moves_the_schedules_that_use_it_and_fires_nothing(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    calendar = make_calendar(app, acme, "2030-12-24")
    using = daily(app, acme, "2030-12-24", calendar=calendar)
    other = daily(app, acme, name="Other")
    shut = f"{TODAY} to {TODAY + 2 * DAY} Inventory"  # from today on: its noon may still lie ahead
    response = operator.post(f"/calendar/holidays/{calendar}", data=posted(rev="1", days=shut))
    assert response.status_code == 303
    moved = stored(app, using)
    assert moved.days_off == [f"{TODAY}/{TODAY + 2 * DAY} Inventory"]
    assert using.next_at is not None
    assert using.next_at.date() < TODAY + 3 * DAY == moved.next_at.date() if moved.next_at else False
    assert stored(app, other).next_at == other.next_at
    assert (runs(app), planned(app).runs) == ([], 0)
    assert "1 schedule now follows it" in operator.get("/calendar/holidays").text
    with app.app_context(), system_scope("test") as session:
        entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.action == "holiday_calendar.update")).one()
    assert entry.details == {"schedules": 1}


def test_a_day_that_is_no_holiday_any_more_does_not_fire_late(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    calendar = make_calendar(app, acme, f"{TODAY - 2 * DAY}/{TODAY + DAY} Shutdown")
    with app.app_context(), system_scope("test") as session:
        now = database_now(session)
    using = daily(
        app,
        acme,
        f"{TODAY - 2 * DAY}/{TODAY + DAY} Shutdown",
        calendar=calendar,
        cursor=now - 3 * DAY,
        next_at=now + 2 * DAY,
    )
    operator.post(f"/calendar/holidays/{calendar}", data=posted(rev="1", days="2030-12-24"))
    assert planned(app).runs == 0
    after = stored(app, using)
    assert after.next_at is not None
    assert now < after.next_at <= now + DAY


def test_a_paused_schedule_takes_the_new_days_and_stays_paused(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    calendar = make_calendar(app, acme, "2030-12-24")
    paused = daily(app, acme, "2030-12-24", calendar=calendar, paused_at=sa.func.now())
    operator.post(f"/calendar/holidays/{calendar}", data=posted(rev="1", days="2031-12-24"))
    after = stored(app, paused)
    assert (after.days_off, after.next_at, after.paused_at) == (["2031-12-24"], paused.next_at, paused.paused_at)


def test_a_single_time_that_becomes_a_day_off_is_listed_as_skipped_and_comes_back(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    calendar = make_calendar(app, acme, "2030-12-24")
    noon = datetime.combine(TODAY + DAY, datetime.min.time()) + timedelta(hours=12)
    once = daily(app, acme, "2030-12-24", calendar=calendar, kind="once", crons=[], once_local=noon)
    operator.post(f"/calendar/holidays/{calendar}", data=posted(rev="1", days=f"{TODAY + DAY} Stocktaking"))
    assert stored(app, once).next_at is None
    assert [(row.reason, row.note) for row in occurrences(app)] == [("holiday", "Stocktaking")]
    operator.post(f"/calendar/holidays/{calendar}", data=posted(rev="2", days="2030-12-24"))
    assert stored(app, once).next_at == once.next_at
    assert once.next_at is not None
    assert planned(app, at=once.next_at).runs == 1


def test_removing_a_calendar_takes_it_from_its_schedules(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    calendar = make_calendar(app, acme, f"{TODAY + DAY}")
    other = make_calendar(app, acme, name="Germany", place="DE")
    using = daily(app, acme, f"{TODAY + DAY}", "DE", holiday_calendars=[calendar, other])
    assert "1 schedule will fire on its days again" in operator.get(f"/calendar/holidays/{calendar}").text
    assert operator.post(f"/calendar/holidays/{calendar}/removals").status_code == 303
    after = stored(app, using)
    assert (after.holiday_calendars, after.days_off) == ([other], ["DE"])
    assert the_calendar(app).name == "Germany"


def test_a_batch_with_thousands_of_days_off_asks_a_country_once_a_year(
    app: Dashboard, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    original = Germany._populate

    def counted(self: Any, year: int) -> None:
        asked.append(year)
        original(self, year)

    monkeypatch.setattr(Germany, "_populate", counted)
    moment = datetime(TODAY.year + 1, 6, 1, 12, tzinfo=UTC)
    for number in range(50):
        daily(app, acme, "DE-HH", name=f"S{number}", next_at=moment, cursor=moment - DAY)
    assert planned(app, at=moment).runs == 50
    assert 1 <= len(asked) <= 2


def test_the_preview_shows_what_holidays_leave_out(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    calendar = make_calendar(app, acme, f"{TODAY + 3 * DAY} Stocktaking")
    typed = schedule_form(holiday_calendars=str(calendar))
    page = operator.post("/schedules/previews", data=typed, headers={"HX-Request": "true"}).text
    assert "holiday: Stocktaking: skipped" in page
    assert page.count("<tr><td><time") == 10


def test_a_holiday_that_has_just_passed_is_told_before_the_ledger_lists_it(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    with app.app_context(), system_scope("test") as session:
        now = database_now(session)
    shut = f"{TODAY - 2 * DAY}/{TODAY + DAY} Shutdown"
    schedule = daily(app, acme, shut, cursor=now - DAY, next_at=now + 3 * DAY)
    page = operator.get(f"/schedules/{schedule.id}").text
    assert page.count("It is a holiday: Shutdown.") == 1
    assert occurrences(app) == []


def test_saves_of_calendars_and_schedules_at_once_end_in_agreement(app: Dashboard, acme: Tenant) -> None:
    """Both lock the calendar first, so that none waits for the other for ever."""
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    browsers = [sign_in(app, acme, "olivia@acme.test") for _ in range(4)]
    calendar = make_calendar(app, acme, "2030-12-24")
    schedules = [daily(app, acme, name=f"S{number}", params={"word": "hello"}) for number in range(2)]

    def save_schedule(number: int) -> int:
        typed = schedule_form(name=f"S{number}", rev="1", holiday_calendars=str(calendar))
        return browsers[number].post(f"/schedules/{schedules[number].id}", data=typed).status_code

    def save_calendar(number: int) -> int:
        days = {"days": f"203{number}-12-24"}
        return browsers[number].post(f"/calendar/holidays/{calendar}", data=posted(rev="1", **days)).status_code

    with ThreadPoolExecutor(4) as pool:
        saves = [pool.submit(save, number) for number, save in enumerate([save_schedule] * 2 + [save_calendar] * 2)]
    assert sorted(save.result() for save in saves) == [303, 303, 303, 409]
    assert {tuple(stored(app, schedule).days_off) for schedule in schedules} == {tuple(the_calendar(app).days)}
