"""The calendar of a tenant: month, week and day of computed fires, the load ahead, and a feed for calendar programs."""

from __future__ import annotations

import hmac
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from flask import Blueprint, Response, abort, current_app, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from dashboard.accounts.access import Action, public, requires
from dashboard.accounts.models import Membership
from dashboard.core.clock import utc_now
from dashboard.core.htmx import see_other, uncached
from dashboard.core.orm import db
from dashboard.core.tenancy import current_binding, current_tenant
from dashboard.core.typed import instant
from dashboard.core.zones import display_zone
from dashboard.schedules.agenda import Agenda, Entry, agenda
from dashboard.schedules.blackouts import Window
from dashboard.schedules.board import words_of
from dashboard.schedules.forecast import forecast, hour_of
from dashboard.schedules.ical import FEED, OFTEN_WORDS, feed
from dashboard.schedules.spreads import last_spread

bp = Blueprint("calendar", __name__, url_prefix="/calendar")

VIEWS = {"month": "Month", "week": "Week", "day": "Day"}
SHOWN_IN_MONTH = 4
SHOWN_IN_SLOT = {"week": 6, "day": 100}
SHOWN_BANDS = {"month": 3, "week": 6, "day": 100}
NAMED_BANDS = 3
FORECAST = timedelta(hours=24)
MOST_MEETINGS = 5
NAMED_IN_MINUTE = 5
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MOVED = "moved"
"""Under this name the session keeps the fire that was moved last, until the calendar offers to move it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """The blackouts that reach into a day or an hour; `more` find no room in it."""

    shown: Sequence[Window]
    more: int

    @property
    def words(self) -> str:
        """The first of their names, and how many more there are; nothing if there are none."""
        names = ", ".join(window.name for window in self.shown[:NAMED_BANDS])
        unnamed = len(self.shown[NAMED_BANDS:]) + self.more
        return f"{names} and {unnamed:,} more" if unnamed else names


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """An hour of a day: a fire can be dropped on it, which keeps its minutes. `more` entries find no room in it.

    One without a `key` holds what fires many times a day, which belongs to no hour.
    """

    key: str
    entries: Sequence[Entry]
    more: int
    bands: Bands


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarPage:
    """A span of days with its fires; `before` and `after` are the days that the arrows lead to."""

    view: str
    day: date
    today: date
    days: Sequence[date]
    agenda: Agenda
    zone: ZoneInfo

    @property
    def before(self) -> date:
        if self.view == "month":
            return (self.day.replace(day=1) - DAY).replace(day=1)
        return self.day - (7 * DAY if self.view == "week" else DAY)

    @property
    def after(self) -> date:
        if self.view == "month":
            return (self.day.replace(day=1) + 32 * DAY).replace(day=1)
        return self.day + (7 * DAY if self.view == "week" else DAY)

    @property
    def title(self) -> str:
        if self.view == "month":
            return f"{self.day:%B %Y}"
        if self.view == "week":
            return f"{self.days[0]:%-d %b} to {self.days[-1]:%-d %b %Y}"
        return f"{self.day:%A, %-d %B %Y}"

    @property
    def weeks(self) -> list[Sequence[date]]:
        return [self.days[at : at + 7] for at in range(0, len(self.days), 7)]

    def entries(self, day: date) -> Sequence[Entry]:
        """Return what fires on a day, in order."""
        return self.agenda.days.get(day, ())

    def slots(self, day: date) -> list[Slot]:
        """Return the slot of the whole day, then its hours as the clock shows them, with what fires in each."""
        windows = self._windows(day)
        by_hour: defaultdict[int, list[Entry]] = defaultdict(list)
        for entry in self.entries(day):
            if not entry.is_frequent:
                by_hour[entry.at.astimezone(self.zone).hour].append(entry)
        whole_day = self._slot("", [entry for entry in self.entries(day) if entry.is_frequent])
        return [
            whole_day,
            *(
                self._slot(
                    f"{day}T{hour:02}",
                    by_hour[hour],
                    _reaching(windows, datetime.combine(day, time(hour), self.zone).astimezone(UTC), HOUR),
                )
                for hour in range(24)
            ),
        ]

    def _slot(self, key: str, entries: Sequence[Entry], bands: Sequence[Window] = ()) -> Slot:
        most = SHOWN_IN_SLOT[self.view]
        return Slot(key=key, entries=entries[:most], more=max(0, len(entries) - most), bands=self._bands(bands))

    def bands(self, day: date) -> Bands:
        """Return the blackouts that reach into a day."""
        return self._bands(self._windows(day))

    def band_words(self, window: Window, day: date) -> str:
        """Say when a blackout goes on within a day."""
        start, end = (moment.astimezone(self.zone) for moment in (window.start, window.end))
        since = f"from {start:%H:%M}" if start.date() == day else ""
        until = f"to {end:%H:%M}" if end.date() == day else ""
        return " ".join(part for part in (since, until) if part) or "all day"

    def _bands(self, windows: Sequence[Window]) -> Bands:
        most = SHOWN_BANDS[self.view]
        return Bands(shown=windows[:most], more=max(0, len(windows) - most))

    def _windows(self, day: date) -> list[Window]:
        start = _midnight(day, self.zone)
        return _reaching(self.agenda.windows, start, _midnight(day + DAY, self.zone) - start)

    def load(self) -> list[int]:
        """Return the fires of each local hour of the day, summed over the days shown."""
        return [self.agenda.hours.get(hour, 0) for hour in range(24)]


@bp.get("")
@requires(Action.VIEW)
def index() -> ResponseReturnValue:
    """A month, week or day of fires, in the tenant's zone."""
    return shown(request.args)


