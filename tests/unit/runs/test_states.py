"""The table of states in the documentation is the one in the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dashboard.runs.states import (
    ACTIVE_STATES,
    HOLDS_SLOT,
    MOVES,
    PROBLEM_STATES,
    READY,
    RUN_STATES,
    SUCCEEDED,
    WAITING_STATES,
    can_move,
)

PAGE = Path(__file__).parents[3] / "docs" / "run-lifecycle.md"
ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)


def test_the_documentation_has_the_states_and_moves_of_the_code() -> None:
    documented = {state: set(re.findall(r"`(\w+)`", moves)) for state, moves in ROW.findall(PAGE.read_text())}
    assert documented == {state: set(moves) for state, moves in MOVES.items()}


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(RUN_STATES)


@pytest.mark.parametrize("state", sorted(set(RUN_STATES) - ACTIVE_STATES))
def test_a_run_that_has_ended_moves_only_if_a_person_runs_it_again(state: str) -> None:
    also = {"interrupted": {SUCCEEDED}}.get(state, set())
    assert MOVES[state] == ({READY} | also if state in PROBLEM_STATES | {SUCCEEDED} else set())


def test_the_groups_of_states_agree() -> None:
    assert {state for state in ACTIVE_STATES if can_move(state, "cancelled")} == WAITING_STATES | {"running"}
    assert HOLDS_SLOT <= ACTIVE_STATES
