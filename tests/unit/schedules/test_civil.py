"""Proves that the timeline of a zone holds every clock change that the pinned tzdata has, and no other."""

from __future__ import annotations

import struct
import zoneinfo
from datetime import UTC, datetime
from importlib import resources

import pytest

from dashboard.schedules.civil import DAY, timeline, to_instant, zone_names
from dashboard.schedules.errors import RecurrenceError

START = to_instant(datetime(1970, 1, 1, tzinfo=UTC))
END = to_instant(datetime(2037, 1, 1, tzinfo=UTC))


def compiled_changes(name: str) -> list[tuple[int, int, int]]:
    """(instant, offset before, offset after) from a zone's TZif file (RFC 8536), without its footer."""
    data = resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).read_bytes()
    counts = struct.unpack(">6l", data[20:44])
    first_block = 44 + counts[3] * 5 + counts[4] * 6 + counts[5] + counts[2] * 8 + counts[1] + counts[0]
    isut, isstd, leap, times, types, chars = struct.unpack(">6l", data[first_block + 20 : first_block + 44])
    assert (isut >= 0, isstd >= 0, leap) == (True, True, 0)
    assert chars > 0
    body = data[first_block + 44 :]
    instants = struct.unpack(f">{times}q", body[: times * 8])
    kinds = body[times * 8 : times * 9]
    offsets = [struct.unpack(">l", body[times * 9 + 6 * i :][:4])[0] for i in range(types)]
    befores = [offsets[kind] for kind in (0, *kinds)][:times]
    return [
        (at, before, offsets[kind])
        for at, before, kind in zip(instants, befores, kinds, strict=True)
        if before != offsets[kind]
    ]


def walked_changes(name: str, end: int) -> list[tuple[int, int, int]]:
    """The same, from one span of the timeline to the next."""
    zone = timeline(name)
    span = zone.span(START)
    found = []
    while span.end < end:
        following = zone.span(span.end)
        assert following.start == span.end
        if following.offset != span.offset:
            assert following.gap == max(0, following.offset - span.offset)
            found.append((span.end, span.offset, following.offset))
        span = following
    return found


def test_every_clock_change_of_every_zone_is_found():
    for name in sorted(zone_names()):
        compiled = compiled_changes(name)
        end = min(END, compiled[-1][0] + DAY) if compiled else START
        assert walked_changes(name, end) == [change for change in compiled if START < change[0] < end], name


def test_a_wall_time_in_a_gap_has_no_pass_and_one_in_an_overlap_has_two():
    zone = timeline("America/New_York")
    missing = to_instant(datetime(2027, 3, 14, 2, 30, tzinfo=UTC))
    twice = to_instant(datetime(2027, 11, 7, 1, 30, tzinfo=UTC))
    assert zone.passes(missing) == ()
    opened = zone.gap_end(missing)
    assert opened is not None
    assert opened.start == to_instant(datetime(2027, 3, 14, 7, tzinfo=UTC))
    assert zone.passes(twice) == (twice + 4 * 3600, twice + 5 * 3600)
    assert zone.gap_end(twice) is None


def test_the_zone_rules_come_from_the_pinned_wheel():
    assert zoneinfo.TZPATH == ()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("europe/berlin", "Europe/Berlin"), ("America/New York", "America/New_York"), ("Europe/Berln", "Europe/Berlin")],
)
def test_a_misspelled_zone_is_refused_with_the_right_name(typed, meant):
    with pytest.raises(RecurrenceError, match=meant) as caught:
        timeline(typed)
    assert caught.value.fix == meant
