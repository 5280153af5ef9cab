"""Make up for a range of the past: what would run, its runs, and how far they are.

A backfill's runs wait for one another and go behind everything else. Each of its instants is an occurrence of its own
(`backfill:<id>:<nominal>`), so that doing it twice is doing it once. The schedule's overlap policy does not count them:
thousands that wait would keep it from firing. A key that somebody gave the schedule or its job type counts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dashboard.audit.actions import record
from dashboard.core.clock import database_now
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.ids import new_id
from dashboard.core.orm import db
from dashboard.core.tenancy import require_binding
from dashboard.jobs.registry import JobType
from dashboard.runs.ledger import RunRequest, cancel, enqueue_all
from dashboard.runs.load import shown
from dashboard.runs.models import Run
from dashboard.runs.states import ACTIVE_STATES, PROBLEM_STATES, SUCCEEDED
from dashboard.schedules.actions import recurrence
from dashboard.schedules.blackouts import BLACKOUT
from dashboard.schedules.launching import given_key, kind_for, request_for
from dashboard.schedules.models import Backfill, Occurrence, Schedule
from dashboard.schedules.occurrences import BACKFILL, LAST_INSTANT
from dashboard.schedules.recurrence import Recurrence, RecurrenceError
from dashboard.schedules.single_fires import BY_HAND

MOST = 10_000
LAST_PRIORITY = -100
LISTED = 20
SAMPLE = 20
A_MINUTE = timedelta(minutes=1)
"""Forms give minutes: the one that is not over yet ends now."""

Mode = Literal["missing", "rerun"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a backfill would run; `seconds` is how long, by the schedule's last runs, or None without any.

    Of the other instants `already` have run, and `left_out` were skipped on purpose.
    """

    instants: Sequence[datetime]
    already: int
    left_out: int
    seconds: float | None

    @property
    def listed(self) -> Sequence[datetime]:
        return self.instants[:LISTED]

    @property
    def why_nothing(self) -> str:
        """Say why nothing would run; empty if something would."""
        if self.instants:
            return ""
        if self.left_out:
            return "What has not run in this range was left out on purpose. Choose “All of it again” to run it too."
        if self.already:
            return "Everything in this range has run. Choose “All of it again” to run it once more."
        return "The schedule does not fire in this range. Choose another one."


def estimate(schedule: Schedule, start: datetime, end: datetime, mode: Mode) -> Plan:
    """Return what a backfill of [start, end] would run. Raises InvalidInput for a range that cannot be made up for.

    "missing" leaves out the instants that have run and those that were skipped on purpose: by hand, or by a blackout.
    "rerun" takes them all.
    """
    now = database_now(db.session())
    _check_range(start, end, now)
    before = start - (datetime.resolution * 1_000_000)
    named = list(islice(_rule(schedule).between(before, min(end, now)), MOST + 1))
    if len(named) > MOST:
        raise InvalidInput({"end": f"These are more than {MOST:,} runs. Choose a shorter range."})
    done = _have_run(schedule, start, end) if mode == "missing" else set()
    left_out = _left_out(schedule, named) - done if mode == "missing" else set()
    instants = [at for at in named if at not in done and at not in left_out]
    typical = _typical_seconds(schedule)
    return Plan(
        instants=instants,
        already=len(named) - len(instants) - len(left_out),
        left_out=len(left_out),
        seconds=None if typical is None else typical * len(instants),
    )


def create(schedule: Schedule, start: datetime, end: datetime, mode: Mode) -> Backfill:
    """Put the runs of a range into the ledger. Raises InvalidInput, or Refused if there is nothing to run."""
    session = db.session()
    session.refresh(schedule, with_for_update=True)
    if schedule.archived_at is not None:
        raise Refused("This schedule is archived. Restore it first.")
    kind = kind_for(schedule)
    wanted = estimate(schedule, start, end, mode)
    if wanted.why_nothing:
        raise Refused(wanted.why_nothing)
    binding = require_binding()
    backfill = Backfill(
        schedule_id=schedule.id,
        start_at=start,
        end_at=end,
        mode=mode,
        total=len(wanted.instants),
        created_by_id=binding.actor.id if binding.actor.kind == "user" else None,
    )
    session.add(backfill)
    session.flush()
    _enqueue(session, schedule, kind, backfill, wanted.instants)
    _commit(session, "schedule.backfill", schedule, backfill)
    return backfill


