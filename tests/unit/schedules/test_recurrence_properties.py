"""Proves the engine of recurrence against an oracle that walks every minute, near clock changes and elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dashboard.schedules.crontab import parse
from dashboard.schedules.phrases import describe, parse_phrase
from dashboard.schedules.recurrence import Recurrence, RecurrenceError, jittered
from tests.unit.schedules import minute_walker as oracle


def examples(count: int) -> settings:
    """So many examples, however long each takes: nothing here asserts a time."""
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(max_examples=count, deadline=None, suppress_health_check=slow)


ZONES = (
    "America/New_York", "Australia/Lord_Howe", "America/Goose_Bay", "Antarctica/Casey", "Antarctica/Troll",
    "Europe/Dublin", "Africa/Casablanca", "America/Havana", "Asia/Beirut", "Pacific/Apia", "America/Nuuk",
    "Africa/Cairo", "Asia/Gaza", "Pacific/Kwajalein", "Asia/Kathmandu", "Europe/Berlin", "UTC",
)  # fmt: skip
# Instants near the strangest clock changes: a missing date, three hours, across midnight, at midnight, half an hour.
ODD_CHANGES = (
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Pacific/Kwajalein", datetime(1993, 8, 21, 12, tzinfo=UTC)),
    ("Antarctica/Casey", datetime(2010, 3, 4, 15, tzinfo=UTC)),
    ("Antarctica/Casey", datetime(2009, 10, 17, 18, tzinfo=UTC)),
    ("America/Goose_Bay", datetime(2009, 11, 1, 3, 1, tzinfo=UTC)),
    ("America/Goose_Bay", datetime(2010, 3, 14, 3, 31, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 3, 8, 5, tzinfo=UTC)),
    ("Asia/Beirut", datetime(2022, 3, 26, 22, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2025, 2, 23, 2, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2027, 10, 2, 15, 30, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2027, 3, 28, 1, tzinfo=UTC)),
    ("America/Nuuk", datetime(2025, 3, 30, 1, tzinfo=UTC)),
    ("Europe/Dublin", datetime(2027, 10, 31, 1, tzinfo=UTC)),
)

gaps = st.sampled_from(["after", "shift", "skip"])
overlaps = st.sampled_from(["first", "second", "both"])


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    """A list, a range, a stepped range or a stepped star of numbers, as cron writes them."""
    one = st.integers(low, high)
    pair = st.tuples(one, one).map(sorted)
    term = st.one_of(
        one.map(str),
        pair.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        st.tuples(pair, st.integers(1, 9)).map(lambda drawn: f"{drawn[0][0]}-{drawn[0][1]}/{drawn[1]}"),
    )
    return st.one_of(
        st.lists(term, min_size=1, max_size=3).map(",".join),
        st.just("*"),
        st.integers(2, min(30, high)).map(lambda step: f"*/{step}"),
    )


days = st.one_of(st.just("*"), st.just("*"), st.sampled_from(["L", "LW", "*/2", "1-15,L"]), numbers(1, 28))
weekdays = st.one_of(
    st.just("*"), st.just("*"), st.sampled_from(["MON-FRI", "0", "7", "5L", "SUN#1", "2#3", "SAT,SUN"]), numbers(0, 7)
)
months = st.one_of(st.just("*"), st.just("*"), st.sampled_from(["MAR,NOV", "*/2", "1-6", "oct", "12"]))


@st.composite
def expressions(draw: st.DrawFn) -> str:
    return " ".join((draw(numbers(0, 59)), draw(numbers(0, 23)), draw(days), draw(months), draw(weekdays)))


def can_fire(expression: str) -> bool:
    try:
        parse(expression)
    except RecurrenceError:
        return False
    return True


possible = expressions().filter(can_fire)


@st.composite
def windows(draw: st.DrawFn, hours: int = 60) -> tuple[str, datetime, datetime]:
    """A zone and a stretch (a, b] of UTC that mostly holds a clock change."""
    if draw(st.booleans()):
        zone, middle = draw(st.sampled_from(ODD_CHANGES))
    else:
        zone = draw(st.sampled_from(ZONES))
        year = draw(st.integers(1975, 2060))
        changes = oracle.clock_changes_near(zone, year) or [datetime(year, 7, 1, tzinfo=UTC)]
        middle = draw(st.sampled_from(changes))
    start = middle - timedelta(minutes=draw(st.integers(0, hours * 60)))
    return zone, start, start + timedelta(hours=hours)


moments = st.datetimes(datetime(1975, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@examples(150)
@given(st.lists(possible, min_size=1, max_size=2), windows(hours=40), gaps, overlaps)
def test_p1_the_engine_agrees_with_a_walk_through_every_minute(crons, window, gap, overlap):
    zone, a, b = window
    engine = Recurrence(kind="cron", crons=crons, timezone=zone, dst_gap=gap, dst_overlap=overlap)
    walked = set().union(*(oracle.walk(cron, zone, a, b, gap, overlap) for cron in crons))
    assert list(engine.between(a, b)) == sorted(walked)


@examples(75)
@given(st.sampled_from(ODD_CHANGES), st.integers(0, 59), st.integers(0, 23), gaps, overlaps)
def test_p1_fixed_times_near_the_strangest_clock_changes_agree_with_the_walk(change, minute, hour, gap, overlap):
    zone, middle = change
    a, b = middle - timedelta(days=2), middle + timedelta(days=2)
    cron = f"{minute} {hour} * * *"
    engine = Recurrence(kind="cron", crons=[cron], timezone=zone, dst_gap=gap, dst_overlap=overlap)
    assert list(engine.between(a, b)) == oracle.walk(cron, zone, a, b, gap, overlap)


@examples(75)
@given(possible, windows(hours=40), gaps, overlaps, st.data())
def test_p1_skipped_and_extra_dates_agree_with_the_walk(cron, window, gap, overlap, data):
    zone, a, b = window
    near = st.lists(st.integers(-2, 5).map(lambda n: a.date() + timedelta(days=n)), max_size=4)
    skipped, added = data.draw(near), data.draw(near)
    engine = Recurrence(
        kind="cron", crons=[cron], timezone=zone, dst_gap=gap, dst_overlap=overlap,
        skip_dates=skipped, extra_dates=added,
    )  # fmt: skip
    assert list(engine.between(a, b)) == oracle.walk(
        cron, zone, a, b, gap, overlap, frozenset(skipped), frozenset(added)
    )


@examples(300)
@given(possible, st.sampled_from(ZONES), moments, gaps, overlaps)
def test_p2_the_next_fire_is_always_later(cron, zone, moment, gap, overlap):
    fire = Recurrence(kind="cron", crons=[cron], timezone=zone, dst_gap=gap, dst_overlap=overlap).after(moment)
    assert fire is not None
    assert fire > moment
    assert fire.tzinfo is UTC


@examples(50)
@given(possible, windows(), gaps, overlaps)
def test_p3_a_fresh_engine_at_each_step_gives_the_same_sequence(cron, window, gap, overlap):
    zone, a, b = window
    fields = {"kind": "cron", "crons": [cron], "timezone": zone, "dst_gap": gap, "dst_overlap": overlap}
    stepped: list[datetime] = []
    at = Recurrence(**fields).after(a)
    while at is not None and at <= b and len(stepped) < 200:
        stepped.append(at)
        at = Recurrence(**fields).after(at)
    assert stepped == list(Recurrence(**fields).between(a, b))[:200]


@examples(100)
@given(possible, windows(hours=30), st.integers(0, 30 * 60), gaps, overlaps)
def test_p4_a_sequence_is_the_sum_of_its_parts(cron, window, cut, gap, overlap):
    zone, a, c = window
    b = a + timedelta(minutes=cut)
    engine = Recurrence(kind="cron", crons=[cron], timezone=zone, dst_gap=gap, dst_overlap=overlap)
    assert list(engine.between(a, c)) == [*engine.between(a, b), *engine.between(b, c)]


@examples(75)
@given(st.sampled_from(ODD_CHANGES), st.integers(0, 23), st.integers(0, 59), st.sampled_from(["after", "shift"]))
@example(ODD_CHANGES[0], 0, 0, "after")
@example(ODD_CHANGES[11], 23, 30, "after")
def test_p5_a_fixed_daily_job_runs_exactly_once_on_each_local_date_that_exists(change, hour, minute, gap):
    zone, middle = change
    a, b = middle - timedelta(days=4), middle + timedelta(days=4)
    engine = Recurrence(kind="cron", crons=[f"{minute} {hour} * * *"], timezone=zone, dst_gap=gap)
    named = [named_date(fire.local, hour, minute) for fire in engine.preview(a, 8) if fire.at <= b]
    whole = [day for day in oracle.local_dates(zone, a - timedelta(days=2), b) if named[0] <= day <= named[-1]]
    assert named == whole
    assert len(named) >= 6


def named_date(local: datetime, hour: int, minute: int) -> date:
    """The date whose time this is: a gap at the end of a day moves its run past midnight."""
    moved = (local.hour, local.minute) < (hour, minute)
    return local.date() - timedelta(days=1) if moved else local.date()


@examples(100)
@given(numbers(0, 59), windows(hours=30))
def test_p6_a_job_that_follows_the_clock_fires_in_every_matching_minute_and_no_other(minutes, window):
    zone, a, b = window
    engine = Recurrence(kind="cron", crons=[f"{minutes} * * * *"], timezone=zone)
    wanted = oracle.values(minutes, 0, 59)
    real = [minute.at for minute in oracle.real_minutes(zone, a, b)[1:] if minute.wall.minute in wanted]
    assert list(engine.between(a, b)) == real


@examples(200)
@given(st.integers(1, 10**7), moments, moments, st.sampled_from(ZONES))
def test_p7_an_interval_is_its_anchor_plus_whole_periods(every, anchor, moment, zone):
    anchor = anchor.replace(microsecond=0)
    fire = Recurrence(kind="interval", every=every, anchor=anchor, timezone=zone).after(moment)
    assert fire is not None
    assert fire > moment
    assert (fire - anchor) % timedelta(seconds=every) == timedelta()
    assert fire == anchor or fire - timedelta(seconds=every) <= moment
    assert fire >= anchor


@examples(50)
@given(possible, windows(), gaps, overlaps)
def test_p8_the_preview_is_what_fires(cron, window, gap, overlap):
    zone, a, _ = window
    engine = Recurrence(kind="cron", crons=[cron], timezone=zone, dst_gap=gap, dst_overlap=overlap)
    preview = engine.preview(a, 10)
    fires = list(engine.between(a, preview[-1].at))
    assert [fire.at for fire in preview] == fires
    assert [fire.local.astimezone(UTC) for fire in preview] == fires


@examples(300)
@given(st.text(max_size=40), moments, st.integers(0, 10**6), st.one_of(st.none(), st.integers(1, 10**6)))
def test_p9_jitter_stays_before_the_next_occurrence_and_is_stable(key, nominal, jitter, distance):
    following = None if distance is None else nominal + timedelta(seconds=distance)
    arguments = (key, nominal, timedelta(seconds=jitter), following)
    delayed = jittered(*arguments)
    assert delayed == jittered(*arguments)
    assert nominal <= delayed <= nominal + timedelta(seconds=jitter)
    assert following is None or delayed < following


cron_like = st.text(alphabet="0123456789*/,-#LWH()?@ ABCEFIMNORSTUhjln\t", max_size=40)
damaged = st.tuples(expressions(), st.integers(0, 20), st.sampled_from([*"LW#/-,?H*x9", "²", "İ", "\x00"])).map(
    lambda drawn: drawn[0][: drawn[1]] + drawn[2] + drawn[0][drawn[1] :]
)


@examples(500)
@given(st.one_of(st.text(max_size=140), cron_like, damaged))
def test_p20_the_parser_raises_nothing_but_its_own_error_and_its_fixes_work(text):
    refused = refusal(parse, text)
    if refused is None:
        assert describe(parse(text))
    else:
        assert refused.field == "crons"
        assert str(refused).endswith(".")
        assert refused.fix is None or refused.fix != text


PHRASE_WORDS = """
    every each on at the of month monthly weekly daily hourly 1st 15th 31 9 17:30 9am 5.15pm noon midnight monday fri
    weekdays weekend last first second day weekday and , & minutes hours days 2 15 other january - to @daily * */5
