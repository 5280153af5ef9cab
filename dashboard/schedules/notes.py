"""What an operator should know about clock changes near a fire, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dashboard.schedules.civil import DAY, Span, timeline, to_datetime, to_instant
from dashboard.schedules.firing import Clock, WallTimes

_YEARS_AHEAD = 10
_MOST_LISTED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockChange:
    """A zone's clock is moved at instant `at` (UTC) from one wall time (naive) to another."""

    at: datetime
    before: datetime
    after: datetime
    note: str


def clock_changes(timezone: str, after: datetime, count: int = 2) -> list[ClockChange]:
    """The next clock changes of a zone later than `after` (aware), as far as 10 years ahead; [] if it has none.

    Raises RecurrenceError (field "timezone") for an unknown zone.
    """
    zone = timeline(timezone)
    span = zone.span(to_instant(after))
    found: list[ClockChange] = []
    end = span.end + _YEARS_AHEAD * 366 * DAY
    while len(found) < count and span.end < end:
        following = zone.span(span.end)
        if following.offset != span.offset:
            found.append(_change(span, following))
        span = following
    return found


def _change(span: Span, following: Span) -> ClockChange:
    before, after = _wall(span.end + span.offset), _wall(span.end + following.offset)
    way = "forward" if after > before else "back"
    return ClockChange(
        at=to_datetime(span.end),
        before=before,
        after=after,
        note=f"On {before:%A %Y-%m-%d} the clock goes {way} from {before:%H:%M} to {_near(after, before)}.",
    )


def clock_note(clock: Clock, rules: Sequence[WallTimes], instant: int) -> str | None:
    """Why a fire is at this instant, if a clock change is the reason or the local time is ambiguous."""
    if not rules:
        return None
    span = clock.timeline.span(instant)
    wall = _wall(instant + span.offset)
    moved = _moved(clock, rules, span, instant)
    if moved:
        verb = "does not exist, runs" if len(moved) == 1 else "do not exist, run once at"
        return f"{listed(moved)} {verb} {_near(wall, _wall(moved[0]))}"
    if instant < span.second_until:
        return f"{wall:%H:%M} comes twice, this is the second time"
    if instant >= span.first_from:
        return f"{wall:%H:%M} comes twice, this is the first time"
    return None


def missing_note(walls: Sequence[int]) -> str:
    """Why these wall times, which a gap swallowed, have no run."""
    first, last = _wall(walls[0]), _wall(walls[-1])
    dates = f"{first:%Y-%m-%d}" if first.date() == last.date() else f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    return f"{listed(walls)} on {dates} {'does' if len(walls) == 1 else 'do'} not exist: skipped"


def listed(walls: Sequence[int]) -> str:
    """Wall times as “02:00, 02:15, 02:30 and 1 more”."""
    shown = ", ".join(f"{_wall(wall):%H:%M}" for wall in walls[:_MOST_LISTED])
    return shown if len(walls) <= _MOST_LISTED else f"{shown} and {len(walls) - _MOST_LISTED} more"


def _moved(clock: Clock, rules: Sequence[WallTimes], span: Span, instant: int) -> list[int]:
    """The wall times in the gap before the span that fire at this instant instead."""
    if not span.gap or clock.drops(span) or instant - span.start >= span.gap:
        return []
    walls = sorted({wall for rule in rules for wall in clock.swallowed(rule, span)})
    if clock.gap == "shift":
        return [wall for wall in walls if wall - span.offset + span.gap == instant]
    return walls if instant == span.start else []


def _wall(wall: int) -> datetime:
    return to_datetime(wall).replace(tzinfo=None)


def _near(wall: datetime, other: datetime) -> str:
    """The time of day, with its date if that is not the other's."""
    return f"{wall:%H:%M}" if wall.date() == other.date() else f"{wall:%H:%M} on {wall:%Y-%m-%d}"
