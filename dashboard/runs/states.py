"""The states of a run, and which moves between them are legal."""

from __future__ import annotations

SCHEDULED = "scheduled"  # waits for its not_before
READY = "ready"  # waits for a free slot
ADMITTED = "admitted"  # its message is on the way to a worker
RUNNING = "running"  # a worker holds its lease
RETRYING = "retrying"  # failed, and waits for its next attempt's not_before
SUCCEEDED = "succeeded"
FAILED = "failed"  # ended by a permanent error
DEAD = "dead"  # its attempts are used up
CANCELLED = "cancelled"  # a person stopped it
TIMED_OUT = "timed_out"  # ran into its time limit
INTERRUPTED = "interrupted"  # its worker died, and it must not run twice unasked
SKIPPED = "skipped"  # never started; the reason says why

RUN_STATES = (
    SCHEDULED,
    READY,
    ADMITTED,
    RUNNING,
    RETRYING,
    SUCCEEDED,
    FAILED,
    DEAD,
    CANCELLED,
    TIMED_OUT,
    INTERRUPTED,
    SKIPPED,
)

MOVES: dict[str, frozenset[str]] = {
    SCHEDULED: frozenset({READY, CANCELLED, SKIPPED}),
    READY: frozenset({ADMITTED, CANCELLED, SKIPPED, DEAD}),
    ADMITTED: frozenset({RUNNING, READY, CANCELLED}),
    RUNNING: frozenset({SUCCEEDED, FAILED, DEAD, CANCELLED, TIMED_OUT, INTERRUPTED, RETRYING, READY}),
    RETRYING: frozenset({READY, CANCELLED, DEAD}),
    SUCCEEDED: frozenset({READY}),
    FAILED: frozenset({READY}),
    DEAD: frozenset({READY}),
    CANCELLED: frozenset(),
    TIMED_OUT: frozenset({READY}),
    INTERRUPTED: frozenset({READY, SUCCEEDED}),
    SKIPPED: frozenset(),
}
"""From each state, the states a run may move to.

`ready` after an end is a redrive by a person, after `succeeded` to send again a mail that may not have arrived.
`succeeded` after `interrupted` is a person who looked and found the work done.
"""

ACTIVE_STATES = frozenset({SCHEDULED, READY, ADMITTED, RUNNING, RETRYING})
"""States from which a run still moves by itself."""

WAITING_STATES = frozenset({SCHEDULED, READY, ADMITTED, RETRYING})
"""States in which no worker is at work on the run, so that cancelling it takes effect at once."""

HOLDS_SLOT = frozenset({ADMITTED, RUNNING})
"""States that count against a tenant's share of the workers."""

PROBLEM_STATES = frozenset({FAILED, DEAD, TIMED_OUT, INTERRUPTED})
"""Ends that ask for a person."""


def can_move(old: str, new: str) -> bool:
    """Whether the table of moves has one from `old` to `new`."""
    return new in MOVES[old]
