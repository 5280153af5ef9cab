"""Holiday calendars and blackouts are kept from the command line too, for people and for programs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from dashboard.app import Dashboard
from dashboard.audit.models import AuditEntry
from dashboard.core.orm import system_scope
from dashboard.core.tenancy import Tenant
from dashboard.schedules.models import Blackout, HolidayCalendar, Schedule
from tests.command_line import answer, flask
from tests.factories import make_user
from tests.factories.schedules import make_schedule, stored
from tests.pages import text_of
from tests.signing_in import sign_in

DAY = timedelta(days=1)
NEXT = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=12)
"""A full hour of the next 24 that lies ahead, however long the tests take."""

ACME = ("--tenant", "acme")


def daily(app: Dashboard, tenant: Tenant, **values: Any) -> Schedule:
    """A schedule that fires once a day, next at NEXT."""
    crons = [f"0 {NEXT.hour} * * *"]
    fields = {"name": "Daily", "kind": "cron", "crons": crons, "every_seconds": None, "timezone": "UTC"}
    planned = {"params": {"word": "hello"}, "next_at": NEXT, "cursor": NEXT - DAY}
    return make_schedule(app, tenant, **{**fields, **planned, **values})


def calendars(app: Dashboard) -> list[HolidayCalendar]:
    with app.app_context(), system_scope("test") as session:
        return list(session.scalars(sa.select(HolidayCalendar).order_by(HolidayCalendar.name)))


def blackouts(app: Dashboard) -> list[Blackout]:
    with app.app_context(), system_scope("test") as session:
        return list(session.scalars(sa.select(Blackout)))


def local(moment: datetime) -> str:
    """Write a moment on acme's clock."""
    return f"{moment:%Y-%m-%dT%H:%M}+00:00"


def refusal(app: Dashboard, *words: str, stdin: str = "") -> tuple[int, str]:
    result = flask(app, *words, stdin=stdin)
    return result.exit_code, result.stderr


def test_a_calendar_is_made_shown_and_listed(app: Dashboard, acme: Tenant) -> None:
    made = answer(app, "holidays", "create", "Bavaria", "24.12.2026 Eve", "--place", "DE-BY", *ACME)
    assert made["holds"].endswith("1 own entry")
    shown = answer(app, "holidays", "show", "Bavaria", *ACME)
    assert (shown["place"], shown["days"], shown["schedules"]) == ("DE-BY", ["2026-12-24 Eve"], [])
    assert len(shown["next"]) == 10
    (row,) = answer(app, "holidays", "list", *ACME)
    assert (row["name"], row["schedules"]) == ("Bavaria", 0)
    assert answer(app, "holidays", "show", row["id"], *ACME) == shown


def test_days_are_added_and_removed_and_the_schedules_follow(app: Dashboard, acme: Tenant) -> None:
    made = answer(app, "holidays", "create", "Ours", "2020-01-01", *ACME)
    schedule = daily(app, acme, holiday_calendars=[made["id"]], days_off=["2020-01-01"])
    added = flask(app, "holidays", "add", "Ours", f"{NEXT:%Y-%m-%d} to {NEXT + DAY:%Y-%m-%d} Moving", *ACME)
    assert (added.exit_code, added.stdout) == (0, "Ours: 1 entry added. 1 schedule follows.\n")
    assert stored(app, schedule).next_at == NEXT + 2 * DAY
    part = refusal(app, "holidays", "remove", "Ours", f"{NEXT:%Y-%m-%d}", *ACME)
    assert part[0] == 1
    assert "is part of “" in part[1]
    gone = answer(app, "holidays", "remove", "Ours", f"{NEXT:%Y-%m-%d} to {NEXT + DAY:%Y-%m-%d}", *ACME)
    assert (gone["schedules"], calendars(app)[0].days) == (1, ["2020-01-01"])
    assert stored(app, schedule).next_at == NEXT


