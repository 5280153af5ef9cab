"""What lies in a blackout is swallowed, everything else is left as it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from dashboard.schedules.blackouts import Window, apart, divide

START = datetime(2027, 3, 1, tzinfo=UTC)
minutes = st.integers(0, 600).map(lambda count: START + timedelta(minutes=count))
windows = st.lists(
    st.tuples(minutes, st.integers(1, 200), st.sampled_from(["Audit", "Move"])).map(
        lambda drawn: Window(drawn[0], drawn[0] + timedelta(minutes=drawn[1]), drawn[2])
    ),
    max_size=4,
)


@given(st.lists(minutes, unique=True, max_size=60).map(sorted), windows)
def test_each_instant_is_swallowed_by_a_window_that_holds_it_or_stays(
    due: list[datetime], blackouts: list[Window]
) -> None:
    outside, skips = divide(due, apart(sorted(blackouts)))
    held = [at for at in due if any(window.start <= at < window.end for window in blackouts)]
    assert outside == [at for at in due if at not in held]
    assert sum(skip.count for skip in skips) == len(held)
    assert {skip.reason for skip in skips} <= {"blackout"}
    for skip in skips:
        assert any(w.name == skip.note and w.start <= skip.nominal <= skip.until < w.end for w in blackouts)


def test_without_windows_nothing_changes() -> None:
    due = [START, START + timedelta(minutes=1)]
    assert divide(due, []) == (due, [])
