"""The calendar of a tenant: month, week and day of computed fires, the load ahead, and a feed for calendar programs."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from flask import Blueprint, Response, abort, current_app, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from dashboard.accounts.access import Action, public, requires
from dashboard.accounts.models import Membership
from dashboard.core.clock import utc_now
from dashboard.core.htmx import uncached
from dashboard.core.orm import db
from dashboard.core.tenancy import current_binding, current_tenant
from dashboard.schedules.agenda import Agenda, Entry, agenda, forecast
from dashboard.schedules.ical import feed
from dashboard.schedules.spreads import last_spread

bp = Blueprint("calendar", __name__, url_prefix="/calendar")

VIEWS = {"month": "Month", "week": "Week", "day": "Day"}
SHOWN_IN_MONTH = 4
FORECAST = timedelta(hours=24)
FEED_DAYS = 60
DAY = timedelta(days=1)


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

    def load(self) -> list[int]:
        """Return the fires of each local hour of the day, summed over the days shown."""
        counts = [0] * 24
        for hour, number in self.agenda.hours.items():
            counts[hour.hour] += number
        return counts


@bp.get("")
@requires(Action.VIEW)
def index() -> ResponseReturnValue:
    """A month, week or day of fires, in the tenant's zone."""
    zone = _zone()
    today = utc_now().astimezone(zone).date()
    view = request.args.get("view", "month")
    view = view if view in VIEWS else "month"
    day = _day(request.args.get("day"), today)
    days = _days(view, day)
    start, end = (_midnight(each, zone) for each in (days[0], days[-1] + DAY))
    shown = CalendarPage(
        view=view, day=day, today=today, days=days, agenda=agenda(max(start, utc_now()), end, zone), zone=zone
    )
    page = render_template("calendar/index.html", page=shown, views=VIEWS, most=SHOWN_IN_MONTH, feed_url=_feed_url())
    return uncached(current_app.make_response(page))


@bp.get("/load")
@requires(Action.VIEW)
def load() -> ResponseReturnValue:
    """The next 24 hours minute by minute, and which schedules start all at once."""
    now = utc_now().replace(second=0, microsecond=0)
    ahead = forecast(now, now + FORECAST)
    steps = [now + timedelta(minutes=15 * step) for step in range(96)]
    quarters = [sum(ahead.minutes.get(step + timedelta(minutes=each), 0) for each in range(15)) for step in steps]
    page = render_template("calendar/load.html", ahead=ahead, quarters=quarters, steps=steps, last_spread=last_spread())
    return uncached(current_app.make_response(page))


@bp.get("/<uuid:user_id>/<token>.ics")
@public
def subscription(user_id: UUID, token: str) -> ResponseReturnValue:
    """The feed of a member's calendar program; the token stands for the sign-in and ends with the membership."""
    if current_binding() is None:
        abort(404)
    member = db.session.scalar(sa.select(Membership).where(Membership.user_id == user_id))
    if member is None or not current_tenant().active or not hmac.compare_digest(token, feed_token(member)):
        abort(404)
    now = utc_now()
    fires = agenda(now, now + timedelta(days=FEED_DAYS), _zone())
    response = Response(feed(fires, now), mimetype="text/calendar")
    response.headers["Cache-Control"] = "private, max-age=900"
    return response


def feed_token(member: Membership) -> str:
    """Return the secret of a member's feed: made from the membership, so that a new one has a new feed."""
    key = f"calendar feed\0{current_app.config['SECRET_KEY']}".encode()
    told = f"{member.tenant_id}\0{member.user_id}\0{member.created_at.isoformat()}"
    return hmac.new(key, told.encode(), sha256).hexdigest()[:40]


def _feed_url() -> str:
    member = db.session.scalars(sa.select(Membership).where(Membership.user_id == current_user.id)).one()
    return url_for("calendar.subscription", user_id=member.user_id, token=feed_token(member), _external=True)


def _zone() -> ZoneInfo:
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


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)