def shown(asked: Mapping[str, str], *, problem: str = "", status: int = 200) -> ResponseReturnValue:
    """Render the span that is asked for by `view` and `day`; `problem` says why something could not be done there."""
    zone = calendar_zone()
    today = utc_now().astimezone(zone).date()
    view = asked.get("view", "month")
    view = view if view in VIEWS else "month"
    day = _day(asked.get("day"), today)
    days = _days(view, day)
    start, end = (_midnight(each, zone) for each in (days[0], days[-1] + DAY))
    fires = agenda(max(start, utc_now()), end, zone)
    page = render_template(
        "calendar/index.html",
        page=CalendarPage(view=view, day=day, today=today, days=days, agenda=fires, zone=zone),
        views=VIEWS,
        words_of=words_of,
        most=SHOWN_IN_MONTH,
        feed_url=_feed_url(),
        feed_words=f"It reaches {FEED.days} days ahead. {OFTEN_WORDS}",
        problem=problem,
        moved=_moved(),
    )
    return uncached(current_app.make_response((page, status)))


@bp.get("/load")
@requires(Action.VIEW)
def load() -> ResponseReturnValue:
    """The next 24 hours minute by minute, and which schedules start all at once."""
    start, end = _ahead()
    ahead = forecast(start, end)
    page = render_template(
        "calendar/load.html",
        ahead=ahead,
        hours=ahead.hours(display_zone()),
        busiest=ahead.busiest(MOST_MEETINGS),
        last_spread=last_spread(),
    )
    return uncached(current_app.make_response(page))


@bp.get("/load/hour")
@requires(Action.VIEW)
def load_hour() -> ResponseReturnValue:
    """What starts in each minute of one hour of the load ahead; any other hour leads to those that lie ahead."""
    zone = display_zone()
    start, end = _ahead()
    asked = instant(request.args.get("start", ""))
    if asked is None or not hour_of(start, zone) <= asked < end:
        return see_other(url_for("calendar.load"))
    hour = hour_of(asked, zone)
    ahead = forecast(max(hour, start), min(hour + HOUR, end))
    before, after = (each if hour_of(start, zone) <= each < end else None for each in (hour - HOUR, hour + HOUR))
    page = render_template(
        "calendar/load_hour.html",
        ahead=ahead,
        hour=ahead.hours(zone)[0],
        before=before,
        after=after,
        named=NAMED_IN_MINUTE,
    )
    return uncached(current_app.make_response(page))


@bp.get("/<uuid:user_id>/<token>.ics")
@public
def subscription(user_id: UUID, token: str) -> ResponseReturnValue:
    """The feed of a member's calendar program; the token stands for the sign-in and ends with the membership."""
    if current_binding() is None:
        abort(404)
    member = db.session.scalar(sa.select(Membership).where(Membership.user_id == user_id))
    if (
        member is None
        or not current_tenant().active
        or not hmac.compare_digest(token.encode(), feed_token(member).encode())
    ):
        abort(404)
    now = utc_now()
    fires = agenda(now, now + FEED, calendar_zone())
    response = Response(feed(fires, now), mimetype="text/calendar")
    response.headers["Cache-Control"] = "private, max-age=900"
    return response


def feed_token(member: Membership) -> str:
    """Return the secret of a member's feed: made from the membership, so that a new one has a new feed."""
    key = f"calendar feed\0{current_app.config['SECRET_KEY']}".encode()
    told = f"{member.tenant_id}\0{member.user_id}\0{member.created_at.isoformat()}"
    return hmac.new(key, told.encode(), sha256).hexdigest()[:40]


def _ahead() -> tuple[datetime, datetime]:
    """Return the span whose load is foreseen, in whole minutes."""
    start = utc_now().replace(second=0, microsecond=0)
    return start, start + FORECAST


def _moved() -> dict[str, Any] | None:
    """Return the fire that was moved just now, once: the page offers to move it back."""
    moved: dict[str, Any] | None = session.pop(MOVED, None)
    return {**moved, "at": datetime.fromisoformat(moved["at"])} if moved else None


def _feed_url() -> str:
    member = db.session.scalars(sa.select(Membership).where(Membership.user_id == current_user.id)).one()
    return url_for("calendar.subscription", user_id=member.user_id, token=feed_token(member), _external=True)


def calendar_zone() -> ZoneInfo:
    """Return the zone in which the calendar shows everything: the tenant's."""
    return ZoneInfo(current_app.config["TIMEZONE"])


def _day(text: str | None, today: date) -> date:
    """Read the day in the address; one that makes no sense, or lies beyond all calendars, is today."""
    try:
        day = date.fromisoformat(text or "")
    except ValueError:
        return today
    return day if 1970 < day.year < 2200 else today


def _days(view: str, day: date) -> list[date]:
    if view == "day":
        return [day]
    first = day.replace(day=1) if view == "month" else day
    monday = first - first.weekday() * DAY
    last = (first + 32 * DAY).replace(day=1) - DAY if view == "month" else monday
    count = ((last - monday).days // 7 + 1) * 7
    return [monday + number * DAY for number in range(count)]


def _reaching(windows: Sequence[Window], start: datetime, length: timedelta) -> list[Window]:
    """Return which windows reach into [start, start + length)."""
    end = start + length
    return [window for window in windows if window.start < end and window.end > start]


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)
