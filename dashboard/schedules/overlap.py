"""Say what becomes of a run by hand when others of its schedule are still going, by the schedule's overlap policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from dashboard.core.orm import db
from dashboard.runs.models import Run
from dashboard.runs.states import ACTIVE_STATES, READY, RUNNING, SCHEDULED
from dashboard.schedules.launching import given_key, key_of
from dashboard.schedules.models import Schedule
from dashboard.schedules.occurrences import NO_BACKFILL

MOST = 100
"""Runs that are looked at; where so many go at once, one more or less makes no difference."""

Outcome = Literal["starts", "skipped", "waits", "cancels", "joins"]
ON_MEETING: Mapping[str, Outcome] = {"allow": "joins", "cancel_running": "cancels"}
WORDS: Mapping[Outcome, str] = {
    "starts": "It starts as soon as a worker is free.",
    "skipped": "this one will be skipped unless you force it.",
    "waits": "this one waits until it has ended.",
    "cancels": "it is cancelled, and this one starts when it has ended.",
    "joins": "both run at once, as this schedule allows.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """The schedule's runs that are still going, oldest first, what one more run would do, and how to force it.

    `force` says what a forced run does; it is empty where that would be nothing else.
    """

    runs: Sequence[Run]
    outcome: Outcome
    force: str

    @property
    def words(self) -> str:
        """What an operator should know before running it."""
        if not self.runs:
            return WORDS[self.outcome]
        is_running = any(run.state == RUNNING for run in self.runs)
        return f"One is {'running' if is_running else 'waiting to run'} now: {WORDS[self.outcome]}"


def meeting(schedule: Schedule) -> Meeting:
    """Return what a run by hand of `schedule` would meet now. Runs that wait for a later time do not count."""
    later = sa.and_(Run.state == SCHEDULED, Run.not_before > sa.func.now())
    going = sa.select(Run).where(
        Run.schedule_id == schedule.id, Run.state.in_(ACTIVE_STATES), ~later, sa.text(NO_BACKFILL)
    )
    key = key_of(schedule)
    if key is not None:
        going = going.where(Run.concurrency_key == key)
    runs = db.session.scalars(going.order_by(Run.id).limit(MOST)).all()
    outcome = _outcome(schedule.overlap, runs)
    return Meeting(runs=runs, outcome=outcome, force=_force(outcome, has_key=given_key(schedule) is not None))


def _outcome(overlap: str, going: Sequence[Run]) -> Outcome:
    if not going:
        return "starts"
    if overlap == "skip" or (overlap == "queue_one" and any(run.state in {SCHEDULED, READY} for run in going)):
        return "skipped"
    return ON_MEETING.get(overlap, "waits")


def _force(outcome: Outcome, *, has_key: bool) -> str:
    if outcome in {"starts", "joins"} or (has_key and outcome == "waits"):
        return ""
    return "Force it: let it wait for the other" if has_key else "Force it: run both at once"
