"""What becomes of instants that are due late: the catch-up policies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.schedules.catchup import ON_TIME, Policy, decide

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
WINDOW = timedelta(hours=1)


def ago(*minutes: float) -> list[datetime]:
    return [NOW - timedelta(minutes=each) for each in minutes]


def reasons(due: list[datetime], policy: Policy, cap: int = 100, *, more: bool = False) -> list[tuple[str, int]]:
    decisions = decide(due, NOW, policy=policy, window=WINDOW, cap=cap, more=more)
    return [(decision.reason or "run", decision.count) for decision in decisions]


@pytest.mark.parametrize("policy", ["none", "latest", "all"])
def test_an_instant_on_time_runs_whatever_the_policy(policy: Policy) -> None:
    assert reasons(ago(1), policy) == [("run", 1)]


def test_latest_runs_only_the_last_of_the_late_ones() -> None:
    assert reasons(ago(50, 40, 30), "latest") == [("coalesced", 2), ("run", 1)]


def test_latest_lets_an_instant_on_time_stand_for_the_late_ones() -> None:
    assert reasons(ago(50, 40, 0), "latest") == [("coalesced", 2), ("run", 1)]


def test_latest_runs_nothing_while_later_instants_are_still_to_be_looked_at() -> None:
    assert reasons(ago(50, 40), "latest", more=True) == [("coalesced", 2)]


def test_none_runs_nothing_late() -> None:
    assert reasons(ago(50, 40), "none") == [("missed_window", 2)]


def test_all_runs_the_oldest_up_to_the_cap() -> None:
    assert reasons(ago(50, 40, 30), "all", cap=2) == [("run", 1), ("run", 1), ("limit", 1)]


@pytest.mark.parametrize("policy", ["none", "latest", "all"])
def test_nothing_older_than_the_window_runs(policy: Policy) -> None:
    assert reasons(ago(180, 120), policy) == [("missed_window", 2)]


lateness = st.lists(st.integers(0, 3 * 3600), unique=True, max_size=40).map(lambda late: sorted(late, reverse=True))
policies = st.sampled_from(["none", "latest", "all"])


@given(lateness, policies, st.integers(1, 10))
def test_every_instant_gets_exactly_one_decision_in_order(late: list[int], policy: Policy, cap: int) -> None:
    due = [NOW - timedelta(seconds=each) for each in late]
    decisions = decide(due, NOW, policy=policy, window=WINDOW, cap=cap)
    assert sum(decision.count for decision in decisions) == len(due)
    assert [decision.nominal for decision in decisions] == sorted(decision.nominal for decision in decisions)


@given(lateness, policies, st.integers(1, 10))
def test_late_runs_stay_within_window_and_cap(late: list[int], policy: Policy, cap: int) -> None:
    due = [NOW - timedelta(seconds=each) for each in late]
    decisions = decide(due, NOW, policy=policy, window=WINDOW, cap=cap)
    late_runs = [decision for decision in decisions if decision.runs and NOW - decision.nominal > ON_TIME]
    assert all(NOW - decision.nominal <= WINDOW for decision in late_runs)
    assert len(late_runs) <= {"none": 0, "latest": 1, "all": cap}[policy]
