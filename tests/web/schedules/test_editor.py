"""The editor's preview says before a schedule is saved what it will do, and saves what it showed."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.schedules.models import Schedule
from dashboard.schedules.spread import jittered
from tests.factories import make_user
from tests.factories.job_types import Echo, Shout
from tests.factories.runs import make_run
from tests.factories.schedules import echo_form, make_schedule, planned, runs, stored
from tests.pages import text_of
from tests.signing_in import Browser, sign_in
from tests.typed_forms import sent_by

LIVE = {"HX-Request": "true"}


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


def preview(browser: Browser, **changes: Any) -> str:
    """Return what the panel shows for a form, as text."""
    panel, _, _ = browser.post("/schedules/previews", data=echo_form(**changes), headers=LIVE).text.partition(
        'id="rule-words"'
    )
    return text_of(panel)


def schedules(app: Dashboard) -> list[Schedule]:
    with app.app_context(), system_scope("test") as session:
        return list(session.scalars(sa.select(Schedule).order_by(Schedule.id)))


def test_a_preview_says_what_the_rule_means_and_when_it_fires(operator: Browser) -> None:
    page = preview(operator, crons="0 9 * * 1-5")
    assert "Every weekday at 09:00" in page
    assert len(re.findall(r"\b(Mon|Tue|Wed|Thu|Fri) \d", page)) == 10


def test_each_fire_is_shown_on_the_schedules_clock_in_utc_and_on_the_viewers(operator: Browser) -> None:
    operator.set_cookie("browser-zone", "Asia/Tokyo", domain="jobs.acme.test")
    page = preview(operator, when="once", once_local="2051-06-05T23:30", timezone="America/New_York")
    assert "Mon 5 Jun 2051 23:30 EDT Tue 03:30 Tue 12:30 JST" in page
    assert "New York UTC You" in page


@pytest.mark.parametrize("zone", ["UTC", "Etc/UTC", "America/New_York", "America/Toronto"])
def test_the_viewers_clock_is_left_out_where_it_shows_what_stands_there_already(operator: Browser, zone: str) -> None:
    operator.set_cookie("browser-zone", zone, domain="jobs.acme.test")
    page = preview(operator, when="once", once_local="2051-06-05T23:30", timezone="America/New_York")
    assert "You" not in page


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../../etc/passwd"])
def test_without_a_browser_that_names_its_zone_the_viewers_column_is_absent(operator: Browser, zone: str) -> None:
    operator.set_cookie("browser-zone", zone, domain="jobs.acme.test")
    page = preview(operator)
    assert re.search(r"London UTC (Mon|Tue|Wed|Thu|Fri) ", page)
    assert "You" not in page


def test_a_preview_always_names_the_next_two_clock_changes(operator: Browser) -> None:
    assert len(re.findall(r"the clock goes (?:forward|back)", preview(operator))) == 2
    assert "The clock of Asia/Tokyo does not change" in preview(operator, timezone="Asia/Tokyo")


def test_the_rule_is_told_back_beside_its_field_in_words_and_in_cron(operator: Browser) -> None:
    words = operator.post("/schedules/previews", data=echo_form(crons="last Friday 17:00"), headers=LIVE).text
    assert re.search(r'id="rule-words"[^>]*hx-swap-oob="true">[^<]*last Friday[^<]*<code>0 17 \* \* 5L</code>', words)
    wrong = operator.post("/schedules/previews", data=echo_form(crons="0 22-2 * * *"), headers=LIVE).text
    assert "22,23,0-2" in wrong.partition('id="rule-words"')[2]
    assert "hx-swap-oob" not in operator.get("/schedules/new").text


def test_a_fire_in_the_gap_says_where_it_goes(operator: Browser) -> None:
    page = preview(operator, crons="30 1 28 3 *", start_at="2049-03-01T00:00")
    assert "01:30 does not exist, runs 02:00" in page


def test_a_wrong_rule_is_told_once_below_its_field(operator: Browser) -> None:
    typed = echo_form(crons="0 22-2 * * *")
    live = operator.post("/schedules/previews", data=typed, headers=LIVE).text
    assert live.count("22,23,0-2") == 1
    assert "22,23,0-2" in live.partition('id="rule-words"')[2]
    whole = operator.post("/schedules/previews", data=typed).text
    assert whole.count("22,23,0-2") == 1
    assert whole.index('id="field-crons"') < whole.index("22,23,0-2") < whole.index('id="field-timezone"')


def test_a_wrong_rule_that_is_saved_is_told_at_its_field_and_in_the_summary_alone(operator: Browser) -> None:
    page = operator.post("/schedules", data=echo_form(crons="0 22-2 * * *")).text
    assert errors_of(page) == ["crons"]
    assert page.count("22,23,0-2") == 2
    assert "22,23,0-2" not in page.partition('id="schedule-preview"')[2]


def test_a_mistake_farther_down_is_told_in_the_preview_with_the_label_of_its_field(operator: Browser) -> None:
    typed = echo_form(skip_dates="Christmas")
    words = operator.post("/schedules/previews", data=typed, headers=LIVE).text.partition('id="rule-words"')[2]
    assert "Not on these dates: Give dates like 2026-12-25" in text_of(words)


def test_a_period_too_short_in_words_is_told_at_the_days_and_times(operator: Browser) -> None:
    response = operator.post("/schedules", data=echo_form(crons="every 30 seconds"))
    assert (response.status_code, errors_of(response.text)) == (422, ["crons"])
    assert "Give a period of at least one minute" in response.text


@pytest.mark.parametrize(("count", "unit"), [(30, "seconds"), (0, "minutes"), (40_000_000, "hours")])
def test_the_summary_leads_to_the_period_that_cannot_be(operator: Browser, count: int, unit: str) -> None:
    response = operator.post("/schedules", data=every(count, unit))
    assert (response.status_code, errors_of(response.text)) == (422, ["every_count"])
    assert '<a href="#field-every_count">' in response.text
    assert 'id="field-every_count"' in response.text


def test_the_preview_of_a_change_counts_the_fires_gained_and_lost(app: Dashboard, operator: Browser) -> None:
    in_utc = {"timezone": "UTC"}  # where 30 days are 720 hours
    operator.post("/schedules", data=echo_form(crons="0 9 * * *", **in_utc))
    (schedule,) = schedules(app)
    page = preview(operator, schedule_id=schedule.id, crons="0 9,17 * * *", **in_utc)
    assert "Fires gained 30, first" in page
    assert "Fires lost 0" in page


def test_a_schedule_that_is_paused_until_a_time_is_previewed_and_compared_from_then(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    nine = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=10)
    daily: dict[str, Any] = {"kind": "cron", "crons": ["0 9 * * *"], "every_seconds": None, "timezone": "UTC"}
    schedule = make_schedule(app, acme, paused_at=sa.func.now(), paused_until=nine, **daily)
    typed = echo_form(schedule_id=schedule.id, crons="0 9,17 * * *", timezone="UTC")
    page = operator.post("/schedules/previews", data=typed, headers=LIVE).text
    fires, _, compared = page.partition("Fires gained")
    told = [datetime.fromisoformat(at) for at in re.findall(r'<time datetime="([^"]+)"', fires)]
    five = nine.replace(hour=17)
    assert "It is paused and fires from" in text_of(fires)
    assert told[:4] == [nine, five, nine + timedelta(days=1), five + timedelta(days=1)]
    first_gained = re.search(r'datetime="([^"]+)"', compared)
    assert first_gained is not None
    assert datetime.fromisoformat(first_gained[1]) == five


def test_fires_too_many_to_compare_in_30_days_are_compared_as_far_as_they_were_counted(
    app: Dashboard, operator: Browser
) -> None:
    operator.post("/schedules", data=echo_form(crons="* * * * *"))
    (schedule,) = schedules(app)
    page = preview(operator, schedule_id=schedule.id, crons="*/2 * * * *")
    assert "Fires gained 0 " in page
    assert "Fires lost 2,500, first" in page
    assert "Until " in page
    assert "In the next 30 days" not in page


def test_a_preview_ends_where_the_runs_end(operator: Browser) -> None:
    assert len(re.findall(r"09:00 (?:GMT|BST)", preview(operator, crons="0 9 * * *", runs_left="3"))) == 3


def test_what_is_previewed_for_a_new_schedule_is_what_it_does(app: Dashboard, operator: Browser) -> None:
    # The same id and day each time: of 1,800 jitters one is none at all, and would not be told.
    wanted = UUID(int=7)
    hashed = echo_form(schedule_id=wanted, crons="H H * * *", jitter="30", timezone="UTC", start_at="2060-01-01T00:00")
    page = text_of(operator.post("/schedules/previews", data=hashed, headers=LIVE).text)
    operator.post("/schedules", data=hashed)
    (schedule,) = schedules(app)
    assert schedule.id == wanted
    assert schedule.next_at is not None
    assert f"{schedule.next_at:%H:%M} UTC" in page
    start = jittered(str(wanted), schedule.next_at, timedelta(minutes=30), schedule.next_at + timedelta(days=1))
    assert f"starts {start:%H:%M:%S}" in page
    planned(app, at=schedule.next_at + timedelta(seconds=1))
    assert [run.not_before for run in runs(app)] == [start]


def test_an_interval_is_previewed_from_where_it_is_anchored(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, every_seconds=7200)
    typed = {"when": "interval", "every_count": "2", "every_unit": "hours", "timezone": "UTC"}
    page = preview(operator, schedule_id=schedule.id, **typed)
    assert schedule.next_at is not None
    assert f"{schedule.next_at:%H:%M}" in page


def test_a_second_click_on_save_is_the_same_schedule(app: Dashboard, operator: Browser) -> None:
    twice = echo_form(schedule_id=uuid4())
    assert operator.post("/schedules", data=twice).location == operator.post("/schedules", data=twice).location
    assert len(schedules(app)) == 1


def test_clicks_at_the_same_moment_are_one_schedule(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    browsers = [operator, *(sign_in(app, acme, "olivia@acme.test") for _ in range(3))]
    wanted = echo_form(schedule_id=uuid4())
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda browser: browser.post("/schedules", data=wanted), browsers))
    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.location for answer in answers}) == 1
    assert len(schedules(app)) == 1


def test_a_form_that_was_saved_and_changed_becomes_a_schedule_of_its_own(app: Dashboard, operator: Browser) -> None:
    opened = uuid4()
    operator.post("/schedules", data=echo_form(schedule_id=opened))
    operator.post("/schedules", data=echo_form(schedule_id=opened, name="Another"))
    assert {schedule.name for schedule in schedules(app)} == {"Hourly echo", "Another"}


def test_the_id_of_another_tenants_schedule_opens_and_takes_nothing(
    app: Dashboard, operator: Browser, globex: Tenant
) -> None:
    theirs = make_schedule(app, globex, name="Globex secret plan")
    assert operator.post("/schedules", data=echo_form(schedule_id=theirs.id)).status_code == 303
    assert "Globex" not in preview(operator, schedule_id=theirs.id)
    assert {schedule.name for schedule in schedules(app)} == {"Hourly echo", "Globex secret plan"}


@pytest.mark.parametrize("job_type", [Echo.key, "test.other"])
def test_runs_that_take_longer_than_the_gap_may_overlap(
    app: Dashboard, operator: Browser, acme: Tenant, job_type: str
) -> None:
    make_run(app, acme, "succeeded", job_type=job_type, lasted=420)
    page = preview(operator, crons="*/5 * * * *", overlap="skip")
    assert ("may overlap: p95 runtime 7 min > 5 min" in page) == (job_type == Echo.key)
    assert ("Then the new one is skipped" in page) == (job_type == Echo.key)
    assert "may overlap" not in preview(operator, crons="*/10 * * * *")


def test_a_schedules_own_runs_count_before_others_of_its_type(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme)
    make_run(app, acme, "succeeded", lasted=420)
    make_run(app, acme, "succeeded", lasted=2, schedule_id=schedule.id)
    assert "may overlap" not in preview(operator, schedule_id=schedule.id, crons="*/5 * * * *")
    assert "may overlap" in preview(operator, crons="*/5 * * * *")


def test_a_crowded_minute_is_told_and_h_spreads_it_by_click(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    crowd(app, acme, 12)
    page = preview(operator, crons="weekdays at 7", timezone="UTC")
    assert "07:00 is shared with 12 other fires of this organisation. H in the place of the minute" in page
    # The minute comes from the schedule's id: with one of 60 it would be the crowded one again.
    typed = echo_form(crons="weekdays at 7", timezone="UTC", note="Typed before", schedule_id=UUID(int=1))
    spread = operator.post("/schedules/previews", data={**typed, "spread": "H"})
    assert ">\nH 7 * * 1-5</textarea>" in spread.text
    assert "Typed before" in spread.text
    assert "is shared" not in text_of(spread.text)


def test_what_is_spread_already_and_other_tenants_crowd_nobody(
    app: Dashboard, operator: Browser, acme: Tenant, globex: Tenant
) -> None:
    crowd(app, globex, 12)
    crowd(app, acme, 12, jitter_seconds=300)
    assert "is shared" not in preview(operator, crons="daily at 7", timezone="UTC")
    crowd(app, acme, 12)
    assert "is shared" not in preview(operator, crons="daily at 7", timezone="UTC", jitter="5")
    assert "is shared" not in preview(operator, crons="daily at 8", timezone="UTC")


def crowd(app: Dashboard, tenant: Tenant, number: int, **values: Any) -> None:
    seven = datetime.now(UTC).replace(hour=7, minute=0, second=0, microsecond=0) + timedelta(days=1)
    for each in range(number):
        rule: dict[str, Any] = {"kind": "cron", "crons": ["0 7 * * *"], "every_seconds": None, "timezone": "UTC"}
        make_schedule(app, tenant, name=f"Seven {each}", next_at=seven, **rule, **values)


def test_without_a_script_the_preview_comes_on_the_editors_page_as_it_was_typed(
    app: Dashboard, operator: Browser
) -> None:
    page = operator.post("/schedules/previews", data=echo_form(crons="0 8 * * 1", note="Typed before", name=""))
    assert page.status_code == 200
    assert "<html" in page.text
    assert "Every Monday at 08:00" in page.text
    assert "Typed before" in page.text
    assert schedules(app) == []
    assert "Show the next fires" in operator.get("/schedules/new").text


def test_the_editor_opens_with_its_preview(app: Dashboard, operator: Browser) -> None:
    assert "Every weekday at 09:00" in operator.get("/schedules/new").text
    operator.post("/schedules", data=echo_form(crons="0 8 * * 1"))
    (schedule,) = schedules(app)
    assert "Every Monday at 08:00" in operator.get(f"/schedules/{schedule.id}/edit").text


def test_a_form_with_a_mistake_comes_back_with_its_preview(operator: Browser) -> None:
    page = operator.post("/schedules", data=echo_form(crons="0 8 * * 1", name=""))
    assert page.status_code == 422
    assert "Every Monday at 08:00" in page.text


def switched(browser: Browser, **changes: Any) -> str:
    """Return the editor after another job type was chosen."""
    response = browser.post("/schedules/drafts", data=echo_form(switch_to=Shout.key, **changes), headers=LIVE)
    assert response.status_code == 200
    return response.text


def test_another_job_type_keeps_what_was_typed_and_fits(app: Dashboard, operator: Browser) -> None:
    more = {"note": "For the board", "overlap": "queue_one", "params-word": "tea", "params-times": "4"}
    page = switched(operator, crons="daily at 6", **more)
    for kept in ('value="Hourly echo"', ">\ndaily at 6</textarea>", "For the board", 'value="tea"'):
        assert kept in page
    assert re.search(r'<option value="queue_one" selected', page)
    assert 'name="job_type" value="test.shout"' in page
    assert schedules(app) == []


def test_another_job_type_has_its_own_defaults_where_nothing_fits(operator: Browser) -> None:
    page = switched(operator, **{"params-times": "4", "params-password": "hunter2-canary"})
    assert 'name="params-times"' in page
    assert 'value="often"' in page
    assert 'value="11"' in page
    assert "hunter2-canary" not in page


def test_an_unknown_job_type_has_no_editor(operator: Browser) -> None:
    assert operator.post("/schedules/drafts", data=echo_form(switch_to="test.none")).status_code == 404
    unknown = echo_form(job_type="test.none", switch_to=Shout.key)
    assert operator.post("/schedules/drafts", data=unknown).status_code == 404


def every(count: int, unit: str, **changes: Any) -> dict[str, Any]:
    return echo_form(when="interval", every_count=str(count), every_unit=unit, timezone="Europe/Berlin", **changes)


def test_a_period_counts_from_where_it_is_told_to(app: Dashboard, operator: Browser) -> None:
    typed = every(2, "hours", anchor="2026-01-01T08:30:15")
    assert ":30:15" in preview(operator, **typed)
    operator.post("/schedules", data=typed)
    (schedule,) = schedules(app)
    assert schedule.anchor == datetime(2026, 1, 1, 7, 30, 15, tzinfo=UTC)
    assert schedule.next_at is not None
    assert (schedule.next_at - schedule.anchor) % timedelta(hours=2) == timedelta()
    assert 'value="2026-01-01T08:30:15"' in operator.get(f"/schedules/{schedule.id}/edit").text


def test_a_period_that_is_saved_again_counts_from_where_it_did(app: Dashboard, operator: Browser) -> None:
    operator.post("/schedules", data=every(2, "hours"))
    (schedule,) = schedules(app)
    operator.post(f"/schedules/{schedule.id}", data=every(2, "hours", rev="1", note="Another note"))
    (again,) = schedules(app)
    assert (again.note, again.anchor, again.next_at) == ("Another note", schedule.anchor, schedule.next_at)
    moved = f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%dT%H}:00:00"
    operator.post(f"/schedules/{schedule.id}", data=every(2, "hours", rev="2", anchor=moved))
    (later,) = schedules(app)
    assert later.next_at == later.anchor
    assert "Counted from" in operator.get(f"/schedules/{schedule.id}/revisions").text


def test_a_double_click_on_saving_a_period_makes_one_schedule(app: Dashboard, operator: Browser) -> None:
    page = operator.get("/schedules/new").text
    schedule_id = page.partition('name="schedule_id" value="')[2].partition('"')[0]
    for _ in range(2):
        assert operator.post("/schedules", data=every(2, "hours", schedule_id=schedule_id)).status_code == 303
    assert len(schedules(app)) == 1


@pytest.mark.parametrize("anchor", ["soon", "1066-10-14T09:00"])
def test_a_start_of_counting_that_is_none_is_told_beside_its_field(operator: Browser, anchor: str) -> None:
    response = operator.post("/schedules", data=every(2, "hours", anchor=anchor))
    assert response.status_code == 422
    assert 'id="field-anchor-error"' in response.text
    assert f'value="{anchor}"' in response.text


@pytest.mark.parametrize(
    ("typed", "count", "unit"),
    [
        ("every 90 seconds", "90", "seconds"),
        ("every 7 minutes", "7", "minutes"),
        ("every 36 hours", "36", "hours"),
        ("every 14 days", "14", "days"),
    ],
)
def test_the_editor_shows_a_period_as_it_is_stored_and_saving_a_note_leaves_it(
    app: Dashboard, operator: Browser, typed: str, count: str, unit: str
) -> None:
    operator.post("/schedules", data=echo_form(crons=typed))
    (before,) = schedules(app)
    opened = opened_form(operator, before)
    assert (opened["every_count"], opened["every_unit"]) == (count, unit)
    assert operator.post(f"/schedules/{before.id}", data={**opened, "note": "Only a note"}).status_code == 303
    (after,) = schedules(app)
    assert (after.note, after.every_seconds, after.next_at) == ("Only a note", before.every_seconds, before.next_at)


@pytest.mark.parametrize(("typed", "left"), [({}, 4), ({"runs_left": "8"}, 8), ({"runs_left": ""}, None)])
def test_runs_that_fired_while_the_editor_was_open_stay_counted_unless_a_number_is_typed(
    app: Dashboard, operator: Browser, acme: Tenant, typed: dict[str, str], left: int | None
) -> None:
    schedule = make_schedule(app, acme, runs_left=5, params={"word": "hello"})
    opened = opened_form(operator, schedule)
    assert schedule.next_at is not None
    planned(app, at=schedule.next_at)
    assert stored(app, schedule).runs_left == 4
    assert operator.post(f"/schedules/{schedule.id}", data={**opened, "name": "New name", **typed}).status_code == 303
    assert (stored(app, schedule).name, stored(app, schedule).runs_left) == ("New name", left)


ONCE = {"when": "once", "once_local": "2051-02-01T09:00"}


@pytest.mark.parametrize(
    ("typed", "field", "words"),
    [
        ({**ONCE, "skip_dates": "2051-02-01"}, "skip_dates", "All the days on which it would run stand here"),
        ({**ONCE, "end_at": "2051-01-01T00:00"}, "end_at", "This is earlier than the next time at which it would run"),
        ({**ONCE, "start_at": "2051-03-01T00:00"}, "start_at", "This is later than the last time at which it"),
        ({"when": "once", "once_local": "2051-03-26T01:30", "dst_gap": "skip"}, "dst_gap", "The clock skips this time"),
        ({**ONCE, "once_local": "2001-01-01T09:00", "skip_dates": "2001-01-01"}, "once_local", "This time has passed"),
        ({**ONCE, "once_local": "2999-01-01T09:00"}, "once_local", "within the next 50 years"),
        ({"crons": "0 9 * * 1", "end_at": "2001-01-01T00:00"}, "end_at", "This is earlier than the next time"),
        ({"crons": "every 90 seconds", "end_at": "2001-01-01T00:00"}, "end_at", "This is earlier than the next time"),
    ],
)
def test_what_keeps_a_schedule_from_ever_firing_is_told_at_its_own_field(
    operator: Browser, typed: dict[str, str], field: str, words: str
) -> None:
    response = operator.post("/schedules", data=echo_form(**typed))
    assert response.status_code == 422
    assert errors_of(response.text) == [field]
    assert words in text_of(response.text)


def test_the_last_run_that_fired_meanwhile_asks_how_many_more_it_shall_make(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    schedule = make_schedule(app, acme, runs_left=1, params={"word": "hello"})
    opened = opened_form(operator, schedule)
    assert schedule.next_at is not None
    planned(app, at=schedule.next_at)
    refused = operator.post(f"/schedules/{schedule.id}", data={**opened, "name": "New name"})
    assert (refused.status_code, errors_of(refused.text)) == (422, ["runs_left"])
    again = sent_by(refused.text, "schedule-form")
    assert operator.post(f"/schedules/{schedule.id}", data=again).status_code == 303
    assert (stored(app, schedule).name, stored(app, schedule).runs_left) == ("New name", 1)


def errors_of(page: str) -> list[str]:
    """Return the fields that have an error beside them."""
    return re.findall(r'id="field-([a-z_]+)-error"', page)


@pytest.mark.parametrize(
    ("zone", "end", "last"),
    [
        ("Europe/London", "2051-06-30", datetime(2051, 6, 30, 22, 59, 59, tzinfo=UTC)),
        ("Europe/London", "2051-06-30T12:00", datetime(2051, 6, 30, 11, tzinfo=UTC)),
        ("America/Nuuk", "2051-10-28", datetime(2051, 10, 29, 1, 59, 59, tzinfo=UTC)),  # its last hour comes twice
        ("America/Nuuk", "2051-03-25", datetime(2051, 3, 26, 0, 59, 59, tzinfo=UTC)),  # it has no 24th hour
    ],
)
def test_a_date_alone_as_the_end_means_that_whole_day(
    app: Dashboard, operator: Browser, zone: str, end: str, last: datetime
) -> None:
    assert operator.post("/schedules", data=echo_form(end_at=end, timezone=zone)).status_code == 303
    (schedule,) = schedules(app)
    assert schedule.end_at == last


def test_the_end_of_a_day_stays_its_end_when_a_note_is_saved(app: Dashboard, operator: Browser) -> None:
    operator.post("/schedules", data=echo_form(end_at="2051-06-30"))
    (before,) = schedules(app)
    again = {**opened_form(operator, before), "note": "Only a note"}
    assert operator.post(f"/schedules/{before.id}", data=again).status_code == 303
    assert (stored(app, before).note, stored(app, before).end_at) == ("Only a note", before.end_at)


TWICE = [datetime(2050, 11, 6, 5, 30, tzinfo=UTC), datetime(2050, 11, 6, 6, 30, tzinfo=UTC)]
"""Both are half past one in New York, where the clock goes back between them."""


@pytest.mark.parametrize("moment", TWICE, ids=["first pass", "second pass"])
@pytest.mark.parametrize("name", ["anchor", "start_at", "end_at"])
def test_a_time_that_comes_twice_stays_where_it_was_unless_another_one_is_typed(
    app: Dashboard, operator: Browser, acme: Tenant, name: str, moment: datetime
) -> None:
    given: dict[str, Any] = {"timezone": "America/New_York", "params": {"word": "hi", "times": 1}, name: moment}
    schedule = make_schedule(app, acme, **given)
    form = opened_form(operator, schedule)
    assert form[name] == "2050-11-06T01:30"
    operator.post(f"/schedules/{schedule.id}", data={**form, "note": "Only a note"})
    after = stored(app, schedule)
    assert (after.note, getattr(after, name), after.next_at) == ("Only a note", moment, schedule.next_at)
    operator.post(f"/schedules/{schedule.id}", data={**opened_form(operator, schedule), name: "2050-11-06T01:31"})
    assert getattr(stored(app, schedule), name) == TWICE[0] + timedelta(minutes=1)


def test_a_copy_ends_with_the_same_pass_of_an_hour_that_comes_twice(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    original = make_schedule(
        app, acme, timezone="America/New_York", params={"word": "hi", "times": 1}, end_at=TWICE[1], every_seconds=3600
    )
    copy = sent_by(operator.get(f"/schedules/new?copy={original.id}").text, "schedule-form")
    assert operator.post("/schedules", data=copy).status_code == 303
    assert {each.name: each.end_at for each in schedules(app)} == {
        "Minutely": TWICE[1],
        "Copy of Minutely": TWICE[1],
    }


def opened_form(browser: Browser, schedule: Schedule) -> dict[str, str]:
    """Return what the edit form of a schedule sends if nothing is typed."""
    return sent_by(browser.get(f"/schedules/{schedule.id}/edit").text, "schedule-form")
