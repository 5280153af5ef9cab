"""Write fires as an iCalendar feed (RFC 5545)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from flask import url_for

from dashboard.core.tenancy import current_tenant
from dashboard.schedules.agenda import OFTEN, Agenda, Entry

LINE = 75
"""Octets of a content line before it is folded (RFC 5545 §3.1)."""

LASTS = timedelta(minutes=5)

FEED = timedelta(days=60)
"""How far ahead a feed reaches, for all schedules alike."""

OFTEN_WORDS = f"A schedule that fires more than {OFTEN} times a day is one event a day, with their number."


def feed(fires: Agenda, now: datetime) -> str:
    """Return the calendar of a tenant's fires in `FEED` as text; frequent schedules are one event a day."""
    tenant = current_tenant()
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Stationmaster//Schedules//EN",
        f"X-WR-CALNAME:{_escaped(tenant.name)} schedules",
        f"X-WR-CALDESC:{_escaped(f'Fires until {now + FEED:%Y-%m-%d %H:%M} UTC. {OFTEN_WORDS}')}",
        "REFRESH-INTERVAL;VALUE=DURATION:PT1H",
    ]
    for day in sorted(fires.days):
        for entry in (each for each in fires.days[day] if not each.skipped):
            lines.extend(_event(entry, now))
    return "".join(f"{folded}\r\n" for line in [*lines, "END:VCALENDAR"] for folded in _folded(line))


def _event(entry: Entry, now: datetime) -> list[str]:
    schedule = entry.schedule
    title = f"{schedule.name} ({entry.times})" if entry.is_frequent else schedule.name
    return [
        "BEGIN:VEVENT",
        f"UID:{schedule.id}-{int(entry.at.timestamp())}@stationmaster",
        f"DTSTAMP:{_moment(now)}",
        f"DTSTART:{_moment(entry.at)}",
        f"DTEND:{_moment(entry.at + LASTS)}",
        f"SUMMARY:{_escaped(title)}",
        f"DESCRIPTION:{_escaped(schedule.note)}",
        f"URL:{url_for('schedules.show', schedule_id=schedule.id, _external=True)}",
        "TRANSP:TRANSPARENT",
        "END:VEVENT",
    ]


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _escaped(text: str) -> str:
    """Escape a text value (RFC 5545 §3.3.11)."""
    escaped = text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    return escaped.replace("\r\n", "\\n").replace("\n", "\\n").replace("\r", "")


def _folded(line: str) -> Iterator[str]:
    """Fold a line to at most 75 octets, never inside a character."""
    piece, size = "", 0
    for char in line:
        width = len(char.encode())
        if size + width > LINE:
            yield piece
            piece, size = " ", 1
        piece, size = piece + char, size + width
    yield piece
