"""Write numbers, lengths and moments the way people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

NOTHING = "–"
"""What stands where there is no value."""

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def number(value: float | None, digits: int = 0) -> str:
    """Write a number with thousands separated: 12,345."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share from 0 to 1 as 99.1%; only all is 100% and only nothing is 0%."""
    if share is None:
        return NOTHING
    least = 0.1**digits
    shown = share * 100
    if 0 < share < 1:
        shown = min(max(shown, least), 100 - least)
    return f"{shown:.{digits}f}%"


def filesize(size: int | None) -> str:
    """Write a size in bytes in decimal units (SI): 214 kB."""
    if size is None:
        return NOTHING
    amount = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Write a count with its noun: 1 run, 3 runs, 1,284 runs."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def duration(value: timedelta | float | None) -> str:
    """Write a length of time (a timedelta or seconds) in at most two units: 840 ms, 8.1 s, 3 min 20 s, 2 d 4 h."""
    if value is None:
        return NOTHING
    # Two machines' clocks may put an end before its start by a little.
    seconds = max(0.0, value.total_seconds() if isinstance(value, timedelta) else float(value))
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    left = round(seconds)
    for (length, unit), (smaller, smaller_unit) in pairwise(_STEPS):
        if left >= length:
            rest = left % length // smaller
            return f"{left // length} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{left} s"


def relative(then: datetime, now: datetime) -> str:
    """Write how far a moment is from now: now, 12 s ago, 3 min ago, in 2 h. app.js counts on by the same steps."""
    seconds = round((now - then).total_seconds())
    for length, unit in _STEPS:
        if abs(seconds) >= length:
            amount = f"{abs(seconds) // length} {unit}"
            return f"{amount} ago" if seconds > 0 else f"in {amount}"
    return "now"


def zone_label(moment: datetime) -> str:
    """Name the zone of an aware moment briefly: GMT, CEST, or UTC-03 where the zone has no letters."""
    name = moment.tzname() or "UTC"
    return f"UTC{name}" if name[0] in "+-" else name


def place(zone: str) -> str:
    """Name a time zone by its place alone: New York for America/New_York."""
    return zone.rpartition("/")[2].replace("_", " ")


def full_moment(moment: datetime) -> str:
    """Write a moment so that nothing is left to guess: Wednesday 25 November 2026, 09:14:03 GMT (Europe/London)."""
    return f"{moment:%A} {moment.day} {moment:%B %Y, %H:%M:%S} {zone_label(moment)} ({_zone_name(moment.tzinfo)})"


def short_day(moment: datetime, now: datetime) -> str:
    """Write a date without what is plain: 25 Nov, or 25 Nov 2024 in another year than `now`."""
    return f"{moment.day} {moment:%b}" + ("" if moment.year == now.year else f" {moment:%Y}")


def iso(moment: datetime) -> str:
    """Write an aware moment for machines, in UTC. Raises ValueError for one without a zone."""
    if moment.tzinfo is None:
        raise ValueError("This moment has no time zone.")
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _zone_name(zone: tzinfo | None) -> str:
    return zone.key if isinstance(zone, ZoneInfo) else "UTC"
