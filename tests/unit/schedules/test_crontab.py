"""Pins the cron grammar: what is understood, and the sentences that say how to mend the rest."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from dashboard.schedules.crontab import parse
from dashboard.schedules.errors import RecurrenceError
from dashboard.schedules.recurrence import Recurrence


def first_fires(expression: str, count: int = 3, key: str = "") -> list[str]:
    rule = Recurrence(kind="cron", crons=[expression], spread_key=key)
    return [f"{fire.at:%a %Y-%m-%d %H:%M}" for fire in rule.preview(datetime(2027, 1, 1, tzinfo=UTC), count)]


@pytest.mark.parametrize(
    ("expression", "fires"),
    [
        ("0 0 13 * FRI", ["Fri 2027-01-08 00:00", "Wed 2027-01-13 00:00", "Fri 2027-01-15 00:00"]),
        ("0 0 */2 * FRI", ["Fri 2027-01-15 00:00", "Fri 2027-01-29 00:00", "Fri 2027-02-05 00:00"]),
        ("0 12 L * *", ["Sun 2027-01-31 12:00", "Sun 2027-02-28 12:00", "Wed 2027-03-31 12:00"]),
        ("0 12 LW * *", ["Fri 2027-01-29 12:00", "Fri 2027-02-26 12:00", "Wed 2027-03-31 12:00"]),
        ("0 17 * * 5L", ["Fri 2027-01-29 17:00", "Fri 2027-02-26 17:00", "Fri 2027-03-26 17:00"]),
        ("0 17 * * fril", ["Fri 2027-01-29 17:00", "Fri 2027-02-26 17:00", "Fri 2027-03-26 17:00"]),
        ("0 9 * * MON#1", ["Mon 2027-01-04 09:00", "Mon 2027-02-01 09:00", "Mon 2027-03-01 09:00"]),
        ("0 9 * * 7", ["Sun 2027-01-03 09:00", "Sun 2027-01-10 09:00", "Sun 2027-01-17 09:00"]),
        ("5-5/10 9 1 1 *", ["Fri 2027-01-01 09:05", "Sat 2028-01-01 09:05", "Mon 2029-01-01 09:05"]),
        ("0 0 29 2 *", ["Tue 2028-02-29 00:00", "Sun 2032-02-29 00:00", "Fri 2036-02-29 00:00"]),
        ("0 0 * 2 MON#5", ["Mon 2044-02-29 00:00", "Mon 2072-02-29 00:00", "Mon 2112-02-29 00:00"]),
        ("@weekly", ["Sun 2027-01-03 00:00", "Sun 2027-01-10 00:00", "Sun 2027-01-17 00:00"]),
        (" @Hourly ", ["Fri 2027-01-01 01:00", "Fri 2027-01-01 02:00", "Fri 2027-01-01 03:00"]),
        ("0\t9  1 jan,jul *", ["Fri 2027-01-01 09:00", "Thu 2027-07-01 09:00", "Sat 2028-01-01 09:00"]),
    ],
)
def test_an_expression_means_what_it_means_to_debians_cron(expression, fires):
    assert first_fires(expression) == fires


@pytest.mark.parametrize(
    ("expression", "message", "fix"),
    [
        ("0 22-2 * * *", "The range `22-2` in the hour runs backwards. Write `22,23,0-2`.", "0 22,23,0-2 * * *"),
        ("0 22-2/2 * * *", "Write `22,0,2`", "0 22,0,2 * * *"),
        ("0 9 * * FRI-MON", "Write `FRI,SAT,SUN,MON`", "0 9 * * FRI,SAT,SUN,MON"),
        ("0 9 * * 6-2", "Write `6,0-2`", "0 9 * * 6,0-2"),
        ("0 9 * NOV-FEB *", "Write `NOV,DEC,JAN,FEB`", "0 9 * NOV,DEC,JAN,FEB *"),
        ("0 24 * * *", "`24` is too high for the hour: it runs from 0 to 23. Write `0`.", "0 0 * * *"),
        ("60 9 * * *", "Write `0`", "0 9 * * *"),
        ("0 9 * * MONDAY", "Write `MON`", "0 9 * * MON"),
        ("0 9 ? * MON", "Write `*`", "0 9 * * MON"),
        ("0 0 9 * * ?", "There are 6 fields, but seconds are not part of cron here", "0 9 * * *"),
        ("*/90 * * * *", "choose an interval", None),
        ("0 9 * *", "There are 4 of the five fields", None),
        ("", "Write five fields", None),
        ("0 9 32 * *", "`32` is no day of the month: it runs from 1 to 31.", None),
        ("0 9 * 13 *", "`13` is no month: it runs from 1 to 12.", None),
        ("0 9 * * 8", "`8` is no day of the week: it runs from 0 to 7.", None),
        ("0 9 * * 1#6", "Write `FRI#2` for the second Friday", None),
        ("0 9 2#1 * *", "belongs in the last field", None),
        ("0 9 15W * *", "`L` and `LW`", None),
        ("1,,2 * * * *", "Remove the comma too many", None),
        ("*/0 * * * *", "a number from 1 up", None),
        ("5- * * * *", "Write a range as first-last", None),
        ("x * * * *", "`X` is not understood in the minute. Write a number from 0 to 59.", None),
        ("0 0 30 2 *", "This never runs", None),
        ("0 0 */30 * MON#2", "This never runs", None),
        ("@reboot", "has no meaning here", None),
        ("@every 5m", "Choose an interval", None),
        ("@noon", "The short forms are @yearly", None),
        ("H(5-70) * * * *", "must lie within 0 to 59", None),
        ("H(0-9)/20 * * * *", "a number from 1 to 10", None),
        ("Hx * * * *", "Write `H`, `H/15`", None),
    ],
)
def test_a_wrong_expression_is_answered_with_a_sentence_and_the_fix_where_one_is_known(expression, message, fix):
    with pytest.raises(RecurrenceError) as caught:
        parse(expression)
    assert message in str(caught.value)
    assert caught.value.field == "crons"
    assert caught.value.fix == fix
    if fix is not None:
        assert parse(fix).times


def test_h_is_stable_for_a_schedule_and_spreads_over_schedules():
    assert first_fires("H H * * *", key="a") == first_fires("H H * * *", key="a")
    times = {first_fires("H H * * *", 1, key=str(n))[0] for n in range(100)}
    assert len(times) > 80


def test_h_with_a_step_keeps_its_distance_and_its_range():
    for n in range(50):
        crontab = parse("H/15 H(9-17) H * H", str(n))
        minutes = sorted({second // 60 % 60 for second in crontab.times})
        assert len(minutes) == 4
        assert {b - a for a, b in pairwise(minutes)} == {15}
        assert 9 <= crontab.times[0] // 3600 <= 17
        assert len({second // 3600 for second in crontab.times}) == 1
    assert {second // 60 % 60 for second in parse("H(0-9)/5 * * * *", "x").times} <= set(range(10))
