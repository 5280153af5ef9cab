"""Keep a tenant's holiday calendars: what days each names, and that the schedules that use it follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dashboard.audit.actions import record
from dashboard.core.clock import database_now
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.ids import new_id
from dashboard.core.orm import db
from dashboard.core.tenancy import require_binding
from dashboard.runs.load import SCHEDULES, announce
from dashboard.schedules.catchup import one_skip
from dashboard.schedules.claiming import DueSchedule
from dashboard.schedules.errors import RecurrenceError
from dashboard.schedules.holidays import OwnDays, days_off
from dashboard.schedules.models import HolidayCalendar, Schedule
from dashboard.schedules.occurrences import NAMED_SKIP, Entry, decided, entry_of, record_all
from dashboard.schedules.timing import rewind, unplanned

FIELD = "holiday_calendars"
HOLIDAY = "holiday"


class Changed(Refused):
    """Somebody changed this calendar since you opened it. Look at what it says now, then save again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarDraft:
    """What an operator wants of a calendar: a place such as "DE-BY" (or none), and days of one's own."""

    name: str
    place: str = ""
    days: Sequence[OwnDays] = ()


def all_calendars() -> Sequence[HolidayCalendar]:
    """Return the bound tenant's calendars, by name."""
    return db.session.scalars(sa.select(HolidayCalendar).order_by(sa.func.lower(HolidayCalendar.name))).all()


def get(calendar_id: UUID) -> HolidayCalendar | None:
    """Return the bound tenant's calendar, or None."""
    return db.session.get(HolidayCalendar, calendar_id)


def users_of(calendar: HolidayCalendar) -> Sequence[Schedule]:
    """Return the schedules that name it and are not archived, by name."""
    return db.session.scalars(_using(calendar).where(Schedule.archived_at.is_(None)).order_by(Schedule.name)).all()


def use_counts() -> Mapping[UUID, int]:
    """Return how many schedules name each calendar; archived ones do not count."""
    named = sa.func.unnest(Schedule.holiday_calendars).label("calendar_id")
    uses = sa.select(named).where(Schedule.archived_at.is_(None)).subquery()
    rows = db.session.execute(sa.select(uses.c.calendar_id, sa.func.count()).group_by(uses.c.calendar_id))
    return {row[0]: row[1] for row in rows}


def names_of(calendar_ids: Sequence[UUID]) -> list[str]:
    """Return the names of these calendars, by name; those that are gone are left out."""
    if not calendar_ids:
        return []
    query = sa.select(HolidayCalendar.name).where(HolidayCalendar.id.in_(calendar_ids))
    return list(db.session.scalars(query.order_by(HolidayCalendar.name)))


def hold(calendar_ids: Sequence[UUID]) -> list[str]:
    """Return what these calendars say, and keep them as they are until the transaction ends.

    Whoever locks a schedule too does that afterwards, as a change of a calendar does. Raises InvalidInput for one that
    is gone.
    """
    if not calendar_ids:
        return []
    query = sa.select(HolidayCalendar).where(HolidayCalendar.id.in_(calendar_ids)).order_by(HolidayCalendar.id)
    found = db.session.scalars(query.with_for_update(read=True)).all()
    if len(found) != len(set(calendar_ids)):
        raise InvalidInput({FIELD: "One of these calendars is gone. Choose again."})
    return _all_they_say(found)


def create(draft: CalendarDraft) -> HolidayCalendar:
    """Save a new calendar. Raises InvalidInput naming each field to mend."""
    calendar = HolidayCalendar(id=new_id(), rev=1, **_checked(draft))
    db.session.add(calendar)
    _flush()
    _commit(db.session(), "holiday_calendar.create", calendar)
    return calendar


def update(calendar: HolidayCalendar, draft: CalendarDraft, *, rev: int) -> int:
    """Save changes and let the schedules that use it go on from now by the new days; none fires. Return how many.

    Raises InvalidInput for bad fields, Changed if somebody saved since `rev`.
    """
    values = _checked(draft)
    db.session.refresh(calendar, with_for_update=True)
    if calendar.rev != rev:
        raise Changed
    before = calendar.days_off
    for name, value in values.items():
        setattr(calendar, name, value)
    calendar.rev += 1
    _flush()
    moved = _replan(db.session(), calendar) if calendar.days_off != before else 0
    _commit(db.session(), "holiday_calendar.update", calendar, schedules=moved)
    return moved


