"""The pages of schedules, as operators use them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.core import secrets
from dashboard.core.clock import utc_now
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.runs.models import Run
from dashboard.schedules.models import Occurrence, Schedule
from dashboard.schedules.planner import plan
from tests.factories import make_user
from tests.factories.job_types import Echo
from tests.factories.schedules import echo_form, make_schedule, planned
from tests.signing_in import Browser, sign_in


@pytest.fixture
def operator(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    return sign_in(app, acme, "olivia@acme.test")


@pytest.fixture
def viewer(app: Dashboard, acme: Tenant) -> Browser:
    make_user(app, "victor@acme.test", roles={acme.id: "viewer"})
    return sign_in(app, acme, "victor@acme.test")


def all_of(app: Dashboard, model: type[Any]) -> list[Any]:
    with app.app_context(), system_scope("test") as session:
        return list(session.scalars(sa.select(model).order_by(model.id)))


def test_an_empty_list_explains_itself_and_offers_the_first_step(operator: Browser) -> None:
    page = operator.get("/schedules").text
    assert "No schedules yet" in page
    assert "/schedules/new" in page


def test_plain_words_become_a_schedule(app: Dashboard, operator: Browser) -> None:
    response = operator.post("/schedules", data=echo_form())
    (schedule,) = all_of(app, Schedule)
    assert response.status_code == 303
    assert response.location.endswith(f"/schedules/{schedule.id}")
    assert (schedule.kind, schedule.crons) == ("cron", ["0 9 * * 1-5"])
    assert schedule.params == {"word": "hello", "times": 2, "password": None}
    assert schedule.next_at is not None
    assert "Every weekday at 09:00" in operator.get(response.location.removeprefix("https://jobs.acme.test")).text


def test_rules_in_words_and_in_cron_stand_beside_each_other(app: Dashboard, operator: Browser) -> None:
    assert operator.post("/schedules", data=echo_form(crons="last Friday 17:00\n0 8 * * 1")).status_code == 303
    (schedule,) = all_of(app, Schedule)
    assert schedule.crons == ["0 17 * * 5L", "0 8 * * 1"]


def test_a_rule_that_counts_time_stands_alone(operator: Browser) -> None:
    posted = operator.post("/schedules", data=echo_form(crons="weekdays at 9\nevery 90 minutes"))
    assert posted.status_code == 422
    assert "Give “every 90 minutes” a schedule of its own" in posted.text


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"when": "interval", "every_count": "2", "every_unit": "hours"}, "interval"),
        ({"when": "once", "once_local": "2060-01-01T09:00"}, "once"),
        ({"crons": "0 9 * * 1\n0 17 * * 5"}, "cron"),
        ({"crons": "every 15 minutes"}, "cron"),
        ({"crons": "every 45 minutes"}, "interval"),
    ],
)
def test_each_kind_of_when_is_understood(app: Dashboard, operator: Browser, changes: dict[str, str], kind: str) -> None:
    operator.post("/schedules", data=echo_form(**changes))
    assert [schedule.kind for schedule in all_of(app, Schedule)] == [kind]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"crons": "0 9 * * 1-9"}, "field-crons"),
        ({"crons": "whenever you like"}, "is not understood"),
        ({"crons": ""}, "Write when it runs"),
        ({"when": "once", "once_local": "2001-01-01T09:00"}, "This time has passed"),
        ({"when": "once", "once_local": "2099-01-01T09:00"}, "within the next 50 years"),
        ({"when": "once", "once_local": "soon"}, "Give a date and a time"),
        ({"when": "interval", "every_count": "x", "every_unit": "hours"}, "Give a whole number"),
        ({"when": "never"}, "Choose when it runs"),
        ({"timezone": "Mars/Olympus"}, "Choose a time zone from the list"),
        ({"name": " "}, "Give the schedule a name"),
        ({"params-word": ""}, "Fill this in"),
        ({"params-times": "many"}, "Enter a whole number"),
        ({"overlap": "explode"}, "Choose one of the list"),
        ({"start_at": "yesterday"}, "Give a date and a time, or leave it empty"),
        ({"skip_dates": "Christmas"}, "Give dates like 2026-12-25"),
        ({"runs_left": "0"}, "Give a whole number from 1"),
        ({"jitter": "-5"}, "Give a whole number from 0"),
        ({"end_at": "2001-01-01T00:00"}, "This is earlier than the next time at which it would run"),
    ],
)
def test_a_mistake_is_told_beside_its_field_and_what_was_typed_stays(
    app: Dashboard, operator: Browser, changes: dict[str, str], sentence: str
) -> None:
    response = operator.post("/schedules", data=echo_form(note="Typed before the mistake", **changes))
    assert response.status_code == 422
    assert sentence in response.text
    assert "Typed before the mistake" in response.text
    assert all_of(app, Schedule) == []


def test_mistakes_in_the_parameters_and_in_the_timing_are_told_together(operator: Browser) -> None:
    page = operator.post("/schedules", data=echo_form(**{"params-word": "", "crons": "0 99 * * *"})).text
    assert "Fill this in" in page
    assert 'id="field-crons-error"' in page


def test_an_unknown_job_type_is_no_traceback(operator: Browser) -> None:
    assert operator.get("/schedules/new?job_type=gone.plugin").status_code == 404
    assert operator.post("/schedules", data=echo_form(job_type="gone.plugin")).status_code == 404


@pytest.mark.parametrize(("when", "state"), [("now", "ready"), ("minute", "scheduled")])
def test_sending_now_or_in_a_minute_makes_a_run_and_no_schedule(
    app: Dashboard, operator: Browser, when: str, state: str
) -> None:
    response = operator.post("/schedules", data=echo_form(when=when))
    (run,) = all_of(app, Run)
    assert response.location.endswith(f"/runs/{run.id}")
    assert (run.state, run.lane, run.actor_kind) == (state, "interactive", "user")
    assert all_of(app, Schedule) == []


def test_a_stale_form_is_told_so_and_changes_nothing(app: Dashboard, operator: Browser) -> None:
    operator.post("/schedules", data=echo_form())
    (schedule,) = all_of(app, Schedule)
    changed = echo_form(rev=schedule.rev, name="Mine")
    assert operator.post(f"/schedules/{schedule.id}", data=changed).status_code == 303
    stale = operator.post(f"/schedules/{schedule.id}", data=echo_form(rev=schedule.rev, name="Too late"))
    assert stale.status_code == 409
    assert "Somebody changed this schedule" in stale.text
    assert "Too late" in stale.text
    assert all_of(app, Schedule)[0].name == "Mine"


def test_renaming_leaves_the_next_fire_alone(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    operator.post("/schedules", data=echo_form(when="interval", every_count="2", every_unit="hours"))
    before = all_of(app, Schedule)[0]
    operator.post(
        f"/schedules/{before.id}",
        data=echo_form(rev=before.rev, name="Renamed", when="interval", every_count="2", every_unit="hours"),
    )
    after = all_of(app, Schedule)[0]
    assert (after.name, after.next_at, after.rev) == ("Renamed", before.next_at, before.rev + 1)


def test_a_secret_parameter_is_never_shown_and_stays_when_left_empty(app: Dashboard, operator: Browser) -> None:
    operator.post("/schedules", data=echo_form(**{"params-password": "hunter2-canary"}))
    before = all_of(app, Schedule)[0]
    for path in (f"/schedules/{before.id}", f"/schedules/{before.id}/edit"):
        assert "hunter2-canary" not in operator.get(path).text
    operator.post(f"/schedules/{before.id}", data=echo_form(rev=before.rev, **{"params-password": ""}))
    after = all_of(app, Schedule)[0]
    with app.app_context():
        kept = secrets.decrypt(after.params["password"]["$secret"].encode())
    assert kept.get_secret_value() == "hunter2-canary"
    assert "hunter2-canary" not in str(before.params)


def test_pausing_says_why_and_resuming_fires_nothing(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(minutes=3))
    operator.post(f"/schedules/{schedule.id}/pauses", data={"reason": "Stock-taking"})
    assert "Stock-taking" in operator.get(f"/schedules/{schedule.id}").text
    operator.post(f"/schedules/{schedule.id}/resumptions")
    assert all_of(app, Run) == []
    assert [each.reason for each in all_of(app, Occurrence)] == ["paused"]


def test_archiving_cancels_what_waits_and_can_be_undone(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, job_type=Echo.key)
    operator.post(f"/schedules/{schedule.id}/runs")
    operator.post(f"/schedules/{schedule.id}/archivings")
    assert [run.state for run in all_of(app, Run)] == ["cancelled"]
    assert "archived" in operator.post(f"/schedules/{schedule.id}/runs", follow_redirects=True).text
    operator.post(f"/schedules/{schedule.id}/restorations")
    assert all_of(app, Schedule)[0].state == "paused"


def test_a_viewer_reads_and_changes_nothing(app: Dashboard, viewer: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, job_type=Echo.key)
    page = viewer.get(f"/schedules/{schedule.id}").text
    assert "Run now" not in page
    assert "Archive" not in page
    assert viewer.post(f"/schedules/{schedule.id}/runs").status_code == 403
    assert viewer.get("/schedules/new").status_code == 403


def test_another_tenants_schedule_is_not_there(app: Dashboard, operator: Browser, globex: Tenant) -> None:
    schedule = make_schedule(app, globex, name="Globex secret plan")
    assert operator.get(f"/schedules/{schedule.id}").status_code == 404
    assert operator.post(f"/schedules/{schedule.id}/pauses").status_code == 404
    assert "Globex secret plan" not in operator.get("/schedules").text


def test_the_list_shows_words_outcomes_and_filters(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    make_schedule(app, acme, name="Busy one")
    make_schedule(app, acme, name="Held one", problem="Its job type is gone.")
    assert "Every 1 minute" in operator.get("/schedules").text or "Every minute" in operator.get("/schedules").text
    attention = operator.get("/schedules?state=attention").text
    assert "Held one" in attention
    assert "Busy one" not in attention
    assert "Busy one" in operator.get("/schedules?q=busy").text


def test_the_panel_answers_304_until_something_changes(app: Dashboard, operator: Browser, acme: Tenant) -> None:
    schedule = make_schedule(app, acme, job_type=Echo.key)
    poll = {"HX-Request": "true"}
    first = operator.get(f"/schedules/{schedule.id}", headers=poll)
    tag = {"HX-PTag": first.headers["HX-PTag"]}
    assert operator.get(f"/schedules/{schedule.id}", headers={**poll, **tag}).status_code == 304
    operator.post(f"/schedules/{schedule.id}/runs")
    assert operator.get(f"/schedules/{schedule.id}", headers={**poll, **tag}).status_code == 200


@pytest.mark.parametrize("act", ["pauses", "fires/skips", "archivings"])
def test_open_pages_show_what_somebody_decides(app: Dashboard, operator: Browser, acme: Tenant, act: str) -> None:
    tomorrow = utc_now().replace(microsecond=0) + timedelta(days=1)
    schedule = make_schedule(app, acme, next_at=tomorrow, anchor=tomorrow)
    polls = {
        url: {"HX-Request": "true", "HX-PTag": operator.get(url).headers["HX-PTag"]}
        for url in (f"/schedules/{schedule.id}", "/schedules")
    }
    assert [operator.get(url, headers=poll).status_code for url, poll in polls.items()] == [304, 304]
    fields = {"nominal": tomorrow.isoformat(), "reason": "Stocktaking"}
    assert operator.post(f"/schedules/{schedule.id}/{act}", data=fields).status_code == 303
    assert [operator.get(url, headers=poll).status_code for url, poll in polls.items()] == [200, 200]


def test_an_open_page_shows_what_the_planner_decides_without_a_run(
    app: Dashboard, operator: Browser, acme: Tenant
) -> None:
    schedule = make_schedule(app, acme, due_for=timedelta(seconds=5), job_type="gone.plugin")
    url = f"/schedules/{schedule.id}"
    tag = {"HX-Request": "true", "HX-PTag": operator.get(url).headers["HX-PTag"]}
    assert operator.get(url, headers=tag).status_code == 304
    planned(app)
    assert "gone.plugin" in operator.get(url, headers=tag).text


def test_every_policy_is_kept_and_comes_back_in_the_editor(app: Dashboard, operator: Browser) -> None:
    limits = {
        "start_at": "2060-01-01T08:00",
        "end_at": "2060-12-31T18:00",
        "skip_dates": "2060-12-25\n2060-12-26",
        "runs_left": "12",
        "dst_gap": "skip",
        "dst_overlap": "both",
        "catchup": "all",
        "catchup_window": "90",
        "overlap": "queue_all",
        "jitter": "5",
        "max_attempts": "7",
        "timeout": "20",
        "expires_after": "30",
    }
    operator.post("/schedules", data=echo_form(**limits))
    (schedule,) = all_of(app, Schedule)
    page = operator.get(f"/schedules/{schedule.id}/edit").text
    assert [value for value in limits.values() if value.partition("\n")[0] not in page] == []
    operator.post(f"/schedules/{schedule.id}", data=echo_form(rev=schedule.rev, **limits))
    again = all_of(app, Schedule)[0]
    assert (again.next_at, again.skip_dates, again.runs_left) == (schedule.next_at, schedule.skip_dates, 12)


def test_a_conflict_shows_what_saving_would_change(app: Dashboard, operator: Browser) -> None:
    operator.post("/schedules", data=echo_form())
    (schedule,) = all_of(app, Schedule)
    operator.post(f"/schedules/{schedule.id}", data=echo_form(rev=schedule.rev, name="Theirs"))
    operator.post(f"/schedules/{schedule.id}/pauses")
    stale = operator.post(f"/schedules/{schedule.id}", data=echo_form(rev=schedule.rev, name="Mine"))
    assert stale.status_code == 409
    assert "Theirs" in stale.text
    assert "Olivia saved revision 2" in stale.text
    assert (
        operator.post(f"/schedules/{schedule.id}", data=echo_form(rev=schedule.rev + 1, name="Mine")).status_code == 303
    )


def test_the_history_tells_who_changed_what_and_hides_secrets(app: Dashboard, operator: Browser) -> None:
    operator.post("/schedules", data=echo_form(**{"params-password": "hunter2-canary"}))
    (schedule,) = all_of(app, Schedule)
    changed = echo_form(rev=1, crons="0 17 * * 5", **{"params-word": "goodbye"})
    operator.post(f"/schedules/{schedule.id}", data=changed)
    page = operator.get(f"/schedules/{schedule.id}/revisions").text
    for told in ("Olivia", "0 9 * * 1-5", "0 17 * * 5", "hello", "goodbye"):
        assert told in page
    assert "hunter2-canary" not in page


def test_a_copy_opens_in_the_editor_with_its_parameters(app: Dashboard, operator: Browser) -> None:
    operator.post("/schedules", data=echo_form(**{"params-word": "borrowed"}))
    (schedule,) = all_of(app, Schedule)
    page = operator.get(f"/schedules/new?copy={schedule.id}").text
    assert "Copy of Hourly echo" in page
    assert "borrowed" in page


@pytest.fixture
def daily(app: Dashboard, operator: Browser) -> Schedule:
    operator.post("/schedules", data=echo_form(crons="0 9 * * *", timezone="UTC"))  # where each day has 24 hours
    (schedule,) = all_of(app, Schedule)
    return schedule  # type: ignore[no-any-return]


def test_one_fire_can_be_skipped_and_run_after_all(app: Dashboard, operator: Browser, daily: Schedule) -> None:
    assert daily.next_at is not None
    fire = {"nominal": daily.next_at.isoformat()}
    operator.post(f"/schedules/{daily.id}/fires/skips", data=fire)
    assert [(each.decision, each.reason) for each in all_of(app, Occurrence)] == [("skip", "by_hand")]
    assert "Run after all" in operator.get(f"/schedules/{daily.id}").text
    operator.post(f"/schedules/{daily.id}/fires/restorations", data=fire)
    (run,) = all_of(app, Run)
    assert (run.state, run.not_before) == ("scheduled", daily.next_at)


def test_one_fire_can_be_moved_and_the_planner_leaves_it_alone(
    app: Dashboard, operator: Browser, daily: Schedule
) -> None:
    assert daily.next_at is not None
    fire = {"schedule": str(daily.id), "nominal": daily.next_at.isoformat(), "rev": "1", "to": "2055-05-05T05:05"}
    operator.post("/calendar/moves", data=fire)
    with app.app_context(), system_scope("test") as session:
        plan(session, daily.next_at + timedelta(seconds=1))
    (run,) = all_of(app, Run)
    assert run.not_before is not None
    assert run.not_before.year == 2055
    after = all_of(app, Schedule)[0]
    assert after.next_at == daily.next_at + timedelta(days=1)


@pytest.mark.parametrize("nominal", ["", "soon", "2030-01-01T00:00:00", "2001-01-01T09:00:00+00:00"])
def test_a_fire_that_is_none_cannot_be_decided_on(
    app: Dashboard, operator: Browser, daily: Schedule, nominal: str
) -> None:
    response = operator.post(f"/schedules/{daily.id}/fires/skips", data={"nominal": nominal}, follow_redirects=True)
    assert response.status_code in {200, 422}
    assert all_of(app, Occurrence) == []
