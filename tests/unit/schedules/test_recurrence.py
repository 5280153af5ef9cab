"""Pins the rules of recurrence by example: clock changes, bounds, dates, intervals, one-offs, and the bugs of peers."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import FrameType
from zoneinfo import ZoneInfo

import pytest

from dashboard.schedules.recurrence import Recurrence, RecurrenceError, clock_changes, jittered

NEW_YORK = "America/New_York"
ROOT = Path(__file__).parent.parent.parent.parent


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


def local_fires(rule: Recurrence, day: date) -> list[str]:
    """The fires on a local date, as “HH:MM ABBREVIATION”."""
    zone = ZoneInfo(rule.timezone)
    middle = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    fires = (at.astimezone(zone) for at in rule.between(middle - timedelta(days=2), middle + timedelta(days=2)))
    return [f"{fire:%H:%M %Z}" for fire in fires if fire.date() == day]


def cron(*expressions: str, timezone: str = NEW_YORK, **fields: object) -> Recurrence:
    return Recurrence(kind="cron", crons=expressions, timezone=timezone, **fields)  # type: ignore[arg-type]


# --- Clock changes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gap", "fires", "note"),
    [
        ("after", ["03:00 EDT"], "02:30 does not exist, runs 03:00"),
        ("shift", ["03:30 EDT"], "02:30 does not exist, runs 03:30"),
        ("skip", [], None),
    ],
)
def test_n8_a_fixed_time_in_a_gap_runs_once_after_it_or_shifted_or_not(gap, fires, note):
    rule = cron("30 2 * * *", dst_gap=gap)
    assert local_fires(rule, date(2027, 3, 14)) == fires
    if note:
        at = rule.after(utc(2027, 3, 14, 5))
        assert at is not None
        assert rule.notes(at) == note


@pytest.mark.parametrize(
    ("overlap", "fires"),
    [("first", ["01:30 EDT"]), ("second", ["01:30 EST"]), ("both", ["01:30 EDT", "01:30 EST"])],
)
def test_n8_a_fixed_time_in_an_overlap_runs_in_the_chosen_pass(overlap, fires):
    rule = cron("30 1 * * *", dst_overlap=overlap)
    assert local_fires(rule, date(2027, 11, 7)) == fires
    notes = [fire.note for fire in rule.preview(utc(2027, 11, 7, 4), len(fires))]
    passes = {"EDT": "first", "EST": "second"}
    assert notes == [f"01:30 comes twice, this is the {passes[fire[6:]]} time" for fire in fires]


def test_n8_a_quarter_hourly_job_follows_the_clock():
    rule = cron("*/15 * * * *")
    assert len(local_fires(rule, date(2027, 3, 14))) == 92
    assert len(local_fires(rule, date(2027, 11, 7))) == 100


def test_n8_times_swallowed_by_a_gap_collapse_into_one_run_that_lists_them():
    rule = cron("0,15,30,45 2 * * *")
    fires = rule.preview(utc(2027, 3, 13, 12), 1)
    assert [f"{fire.local:%F %H:%M %Z}" for fire in fires] == ["2027-03-14 03:00 EDT"]
    assert fires[0].note == "02:00, 02:15, 02:30 and 1 more do not exist, run once at 03:00"
    assert local_fires(rule, date(2027, 3, 14)) == ["03:00 EDT"]


def test_n8_a_skipped_gap_is_reported_for_the_ledger():
    rule = cron("30 2 * * *", dst_gap="skip")
    skips = rule.skips(utc(2027, 3, 13), utc(2027, 3, 16))
    assert [(skip.at, skip.reason, skip.count) for skip in skips] == [(utc(2027, 3, 14, 7), "dst_skip", 1)]
    assert skips[0].note == "02:30 on 2027-03-14 does not exist: skipped"


def test_n8_a_date_that_does_not_exist_has_no_run_but_a_note():
    rule = cron("0 9 * * *", timezone="Pacific/Apia")
    assert [f"{fire.local:%d %H:%M}" for fire in rule.preview(utc(2011, 12, 29), 3)] == [
        "29 09:00",
        "31 09:00",
        "01 09:00",
    ]
    assert [skip.note for skip in rule.skips(utc(2011, 12, 29), utc(2012, 1, 1))] == [
        "09:00 on 2011-12-30 does not exist: skipped"
    ]


@pytest.mark.parametrize(
    ("zone", "expression", "day", "fires"),
    [
        ("Australia/Lord_Howe", "15 2 * * *", date(2027, 10, 3), ["02:30 +11"]),
        ("Australia/Lord_Howe", "45 1 * * *", date(2027, 4, 4), ["01:45 +11"]),
        ("America/Goose_Bay", "30 23 * * *", date(2009, 10, 31), ["23:30 ADT"]),
        ("America/Goose_Bay", "*/30 23 * * *", date(2009, 10, 31), ["23:00 ADT", "23:30 ADT", "23:30 AST"]),
        ("America/Havana", "30 0 * * *", date(2026, 3, 8), ["01:00 CDT"]),
        ("America/Nuuk", "30 23 * * *", date(2025, 3, 30), ["00:00 -01", "23:30 -01"]),
        ("Antarctica/Troll", "30 1 * * *", date(2027, 3, 28), ["03:00 +02"]),
        ("Europe/Dublin", "30 1 * * *", date(2027, 3, 28), ["02:00 IST"]),
        ("Europe/Dublin", "30 1 * * *", date(2027, 10, 31), ["01:30 IST"]),
        ("Asia/Beirut", "0 0 * * *", date(2022, 3, 27), ["01:00 EEST"]),
        ("Antarctica/Casey", "30 0 * * *", date(2010, 3, 5), ["00:30 +11"]),
    ],
)
def test_n8_the_strangest_clock_changes_are_right(zone, expression, day, fires):
    assert local_fires(cron(expression, timezone=zone), day) == fires


def test_n8_the_next_clock_changes_are_told():
    changes = clock_changes(NEW_YORK, utc(2027, 1, 1))
    assert [change.at for change in changes] == [utc(2027, 3, 14, 7), utc(2027, 11, 7, 6)]
    assert [change.note for change in changes] == [
        "On Sunday 2027-03-14 the clock goes forward from 02:00 to 03:00.",
        "On Sunday 2027-11-07 the clock goes back from 02:00 to 01:00.",
    ]
    assert clock_changes("Asia/Kolkata", utc(2027, 1, 1)) == []
    assert len(clock_changes("Africa/Casablanca", utc(2024, 1, 1), count=4)) == 4


def test_n9_the_zone_of_the_schedule_decides():
    zones = ("Asia/Tokyo", NEW_YORK, "UTC")
    fires = [cron("0 9 * * *", timezone=zone).after(utc(2027, 1, 15, 1)) for zone in zones]
    assert fires == [utc(2027, 1, 16, 0), utc(2027, 1, 15, 14), utc(2027, 1, 15, 9)]


# --- Work that a crafted expression can cause ------------------------------------------------------------------------


def count_steps(work: object, *arguments: object) -> int:
    """How many calls of functions, Python's and C's, a call causes."""
    steps = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal steps
        steps += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work(*arguments)  # type: ignore[operator]
    finally:
        sys.setprofile(before)
    return steps


MOST_STEPS = 60_000
"""About 10 ms of work: the worst is 50 years of a zone's clock changes, computed for the first time."""

