"""From matching wall times to the instants at which they fire, through gaps and overlaps of the local clock.

Source of the rules: Debian's cron(8). Times that follow the clock fire whenever it shows them. Fixed times fire once:
those in a gap at its end (or shifted, or not at all), those in an overlap in the first pass (or the second, or both).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from dashboard.schedules.civil import DAY, Span, Timeline

Gap = Literal["after", "shift", "skip"]
Overlap = Literal["first", "second", "both"]

# A wall time that does not match for this long before it cannot fire: changes of offset add up to less.
_LEAP_MARGIN = 3 * DAY


class WallTimes(Protocol):
    """An ordered set of wall times, in seconds since 1970-01-01 on the local clock."""

    @property
    def follows_clock(self) -> bool:
        """Whether the times fire whenever the clock shows them, instead of once each."""

    def next_wall(self, wall: int) -> int | None:
        """The first wall time after `wall`, or None."""


@dataclass(frozen=True, slots=True)
class Clock:
    """A zone's timeline and what to do with fixed times when its clock changes."""

    timeline: Timeline
    gap: Gap
    overlap: Overlap

    def first(self, times: WallTimes, start: int, end: int) -> int | None:
        """The first instant in [start, end) at which one of the times fires, or None."""
        instant = start
        while instant < end:
            span = self.timeline.span(instant)
            found = self._within(times, span, instant)
            if found is not None:
                return found if found < end else None
            # A clock that is put back shows up to a day of wall times again, so look from a day earlier.
            upcoming = times.next_wall(span.end + span.offset - DAY - 1)
            if upcoming is None:
                return None
            instant = max(span.end, upcoming - span.offset - _LEAP_MARGIN)
        return None

    def swallowed(self, times: WallTimes, span: Span) -> list[int]:
        """The wall times of a fixed rule that the gap at the start of the span jumped over, in order."""
        if times.follows_clock or not span.gap:
            return []
        closing = span.start + span.offset
        found = []
        wall = times.next_wall(closing - span.gap - 1)
        while wall is not None and wall < closing:
            found.append(wall)
            wall = times.next_wall(wall)
        return found

    def drops(self, span: Span) -> bool:
        """Whether fixed times in the gap at the start of the span do not run: by choice, or for lack of the date."""
        return self.gap == "skip" or span.gap >= DAY

    def _within(self, times: WallTimes, span: Span, instant: int) -> int | None:
        """The first firing instant in the span that is not before `instant`."""
        start, end = instant, span.end
        if not times.follows_clock:
            if self.overlap == "first":
                start = max(start, span.second_until)
            elif self.overlap == "second":
                end = min(end, span.first_from)
        wall = times.next_wall(start + span.offset - 1)
        shown = wall - span.offset if wall is not None and wall - span.offset < end else None
        if not span.gap or times.follows_clock or self.drops(span):
            return shown
        rescued = self._rescued(times, span, instant)
        return rescued if shown is None or (rescued is not None and rescued < shown) else shown

    def _rescued(self, times: WallTimes, span: Span, instant: int) -> int | None:
        """The first instant, not before `instant`, that stands in for a time in the gap at the start of the span."""
        before = span.offset - span.gap
        closing = span.start + span.offset
        if self.gap == "after":
            wall = times.next_wall(span.start + before - 1) if instant <= span.start else None
            return span.start if wall is not None and wall < closing else None
        wall = times.next_wall(max(span.start, instant) + before - 1)
        return wall - before if wall is not None and wall < closing else None