"""
phrase_like = st.lists(st.sampled_from(PHRASE_WORDS.split()), max_size=9).map(" ".join)


@examples(500)
@given(st.one_of(st.text(max_size=220), phrase_like))
def test_p20_words_become_a_valid_rule_or_a_sentence(text):
    refused = refusal(parse_phrase, text)
    if refused is None:
        phrase = parse_phrase(text)
        rule = Recurrence(kind=phrase.kind, crons=phrase.crons, every=phrase.every)
        assert rule.after(datetime(2027, 1, 1, tzinfo=UTC)) is not None
    else:
        assert refused.field in ("phrase", "crons", "every")
        assert str(refused).endswith(".")


def refusal(read: Callable[[str], object], text: str) -> RecurrenceError | None:
    """The only kind of error that reading a text may end in."""
    try:
        read(text)
    except RecurrenceError as error:
        return error
    return None


@examples(200)
@given(possible)
def test_words_that_are_understood_again_mean_the_same(cron):
    words = describe(parse(cron))
    if refusal(parse_phrase, words) is not None:
        return
    phrase = parse_phrase(words)
    assert phrase.kind == "cron"
    start = datetime(2027, 1, 1, tzinfo=UTC)
    again = Recurrence(kind="cron", crons=phrase.crons)
    assert [fire.at for fire in again.preview(start, 20)] == [
        fire.at for fire in Recurrence(kind="cron", crons=[cron]).preview(start, 20)
    ]


@pytest.mark.parametrize(
    "zone", ["", " ", "../etc/passwd", "/etc/localtime", "Berlin", "europe/berlin", "\x00", "UTC "]
)
def test_p20_a_bad_zone_is_a_sentence(zone):
    with pytest.raises(RecurrenceError) as caught:
        Recurrence(kind="cron", crons=["* * * * *"], timezone=zone)
    assert caught.value.field == "timezone"


oddities = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.binary(max_size=5),
    st.datetimes(), st.datetimes(timezones=st.timezones()), st.dates(), st.timedeltas(), st.just(UTC),
    st.sampled_from(["0 9 * * *", "@daily", "Europe/Berlin", "2027-01-01", "2027-01-01T09:00", "2027-01-01T09:00Z"]),
)  # fmt: skip
anything = st.one_of(
    oddities, st.lists(oddities, max_size=3), st.dictionaries(st.text(max_size=3), oddities, max_size=2)
)
FIELDS = ("crons", "every", "anchor", "once_local", "timezone", "start_at", "end_at", "skip_dates", "extra_dates",
    "spread_key", "days_off", "dst_gap", "dst_overlap")  # fmt: skip


@examples(500)
@given(
    st.sampled_from(["once", "interval", "cron"]),
    st.dictionaries(st.sampled_from(FIELDS), anything, max_size=2),
    st.one_of(st.datetimes(timezones=st.just(UTC)), anything),
)
def test_p20_whatever_is_given_becomes_a_rule_or_a_sentence(kind, fields, instant):
    sound = {"crons": ["0 9 * * *"], "every": 60, "once_local": datetime(2027, 1, 1, 9)}  # noqa: DTZ001
    rules = []
    refused = refusal(lambda _: rules.append(Recurrence(kind=kind, **{**sound, **fields})), "")
    if refused is not None:
        assert refused.field in FIELDS
        return
    (rule,) = rules
    assert rule.explain()
    assert hash(rule) == hash(Recurrence(kind=kind, **{**sound, **fields}))
    assert refusal(lambda _: rule.after(instant), "") is None or not isinstance(instant, datetime) or not instant.tzinfo