CRAFTED = [
    "0 0 * 2 MON#5",
    "0 0 29 2 *",
    "0 0 */28 2 0",
    "59 23 31 12 *",
    "30 2 8-14 3 SUN#2",
    "30 2 * 3 SUN#2",
    "0-59 0-23 1-31 1-12 0-7",
    "0-59/59 0-23/23 L,LW 2 5L,1#5,2#5,3#5",
    ",".join(["0-59/7"] * 16) + " 3 * * *",
    "0 0 31 2,4,6,9,11 *",
    "* * 30 2 *",
    "0 0 */30 2 0#1",
    "H(0-59)/59 H L 2 0#5",
]


@pytest.mark.parametrize("expression", CRAFTED)
def test_n19_a_crafted_expression_takes_few_steps_to_the_next_fire_or_to_a_refusal(expression):
    def first_and_next() -> None:
        try:
            rule = cron(f" {expression}", dst_gap="skip")  # the space: not the text that is already parsed
        except RecurrenceError:
            return
        at = rule.after(utc(2027, 1, 1))
        if at is not None:
            rule.after(at)

    cron("* * * * *").after(utc(2027, 1, 1))
    assert count_steps(first_and_next) < MOST_STEPS


def test_n19_a_time_that_only_a_skipped_gap_names_ends_the_search():
    rule = cron("30 2 * 3 SUN#2", dst_gap="skip", start_at=utc(2027, 1, 1))
    assert count_steps(rule.after, utc(2027, 1, 1)) < MOST_STEPS
    assert rule.after(utc(2027, 1, 1)) is None