def stop(backfill: Backfill) -> int:
    """Cancel what of a backfill still waits, and ask what runs to stop; return how many. What has run stays."""
    session = db.session()
    active = sa.select(Run).where(_of(backfill), Run.state.in_(ACTIVE_STATES)).order_by(Run.id)
    runs = session.scalars(active.with_for_update(key_share=True)).all()
    actor = require_binding().actor
    for run in runs:
        cancel(session, run, note="Its backfill was stopped.", actor=actor)
    backfill.stopped_at = database_now(session)
    schedule = session.get_one(Schedule, backfill.schedule_id)
    _commit(session, "schedule.stop_backfill", schedule, backfill)
    return len(runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a backfill is."""

    backfill: Backfill
    succeeded: int
    failed: int
    active: int

    @property
    def ended(self) -> int:
        return self.backfill.total - self.active

    @property
    def note(self) -> str:
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"{self.ended:,} of {self.backfill.total:,}{failed}"


def backfills_of(schedule: Schedule, most: int = 5) -> list[Progress]:
    """Return the schedule's last backfills with their progress, newest first."""
    query = sa.select(Backfill).where(Backfill.schedule_id == schedule.id).order_by(Backfill.id.desc()).limit(most)
    return [_progress(backfill) for backfill in db.session.scalars(query)]


def get(backfill_id: UUID) -> Backfill | None:
    """Return the bound tenant's backfill, or None."""
    return db.session.get(Backfill, backfill_id)


def _check_range(start: datetime, end: datetime, now: datetime) -> None:
    if end <= start:
        raise InvalidInput({"end": "Choose an end after the start."})
    if end > now + A_MINUTE:
        raise InvalidInput({"end": "A backfill makes up for the past. Choose an end that has passed."})


def _rule(schedule: Schedule) -> Recurrence:
    try:
        return recurrence(schedule)
    except RecurrenceError as error:
        raise InvalidInput({"": f"{error} Edit the schedule first."}) from error


def _have_run(schedule: Schedule, start: datetime, end: datetime) -> set[datetime]:
    query = sa.select(Occurrence.nominal).where(
        Occurrence.schedule_id == schedule.id, Occurrence.decision == "run", Occurrence.nominal.between(start, end)
    )
    return {at for at in db.session.scalars(query) if at is not None}


def _left_out(schedule: Schedule, named: Sequence[datetime]) -> set[datetime]:
    """Return those of `named` (ascending) that were skipped on purpose."""
    if not named:
        return set()
    last = sa.func.coalesce(Occurrence.until, Occurrence.nominal)
    skips = sa.select(Occurrence.nominal, last).where(
        Occurrence.schedule_id == schedule.id,
        Occurrence.decision == "skip",
        Occurrence.reason.in_((BY_HAND, BLACKOUT)),
        Occurrence.nominal <= named[-1],
        last >= named[0],
    )
    found: set[datetime] = set()
    for first, until in db.session.execute(skips):
        if first is not None and until is not None:
            found.update(named[bisect_left(named, first) : bisect_right(named, until)])
    return found


def _typical_seconds(schedule: Schedule) -> float | None:
    lasted = sa.extract("epoch", Run.finished_at - Run.started_at).label("lasted")
    last = (
        sa.select(lasted)
        .where(Run.schedule_id == schedule.id, Run.state == SUCCEEDED)
        .order_by(Run.id.desc())
        .limit(SAMPLE)
        .subquery()
    )
    median = db.session.scalar(sa.select(sa.func.percentile_cont(0.5).within_group(last.c.lasted)))
    return None if median is None else float(median)


def _enqueue(
    session: Session, schedule: Schedule, kind: JobType, backfill: Backfill, instants: Sequence[datetime]
) -> None:
    occurrences = [_occurrence(schedule, backfill, at) for at in instants]
    session.add_all(occurrences)
    session.flush()
    enqueue_all(session, [_request(schedule, kind, backfill, occurrence) for occurrence in occurrences])


def _occurrence(schedule: Schedule, backfill: Backfill, at: datetime) -> Occurrence:
    return Occurrence(
        id=new_id(),
        schedule_id=schedule.id,
        occurrence=f"{_key(backfill)}:{at.isoformat()}",
        nominal=at,
        nominal_local=f"{at:%Y-%m-%d %H:%M:%S} UTC",
        decision="run",
        rev=schedule.rev,
    )


def _request(schedule: Schedule, kind: JobType, backfill: Backfill, occurrence: Occurrence) -> RunRequest:
    request = request_for(schedule, occurrence, kind, not_before=None, actor=require_binding().actor, lane="bulk")
    key = given_key(schedule) or _key(backfill)
    return replace(request, priority=LAST_PRIORITY, concurrency_key=key, expires_at=None)


def _key(backfill: Backfill) -> str:
    return f"{BACKFILL}{backfill.id}"


def _of(backfill: Backfill) -> sa.ColumnElement[bool]:
    instants = sa.select(Occurrence.id).where(
        Occurrence.schedule_id == backfill.schedule_id,
        Occurrence.occurrence >= f"{_key(backfill)}:0",
        Occurrence.occurrence < f"{_key(backfill)}:{LAST_INSTANT}",
    )
    return Run.occurrence_id.in_(instants)


def _progress(backfill: Backfill) -> Progress:
    number = sa.func.count().label("number")
    rows = db.session.execute(sa.select(Run.state, number).where(_of(backfill)).group_by(Run.state))
    counts = Counter({row.state: row.number for row in rows})
    return Progress(
        backfill=backfill,
        succeeded=counts[SUCCEEDED],
        failed=sum(counts[state] for state in PROBLEM_STATES),
        active=sum(counts[state] for state in ACTIVE_STATES),
    )


def _commit(session: Session, action: str, schedule: Schedule, backfill: Backfill) -> None:
    details = {"backfill": str(backfill.id), "mode": backfill.mode, "total": backfill.total}
    record(session, action, subject=("schedule", schedule.id, schedule.name), details=details)
    shown(session, schedule.tenant_id)
    session.commit()
