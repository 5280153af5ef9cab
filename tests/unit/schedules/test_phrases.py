"""Pins the plain words that are understood, and the words in which a rule is told."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from dashboard.schedules.crontab import parse
from dashboard.schedules.errors import RecurrenceError
from dashboard.schedules.phrases import Phrase, describe, describe_interval, parse_phrase

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("text", "crons"),
    [
        ("weekdays at 9", ["0 9 * * 1-5"]),
        ("Every weekday at 9 and 17:30", ["0 9 * * 1-5", "30 17 * * 1-5"]),
        ("every day at 9 and 17", ["0 9,17 * * *"]),
        ("daily at 5:15pm", ["15 17 * * *"]),
        ("every day", ["0 0 * * *"]),
        ("weekends at 10am", ["0 10 * * 0,6"]),
        ("every Monday and Tuesday at 9:30", ["30 9 * * 1,2"]),
        ("mondays, wednesdays, and fridays at 17.15", ["15 17 * * 1,3,5"]),
        ("mon-fri 9am", ["0 9 * * 1-5"]),
        ("friday to monday at noon", ["0 12 * * 0,1,5,6"]),
        ("9am every weekday", ["0 9 * * 1-5"]),
        ("at 9 o'clock on tuesdays", ["0 9 * * 2"]),
        ("monthly on the 15th at 9", ["0 9 15 * *"]),
        ("the 1st and 15th at noon", ["0 12 1,15 * *"]),
        ("1st and 15th at noon", ["0 12 1,15 * *"]),
        ("1st monday of the month", ["0 0 * * 1#1"]),
        ("1st monday of the month at 9", ["0 9 * * 1#1"]),
        ("2nd tuesday of the month", ["0 0 * * 2#2"]),
        ("17:30 on mondays and fridays", ["30 17 * * 1,5"]),
        ("hourly on mondays and fridays", ["0 * * * 1,5"]),
        ("monthly on the first Monday at 9", ["0 9 * * 1#1"]),
        ("last Friday 17:00", ["0 17 * * 5L"]),
        ("every month on the last friday at 17:00", ["0 17 * * 5L"]),
        ("second tuesday of each month at 10:00", ["0 10 * * 2#2"]),
        ("last day of month", ["0 0 L * *"]),
        ("last day of the month at noon", ["0 12 L * *"]),
        ("monthly on the last weekday at 17:00", ["0 17 LW * *"]),
        ("1 January at 8", ["0 8 1 1 *"]),
        ("on December 31st at 23:59", ["59 23 31 12 *"]),
        ("quarterly at 6", ["0 6 1 1,4,7,10 *"]),
        ("weekly on friday at 9", ["0 9 * * 5"]),
        ("hourly", ["0 * * * *"]),
        ("noon", ["0 12 * * *"]),
        ("midnight", ["0 0 * * *"]),
        ("every minute", ["* * * * *"]),
        ("every 15 minutes", ["*/15 * * * *"]),
        ("every 10 minutes on weekdays", ["*/10 * * * 1-5"]),
        ("every 2 hours", ["0 */2 * * *"]),
        ("mon-fri 9", ["0 9 * * 1-5"]),
        ("weekdays 9", ["0 9 * * 1-5"]),
        ("every 6h", ["0 */6 * * *"]),
        ("every 30min on weekdays", ["*/30 * * * 1-5"]),
        ("every half hour", ["*/30 * * * *"]),
        ("every quarter of an hour", ["*/15 * * * *"]),
        ("every hour from 9 to 17", ["0 9-17 * * *"]),
        ("every hour from 9:30am to 5:30pm on weekdays", ["30 9-17 * * 1-5"]),
        ("hourly on mondays and fridays from 9 to 17", ["0 9-17 * * 1,5"]),
        ("every 2 hours between 9 and 17", ["0 9-17/2 * * *"]),
        ("every week on friday at 9", ["0 9 * * 5"]),
        ("0 9 * * 1-5", ["0 9 * * 1-5"]),
        ("@daily", ["@daily"]),
        ("h h(9-17) lw jan,jul mon-fri", ["H H(9-17) LW JAN,JUL MON-FRI"]),
        ("0 9 1,15 3 5#2", ["0 9 1,15 3 5#2"]),
    ],
)
def test_common_phrases_become_expressions(text, crons):
    assert parse_phrase(text) == Phrase(kind="cron", crons=tuple(crons))


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("every 7 minutes", HOUR * 7 / 60),
        ("every 90 minutes", HOUR * 1.5),
        ("every 24 hours", HOUR * 24),
        ("every three days", HOUR * 72),
        ("every other week", HOUR * 24 * 14),
        ("every 30 seconds", HOUR / 120),
        ("every 90s", HOUR / 40),
        ("every 5h", HOUR * 5),
    ],
)
def test_periods_that_no_expression_holds_become_intervals(text, every):
    assert parse_phrase(text) == Phrase(kind="interval", every=every)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not understood. Write for example"),
        ("now and then", "“now and then” is not understood"),
        ("every day at 25", "“25” is not a time of day"),
        ("daily at 13pm", "“13pm” is not a time of day"),
        ("the 40th at 9", "There is no day 40 in a month"),
        ("first weekday at 9", "Only the last weekday of a month"),
        ("every second friday at 9", "can mean two things"),
        ("every 3 days at 9", "Leave out “at 9”"),
        ("every 0 minutes", "is not understood"),
        ("every hour from 22 to 6", "is not understood"),
        ("every hour from 9 to 17:30", "is not understood"),
        ("mon-fri 25", "“25” is not a time of day"),
        ("x" * 201, "at most 200 characters"),
    ],
)
def test_other_words_are_answered_with_a_sentence(text, message):
    with pytest.raises(RecurrenceError, match=message) as caught:
        parse_phrase(text)
    assert caught.value.field == "phrase"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0 9 * * *", "There are 6 fields, but seconds are not part of cron here. Write `0 9 * * *`."),
        ("0 0 9 1 1 1", "There are 6 fields"),
        ("0 9 * *", "There are 4 of the five fields"),
        ("0 9 1 1", "There are 4 of the five fields"),
        ("? 9 * * 1", "The minute has a `?`. Write `*`."),
        ("0 9 1 1 Monday", "`MONDAY` is not understood. Write `MON`."),
        ("hx * * * *", "Write `H`, `H/15`"),
        ("TZ=UTC 0 9 * * 1", "Choose the time zone beside it"),
    ],
)
def test_an_expression_with_a_mistake_is_answered_by_the_grammar_of_cron(text, message):
    with pytest.raises(RecurrenceError, match=re.escape(message)):
        parse_phrase(text)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 9 * * 1-5", "Every weekday at 09:00"),
        ("0 9,17 * * *", "Every day at 09:00 and 17:00"),
        ("5 4 * * sun", "Every Sunday at 04:05"),
        ("0 10 * * 0,6", "Every Saturday and Sunday at 10:00"),
        ("0 17 * * 5L", "On the last Friday of every month at 17:00"),
        ("0 9 * * MON#2", "On the second Monday of every month at 09:00"),
        ("0 0 LW * *", "On the last weekday of every month at 00:00"),
        ("0 12 1,15,22 * *", "On the 1st, 15th and 22nd of every month at 12:00"),
        ("0 12 29 2 *", "On the 29th of February at 12:00"),
        ("*/15 * * * *", "Every 15 minutes"),
        ("0 */6 * * 1-5", "Every 6 hours, every weekday"),
        ("0 9-17 * * *", "Every hour from 09:00 to 17:00"),
        ("30 9-17/2 * * 1-5", "Every 2 hours from 09:30 to 17:30, every weekday"),
        ("0 9 * 1-3 *", "Every day from January to March at 09:00"),
        ("0 9 1 JAN-MAR *", "On the 1st of every month from January to March at 09:00"),
        ("0 9 1 1,4,7,10 *", "On the 1st of January, April, July and October at 09:00"),
        ("0 9 * 6,7 1-5", "Every weekday in June and July at 09:00"),
        ("0 9 LW 12 *", "On the last weekday of December at 09:00"),
        ("0 9 1-7 1-3 *", "At 09:00 on every day of month from 1 through 7 from January through March"),
        ("*/15 * * 6-8 *", "Every 15 minutes, every day from June to August"),
        ("* * * * *", "Every minute"),
        ("*/7 * * * *", "Every seventh minute of every hour"),
        ("0 0 13 * FRI", "At 00:00 on the 13th day of month and on Friday"),
    ],
)
def test_expressions_are_told_in_plain_words(expression, words):
    assert describe(parse(expression)) == words


@pytest.mark.parametrize(
    "expression",
    [
        "0 9 * * 1-5", "0 9,17 * * *", "0 9 * * 1,5", "0 17 * * 5L", "0 9 * * 1#1", "0 0 LW * *", "0 12 L * *",
        "0 12 1,15 * *", "0 12 29 2 *", "*/15 * * * *", "0 */6 * * 1-5", "0 * * * 1,5", "0 9-17 * * 1-5",
        "30 9-17/2 * * *", "0 9 * 1-3 *", "0 9 1 1-3 *", "0 9 1,15 1,7 *", "0 9 * 6,7 1-5", "0 9 LW 12 *",
        "*/15 * * 6-8 *",
    ],
)  # fmt: skip
def test_the_words_that_are_told_of_an_expression_mean_that_expression(expression):
    assert parse_phrase(describe(parse(expression))).crons == (expression,)


@pytest.mark.parametrize("words", ["every 14 days", "every 24 hours", "every 90 minutes", "every 90 seconds"])
def test_the_words_that_are_told_of_a_period_mean_that_period(words):
    every = parse_phrase(words).every
    assert every is not None
    assert describe_interval(every).lower() == words


def test_intervals_are_told_in_the_largest_unit_that_fits():
    assert describe_interval(HOUR * 24 * 14) == "Every 14 days"
    assert describe_interval(HOUR * 24) == "Every 24 hours"
    assert describe_interval(HOUR * 36) == "Every 36 hours"
    assert describe_interval(HOUR * 1.5) == "Every 90 minutes"
    assert describe_interval(timedelta(minutes=1)) == "Every minute"
    assert describe_interval(timedelta(seconds=61)) == "Every 61 seconds"
