"""Days off: a country's public holidays, own days, and that nothing fires on them but on extra dates."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.core.errors import InvalidInput
from dashboard.schedules.day_lists import as_text, read_days
from dashboard.schedules.holidays import MOST_LINES, countries, days_off, regions, words
from dashboard.schedules.recurrence import Recurrence, RecurrenceError

ROOT = Path(__file__).parent.parent.parent.parent
CHRISTMAS = date(2026, 12, 25)
BEFORE_CHRISTMAS = datetime(2026, 12, 23, 12, tzinfo=UTC)


def weekdays_at_nine(**values: object) -> Recurrence:
    return Recurrence(kind="cron", crons=["0 9 * * 1-5"], timezone="Europe/Berlin", **values)  # type: ignore[arg-type]


def test_a_country_s_holidays_have_english_names() -> None:
    assert days_off(("DE",)).on(CHRISTMAS) == "Christmas Day"
    assert days_off(("DE",)).on(date(2026, 12, 24)) is None


def test_a_region_has_holidays_of_its_own() -> None:
    corpus_christi = date(2027, 5, 27)
    assert days_off(("DE-BY",)).on(corpus_christi) == "Corpus Christi"
    assert days_off(("DE-BE",)).on(corpus_christi) is None
    assert "BY" in [region.code for region in regions("DE")]


def test_two_calendars_add_up_and_own_days_keep_their_names() -> None:
    off = days_off(("DE", "US", "2026-12-24 Company day", "2026-12-28/2026-12-31 Shutdown"))
    assert off.on(date(2026, 11, 26)) == "Thanksgiving Day"
    assert [off.on(date(2026, 12, day)) for day in (24, 27, 28, 31)] == ["Company day", None, "Shutdown", "Shutdown"]


def test_own_days_that_meet_are_one_after_the_other() -> None:
    off = days_off(("2026-12-20/2026-12-28 Long", "2026-12-24/2026-12-26 Inside", "2026-12-28/2026-12-30 Later"))
    assert [off.on(date(2026, 12, day)) for day in (19, 25, 28, 29, 31)] == [None, "Long", "Long", "Later", None]


@pytest.mark.parametrize(
    "line", ["XX", "DE-Nowhere", "christmas", "2026-02-30", "2026-12-24/2026-12-20", "2020-01-01/2026-01-01", "", "DE-"]
)
def test_a_line_that_names_no_day_is_refused_in_words(line: str) -> None:
    with pytest.raises(RecurrenceError) as caught:
        weekdays_at_nine(days_off=[line])
    assert caught.value.field == "days_off"
    assert str(caught.value)[-1] == "."


@pytest.mark.parametrize("given", [[20261224], 5, [date(2026, 12, 24)], [None]])
def test_what_is_no_text_is_refused_in_words(given: object) -> None:
    with pytest.raises(RecurrenceError) as caught:
        weekdays_at_nine(days_off=given)
    assert caught.value.field == "days_off"


def test_a_holiday_is_left_out_and_told_with_its_name() -> None:
    rule = weekdays_at_nine(days_off=["DE", "2026-12-24 Company day", "2026-12-28"])
    assert [f"{fire.local:%d}" for fire in rule.preview(BEFORE_CHRISTMAS, 2)] == ["29", "30"]
    skips = rule.skips(BEFORE_CHRISTMAS, BEFORE_CHRISTMAS + timedelta(days=6))
    assert [(skip.reason, skip.note) for skip in skips] == [
        ("holiday", "Company day"),
        ("holiday", "Christmas Day"),
        ("holiday", "Monday 2026-12-28"),
    ]


def test_a_skipped_date_that_is_a_holiday_too_is_told_as_skipped() -> None:
    rule = weekdays_at_nine(days_off=["DE"], skip_dates=[CHRISTMAS])
    (skip,) = rule.skips(BEFORE_CHRISTMAS, BEFORE_CHRISTMAS + timedelta(days=3))
    assert skip.reason == "blackout"


def test_an_extra_date_wins_over_a_holiday() -> None:
    rule = weekdays_at_nine(days_off=["DE"], extra_dates=[CHRISTMAS])
    assert datetime(2026, 12, 25, 8, tzinfo=UTC) in rule.between(BEFORE_CHRISTMAS, BEFORE_CHRISTMAS + timedelta(days=3))
    assert rule.skips(BEFORE_CHRISTMAS, BEFORE_CHRISTMAS + timedelta(days=3)) == []


def test_a_rule_of_holidays_alone_ends_its_search() -> None:
    never = Recurrence(kind="cron", crons=["0 9 25 12 *"], timezone="Europe/Berlin", days_off=["DE"])
    assert never.after(datetime(2090, 1, 1, tzinfo=UTC)) == datetime(2101, 12, 25, 8, tzinfo=UTC)  # known to 2100


@pytest.mark.parametrize(("kind", "values"), [("interval", {"every": 86_400}), ("once", {})])
def test_every_kind_of_rule_keeps_holidays(kind: str, values: dict[str, int]) -> None:
    noon = datetime(2026, 12, 25, 12)  # noqa: DTZ001
    rule = Recurrence(kind=kind, once_local=noon, days_off=["DE"], **values)  # type: ignore[arg-type]
    before = datetime(2026, 12, 24, 23, 59, tzinfo=UTC)
    assert rule.after(before) == (datetime(2026, 12, 27, tzinfo=UTC) if kind == "interval" else None)


def test_a_rule_says_in_words_whose_holidays_it_keeps() -> None:
    rule = weekdays_at_nine(days_off=["2026-12-24", "DE-BY"])
    assert rule.explain().endswith("not on public holidays of Germany (Bayern), 1 own entry")
    assert words(["2026-12-24", "2026-12-26"]) == "2 own entries"


places = st.sampled_from(["DE", "DE-BY", "US-CA", "GB-ENG", "SA", "IN", "FR", "JP", "BR"])
own = st.dates(date(2026, 1, 1), date(2027, 12, 1)).flatmap(
    lambda first: st.integers(0, 40).map(lambda days: f"{first}/{first + timedelta(days=days)} Own")
)
lines = st.lists(places | own, min_size=1, max_size=4)
rules = st.sampled_from(["0 9 * * *", "*/30 * * * *", "30 2 * * *", "0 0 L * *", "15 23 * * 1-5", "0 12 25 12 *"])
zones = st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "UTC"])


@settings(max_examples=60, deadline=None)
@given(lines, rules, zones, st.lists(st.dates(date(2026, 1, 1), date(2027, 12, 31)), max_size=4))
def test_nothing_fires_on_a_holiday_but_on_extra_dates_and_nothing_else_is_lost(
    off: list[str], cron: str, zone: str, extra: list[date]
) -> None:
    rule = Recurrence(kind="cron", crons=[cron], timezone=zone, days_off=off, extra_dates=extra)
    without = Recurrence(kind="cron", crons=[cron], timezone=zone, extra_dates=extra)
    start = datetime(2026, 12, 1, tzinfo=UTC)
    end = start + timedelta(days=60)
    named, fires = set(without.between(start, end)), set(rule.between(start, end))
    known = days_off(tuple(off))
    days = {at: at.astimezone(rule._clock.timeline.zone).date() for at in named}
    assert fires == {at for at in named if known.on(days[at]) is None or days[at] in extra}
    left_out = {skip.at for skip in rule.skips(start, end) if skip.reason == "holiday"}
    assert left_out == named - fires


def test_a_process_without_countries_never_loads_the_library() -> None:
    code = (
        "import sys; from dashboard.schedules.recurrence import Recurrence; from datetime import *;"
        "Recurrence(kind='cron', crons=['0 9 * * *'], days_off=['2026-12-24']).after(datetime.now(UTC));"
        "print([name for name in sys.modules if name.partition('.')[0] == 'holidays'])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_every_country_of_the_list_can_be_asked() -> None:
    for country in countries():
        assert days_off((country.code,)).upcoming(date(2027, 1, 1)) is not None
        assert country.name[0].isupper()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-12-24", "2026-12-24"),
        ("2026-12-24 Company day", "2026-12-24 Company day"),
        ("24.12.2026; Company day", "2026-12-24 Company day"),
        ("24 Dec 2026\tCompany day", "2026-12-24 Company day"),
        ("December 24, 2026", "2026-12-24"),
        ("12/25/2026", "2026-12-25"),
        ("20261224", "2026-12-24"),
        ("2026-12-28 to 2026-12-31 Shutdown", "2026-12-28/2026-12-31 Shutdown"),
        ("28.12.2026 – 31.12.2026, Shutdown", "2026-12-28/2026-12-31 Shutdown"),
    ],
)
def test_days_are_read_as_people_write_and_paste_them(written: str, read: str) -> None:
    assert [str(days) for days in read_days(f"\n{written}\n\n")] == [read]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("2026-12-24\nsoon", "Line 2, “soon”"),
        ("2026-02-30", "does not exist"),
        ("03/04/2026", "may be two days"),
        ("2026-12-24 to 2026-12-20", "ends before it begins"),
        ("2026-12-24\n" * (MOST_LINES + 1), "at most 400 lines"),
    ],
)
def test_a_list_that_cannot_be_read_names_the_line_to_mend(written: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_days(written)
    assert told in caught.value.errors["days"]


def test_a_stored_list_is_written_as_it_may_be_typed() -> None:
    lines = ["2026-12-24 Company day", "2026-12-28/2026-12-31 Shut/down"]
    assert [str(days) for days in read_days(as_text(lines))] == lines