def test_a_list_of_days_is_read_from_the_standard_input(app: Dashboard, acme: Tenant) -> None:
    answer(app, "holidays", "create", "Ours", "-", *ACME, stdin="2026-12-24 Eve\n28 Dec 2026 to 31 Dec 2026 Shutdown\n")
    assert calendars(app)[0].days == ["2026-12-24 Eve", "2026-12-28/2026-12-31 Shutdown"]


def test_a_calendar_in_use_is_deleted_only_when_that_is_meant(app: Dashboard, acme: Tenant) -> None:
    made = answer(app, "holidays", "create", "Ours", f"{NEXT:%Y-%m-%d}", *ACME)
    schedule = daily(app, acme, holiday_calendars=[made["id"]], days_off=[f"{NEXT:%Y-%m-%d}"], next_at=NEXT + DAY)
    refused = refusal(app, "holidays", "delete", "Ours", *ACME)
    assert refused == (1, "Error: Nothing is changed yet: 1 schedule uses it. Add --yes to do it.\n")
    assert answer(app, "holidays", "delete", "Ours", "--yes", *ACME)["schedules"] == 1
    assert calendars(app) == []
    assert stored(app, schedule).next_at == NEXT


def test_a_schedule_follows_a_calendar_and_leaves_it_as_if_saved_in_the_editor(app: Dashboard, acme: Tenant) -> None:
    schedule = daily(app, acme)
    answer(app, "holidays", "create", "Ours", f"{NEXT:%Y-%m-%d} Moving", *ACME)
    answer(app, "holidays", "create", "Theirs", f"{NEXT + DAY:%Y-%m-%d}", *ACME)
    followed = answer(app, "holidays", "follow", "Ours", "Daily", *ACME)
    assert (followed["holidays"], followed["rev"]) == (["Ours"], 2)
    assert stored(app, schedule).next_at == NEXT + DAY
    said = flask(app, "holidays", "follow", "Theirs", str(schedule.id), *ACME)
    assert (said.exit_code, said.stdout) == (0, "Daily leaves out the days of Theirs from now on.\n")
    assert stored(app, schedule).next_at == NEXT + 2 * DAY
    assert answer(app, "schedules", "show", "Daily", *ACME)["holidays"] == ["Ours", "Theirs"]
    assert answer(app, "holidays", "show", "Ours", *ACME)["schedules"] == ["Daily"]
    said = flask(app, "holidays", "unfollow", "Ours", "Daily", *ACME)
    assert said.stdout == "Daily fires on the days of Ours again.\n"
    assert stored(app, schedule).next_at == NEXT


def test_following_a_calendar_is_audited_and_stands_in_the_history(app: Dashboard, acme: Tenant) -> None:
    schedule = daily(app, acme)
    answer(app, "holidays", "create", "Ours", f"{NEXT:%Y-%m-%d}", *ACME)
    answer(app, "holidays", "follow", "Ours", "Daily", *ACME)
    with app.app_context(), system_scope("test") as session:
        entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.subject_id == schedule.id)).one()
    assert (entry.actor_kind, entry.action) == ("system", "schedule.update")
    assert entry.details == {"changed": ["Not on the holidays of"]}
    make_user(app, "olivia@acme.test", roles={acme.id: "operator"})
    history = text_of(sign_in(app, acme, "olivia@acme.test").get(f"/schedules/{schedule.id}/revisions").text)
    assert re.search("Revision 2 Saved .* from the command line", history)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("follow", "Ours", "Nothing"), "acme has no schedule Nothing. See: flask schedules list"),
        (("follow", "Nothing", "Daily"), "acme has no holiday calendar Nothing. See: flask holidays list"),
        (("follow", "Known", "Daily"), "Daily follows Known already."),
        (("unfollow", "Ours", "Daily"), "Daily does not follow Ours."),
    ],
)
def test_who_can_not_follow_is_told_in_a_sentence(
    app: Dashboard, acme: Tenant, words: tuple[str, ...], sentence: str
) -> None:
    schedule = daily(app, acme)
    for name in ("Ours", "Known"):
        answer(app, "holidays", "create", name, "2020-01-01", *ACME)
    answer(app, "holidays", "follow", "Known", "Daily", *ACME)
    assert refusal(app, "holidays", *words, *ACME) == (1, f"Error: {sentence}\n")
    assert stored(app, schedule).rev == 2


