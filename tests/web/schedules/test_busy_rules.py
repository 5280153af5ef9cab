"""Rules that name millions of instants: pages and the planner look at those that they need."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, NoReturn

import pytest

from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.schedules.models import Blackout, Schedule
from dashboard.schedules.timing import MOST_INSTANTS
from tests.factories import make_user
from tests.factories.schedules import make_schedule, occurrences, planned, runs, stored
from tests.signing_in import Browser, sign_in

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
ENOUGH_CPU_SECONDS = 10
"""A page takes a tenth of one; what this file is about took minutes, or did not end."""

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture(autouse=True)
def ends() -> Iterator[None]:
    """Fail, and do not hang, where something goes through all the instants of a rule."""

    def give_up(*_: object) -> NoReturn:
        pytest.fail(f"This takes more than {ENOUGH_CPU_SECONDS} seconds of CPU.")

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, ENOUGH_CPU_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


def each_second(app: Dashboard, tenant: Tenant, **values: Any) -> Schedule:
    return make_schedule(app, tenant, name="Restless", every_seconds=1, **values)


def black_out(app: Dashboard, tenant: Tenant, start: datetime, end: datetime, name: str = "Freeze") -> None:
    with app.app_context(), system_scope("test") as session:
        session.add(Blackout(tenant_id=tenant.id, name=name, start_at=start, end_at=end))


def black_out_thousands(app: Dashboard, tenant: Tenant, *, count: int = 4000) -> None:
    """Blackouts of 40 days that begin minute after minute, named by their number."""
    with app.app_context(), system_scope("test") as session:
        for number in range(count):
            start = TODAY - DAY + number // 2 * 2 * MINUTE  # Two at a time.
            session.add(Blackout(tenant_id=tenant.id, name=f"{number}", start_at=start, end_at=start + 40 * DAY))


@pytest.mark.parametrize("ended", ["archived", "used up"])
def test_the_page_of_a_schedule_that_will_not_run_any_more_does_not_look_for_what_it_leaves_out(
    app: Dashboard, operator: Browser, acme: Tenant, ended: str
) -> None:
    how = {"archived_at": TODAY} if ended == "archived" else {"runs_left": 0, "next_at": None}
    schedule = each_second(app, acme, skip_dates=[(TODAY + 9 * DAY).date()], **how)
    page = operator.get(f"/schedules/{schedule.id}")
    assert page.status_code == 200
    assert "skipped date" not in page.text


@pytest.fixture
def frozen(app: Dashboard, acme: Tenant) -> Schedule:
    """Runs twice more, behind a blackout of a year."""
    black_out(app, acme, TODAY - DAY, TODAY + 360 * DAY)
    return each_second(app, acme, runs_left=2)


@pytest.mark.parametrize("page", ["/calendar?day=2199-12-31", "/calendar/load", "/schedules", "/schedules/{id}/edit"])
def test_a_blackout_is_passed_over_at_once_where_the_runs_left_are_counted(
    operator: Browser, frozen: Schedule, page: str
) -> None:
    assert operator.get(page.format(id=frozen.id)).status_code == 200


def test_the_last_runs_come_behind_the_blackouts(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    noon = TODAY + timedelta(days=40, hours=12)
    black_out(app, acme, TODAY - DAY, noon - timedelta(hours=3))
    black_out(app, acme, noon - timedelta(hours=4), noon + timedelta(minutes=1, microseconds=1))
    black_out(app, acme, noon + timedelta(minutes=3), noon + timedelta(minutes=9, seconds=59, milliseconds=999))
    make_schedule(app, acme, name="Thrice", runs_left=3, anchor=noon - 50 * DAY)
    page = operator.get(f"/calendar?view=day&day={noon.date()}").text
    _swallowed, *shown = re.findall(r'(\d\d:\d\d)</time> <span class="entry-name">Thrice', page)
    assert shown == ["12:02", "12:10", "12:11"]


@pytest.mark.parametrize("page", ["/", "/calendar?view=month&day={later}", "/calendar/load", "/schedules"])
def test_thousands_of_blackouts_that_overlap_are_no_more_work_than_one(
    app: Dashboard, operator: Browser, acme: Tenant, page: str
) -> None:
    black_out_thousands(app, acme)
    make_schedule(app, acme)
    assert operator.get(page.format(later=(TODAY + 85 * DAY).date())).status_code == 200


@pytest.mark.parametrize(("view", "drawn"), [("month", 3), ("week", 6)])
def test_each_day_draws_a_few_of_thousands_of_blackouts_and_leads_to_the_others(
    app: Dashboard, operator: Browser, acme: Tenant, view: str, drawn: int
) -> None:
    black_out_thousands(app, acme)
    later = (TODAY + 20 * DAY).date()
    page = operator.get(f"/calendar?view={view}&day={later}").text
    assert len(page) < 300_000
    day = re.search(rf'<(td|section)[^>]*(data-slot="{later}"|{later:%-d %B}")>.*?</\1>', page, re.DOTALL)
    assert day is not None
    assert day[0].count('class="band"') == drawn
    assert re.findall(r'href="([^"]*)">([\d,]+) more<span class="more-of"> blackouts<', day[0]) == [
        (f"/calendar?view=day&amp;day={later}", f"{4000 - drawn:,}")
    ]


def test_a_day_draws_a_hundred_of_thousands_of_blackouts_and_leads_to_the_list(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    black_out_thousands(app, acme)
    page = operator.get(f"/calendar?view=day&day={(TODAY + 20 * DAY).date()}").text
    assert page.count('class="band"') == 100
    assert '"/calendar/blackouts">3,900 more<span class="more-of"> blackouts<' in page
    assert 'title="Blackout: 0, 1, 2 and 3,997 more"' in page


def test_the_list_of_blackouts_goes_on_from_page_to_page(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    black_out_thousands(app, acme, count=201)
    names, address = [], "/calendar/blackouts"
    while address:
        page = operator.get(address).text
        names.append(re.findall(r'class="row-link"[^>]*>(\d+)</a>', page))
        address = "".join(re.findall(r'<a[^>]*href="([^"]+)"[^>]*rel="next"', page))
    assert [len(each) for each in names] == [100, 100, 1]
    assert [name for each in names for name in each] == [str(number) for number in range(201)]


def test_what_lies_in_two_blackouts_is_told_with_the_one_that_began_first(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    noon = TODAY + timedelta(days=40, hours=12)
    black_out(app, acme, noon, noon + timedelta(hours=2), "Audit")
    black_out(app, acme, noon + timedelta(hours=1), noon + timedelta(hours=3), "Move")
    make_schedule(app, acme, name="Hourly", every_seconds=3600, anchor=noon - 50 * DAY)
    page = operator.get(f"/calendar?view=day&day={noon.date()}").text
    assert len(re.findall("blackout: skipped", page)) == 3
    assert [page.count(f"blackout: {name}") for name in ("Audit", "Move")] == [2, 1]
    assert "from 13:00 to 15:00" in page


def test_the_form_of_a_blackout_counts_what_it_swallows_of_a_schedule_with_few_runs_left(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    each_second(app, acme, runs_left=99_999)
    typed = {"name": "Freeze", "start": f"{TODAY + DAY:%Y-%m-%dT%H:%M}", "end": f"{TODAY + 365 * DAY:%Y-%m-%dT%H:%M}"}
    assert "Restless" in operator.post("/calendar/blackouts", data=typed).text


def test_days_off_that_a_rule_names_often_are_listed_in_batches_before_it_runs_again(
    app: Dashboard, acme: Tenant
) -> None:
    closed = f"{(TODAY - 6 * DAY).date()}/{(TODAY - DAY).date()} Closed"
    last = TODAY - 6 * DAY - MINUTE
    schedule = make_schedule(app, acme, anchor=last, cursor=last, next_at=TODAY, days_off=[closed], catchup="all")
    batches = [planned(app, at=TODAY + timedelta(seconds=1))]
    while batches[-1].schedules:
        batches.append(planned(app, at=TODAY + timedelta(seconds=1)))
    assert [batch.runs for batch in batches] == [0, 1, 0]
    assert [(row.reason, row.count) for row in occurrences(app)] == [("holiday", 6 * 24 * 60), ("", 1)]
    assert max(batch.skips for batch in batches) <= MOST_INSTANTS
    assert stored(app, schedule).next_at == TODAY + MINUTE
    assert len(runs(app)) == 1


def test_an_expression_that_never_fires_costs_the_one_beside_it_no_search_for_each_fire(
    app: Dashboard, acme: Tenant
) -> None:
    sunday = TODAY + DAY * (6 - TODAY.weekday()) - 28 * DAY
    sundays = [str((sunday + 7 * DAY * week).date()) for week in range(2800)]
    since = TODAY - 4 * DAY
    rule: dict[str, Any] = {"kind": "cron", "crons": ["* * * * 1-6", "0 9 * * 0"], "days_off": sundays}
    schedule = make_schedule(app, acme, every_seconds=None, cursor=since, next_at=since + MINUTE, **rule)
    while planned(app, at=TODAY).schedules:
        pass
    assert stored(app, schedule).problem == ""
    fires = [at for at in (since + MINUTE * number for number in range(1, 5761)) if at.weekday() != 6]
    assert sum(row.count for row in occurrences(app) if row.reason != "holiday") == len(fires)


def test_the_page_lists_the_last_that_a_rule_left_out_however_rarely_it_fires(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    weeks = [TODAY - 7 * DAY * number for number in range(1, 11)]
    schedule = make_schedule(
        app,
        acme,
        every_seconds=7 * 86_400,
        anchor=TODAY - 700 * DAY,
        cursor=TODAY - 80 * DAY,
        skip_dates=[week.date() for week in weeks],
        start_at=TODAY - 71 * DAY,
    )
    page = operator.get(f"/schedules/{schedule.id}").text
    assert page.count("is a skipped date") == len(weeks)


@pytest.mark.parametrize("minute", ["0002-01-01T00:00:00+00:00", "9998-01-01T00:00:00+00:00"])
def test_what_starts_beyond_all_calendars_cannot_be_spread(
    app: Dashboard, operator: Browser, acme: Tenant, minute: str
) -> None:
    make_schedule(app, acme, jitter_seconds=60_000_000)
    assert operator.get("/calendar/load/spreads/new", query_string={"minute": minute}).status_code == 422


def test_days_off_to_the_end_of_all_calendars_leave_the_pages_of_others_alone(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    off = [f"{date(year, 1, 1)}/{date(year, 12, 31)}" for year in range(9600, 10_000)]
    start = datetime(9890, 1, 1, tzinfo=UTC)
    make_schedule(app, acme, kind="cron", crons=["0 9 * * *"], every_seconds=None, start_at=start, days_off=off)
    assert operator.get("/calendar").status_code == 200


@pytest.mark.parametrize("wrong", [{"timezone": "Mars/Phobos"}, {"crons": ["61 9 * * *"]}])
def test_a_rule_that_makes_no_sense_can_be_mended_and_its_backfill_says_so(
    app: Dashboard, operator: Browser, acme: Tenant, wrong: dict[str, Any]
) -> None:
    schedule = make_schedule(app, acme, **{"kind": "cron", "crons": ["0 9 * * *"], "every_seconds": None, **wrong})
    assert operator.get(f"/schedules/{schedule.id}/edit").status_code == 200
    typed = {"start": f"{TODAY - DAY:%Y-%m-%dT%H:%M}", "end": f"{TODAY:%Y-%m-%dT%H:%M}"}
    for answer in (
        operator.get(f"/schedules/{schedule.id}/backfills/new", query_string=typed),
        operator.post(f"/schedules/{schedule.id}/backfills", data=typed),
    ):
        assert answer.status_code == 422
        assert "Edit the schedule first." in answer.text