def delete(calendar: HolidayCalendar) -> int:
    """Take the calendar away, also from the schedules that use it: they fire on its days again. Return how many."""
    session = db.session()
    session.refresh(calendar, with_for_update=True)
    moved = _replan(session, calendar, gone=True)
    session.delete(calendar)
    _commit(session, "holiday_calendar.delete", calendar, schedules=moved)
    return moved


def _checked(draft: CalendarDraft) -> dict[str, Any]:
    errors = {}
    if not draft.name.strip():
        errors["name"] = "Give the calendar a name."
    if not draft.place and not draft.days:
        errors["days"] = "Choose a country, or list days of your own, or both."
    if errors:
        raise InvalidInput(errors)
    return {"name": draft.name.strip(), "place": draft.place, "days": [str(each) for each in sorted(draft.days)]}


def _flush() -> None:
    try:
        db.session.flush()
    except IntegrityError as error:
        db.session.rollback()
        raise InvalidInput({"name": "Another calendar has this name. Give it a name of its own."}) from error


def _using(calendar: HolidayCalendar) -> sa.Select[Schedule]:
    return sa.select(Schedule).where(Schedule.holiday_calendars.contains([calendar.id]))


def _replan(session: Session, calendar: HolidayCalendar, *, gone: bool = False) -> int:
    """Give the schedules that use a calendar its days, and their next fires counted from now."""
    schedules = session.scalars(_using(calendar).order_by(Schedule.id).with_for_update(key_share=True)).all()
    if not schedules:
        return 0
    now, zone = database_now(session), require_binding().settings["TIMEZONE"]
    said = {each.id: each for each in all_calendars() if not (gone and each.id == calendar.id)}
    due = {schedule.id: DueSchedule.of(schedule) for schedule in schedules if _fires(schedule)}
    known = decided(session, due.values(), now)
    entries: list[Entry] = []
    for schedule in schedules:
        if schedule.id in due:
            entries.extend(unplanned(due[schedule.id], known[schedule.id], zone, now, "edited"))
        schedule.holiday_calendars = [each for each in schedule.holiday_calendars if each in said]
        schedule.days_off = _all_they_say(said[each] for each in schedule.holiday_calendars)
        entries.extend(_go_on(schedule, zone, now))
    record_all(session, entries)
    return len(schedules)


def _go_on(schedule: Schedule, zone: str, now: datetime) -> list[Entry]:
    """Count the next fire from now; return the skip of a single time that turned out to be a day off."""
    before = schedule.next_at
    if not _fires(schedule):
        return []
    try:
        rewind(schedule, zone, now)
    except RecurrenceError:  # the planner holds it when it is due
        return []
    if before is None or before <= now or schedule.next_at is not None:
        return []
    skip = one_skip([before], HOLIDAY, name_of_day(schedule))
    return [
        entry_of(DueSchedule.of(schedule), each, schedule.timezone or zone, now, prefix=NAMED_SKIP) for each in skip
    ]


def name_of_day(schedule: Schedule) -> str:
    """Return what the day is called on which a schedule of kind once would fire; empty if it has no name."""
    named = days_off(tuple(schedule.days_off)).on(schedule.once_local.date()) if schedule.once_local else None
    return named or ""


def _fires(schedule: Schedule) -> bool:
    return schedule.archived_at is None and schedule.paused_at is None and not schedule.problem


def _all_they_say(calendars: Iterable[HolidayCalendar]) -> list[str]:
    return sorted({line for calendar in calendars for line in calendar.days_off})


def _commit(session: Session, action: str, calendar: HolidayCalendar, **details: int) -> None:
    record(session, action, subject=("holiday_calendar", calendar.id, calendar.name), details=details)
    announce(session, calendar.tenant_id, SCHEDULES)
    session.commit()