def test_a_single_fire_on_a_day_off_keeps_its_schedule_from_following(app: Dashboard, acme: Tenant) -> None:
    once = {"kind": "once", "crons": [], "once_local": NEXT.replace(tzinfo=None)}
    schedule = daily(app, acme, name="Once", **once)
    answer(app, "holidays", "create", "Ours", f"{NEXT:%Y-%m-%d} Moving", *ACME)
    code, said = refusal(app, "holidays", "follow", "Ours", "Once", *ACME)
    assert (code, said.startswith("Error: once_local: This is a day off: Moving.")) == (2, True)
    assert (stored(app, schedule).next_at, stored(app, schedule).rev) == (NEXT, 1)


def test_an_archived_schedule_follows_no_calendar(app: Dashboard, acme: Tenant) -> None:
    schedule = daily(app, acme, archived_at=NEXT - DAY)
    answer(app, "holidays", "create", "Ours", "2020-01-01", *ACME)
    told = refusal(app, "holidays", "follow", "Ours", str(schedule.id), *ACME)
    assert told == (1, "Error: This schedule is archived. Restore it first.\n")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["create", "Ours"], 2, "Choose a country, or list days of your own"),
        (["create", " ", "2026-12-24"], 2, "Give the calendar a name"),
        (["create", "Ours", "--place", "XX"], 2, "No public holidays are known of “XX”"),
        (["create", "Ours", "--place", "DE-XX"], 2, "has no region “XX”"),
        (["create", "Ours", "tomorrow"], 2, "Line 1, “tomorrow”: write a day like"),
        (["create", "Known", "2026-12-24"], 2, "Another calendar has this name"),
        (["add", "Known"], 2, "Missing argument"),
        (["remove", "Known", "2026-12-25"], 1, "Known has no entry of its own for 2026-12-25"),
        (["remove", "Known", "2026-12-24"], 2, "Choose a country, or list days of your own"),
        (["show", "Unknown"], 1, "acme has no holiday calendar Unknown. See: flask holidays list"),
    ],
    ids=["empty", "nameless", "country", "region", "day", "twice", "no day", "not there", "last", "unknown"],
)
def test_what_cannot_be_done_with_a_calendar_is_told_in_a_sentence(
    app: Dashboard, acme: Tenant, words: list[str], code: int, sentence: str
) -> None:
    answer(app, "holidays", "create", "Known", "2026-12-24", *ACME)
    exit_code, told = refusal(app, "holidays", *words, *ACME)
    assert (exit_code, sentence in told) == (code, True)
    assert [calendar.days for calendar in calendars(app)] == [["2026-12-24"]]


def test_anothers_calendar_is_not_found(app: Dashboard, acme: Tenant, globex: Tenant) -> None:
    made = answer(app, "holidays", "create", "Ours", "2026-12-24", *ACME)
    assert refusal(app, "holidays", "delete", made["id"], "--yes", "--tenant", "globex")[0] == 1
    assert answer(app, "holidays", "list", "--tenant", "globex") == []


def test_a_blackout_is_added_listed_and_ended(app: Dashboard, acme: Tenant) -> None:
    window = ("--from", local(NEXT), "--to", local(NEXT + DAY))
    made = answer(app, "blackouts", "add", "Audit", *window, *ACME)
    assert datetime.fromisoformat(made["start_at"]) == NEXT
    assert [row["name"] for row in answer(app, "blackouts", "list", *ACME)] == ["Audit"]
    answer(app, "blackouts", "end", "Audit", *ACME)
    assert blackouts(app) == []
    assert flask(app, "blackouts", "list", *ACME).stdout == "There are no such blackouts.\n"


