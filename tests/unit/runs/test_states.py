"""The table of states in the documentation, and the diagram, are the ones in the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dashboard.core.tenancy import ActorKind
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
from tests.factories.ledger import BEGINNINGS

PAGE = Path(__file__).parents[3] / "docs" / "run-lifecycle.md"
DIAGRAM = re.compile(r"```mermaid\n(.*?)\n```", re.DOTALL)
ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)


def test_the_documentation_has_the_states_and_moves_of_the_code() -> None:
    documented = {state: set(re.findall(r"`(\w+)`", moves)) for state, moves in ROW.findall(PAGE.read_text())}
    assert documented == {state: set(moves) for state, moves in MOVES.items()}


def drawn() -> str:
    """Return the table of moves as Mermaid draws it: from where to where, and who makes the move."""
    lines = ["stateDiagram-v2", *(f"    [*] --> {state}" for state in BEGINNINGS)]
    for old, moves in MOVES.items():
        lines += [f"    {old} --> {new}: {', '.join(sorted(makers))}" for new, makers in moves.items()]
    return "\n".join([*lines, *(f"    {state} --> [*]" for state in RUN_STATES if state not in ACTIVE_STATES)])


def test_the_diagram_in_the_documentation_is_the_table_of_the_code() -> None:
    assert DIAGRAM.findall(PAGE.read_text()) == [drawn()]


def test_every_maker_is_explained_in_the_documentation() -> None:
    explained = re.findall(r"^\| (\w+) \| [^|]+ \|$", PAGE.read_text().partition("## Who moves it")[2], re.MULTILINE)
    assert {"person", "schedule", "dispatcher", "worker", "reaper"} <= set(explained)
    assert {maker for moves in MOVES.values() for makers in moves.values() for maker in makers} <= set(explained)


@pytest.mark.parametrize(
    ("old", "new", "actor", "legal"),
    [
        ("ready", "cancelled", "user", True),
        ("ready", "cancelled", "schedule", True),
        ("ready", "admitted", "user", False),
        ("running", "succeeded", "user", False),
        ("interrupted", "succeeded", "user", True),
        ("dead", "ready", "user", True),
        ("dead", "ready", "schedule", False),
        ("dead", "ready", "system", True),
        ("cancelled", "ready", "system", False),
        ("skipped", "ready", "user", False),
    ],
)
def test_a_move_is_legal_only_for_those_who_may_make_it(old: str, new: str, actor: ActorKind, legal: bool) -> None:
    assert can_move(old, new, actor) is legal


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(RUN_STATES)


@pytest.mark.parametrize("state", sorted(set(RUN_STATES) - ACTIVE_STATES))
def test_a_run_that_has_ended_moves_only_if_a_person_runs_it_again(state: str) -> None:
    also = {"interrupted": {SUCCEEDED}}.get(state, set())
    assert set(MOVES[state]) == ({READY} | also if state in PROBLEM_STATES | {SUCCEEDED} else set())


def test_the_groups_of_states_agree() -> None:
    assert {state for state in ACTIVE_STATES if can_move(state, "cancelled")} == WAITING_STATES | {"running"}
    assert HOLDS_SLOT <= ACTIVE_STATES
