"""A schedule's page says of each fire what became of it and why, and every form keeps what was typed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.models import Run
from dashboard.schedules.models import Occurrence, Schedule
from dashboard.schedules.timing import recurrence_of, start_of
from dashboard.tenants.actions import set_option
from tests.factories import make_user
from tests.factories.schedules import let_pass, make_schedule, occurrences, planned, runs, stored
from tests.signing_in import Browser, sign_in


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


@pytest.fixture
def daily(app: Dashboard, acme: Tenant) -> Schedule:
    nine = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=1)
    fields: dict[str, Any] = {"kind": "cron", "crons": ["0 9 * * *"], "every_seconds": None, "timezone": "UTC"}
    return make_schedule(app, acme, next_at=nine, **fields)


def test_every_fire_is_listed_with_what_it_became_and_why(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(minutes=3))
    planned(app)
    page = operator.get(f"/schedules/{schedule.id}/fires").text
    assert "A later one ran in its place." in page
    assert f"/runs/{runs(app)[0].id}" in page
    assert "Ready" in page


def test_a_fire_whose_run_was_purged_stays_listed(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=1))
    planned(app)
    with app.app_context(), system_scope("test") as session:
        session.execute(sa.text("DELETE FROM run_event"))
        session.execute(sa.delete(Run))
    assert "a run, removed since" in operator.get(f"/schedules/{schedule.id}/fires").text


def test_a_fire_that_was_planned_late_says_how_late(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(minutes=5), every_seconds=86_400)
    planned(app)
    assert "Planned 5 min" in operator.get(f"/schedules/{schedule.id}/fires").text


def test_the_list_of_fires_goes_back_page_by_page(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme)
    first = datetime(2026, 1, 1, tzinfo=UTC)
    with app.app_context(), system_scope("test") as session:
        for number in range(60):
            at = first + timedelta(hours=number)
            key, decided = ("", "run") if number % 2 else ("skip:", "skip")
            row = {"occurrence": f"{key}{at.isoformat()}", "nominal": at, "decision": decided, "rev": 1}
            session.add(Occurrence(tenant_id=acme.id, schedule_id=schedule.id, **row))
    newest = operator.get(f"/schedules/{schedule.id}/fires").text
    older = operator.get(f"/schedules/{schedule.id}/fires", query_string={"before": first + timedelta(hours=10)}).text
    assert newest.count('id="fire-') == 50
    assert 'rel="next"' in newest
    assert older.count('id="fire-') == 10
    assert 'rel="next"' not in older
    assert operator.get(f"/schedules/{schedule.id}/fires?before=nonsense").text.count('id="fire-') == 50


def test_before_its_first_fire_the_list_explains_itself(operator: Browser, daily: Schedule) -> None:
    assert "No fire yet" in operator.get(f"/schedules/{daily.id}/fires").text


def test_another_tenants_fires_are_not_there(app: Dashboard, operator: Browser, globex: Tenant) -> None:
    theirs = make_schedule(app, globex)
    assert operator.get(f"/schedules/{theirs.id}/fires").status_code == 404
    assert operator.get(f"/schedules/{theirs.id}/pauses/new").status_code == 404


def test_resuming_says_how_many_were_missed_and_offers_to_run_them(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(minutes=3))
    operator.post(f"/schedules/{schedule.id}/pauses", data={})
    page = operator.post(f"/schedules/{schedule.id}/resumptions", follow_redirects=True).text
    assert "It missed 4 fires: see why it did not run." in page
    assert "Run the 4 missed" in page
    again = make_schedule(app, acme)
    operator.post(f"/schedules/{again.id}/pauses", data={})
    assert "missed" not in operator.post(f"/schedules/{again.id}/resumptions", follow_redirects=True).text


def test_run_the_missed_leads_to_a_backfill_of_just_these(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(minutes=3))
    operator.post(f"/schedules/{schedule.id}/pauses", data={})
    page = operator.post(f"/schedules/{schedule.id}/resumptions", follow_redirects=True).text
    path = page.partition(f'href="/schedules/{schedule.id}/backfills/new?')[2].partition('"')[0].replace("&amp;", "&")
    assert "Start 4 runs" in operator.get(f"/schedules/{schedule.id}/backfills/new?{path}").text


@pytest.mark.parametrize("minute", [0, 1, 3], ids=["first", "between", "last"])
def test_what_was_missed_is_listed_without_the_fire_that_somebody_had_skipped(
    app: Dashboard, operator: Browser, acme: Tenant, minute: int
) -> None:
    schedule = make_schedule(app, acme)
    assert schedule.next_at is not None
    skipped = schedule.next_at + timedelta(minutes=minute)
    operator.post(f"/schedules/{schedule.id}/fires/skips", data={"nominal": skipped.isoformat()})
    operator.post(f"/schedules/{schedule.id}/pauses", data={})
    let_pass(app, timedelta(minutes=4, seconds=30))
    page = operator.post(f"/schedules/{schedule.id}/resumptions", follow_redirects=True).text
    assert "It missed 3 fires: see why it did not run." in page
    assert "Run the 3 missed" in page
    by_reason = {each.reason: each.count for each in occurrences(app)}
    assert by_reason == {"by_hand": 1, "paused": 3}
    assert "Start 3 runs" in form_of_backfill(operator, schedule)[0]


def form_of_backfill(operator: Browser, schedule: Schedule) -> tuple[str, dict[str, str]]:
    """Follow the button that runs what was missed; return the page and what its form sends."""
    page = operator.get(f"/schedules/{schedule.id}").text
    link = re.search(rf'href="(/schedules/{schedule.id}/backfills/new[?][^"]+)"', page)
    assert link is not None
    page = operator.get(link[1].replace("&amp;", "&")).text
    return page, dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))


def row_of(app: Dashboard, schedule: Schedule, nominal: datetime, reason: str, **more: Any) -> None:
    """Put into the ledger that the schedule skipped what was due at `nominal`."""
    row = {"occurrence": nominal.isoformat(), "nominal": nominal, "reason": reason, "decision": "skip", **more}
    with app.app_context(), system_scope("test") as session:
        session.add(Occurrence(tenant_id=schedule.tenant_id, schedule_id=schedule.id, rev=1, **row))


def test_what_was_left_out_on_purpose_is_made_up_for_only_if_all_of_it_is_asked_for(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    hourly: dict[str, Any] = {"kind": "cron", "crons": ["0 * * * *"], "every_seconds": None}
    schedule = make_schedule(app, acme, params={"word": "hi"}, **hourly)
    at = [datetime(2025, 6, 2, hour, tzinfo=UTC) for hour in range(8)]
    row_of(app, schedule, at[2], "blackout", count=3, until=at[5])
    row_of(app, schedule, at[4], "by_hand")
    row_of(app, schedule, at[6], "by_hand")
    row_of(app, schedule, at[0], "coalesced", count=3, until=at[7])
    page, sent = form_of_backfill(operator, schedule)
    assert "Run the 3 missed" in operator.get(f"/schedules/{schedule.id}").text
    assert "Start 3 runs" in page
    assert re.search(r"Left out, they have run</span><span>0<.*Left out on purpose[^<]*</span><span>5<", page)
    operator.post(f"/schedules/{schedule.id}/backfills", data=sent)
    assert [each.nominal for each in occurrences(app) if each.decision == "run"] == [at[0], at[1], at[7]]
    nothing = operator.post(f"/schedules/{schedule.id}/backfills", data=sent)
    assert "What has not run in this range was left out on purpose." in nothing.text
    operator.post(f"/schedules/{schedule.id}/backfills", data={**sent, "mode": "rerun"})
    assert len(runs(app)) == 3 + 8


@pytest.mark.parametrize("hour", [5, 6], ids=["first pass", "second pass"])
def test_a_fire_in_an_hour_that_came_twice_is_made_up_for_at_its_own_instant(
    app: Dashboard, operator: Browser, acme: Tenant, hour: int
) -> None:
    with app.app_context(), system_scope("test") as session:
        set_option(session, acme.id, "TIMEZONE", "America/New_York")
    half_past_one = datetime(2025, 11, 2, hour, 30, tzinfo=UTC)
    fields: dict[str, Any] = {"kind": "cron", "crons": ["30 1 * * *"], "every_seconds": None, "dst_overlap": "both"}
    schedule = make_schedule(app, acme, params={"word": "hi"}, **fields)
    row_of(app, schedule, half_past_one, "missed_window")
    page, sent = form_of_backfill(operator, schedule)
    assert "Start 1 run" in page
    assert 'value="2025-11-02T01:30"' in page
    assert 'value="2025-11-02T01:31"' in page
    operator.post(f"/schedules/{schedule.id}/backfills", data=sent)
    assert [each.nominal for each in occurrences(app) if each.decision == "run"] == [half_past_one]


def test_run_it_after_all_takes_the_next_fire_along_in_no_case(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, params={"word": "hi"}, kind="cron", crons=["* * * * *"], every_seconds=None)
    missed = datetime(2025, 6, 2, 9, 30, tzinfo=UTC)
    row_of(app, schedule, missed, "overlap")
    page, _ = form_of_backfill(operator, schedule)
    assert "Start 1 run" in page


@pytest.mark.parametrize("until", ["2001-01-01T09:00", "soon"])
def test_a_pause_with_a_mistake_comes_back_as_it_was_typed(
    app: Dashboard, operator: Browser, daily: Schedule, until: str
) -> None:
    answer = operator.post(f"/schedules/{daily.id}/pauses", data={"reason": "Stock-taking", "until": until})
    assert answer.status_code == 422
    assert 'id="field-until-error"' in answer.text
    assert "Stock-taking" in answer.text
    assert until in answer.text
    assert stored(app, daily).state == "active"


def test_without_a_script_a_pause_is_asked_for_on_a_page(operator: Browser, daily: Schedule) -> None:
    assert f"/schedules/{daily.id}/pauses/new" in operator.get(f"/schedules/{daily.id}").text
    assert 'name="until"' in operator.get(f"/schedules/{daily.id}/pauses/new").text


def form_that_moves(operator: Browser, schedule: Schedule) -> dict[str, str]:
    """Follow the link of the next fire to its form, and return what the form sends beside the time."""
    link = re.search(r'href="([^"]*/moves/new[^"]+)"', operator.get(f"/schedules/{schedule.id}").text)
    assert link is not None
    page = operator.get(link[1].replace("&amp;", "&")).text
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))


def test_a_fire_is_moved_from_the_page_of_its_schedule_and_again(
    app: Dashboard, operator: Browser, daily: Schedule
) -> None:
    assert daily.next_at is not None
    for hour in (14, 17):
        to = daily.next_at.replace(hour=hour)
        sent = {**form_that_moves(operator, daily), "to": f"{to:%Y-%m-%dT%H:%M}"}
        answer = operator.post("/calendar/moves", data=sent)
        assert answer.location.endswith(f"/schedules/{daily.id}")
        assert "Moved this one fire." in operator.get(f"/schedules/{daily.id}").text
        assert [run.not_before for run in runs(app)] == [to]


def test_a_fire_whose_time_comes_twice_stays_there_when_its_form_is_sent_as_it_was_opened(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    with app.app_context(), system_scope("test") as session:
        set_option(session, acme.id, "TIMEZONE", "America/New_York")
    second_pass = datetime(2050, 11, 6, 6, 30, tzinfo=UTC)
    schedule = make_schedule(app, acme, every_seconds=3600, anchor=second_pass, next_at=second_pass)
    asked = {"schedule": str(schedule.id), "nominal": second_pass.isoformat()}
    page = operator.get("/calendar/moves/new", query_string=asked).text
    assert 'value="2050-11-06T01:30"' in page
    sent = {**asked, "rev": "1", "typed": "y", "to": "2050-11-06T01:30"}
    assert operator.post("/calendar/moves", data=sent).status_code == 303
    assert [run.not_before for run in runs(app)] == [second_pass]


def test_a_schedule_that_was_changed_meanwhile_keeps_its_fire_where_it_is(
    app: Dashboard, operator: Browser, daily: Schedule
) -> None:
    sent = {**form_that_moves(operator, daily), "to": f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%dT%H:%M}"}
    answer = operator.post("/calendar/moves", data={**sent, "rev": "7"})
    assert answer.status_code == 409
    assert "Somebody has changed this schedule since you opened this page." in answer.text
    assert sent["to"] in answer.text
    assert runs(app) == []


@pytest.mark.parametrize("to", ["2001-01-01T09:00", "soon", ""])
def test_a_move_with_a_mistake_comes_back_as_it_was_typed(
    app: Dashboard, operator: Browser, daily: Schedule, to: str
) -> None:
    answer = operator.post("/calendar/moves", data={**form_that_moves(operator, daily), "to": to})
    assert answer.status_code == 422
    assert 'id="field-to-error"' in answer.text
    assert f'value="{to}"' in answer.text
    assert runs(app) == []


@pytest.mark.parametrize("act", ["skips", "restorations", "moves"])
def test_nothing_is_done_to_a_fire_of_an_archived_schedule(
    app: Dashboard, operator: Browser, daily: Schedule, act: str
) -> None:
    """A page that was open when somebody archived it still has the buttons."""
    assert daily.next_at is not None
    nominal = daily.next_at.isoformat()
    to = f"{daily.next_at + timedelta(hours=2):%Y-%m-%dT%H:%M}"
    if act == "restorations":
        operator.post(f"/schedules/{daily.id}/fires/skips", data={"nominal": nominal})
    operator.post(f"/schedules/{daily.id}/archivings")
    before = [(each.decision, each.reason) for each in occurrences(app)]
    if act == "moves":
        sent = {"schedule": str(daily.id), "nominal": nominal, "rev": "1", "to": to, "typed": "y"}
        answer = operator.post("/calendar/moves", data=sent)
        assert answer.status_code == 409
    else:
        answer = operator.post(f"/schedules/{daily.id}/fires/{act}", data={"nominal": nominal}, follow_redirects=True)
    assert "This schedule is archived. Restore it first." in answer.text
    assert [(each.decision, each.reason) for each in occurrences(app)] == before
    assert runs(app) == []


@pytest.mark.parametrize("act", ["restored", "moved", "dragged"])
def test_what_somebody_lets_run_in_a_pause_runs_and_is_said_to(
    app: Dashboard, operator: Browser, daily: Schedule, act: str
) -> None:
    assert daily.next_at is not None
    nominal = {"nominal": daily.next_at.isoformat()}
    if act == "restored":
        operator.post(f"/schedules/{daily.id}/fires/skips", data=nominal)
    operator.post(f"/schedules/{daily.id}/pauses", data={"reason": "Stock-taking"})
    if act == "restored":
        page = operator.post(f"/schedules/{daily.id}/fires/restorations", data=nominal, follow_redirects=True).text
        assert "It runs after all, although the schedule is paused." in page
    else:
        view = {"view": "week", "day": f"{daily.next_at:%Y-%m-%d}"} if act == "dragged" else {}
        to = f"{daily.next_at + timedelta(hours=2):%Y-%m-%dT%H:%M}"
        sent = {"schedule": str(daily.id), **nominal, "rev": "1", "to": to, **view}
        page = operator.post("/calendar/moves", data=sent, follow_redirects=True).text
        assert ", although the schedule is paused." in page
    assert [run.state for run in runs(app)] == ["scheduled"]


def move_of(schedule: Schedule, nominal: datetime, to: datetime) -> dict[str, str]:
    """Return what the form that moves a fire sends."""
    named = {"schedule": str(schedule.id), "nominal": nominal.isoformat(), "rev": str(schedule.rev), "typed": "y"}
    return {**named, "to": f"{to:%Y-%m-%dT%H:%M}"}


def test_no_fire_is_moved_or_restored_beyond_the_limit_of_runs(
    app: Dashboard, operator: Browser, daily: Schedule
) -> None:
    assert daily.next_at is not None
    with app.app_context(), system_scope("test") as session:
        session.get_one(Schedule, daily.id).runs_left = 1
    day, hour = timedelta(days=1), timedelta(hours=1)
    skipped = {"nominal": (daily.next_at + 2 * day).isoformat()}
    operator.post(f"/schedules/{daily.id}/fires/skips", data=skipped)
    first = operator.post("/calendar/moves", data=move_of(daily, daily.next_at, daily.next_at + hour))
    assert first.status_code == 303
    before = [(each.nominal, each.decision) for each in occurrences(app)]
    answer = operator.post("/calendar/moves", data=move_of(daily, daily.next_at + day, daily.next_at + day + hour))
    assert answer.status_code == 409
    assert "This schedule has no run left. Allow it more in its editor first." in answer.text
    page = operator.post(f"/schedules/{daily.id}/fires/restorations", data=skipped, follow_redirects=True).text
    assert "This schedule has no run left." in page
    assert [(each.nominal, each.decision) for each in occurrences(app)] == before
    assert (len(runs(app)), stored(app, daily).runs_left) == (1, 0)
    again = operator.post("/calendar/moves", data=move_of(daily, daily.next_at, daily.next_at + 2 * hour))
    assert again.status_code == 303
    assert [run.not_before for run in runs(app)] == [daily.next_at + 2 * hour]


def test_a_fire_that_runs_after_all_starts_at_its_own_second(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, jitter_seconds=59, expires_after_seconds=600)
    assert schedule.next_at is not None
    fire = {"nominal": schedule.next_at.isoformat()}
    operator.post(f"/schedules/{schedule.id}/fires/skips", data=fire)
    operator.post(f"/schedules/{schedule.id}/fires/restorations", data=fire)
    (run,) = runs(app)
    own = start_of(schedule, recurrence_of(schedule, "UTC"), schedule.next_at)
    assert (run.not_before, run.expires_at) == (own, schedule.next_at + timedelta(seconds=600))


def test_a_fire_that_is_moved_back_has_its_jitter_again(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) + timedelta(days=2)
    fields: dict[str, Any] = {"kind": "cron", "crons": ["0 12 * * *"], "every_seconds": None, "timezone": "UTC"}
    schedule = make_schedule(app, acme, next_at=noon, jitter_seconds=3600, **fields)
    for to in (noon + timedelta(hours=3), noon):
        operator.post("/calendar/moves", data=move_of(schedule, noon, to))
    own = start_of(schedule, recurrence_of(schedule, "UTC"), noon)
    assert [run.not_before for run in runs(app)] == [own]


def test_a_fire_of_a_rule_that_makes_no_sense_any_more_is_refused_in_a_sentence(
    app: Dashboard, operator: Browser, daily: Schedule
) -> None:
    assert daily.next_at is not None
    with app.app_context(), system_scope("test") as session:
        session.get_one(Schedule, daily.id).timezone = "Atlantis/Poseidonis"
    answer = operator.post("/calendar/moves", data=move_of(daily, daily.next_at, daily.next_at + timedelta(hours=1)))
    assert answer.status_code == 409
    assert "Edit the schedule first." in answer.text
    assert occurrences(app) == []