def test_n19_a_thousand_skipped_dates_end_the_search():
    dates = [date(2027, 1, 1) + timedelta(days=n) for n in range(1000)]
    rules = (
        cron("*/5 * * * *", skip_dates=dates),
        Recurrence(kind="interval", every=60, timezone=NEW_YORK, skip_dates=dates),
    )
    for rule in rules:
        assert count_steps(rule.after, utc(2027, 1, 1, 12)) < MOST_STEPS
        assert rule.after(utc(2027, 1, 1, 12)) == datetime(2029, 9, 27, tzinfo=ZoneInfo(NEW_YORK))


def test_n19_an_expression_has_at_most_120_characters_and_a_schedule_five_of_them():
    with pytest.raises(RecurrenceError, match="at most 120"):
        cron("0" + ",0" * 60 + " * * * *")
    with pytest.raises(RecurrenceError, match="one to 5"):
        cron(*["0 9 * * *"] * 6)
    with pytest.raises(RecurrenceError, match="one to 5"):
        cron()


# --- Unions, dates, bounds -------------------------------------------------------------------------------------------


def test_several_expressions_fire_as_a_union():
    rule = cron("0 9 * * 1-5", "0 9,12 * * *", timezone="UTC")
    assert [fire.at for fire in rule.preview(utc(2027, 1, 4), 3)] == [
        utc(2027, 1, 4, 9),
        utc(2027, 1, 4, 12),
        utc(2027, 1, 5, 9),
    ]


def test_skipped_dates_are_local_and_reported_and_an_extra_date_beats_them():
    rule = cron("0 22 * * 1-5", skip_dates=[date(2027, 1, 4), date(2027, 1, 5)], extra_dates=[date(2027, 1, 5)])
    days = [f"{fire.local:%a %d}" for fire in rule.preview(utc(2027, 1, 4), 2)]
    assert days == ["Tue 05", "Wed 06"]
    (skip,) = rule.skips(utc(2027, 1, 4, 12), utc(2027, 1, 7))
    assert (skip.at, skip.reason) == (utc(2027, 1, 5, 3), "blackout")
    assert skip.note == "Monday 2027-01-04 is a skipped date"


def test_an_extra_date_repeats_the_times_of_day():
    rule = cron("0 9,17 * * 1", timezone="UTC", extra_dates=[date(2027, 1, 6)])
    assert [f"{fire.at:%a %H}" for fire in rule.preview(utc(2027, 1, 4, 10), 4)] == [
        "Mon 17",
        "Wed 09",
        "Wed 17",
        "Mon 09",
    ]


def test_bounds_given_as_instants_are_included():
    rule = cron("0 * * * *", timezone="UTC", start_at=utc(2027, 1, 1, 9), end_at=utc(2027, 1, 1, 11))
    assert list(rule.between(utc(2026, 1, 1), utc(2028, 1, 1))) == [utc(2027, 1, 1, hour) for hour in (9, 10, 11)]


