"""Keep the windows of time in which nothing of a tenant is planned, and say which fires fall into them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from dashboard.audit.actions import record
from dashboard.core.clock import database_now
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.ids import new_id
from dashboard.core.orm import db
from dashboard.runs.load import SCHEDULES, announce
from dashboard.schedules.catchup import Decision, one_skip
from dashboard.schedules.models import Blackout

BLACKOUT = "blackout"
LONGEST = timedelta(days=366)
LISTED_PAST = 20
LISTED_AHEAD = 100


class Window(NamedTuple):
    """A blackout as plain values: [start, end) in UTC."""

    start: datetime
    end: datetime
    name: str


class Changed(Refused):
    """Somebody changed this blackout since you opened it. Look at what it says now, then save again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlackoutDraft:
    """What an operator wants of a blackout; from `start_at` on, up to and without `end_at`."""

    name: str
    start_at: datetime
    end_at: datetime


def window_at(windows: Sequence[Window], instant: datetime) -> Window | None:
    """Return which of the windows, which are `apart`, holds the instant; or None."""
    place = bisect_right(windows, instant, key=attrgetter("start")) - 1
    return windows[place] if place >= 0 and instant < windows[place].end else None


def apart(windows: Sequence[Window]) -> list[Window]:
    """Return the windows, the earliest first, free of overlaps: where two meet, the one that began first counts."""
    free: list[Window] = []
    for window in windows:
        start = max(window.start, free[-1].end) if free else window.start
        if start < window.end:
            free.append(window._replace(start=start))
    return free


def divide(due: Sequence[datetime], windows: Sequence[Window]) -> tuple[list[datetime], list[Decision]]:
    """Return what of `due` (ascending) lies outside the windows, which are `apart`, and the skips of the rest."""
    inside = [(at, window) for at in due if (window := window_at(windows, at)) is not None]
    swallowed = {at for at, _ in inside}
    skips = (
        one_skip([at for at, _ in group], BLACKOUT, window.name)
        for window, group in groupby(inside, key=lambda pair: pair[1])
    )
    return [at for at in due if at not in swallowed], [decision for each in skips for decision in each]


def windows_between(start: datetime, end: datetime) -> list[Window]:
    """Return the bound tenant's windows that reach into [start, end), the earliest first."""
    query = sa.select(Blackout).where(Blackout.end_at > start, Blackout.start_at < end)
    found = db.session.scalars(query.order_by(Blackout.start_at, Blackout.id))
    return [Window(each.start_at, each.end_at, each.name) for each in found]


def ahead(now: datetime) -> Sequence[Blackout]:
    """Return the bound tenant's blackouts that go on or lie ahead, the earliest first."""
    query = sa.select(Blackout).where(Blackout.end_at > now).order_by(Blackout.start_at, Blackout.id)
    return db.session.scalars(query).all()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Blackouts that go on or lie ahead, as many as a page holds; after the id `later` the next page begins."""

    rows: Sequence[Blackout]
    later: UUID | None


def page_ahead(now: datetime, after: UUID | None) -> Page:
    """Return a page of what `ahead` returns: the first one, or that which follows the blackout `after`."""
    query = sa.select(Blackout).where(Blackout.end_at > now)
    place = sa.tuple_(Blackout.start_at, Blackout.id)
    if after is not None and (last := get(after)):
        query = query.where(place > sa.tuple_(last.start_at, last.id))
    found = db.session.scalars(query.order_by(Blackout.start_at, Blackout.id).limit(LISTED_AHEAD + 1)).all()
    rows = found[:LISTED_AHEAD]
    return Page(rows=rows, later=rows[-1].id if len(found) > LISTED_AHEAD else None)


def past(now: datetime) -> Sequence[Blackout]:
    """Return the bound tenant's last blackouts that are over, the newest first."""
    query = sa.select(Blackout).where(Blackout.end_at <= now).order_by(Blackout.end_at.desc()).limit(LISTED_PAST)
    return db.session.scalars(query).all()


def get(blackout_id: UUID) -> Blackout | None:
    """Return the bound tenant's blackout, or None."""
    return db.session.get(Blackout, blackout_id)


def create(draft: BlackoutDraft) -> Blackout:
    """Save a new blackout. Raises InvalidInput naming each field to mend."""
    check(draft, database_now(db.session()))
    blackout = Blackout(id=new_id(), rev=1, name=draft.name, start_at=draft.start_at, end_at=draft.end_at)
    db.session.add(blackout)
    db.session.flush()
    _commit("blackout.create", blackout)
    return blackout


def update(blackout: Blackout, draft: BlackoutDraft, *, rev: int) -> None:
    """Save changes; what it has swallowed stays skipped. Raises InvalidInput, or Changed if `rev` is old."""
    now = database_now(db.session())
    db.session.refresh(blackout, with_for_update=True)
    if blackout.rev != rev:
        raise Changed
    _refuse_past(blackout, now)
    check(draft, now)
    blackout.name, blackout.start_at, blackout.end_at = draft.name, draft.start_at, draft.end_at
    blackout.rev += 1
    _commit("blackout.update", blackout)


def cancel(blackout: Blackout) -> None:
    """End a blackout now, or take it away if it has not begun. Raises Refused if it is over."""
    now = database_now(db.session())
    db.session.refresh(blackout, with_for_update=True)
    _refuse_past(blackout, now)
    if blackout.start_at < now:
        blackout.end_at = now
        blackout.rev += 1
    else:
        db.session.delete(blackout)
    _commit("blackout.cancel", blackout)


def check(draft: BlackoutDraft, now: datetime) -> None:
    """Refuse what makes no sense as a blackout. Raises InvalidInput naming each field to mend."""
    errors = {}
    if not draft.name:
        errors["name"] = "Give it a name: each fire that it swallows is listed with it."
    if draft.end_at <= draft.start_at:
        errors["end"] = "Choose an end after the start."
    elif draft.end_at <= now:
        errors["end"] = "This has passed. Choose an end that is still to come."
    elif draft.end_at - draft.start_at > LONGEST:
        errors["end"] = "This is longer than a year. Pause or archive what is not to run for so long."
    if errors:
        raise InvalidInput(errors)


def _refuse_past(blackout: Blackout, now: datetime) -> None:
    if blackout.end_at <= now:
        raise Refused("This blackout is over. Make a new one.")


def _commit(action: str, blackout: Blackout) -> None:
    session = db.session()
    details: dict[str, Any] = {"start": blackout.start_at.isoformat(), "end": blackout.end_at.isoformat()}
    record(session, action, subject=("blackout", blackout.id, blackout.name), details=details)
    announce(session, blackout.tenant_id, SCHEDULES)
    session.commit()
