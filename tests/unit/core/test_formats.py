"""Numbers, lengths and moments are written as people read them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dashboard.core import formats

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (-0.2, "0 ms"),
        (0.84, "840 ms"),
        (0.9996, "1.0 s"),
        (8.1, "8.1 s"),
        (59.96, "1 min"),
        (200, "3 min 20 s"),
        (7200, "2 h"),
        (7380, "2 h 3 min"),
        (187_200, "2 d 4 h"),
        (timedelta(minutes=10), "10 min"),
        (None, "–"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float | timedelta | None, text: str) -> None:
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("away", "text"),
    [
        (timedelta(), "now"),
        (timedelta(seconds=-12), "12 s ago"),
        (timedelta(seconds=-59.6), "1 min ago"),
        (timedelta(minutes=-3, seconds=-59), "3 min ago"),
        (timedelta(hours=2), "in 2 h"),
        (timedelta(days=-5), "5 d ago"),
    ],
)
def test_a_moment_near_now_is_written_relative_to_it(away: timedelta, text: str) -> None:
    assert formats.relative(NOON + away, NOON) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0.0%"), (1.0, "100.0%"), (0.991, "99.1%"), (0.99999, "99.9%"), (0.00001, "0.1%"), (None, "–")],
)
def test_only_all_is_a_hundred_per_cent_and_only_nothing_is_none(share: float | None, text: str) -> None:
    assert formats.percent(share) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (2_500, "2.5 kB"), (214_000, "214 kB"), (3_000_000_000_000, "3.0 TB")],
)
def test_a_size_is_in_decimal_units(size: int, text: str) -> None:
    assert formats.filesize(size) == text


def test_a_count_agrees_with_its_noun() -> None:
    assert [formats.plural(count, "run") for count in (0, 1, 1284)] == ["0 runs", "1 run", "1,284 runs"]
    assert formats.plural(2, "delivery", "deliveries") == "2 deliveries"


def test_a_full_moment_leaves_nothing_to_guess() -> None:
    summer = datetime(2026, 7, 5, 9, 14, 3, tzinfo=UTC).astimezone(ZoneInfo("Europe/London"))
    assert formats.full_moment(summer) == "Sunday 5 July 2026, 10:14:03 BST (Europe/London)"


def test_a_zone_without_letters_is_named_by_its_offset() -> None:
    assert formats.zone_label(NOON.astimezone(ZoneInfo("America/Sao_Paulo"))) == "UTC-03"


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        formats.iso(datetime(2026, 11, 25, 12, 0))  # noqa: DTZ001 the very mistake


def test_another_year_is_named() -> None:
    assert formats.short_day(NOON, NOON) == "25 Nov"
    assert formats.short_day(NOON.replace(year=2024), NOON) == "25 Nov 2024"