def test_bounds_given_as_dates_mean_whole_local_days():
    rule = cron("0 0,12,23 * * *", start_at=date(2027, 1, 1), end_at=date(2027, 1, 1))
    fires = list(rule.between(utc(2026, 1, 1), utc(2028, 1, 1)))
    assert fires == [utc(2027, 1, 1, 5), utc(2027, 1, 1, 17), utc(2027, 1, 2, 4)]


def test_a_fire_is_strictly_later_even_by_less_than_a_second():
    rule = cron("0 9 * * *", timezone="UTC")
    assert rule.after(utc(2027, 1, 1, 8, 59, 59, 999_999)) == utc(2027, 1, 1, 9)
    assert rule.after(utc(2027, 1, 1, 9)) == utc(2027, 1, 2, 9)
    assert list(rule.between(utc(2027, 1, 1, 9), utc(2027, 1, 2, 9))) == [utc(2027, 1, 2, 9)]


def test_the_instant_may_be_in_any_zone_but_needs_one():
    rule = cron("0 9 * * *", timezone="UTC")
    assert rule.after(datetime(2027, 1, 1, 5, tzinfo=ZoneInfo(NEW_YORK))) == utc(2027, 1, 2, 9)
    with pytest.raises(ValueError, match="needs a time zone"):
        rule.after(datetime(2027, 1, 1))  # noqa: DTZ001


def test_the_ends_of_the_calendar_do_not_crash():
    for rule in (cron("* * * * *"), Recurrence(kind="interval", every=1)):
        assert rule.after(datetime.min.replace(tzinfo=UTC)) is not None
        assert rule.after(datetime.max.replace(tzinfo=UTC)) is None
    assert Recurrence(kind="once", once_local=datetime(9999, 12, 31, 23)).after(utc(2027, 1, 1)) is None  # noqa: DTZ001
    assert cron("0 0 * * *", start_at=date.min, end_at=date.max).after(utc(2027, 1, 1)) is not None


# --- Intervals and one-offs ------------------------------------------------------------------------------------------


def test_an_interval_never_reacts_to_the_clock():
    rule = Recurrence(kind="interval", every=timedelta(hours=24), anchor=utc(2027, 3, 12, 14), timezone=NEW_YORK)
    assert [f"{fire.local:%d %H:%M}" for fire in rule.preview(utc(2027, 3, 12), 4)] == [
        "12 09:00",
        "13 09:00",
        "14 10:00",
        "15 10:00",
    ]


def test_an_interval_does_not_fire_on_skipped_dates():
    rule = Recurrence(
        kind="interval", every=3600 * 7, anchor=utc(2027, 1, 1), timezone="UTC", skip_dates=[date(2027, 1, 2)]
    )
    assert [fire.at for fire in rule.preview(utc(2027, 1, 1, 13), 3)] == [
        utc(2027, 1, 1, 14),
        utc(2027, 1, 1, 21),
        utc(2027, 1, 3, 1),
    ]


def test_a_one_off_fires_once_at_its_wall_time():
    rule = Recurrence(kind="once", once_local=datetime(2027, 7, 1, 9), timezone="Europe/Berlin")  # noqa: DTZ001
    assert rule.after(utc(2020, 1, 1)) == utc(2027, 7, 1, 7)
    assert rule.after(utc(2027, 7, 1, 7)) is None


@pytest.mark.parametrize(
    ("wall", "choice", "fires"),
    [
        (datetime(2027, 3, 14, 2, 30), {}, [utc(2027, 3, 14, 7)]),  # noqa: DTZ001
        (datetime(2027, 3, 14, 2, 30), {"dst_gap": "skip"}, []),  # noqa: DTZ001
        (datetime(2027, 11, 7, 1, 30), {"dst_overlap": "second"}, [utc(2027, 11, 7, 6, 30)]),  # noqa: DTZ001
        (datetime(2027, 11, 7, 1, 30), {"dst_overlap": "both"}, [utc(2027, 11, 7, 5, 30)]),  # noqa: DTZ001
    ],
)
def test_a_one_off_obeys_the_choices_for_clock_changes_and_never_fires_twice(wall, choice, fires):
    rule = Recurrence(kind="once", once_local=wall, timezone=NEW_YORK, **choice)
    assert list(rule.between(utc(2027, 1, 1), utc(2028, 1, 1))) == fires


