"""`flask holidays …`: a tenant's holiday calendars and the days off in them, without a browser."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID
from zoneinfo import ZoneInfo

import click

from dashboard.core.clock import utc_now
from dashboard.core.console import CommandGroup, Row, json_option, print_done, print_record, print_rows
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.formats import plural
from dashboard.core.tenancy import current_tenant
from dashboard.schedules import actions, calendars
from dashboard.schedules.calendars import CalendarDraft
from dashboard.schedules.commands import find_schedule
from dashboard.schedules.day_lists import as_text, read_days
from dashboard.schedules.errors import RecurrenceError
from dashboard.schedules.holidays import OwnDays, check_place, days_off, own_days, words
from dashboard.schedules.models import HolidayCalendar, Schedule
from dashboard.tenants.commands import tenant_option

UPCOMING = 10
FROM_STDIN = "-"

holidays = CommandGroup(
    "holidays",
    help="A tenant's holiday calendars. CALENDAR and SCHEDULE are an id or a name; DAYS is like "
    '2026-12-24 or "2026-12-28 to 2026-12-31 Shutdown", or - for a list on the standard input.',
)


@holidays.command("list")
@tenant_option
@json_option
def list_(as_json: bool) -> None:
    """List the calendars, by name."""
    uses = calendars.use_counts()
    rows = [{**_summary(calendar), "schedules": uses.get(calendar.id, 0)} for calendar in calendars.all_calendars()]
    print_rows(rows, as_json=as_json, empty="There are no holiday calendars. Make one: flask holidays create --help")


@holidays.command()
@click.argument("calendar")
@tenant_option
@json_option
def show(calendar: str, as_json: bool) -> None:
    """Show a calendar: its own days, the next days off, and the schedules that use it."""
    found = _find(calendar)
    today = utc_now().astimezone(ZoneInfo(current_tenant().values["TIMEZONE"])).date()
    record = {
        **_summary(found),
        "place": found.place,
        "days": as_text(found.days).splitlines(),
        "next": [str(day) for day in days_off(tuple(found.days_off)).upcoming(today)[:UPCOMING]],
        "schedules": [schedule.name for schedule in calendars.users_of(found)],
    }
    print_record(record, as_json=as_json)


@holidays.command()
@click.argument("name")
@click.argument("days", nargs=-1)
@click.option("--place", default="", help="A country's public holidays, or a region's: DE or DE-BY.")
@tenant_option
@json_option
def create(name: str, days: tuple[str, ...], place: str, as_json: bool) -> None:
    """Make a calendar of a country's public holidays, of days of one's own, or of both."""
    try:
        if place:
            check_place(place)
    except RecurrenceError as error:
        raise InvalidInput({"place": str(error)}) from error
    made = calendars.create(CalendarDraft(name=name, place=place, days=_given(days)))
    print_done(
        f"{made.name} is there. Let schedules follow it: flask holidays follow --help", _summary(made), as_json=as_json
    )


@holidays.command()
@click.argument("calendar")
@click.argument("days", nargs=-1, required=True)
@tenant_option
@json_option
def add(calendar: str, days: tuple[str, ...], as_json: bool) -> None:
    """Add days off of one's own; the schedules that use the calendar leave them out from now on."""
    found = _find(calendar)
    given = _given(days)
    _save(found, {*_stored(found), *given}, f"{plural(len(given), 'entry', 'entries')} added", as_json=as_json)


@holidays.command()
@click.argument("calendar")
@click.argument("days", nargs=-1, required=True)
@tenant_option
@json_option
def remove(calendar: str, days: tuple[str, ...], as_json: bool) -> None:
    """Take days off of one's own away; the schedules that use the calendar fire on them again."""
    found = _find(calendar)
    stored = _stored(found)
    gone = {entry for given in _given(days) for entry in _entries_of(found, stored, given)}
    _save(found, set(stored) - gone, f"{plural(len(gone), 'entry', 'entries')} removed", as_json=as_json)


@holidays.command()
@click.argument("calendar")
@click.argument("schedule")
@tenant_option
@json_option
def follow(calendar: str, schedule: str, as_json: bool) -> None:
    """Let a schedule leave out a calendar's days from now on, beside those of other calendars that it follows."""
    found, follower = _find(calendar), find_schedule(schedule)
    if found.id in follower.holiday_calendars:
        raise Refused(f"{follower.name} follows {found.name} already.")
    record = _follow(follower, [*follower.holiday_calendars, found.id])
    print_done(f"{follower.name} leaves out the days of {found.name} from now on.", record, as_json=as_json)


