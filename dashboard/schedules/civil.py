"""Wall-clock time of a zone as stretches of constant offset, so that clock changes are data and not special cases.

Instants are whole seconds since 1970-01-01 UTC; wall times are the same count read off a local clock. All rules come
from the pinned tzdata wheel, never from the machine's own copy (the two disagree about some zones).
"""

from __future__ import annotations

import difflib
import zoneinfo
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from dashboard.schedules.errors import RecurrenceError

zoneinfo.reset_tzpath(to=[])

MINUTE = 60
DAY = 86_400
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)

# Spans are computed for a block of time at once and kept. Samples 3 days apart cannot miss a clock change: the closest
# two in tzdata since 1900 are 6.9 days apart (a test compares every zone with its compiled rules).
_BLOCK = 366 * DAY
_SAMPLE = 3 * DAY
# A clock change this near to a block still matters inside it: no clock was ever changed by more.
_REACH = DAY + _SAMPLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch [start, end) of instants in which a zone keeps one offset (all in seconds).

    `gap` is the wall time that was jumped over at `start` (0: none). Instants before `second_until` show a wall time
    for the second time; instants from `first_from` on show one that will come again.
    """

    start: int
    end: int
    offset: int
    gap: int
    second_until: int
    first_from: int


@dataclass(frozen=True, slots=True)
class Change:
    """One clock change: the instant, and the offsets before and after it in seconds."""

    at: int
    before: int
    after: int


class Timeline:
    """The spans of one zone. Made by `timeline`, which keeps one per name."""

    __slots__ = ("_blocks", "name", "zone")

    def __init__(self, name: str) -> None:
        self.name = name
        self.zone = zoneinfo.ZoneInfo(name)
        self._blocks: dict[int, tuple[Span, ...]] = {}

    def span(self, instant: int) -> Span:
        """The span that holds the instant. Long spans are cut at block borders, where `gap` is 0."""
        block = instant // _BLOCK
        spans = self._blocks.get(block)
        if spans is None:
            spans = self._blocks[block] = self._spans(block)
        for span in spans:
            if instant < span.end:
                return span
        raise AssertionError("a block's spans cover it")

    def passes(self, wall: int) -> tuple[int, ...]:
        """The instants at which the local clock shows `wall`: none in a gap, two in an overlap, else one."""
        found = []
        instant = wall - _REACH
        while instant <= wall + _REACH:
            span = self.span(instant)
            if span.start <= wall - span.offset < span.end:
                found.append(wall - span.offset)
            instant = span.end
        return tuple(found)

    def gap_end(self, wall: int) -> Span | None:
        """The span that begins where the gap which swallowed `wall` ends; None if `wall` exists."""
        instant = wall - _REACH
        while instant <= wall + _REACH:
            span = self.span(instant)
            if 0 < span.start + span.offset - wall <= span.gap:
                return span
            instant = span.end
        return None

    def changes(self, start: int, end: int) -> list[Change]:
        """The clock changes at instants in [start, end), in order."""
        samples = [*range(start - 1, end - 1, _SAMPLE), end - 1]
        offsets = [self._offset(instant) for instant in samples]
        found = []
        for i in range(len(samples) - 1):
            if offsets[i] != offsets[i + 1]:
                at = self._first_with_other_offset(samples[i], samples[i + 1])
                found.append(Change(at, offsets[i], offsets[i + 1]))
        return found

    def _spans(self, block: int) -> tuple[Span, ...]:
        start, end = block * _BLOCK, (block + 1) * _BLOCK
        changes = self.changes(start - _REACH, end + _REACH)
        borders = [change.at for change in changes]
        first = bisect_right(borders, start) - 1
        spans = []
        for i in range(first, bisect_right(borders, end - 1)):
            opening = changes[i] if i >= 0 else None
            closing = changes[i + 1] if i + 1 < len(changes) else None
            spans.append(self._between(opening, closing, start, end))
        return tuple(spans)

    def _between(self, opening: Change | None, closing: Change | None, start: int, end: int) -> Span:
        """The span from one clock change to the next, cut to [start, end)."""
        begins = start if opening is None else max(start, opening.at)
        ends = end if closing is None else min(end, closing.at)
        jump = 0 if opening is None else opening.after - opening.before
        fall = 0 if closing is None else closing.before - closing.after
        return Span(
            start=begins,
            end=ends,
            offset=self._offset(begins),
            gap=jump if opening is not None and opening.at == begins and jump > 0 else 0,
            second_until=opening.at - jump if opening is not None and jump < 0 else begins,
            first_from=closing.at - fall if closing is not None and fall > 0 else ends,
        )

    def _first_with_other_offset(self, low: int, high: int) -> int:
        before = self._offset(low)
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(middle) == before:
                low = middle
            else:
                high = middle
        return high

    def _offset(self, instant: int) -> int:
        local = to_datetime(instant).astimezone(self.zone)
        return int((local.replace(tzinfo=UTC) - EPOCH) // _SECOND) - instant


def to_datetime(instant: int) -> datetime:
    """The aware UTC datetime of an instant."""
    return EPOCH + timedelta(seconds=instant)


def to_instant(moment: datetime) -> int:
    """The instant of an aware datetime, rounded down to the second."""
    return (moment - EPOCH) // _SECOND


def to_wall(local: datetime) -> int:
    """The wall time of a naive local datetime, rounded down to the second."""
    return (local.replace(tzinfo=UTC) - EPOCH) // _SECOND


@lru_cache(maxsize=1024)
def timeline(name: str) -> Timeline:
    """The timeline of an IANA zone. Raises RecurrenceError for a name that tzdata does not have."""
    if name in zone_names():
        return Timeline(name)
    if not name.strip():
        raise RecurrenceError("timezone", "Choose a time zone, for example Europe/Berlin or UTC.")
    by_lower = {known.lower(): known for known in zone_names()}
    close = difflib.get_close_matches(name.lower().replace(" ", "_"), by_lower, n=1)
    if not close:
        raise RecurrenceError("timezone", f"There is no time zone “{name[:60]}”. Write one like Europe/Berlin, or UTC.")
    fix = by_lower[close[0]]
    raise RecurrenceError("timezone", f"There is no time zone “{name[:60]}”. Did you mean {fix}?", fix)


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """The names of all zones in the pinned tzdata."""
    return frozenset(zoneinfo.available_timezones())