# --- Refusals, words, jitter -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("kind", {"kind": "sometimes"}),
        ("crons", {"kind": "cron"}),
        ("crons", {"kind": "cron", "crons": None}),
        ("crons", {"kind": "cron", "crons": [900]}),
        ("crons", {"kind": "cron", "crons": ["TZ=UTC 0 9 * * *"]}),
        ("crons", {"kind": "cron", "crons": ["0 9 * *"]}),
        ("every", {"kind": "interval"}),
        ("every", {"kind": "interval", "every": 0}),
        ("every", {"kind": "interval", "every": 10**20}),
        ("every", {"kind": "interval", "every": timedelta(milliseconds=1500)}),
        ("anchor", {"kind": "interval", "every": 60, "anchor": datetime(2027, 1, 1)}),  # noqa: DTZ001
        ("every", {"kind": "interval", "every": "15 minutes"}),
        ("anchor", {"kind": "interval", "every": 60, "anchor": datetime.max.replace(tzinfo=UTC)}),
        ("once_local", {"kind": "once"}),
        ("once_local", {"kind": "once", "once_local": date(2027, 1, 1)}),
        ("timezone", {"kind": "interval", "every": 60, "timezone": None}),
        ("start_at", {"kind": "interval", "every": 60, "start_at": "soon"}),
        ("skip_dates", {"kind": "interval", "every": 60, "skip_dates": date(2027, 1, 1)}),
        ("once_local", {"kind": "once", "once_local": utc(2027, 1, 1)}),
        ("timezone", {"kind": "interval", "every": 60, "timezone": "Mars/Olympus"}),
        ("dst_gap", {"kind": "interval", "every": 60, "dst_gap": "before"}),
        ("dst_overlap", {"kind": "interval", "every": 60, "dst_overlap": "third"}),
        ("start_at", {"kind": "interval", "every": 60, "start_at": datetime(2027, 1, 1)}),  # noqa: DTZ001
        ("end_at", {"kind": "interval", "every": 60, "start_at": utc(2027, 1, 2), "end_at": utc(2027, 1, 1)}),
        ("skip_dates", {"kind": "interval", "every": 60, "skip_dates": [utc(2027, 1, 1)]}),
        ("extra_dates", {"kind": "interval", "every": 60, "extra_dates": [date(2027, 1, 1)]}),
        ("extra_dates", {"kind": "cron", "crons": ["0 9 * * *"], "extra_dates": [date(2027, 1, 1)] * 1001}),
    ],
)
def test_a_bad_field_is_named_and_explained(field, fields):
    with pytest.raises(RecurrenceError) as caught:
        Recurrence(**fields)
    assert caught.value.field == field
    assert str(caught.value).endswith((".", "?"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "cron", "crons": ["0 9 * * 1-5"]}, "Every weekday at 09:00, Europe/Berlin time"),
        (
            {"kind": "cron", "crons": ["0 9 * * 1-5", "@monthly"], "skip_dates": [date(2027, 12, 24)]},
            "Every weekday at 09:00; also on the 1st of every month at 00:00, Europe/Berlin time, not on 2027-12-24",
        ),
        (
            {"kind": "interval", "every": 5400, "anchor": utc(2027, 1, 1, 6), "end_at": date(2027, 2, 1)},
            "Every 90 minutes, counted from 2027-01-01 06:00 UTC, until 2027-02-01",
        ),
        (
            {"kind": "once", "once_local": datetime(2027, 7, 1, 9)},  # noqa: DTZ001
            "Once, on Thursday 2027-07-01 at 09:00, Europe/Berlin time",
        ),
        (
            {"kind": "cron", "crons": ["*/15 * * * *"], "start_at": utc(2027, 1, 1), "extra_dates": [date.min] * 4},
            "Every 15 minutes, Europe/Berlin time, from 2027-01-01 01:00, also on 4 dates",
        ),
    ],
)
def test_a_rule_explains_itself(fields, words):
    assert Recurrence(timezone="Europe/Berlin", **fields).explain() == words