@holidays.command()
@click.argument("calendar")
@click.argument("schedule")
@tenant_option
@json_option
def unfollow(calendar: str, schedule: str, as_json: bool) -> None:
    """Let a schedule fire on a calendar's days again."""
    found, follower = _find(calendar), find_schedule(schedule)
    if found.id not in follower.holiday_calendars:
        raise Refused(f"{follower.name} does not follow {found.name}.")
    record = _follow(follower, [each for each in follower.holiday_calendars if each != found.id])
    print_done(f"{follower.name} fires on the days of {found.name} again.", record, as_json=as_json)


@holidays.command()
@click.argument("calendar")
@click.option("--yes", is_flag=True, help="Do it also if schedules use it.")
@tenant_option
@json_option
def delete(calendar: str, yes: bool, as_json: bool) -> None:
    """Take a calendar away, also from the schedules that use it: those are only counted without --yes."""
    found = _find(calendar)
    users = calendars.users_of(found)
    if users and not yes:
        uses = "uses" if len(users) == 1 else "use"
        raise Refused(f"Nothing is changed yet: {plural(len(users), 'schedule')} {uses} it. Add --yes to do it.")
    record = {**_summary(found), "schedules": calendars.delete(found)}
    print_done(f"{record['name']} is gone.{_followed(record['schedules'])}", record, as_json=as_json)


def _find(word: str) -> HolidayCalendar:
    """Return the tenant's calendar with this id or name, which is unique. Raises Refused if there is none."""
    for calendar in calendars.all_calendars():
        if word in (calendar.name, str(calendar.id)):
            return calendar
    raise Refused(f"{current_tenant().slug} has no holiday calendar {word}. See: flask holidays list")


def _given(days: Sequence[str]) -> list[OwnDays]:
    """Read days as people write them. Raises InvalidInput that says which one to mend."""
    if list(days) == [FROM_STDIN]:
        return read_days(sys.stdin.read())
    return read_days("\n".join(days))


def _stored(calendar: HolidayCalendar) -> list[OwnDays]:
    return [own_days(line) for line in calendar.days]


def _entries_of(calendar: HolidayCalendar, stored: Sequence[OwnDays], given: OwnDays) -> list[OwnDays]:
    """Return the entries that name just these days. Raises Refused if none does, and says which ones do in part."""
    found = [entry for entry in stored if (entry.first, entry.last) == (given.first, given.last)]
    if found:
        return found
    part = [entry for entry in stored if entry.first <= given.last and entry.last >= given.first]
    if part:
        whole = as_text([str(part[0])])
        raise Refused(f"{given.first} is part of “{whole}”. Remove that as a whole, then add what is to stay.")
    raise Refused(f"{calendar.name} has no entry of its own for {given.first}. See: flask holidays show")


def _save(calendar: HolidayCalendar, days: set[OwnDays], done: str, *, as_json: bool) -> None:
    draft = CalendarDraft(name=calendar.name, place=calendar.place, days=sorted(days))
    moved = calendars.update(calendar, draft, rev=calendar.rev)
    record = {**_summary(calendar), "schedules": moved}
    print_done(f"{calendar.name}: {done}.{_followed(moved)}", record, as_json=as_json)


def _follow(schedule: Schedule, calendar_ids: list[UUID]) -> Row:
    """Save the schedule as its editor does, and return what it is then."""
    draft = replace(actions.draft_of(schedule), holiday_calendars=calendar_ids)
    actions.update(schedule, draft, rev=schedule.rev)
    return {
        "id": schedule.id,
        "name": schedule.name,
        "holidays": calendars.names_of(schedule.holiday_calendars),
        "next_at": schedule.next_at if schedule.paused_at is None else None,
        "rev": schedule.rev,
    }


def _followed(schedules: int) -> str:
    return f" {plural(schedules, 'schedule')} {'follows' if schedules == 1 else 'follow'}." if schedules else ""


def _summary(calendar: HolidayCalendar) -> Row:
    return {"id": calendar.id, "name": calendar.name, "holds": words(calendar.days_off)}