def test_a_blackout_that_swallows_fires_is_added_only_when_that_is_meant(app: Dashboard, acme: Tenant) -> None:
    daily(app, acme)
    window = ("--from", local(NEXT - timedelta(hours=1)), "--to", local(NEXT + 2 * DAY))
    result = flask(app, "blackouts", "add", "Audit", *window, *ACME)
    assert (result.exit_code, result.stdout) == (1, "SCHEDULE  FIRES\nDaily     2\n")
    assert result.stderr == "Error: Nothing is changed yet: it swallows 2 fires. Add --yes to do it.\n"
    assert blackouts(app) == []
    answer(app, "blackouts", "add", "Audit", *window, "--yes", *ACME)
    assert len(blackouts(app)) == 1


def test_a_blackout_that_goes_on_is_ended_and_then_stands_among_the_past(app: Dashboard, acme: Tenant) -> None:
    began = datetime.now(UTC) - timedelta(hours=1)
    with app.app_context(), system_scope("test") as session:
        session.add(Blackout(tenant_id=acme.id, name="Audit", start_at=began, end_at=NEXT))
    assert flask(app, "blackouts", "end", "Audit", *ACME).stdout == "Audit is over: what is due from now on runs.\n"
    assert answer(app, "blackouts", "list", *ACME) == []
    assert [row["name"] for row in answer(app, "blackouts", "list", "--past", *ACME)] == ["Audit"]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["add", "Audit", "--from", "soon", "--to", local(NEXT)], 2, "from: “soon” is no time"),
        (["add", "Audit", "--from", local(NEXT), "--to", local(NEXT)], 2, "Choose an end after the start"),
        (["add", "Audit", "--from", "2020-01-01T00:00", "--to", "2020-01-02T00:00"], 2, "This has passed"),
        (["add", " ", "--from", local(NEXT), "--to", local(NEXT + DAY)], 2, "Give it a name"),
        (["add", "Audit", "--to", local(NEXT)], 2, "Missing option"),
        (["end", "Audit"], 1, "acme has no blackout Audit that is not over"),
    ],
    ids=["unreadable", "backwards", "past", "nameless", "no start", "unknown"],
)
def test_what_cannot_be_blacked_out_is_told_in_a_sentence(
    app: Dashboard, acme: Tenant, words: list[str], code: int, sentence: str
) -> None:
    exit_code, told = refusal(app, "blackouts", *words, *ACME)
    assert (exit_code, sentence in told) == (code, True)
    assert blackouts(app) == []


def test_times_without_an_offset_are_the_tenants(app: Dashboard, globex: Tenant) -> None:
    """Globex is in Tokyo, nine hours ahead of UTC."""
    window = ("--from", f"{NEXT:%Y-%m-%dT%H:%M}", "--to", f"{NEXT + DAY:%Y-%m-%d %H:%M}")
    answer(app, "blackouts", "add", "Audit", *window, "--tenant", "globex")
    assert blackouts(app)[0].start_at == NEXT - timedelta(hours=9)


def test_each_change_is_in_the_audit_trail_with_the_system_as_its_actor(app: Dashboard, acme: Tenant) -> None:
    answer(app, "holidays", "create", "Ours", "2026-12-24", *ACME)
    answer(app, "holidays", "add", "Ours", "2026-12-25", *ACME)
    answer(app, "holidays", "delete", "Ours", *ACME)
    answer(app, "blackouts", "add", "Audit", "--from", local(NEXT), "--to", local(NEXT + DAY), *ACME)
    answer(app, "blackouts", "end", "Audit", *ACME)
    with app.app_context(), system_scope("test") as session:
        entries = session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id)).all()
    assert [(entry.action, entry.actor_kind) for entry in entries] == [
        ("holiday_calendar.create", "system"),
        ("holiday_calendar.update", "system"),
        ("holiday_calendar.delete", "system"),
        ("blackout.create", "system"),
        ("blackout.cancel", "system"),
    ]
