"""A run waits longer after each attempt, and not as long as its neighbour."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from dashboard.runs.backoff import Backoff


def test_the_wait_doubles_up_to_its_limit() -> None:
    backoff = Backoff(base=10, max=60)
    assert [backoff.delay(attempt, 0).total_seconds() for attempt in range(1, 6)] == [10, 20, 40, 60, 60]


def test_a_fixed_wait_stays() -> None:
    assert {Backoff(kind="fixed", base=5).delay(attempt, 0) for attempt in (1, 2, 9)} == {timedelta(seconds=5)}


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_jitter_only_shortens_and_only_by_its_share(attempt: int, chance: float) -> None:
    whole, jittered = Backoff().delay(attempt, 0), Backoff().delay(attempt, chance)
    assert whole * 0.8 <= jittered <= whole


def test_what_is_stored_comes_back_and_unknown_keys_are_left_out() -> None:
    backoff = Backoff(kind="fixed", base=1, max=2, jitter=0)
    assert Backoff.from_json({**backoff.to_json(), "colour": "red"}) == backoff
    assert Backoff.from_json({}) == Backoff()
