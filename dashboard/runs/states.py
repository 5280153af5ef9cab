"""The states of a run, and which moves between them are legal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from dashboard.core.tenancy import ActorKind

SCHEDULED = "scheduled"  # waits for its not_before
READY = "ready"  # waits for a free slot
ADMITTED = "admitted"  # its message is on the way to a worker
RUNNING = "running"  # a worker holds its lease
RETRYING = "retrying"  # failed, and waits for its next attempt's not_before
SUCCEEDED = "succeeded"
FAILED = "failed"  # ended by a permanent error, or its only attempt failed
DEAD = "dead"  # its attempts are used up
CANCELLED = "cancelled"  # a person stopped it, or the next fire of its schedule
TIMED_OUT = "timed_out"  # ran into its time limit
INTERRUPTED = "interrupted"  # cut off in the middle, and it must not run twice unasked
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

Maker = Literal["person", "schedule", "dispatcher", "worker", "reaper"]
"""Who makes a move: a person by a click or a command, a schedule whose next run is due, or one of beat's and the
worker's parts. The reaper is whoever decides about waiting runs and about those of dead workers."""

_STOPPED: frozenset[Maker] = frozenset({"person", "schedule"})
_DISPATCHER: frozenset[Maker] = frozenset({"dispatcher"})
_WORKER: frozenset[Maker] = frozenset({"worker"})
_REAPER: frozenset[Maker] = frozenset({"reaper"})
_PERSON: frozenset[Maker] = frozenset({"person"})

MOVES: dict[str, dict[str, frozenset[Maker]]] = {
    SCHEDULED: {READY: _REAPER, CANCELLED: _STOPPED, SKIPPED: _REAPER},
    READY: {ADMITTED: _DISPATCHER, CANCELLED: _STOPPED, SKIPPED: _REAPER, DEAD: _REAPER},
    ADMITTED: {RUNNING: _WORKER, READY: _DISPATCHER | _REAPER, CANCELLED: _STOPPED},
    RUNNING: {
        SUCCEEDED: _WORKER,
        FAILED: _WORKER,
        DEAD: _WORKER | _REAPER,
        CANCELLED: _WORKER | _REAPER,
        TIMED_OUT: _WORKER,
        INTERRUPTED: _WORKER | _REAPER | _PERSON,
        RETRYING: _WORKER,
        READY: _WORKER | _REAPER,
    },
    RETRYING: {READY: _REAPER, CANCELLED: _STOPPED, DEAD: _REAPER},
    SUCCEEDED: {READY: _PERSON},
    FAILED: {READY: _PERSON},
    DEAD: {READY: _PERSON},
    CANCELLED: {},
    TIMED_OUT: {READY: _PERSON},
    INTERRUPTED: {READY: _PERSON, SUCCEEDED: _PERSON},
    SKIPPED: {},
}
"""From each state, the states a run may move to, and who may make the move.

`ready` after an end is a redrive by a person, after `succeeded` to send again a mail that may not have arrived.
`succeeded` after `interrupted` is a person who looked and found the work done. `interrupted` by a person is a key that
was taken from a run.
"""

ACTIVE_STATES = frozenset({SCHEDULED, READY, ADMITTED, RUNNING, RETRYING})
"""States from which a run still moves by itself."""

WAITING_STATES = frozenset({SCHEDULED, READY, ADMITTED, RETRYING})
"""States in which no worker is at work on the run, so that cancelling it takes effect at once."""

HOLDS_SLOT = frozenset({ADMITTED, RUNNING})
"""States that count against a tenant's share of the workers."""

PROBLEM_STATES = frozenset({FAILED, DEAD, TIMED_OUT, INTERRUPTED})
"""Ends that ask for a person."""


_MAKER_OF: Mapping[ActorKind, Maker] = {"user": "person", "schedule": "schedule"}


def can_move(old: str, new: str, actor: ActorKind = "system") -> bool:
    """Whether the table has a move from `old` to `new` for `actor`; the system's parts and commands may make any."""
    makers = MOVES[old].get(new)
    return makers is not None and (actor == "system" or _MAKER_OF[actor] in makers)