@pytest.mark.parametrize(
    ("natural", "declared"),
    [
        ({"kind": "cron", "crons": "0 9 * * *"}, {"kind": "cron", "crons": ("0 9 * * *",)}),
        ({"kind": "cron", "crons": iter(["@daily"])}, {"kind": "cron", "crons": ["@daily"]}),
        ({"kind": "interval", "every": 900.0}, {"kind": "interval", "every": timedelta(minutes=15)}),
        (
            {"kind": "interval", "every": 60, "anchor": "2027-01-01T09:00+01:00"},
            {"kind": "interval", "every": 60, "anchor": utc(2027, 1, 1, 8)},
        ),
        (
            {"kind": "once", "once_local": "2027-07-01 09:00"},
            {"kind": "once", "once_local": datetime(2027, 7, 1, 9)},  # noqa: DTZ001
        ),
        ({"timezone": ZoneInfo(NEW_YORK)}, {"timezone": NEW_YORK}),
        ({"timezone": UTC}, {"timezone": "UTC"}),
        (
            {"start_at": "2027-01-01", "end_at": "2027-02-01T00:00Z"},
            {"start_at": date(2027, 1, 1), "end_at": utc(2027, 2, 1)},
        ),
        ({"skip_dates": ["2027-01-01"], "extra_dates": None}, {"skip_dates": {date(2027, 1, 1)}}),
    ],
)
def test_fields_may_be_given_as_it_comes_naturally(natural, declared):
    minutely = {"kind": "interval", "every": 60}
    assert Recurrence(**{**minutely, **natural}) == Recurrence(**{**minutely, **declared})


def test_a_range_is_refused_when_it_is_asked_for_and_not_later():
    with pytest.raises(RecurrenceError, match="needs a time zone"):
        cron("0 9 * * *").between(utc(2027, 1, 1), datetime(2027, 1, 2))  # noqa: DTZ001


def test_limits_at_the_ends_of_the_calendar_are_told():
    forever = cron("0 9 * * *", start_at=datetime.min.replace(tzinfo=UTC), end_at=datetime.max.replace(tzinfo=UTC))
    assert forever.explain().startswith("Every day at 09:00")
    assert cron("0 9 * * *", start_at=date.min).explain().endswith("from 0001-01-01")


def test_a_rule_survives_a_copy_and_a_journey():
    rule = cron("0 9 * * *", "H H * * 5L", spread_key="a", skip_dates=[date(2027, 1, 1)])
    assert copy.deepcopy(rule) == pickle.loads(pickle.dumps(rule)) == rule  # noqa: S301 - our own bytes


def test_the_engine_loads_without_flask_and_the_database():
    program = (
        "import sys, dashboard.schedules.recurrence\n"
        "print([name for name in sys.modules if name.split('.')[0] in {'flask', 'sqlalchemy', 'celery', 'pydantic'}])"
    )
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_a_rule_is_a_value():
    assert cron("0 9 * * *") == cron("0 9 * * *")
    assert hash(cron("0 9 * * *")) == hash(cron("0 9 * * *"))
    assert cron("0 9 * * *") != cron("0 9 * * *", timezone="UTC")


def test_jitter_spreads_over_its_whole_room():
    nominal = utc(2027, 1, 1)
    delays = {
        jittered(f"schedule-{n}", nominal, timedelta(seconds=10), nominal + timedelta(days=1)) - nominal
        for n in range(300)
    }
    assert delays == {timedelta(seconds=n) for n in range(10)}
    assert jittered("any", nominal, timedelta(), None) == nominal
