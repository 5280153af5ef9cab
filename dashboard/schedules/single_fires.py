"""Decide on one fire ahead: skip it, move it, or run it after all.

The decision is written as its occurrence, which the planner then finds made: an instant is decided on once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from dashboard.audit.actions import record
from dashboard.core.clock import database_now
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.orm import db
from dashboard.core.tenancy import require_binding
from dashboard.runs.load import RUNS, announce
from dashboard.runs.models import Run
from dashboard.runs.states import SCHEDULED
from dashboard.schedules.actions import recurrence, refuse_archived
from dashboard.schedules.blackouts import apart, window_at, windows_between
from dashboard.schedules.civil import timeline
from dashboard.schedules.launching import launch
from dashboard.schedules.models import Occurrence, Schedule
from dashboard.schedules.occurrences import LAST_INSTANT
from dashboard.schedules.recurrence import Recurrence, RecurrenceError
from dashboard.schedules.timing import start_of

BY_HAND = "by_hand"
MOVED = "Moved to "
"""Begins the note of a fire that was moved."""
_MOMENT = timedelta(seconds=1)


def skip(schedule: Schedule, nominal: datetime) -> None:
    """Leave out the fire at `nominal`.

    Raises Refused if the schedule is archived, or the fire does not lie ahead or was decided on.
    """
    _hold(schedule)
    _check(schedule, nominal)
    db.session.add(_occurrence(schedule, nominal, decision="skip", reason=BY_HAND))
    _commit("schedule.skip_fire", schedule, nominal)


def restore(schedule: Schedule, nominal: datetime) -> None:
    """Let a fire that was skipped by hand run after all, with its jitter, also while the schedule is paused.

    Raises Refused if the schedule is archived or has no run left, or the fire has passed or was not skipped.
    """
    now = database_now(db.session())
    _hold(schedule)
    occurrence = db.session.scalar(_decided(schedule, nominal))
    if occurrence is None or occurrence.reason != BY_HAND or nominal <= now:
        raise Refused("This fire was not skipped, or its time has passed.")
    start = _start(schedule, nominal, nominal)
    _take_run(schedule)
    occurrence.decision, occurrence.reason = "run", ""
    _launch(schedule, occurrence, start)
    _commit("schedule.restore_fire", schedule, nominal)


def move(schedule: Schedule, nominal: datetime, to: datetime) -> None:
    """Run the fire at `nominal` at `to` instead; it stands in the ledger as scheduled and can be cancelled there.

    Back at its own time it has its jitter again. What was moved before can be moved again, and it runs also while the
    schedule is paused. Raises Refused if the schedule is archived or has no run left, or the fire does not lie ahead,
    was decided on otherwise or has started, InvalidInput if `to` has passed or lies in a blackout.
    """
    _hold(schedule)
    check_time(to)
    waiting = db.session.scalar(_waiting(schedule, nominal))
    if waiting is None:
        _move_first(schedule, nominal, to)
    else:
        _move_again(schedule, waiting, nominal, to)
    _commit("schedule.move_fire", schedule, nominal, to=to.isoformat())


def in_pause(schedule: Schedule) -> str:
    """Return the words to add when a fire is run by hand: that the schedule's pause does not hold it; else nothing."""
    return ", although the schedule is paused" if schedule.paused_at is not None else ""


def check_time(to: datetime) -> None:
    """Refuse a time at which nothing can be run. Raises InvalidInput."""
    if to <= database_now(db.session()):
        raise InvalidInput({"to": "This time has passed. Choose one that is still to come."})
    window = window_at(apart(windows_between(to, to + _MOMENT)), to)
    if window is not None:
        raise InvalidInput({"to": f"Nothing is planned then: it lies in the blackout “{window.name}”."})


def _move_first(schedule: Schedule, nominal: datetime, to: datetime) -> None:
    _check(schedule, nominal)
    start = _start(schedule, nominal, to)
    _take_run(schedule)
    occurrence = _occurrence(schedule, nominal, decision="run", note=_moved_note(nominal, to))
    db.session.add(occurrence)
    db.session.flush()
    run = _launch(schedule, occurrence, start)
    run.expires_at = _expiry(schedule, to)


def _move_again(schedule: Schedule, run: Run, nominal: datetime, to: datetime) -> None:
    run.not_before = _start(schedule, nominal, to)
    run.expires_at = _expiry(schedule, to)
    occurrence = db.session.scalars(_decided(schedule, nominal)).one()
    occurrence.note = _moved_note(nominal, to)


def _moved_note(nominal: datetime, to: datetime) -> str:
    return "" if to == nominal else f"{MOVED}{to:%Y-%m-%d %H:%M} UTC"


def was_moved(occurrence: Occurrence) -> bool:
    """Whether somebody moved this fire away from its own time."""
    return occurrence.note.startswith(MOVED)


def _expiry(schedule: Schedule, at: datetime) -> datetime | None:
    seconds = schedule.expires_after_seconds
    return at + timedelta(seconds=seconds) if seconds else None


def decided_ahead(schedule: Schedule, now: datetime) -> dict[datetime, Occurrence]:
    """Return the fires ahead that somebody decided on, by their nominal instant."""
    query = sa.select(Occurrence).where(Occurrence.schedule_id == schedule.id, Occurrence.nominal > now)
    return {row.nominal: row for row in db.session.scalars(query) if row.nominal is not None}


def time_of(schedule: Schedule, nominal: datetime) -> datetime:
    """Return when the fire at `nominal` runs: another time if somebody moved it."""
    run = db.session.scalar(_run_of(schedule, nominal))
    return run.not_before if run is not None and run.not_before is not None else nominal


def planned_by_hand(start: datetime, end: datetime) -> list[tuple[Run, Occurrence, Schedule]]:
    """Return the bound tenant's runs that wait for a moment in [start, end) as the one fire of a schedule."""
    query = (
        sa.select(Run, Occurrence, Schedule)
        .join(Occurrence, Occurrence.id == Run.occurrence_id)
        .join(Schedule, Schedule.id == Run.schedule_id)
        .where(Run.state == SCHEDULED, Run.not_before >= start, Run.not_before < end, Occurrence.nominal.is_not(None))
    )
    return [(run, occurrence, schedule) for run, occurrence, schedule in db.session.execute(query)]


def decided_of(schedules: Sequence[Schedule], now: datetime) -> dict[tuple[UUID, datetime], Occurrence]:
    """Return what somebody decided on fires ahead of these schedules, by schedule and nominal instant."""
    ids = sa.func.unnest(sa.bindparam("ids", [schedule.id for schedule in schedules], type_=sa.ARRAY(sa.Uuid)))
    wanted = ids.table_valued("id").render_derived(name="wanted")
    # Instants in ISO 8601 sort like the time, so that the unique index finds each schedule's at once.
    ahead = sa.select(Occurrence).join(
        wanted,
        sa.and_(
            Occurrence.schedule_id == wanted.c.id,
            Occurrence.occurrence > now.isoformat(),
            Occurrence.occurrence < LAST_INSTANT,
        ),
    )
    return {(row.schedule_id, row.nominal): row for row in db.session.scalars(ahead) if row.nominal is not None}


def _hold(schedule: Schedule) -> None:
    """Lock the schedule against the planner and everybody else. Raises Refused if it is archived."""
    db.session.refresh(schedule, with_for_update=True)
    refuse_archived(schedule)


def _run_of(schedule: Schedule, nominal: datetime) -> sa.Select[Run]:
    """The run of a fire that waits for its time."""
    fire = sa.and_(Occurrence.schedule_id == schedule.id, Occurrence.occurrence == nominal.isoformat())
    return sa.select(Run).where(Run.occurrence_id.in_(sa.select(Occurrence.id).where(fire)), Run.state == SCHEDULED)


def _waiting(schedule: Schedule, nominal: datetime) -> sa.Select[Run]:
    locked = _run_of(schedule, nominal).with_for_update(key_share=True)
    return locked.execution_options(populate_existing=True)


def _check(schedule: Schedule, nominal: datetime) -> None:
    now = database_now(db.session())
    if nominal <= now:
        raise Refused("This fire does not lie ahead any more.")
    if next(_rule(schedule).between(nominal.replace(microsecond=0) - _MOMENT, nominal), None) != nominal:
        raise Refused("The schedule does not fire at this time. Load the page again.")
    if db.session.scalar(_decided(schedule, nominal)) is not None:
        raise Refused("Somebody has decided on this fire already. Load the page again.")


def _decided(schedule: Schedule, nominal: datetime) -> sa.Select[Occurrence]:
    return sa.select(Occurrence).where(
        Occurrence.schedule_id == schedule.id, Occurrence.occurrence == nominal.isoformat()
    )


def _occurrence(
    schedule: Schedule, nominal: datetime, *, decision: str, reason: str = "", note: str = ""
) -> Occurrence:
    local = nominal.astimezone(timeline(schedule.timezone or require_binding().settings["TIMEZONE"]).zone)
    return Occurrence(
        schedule_id=schedule.id,
        occurrence=nominal.isoformat(),
        nominal=nominal,
        nominal_local=f"{local:%Y-%m-%d %H:%M:%S %Z}",
        decision=decision,
        reason=reason,
        note=note,
        rev=schedule.rev,
    )


def _take_run(schedule: Schedule) -> None:
    """Count one run against the schedule's limit, as its planner does. Raises Refused if none is left."""
    if schedule.runs_left == 0:
        raise Refused("This schedule has no run left. Allow it more in its editor first.")
    if schedule.runs_left is not None:
        schedule.runs_left -= 1


def _start(schedule: Schedule, nominal: datetime, to: datetime) -> datetime:
    """Return when the fire at `nominal` starts if it is to run at `to`: at its own time it has its own jitter."""
    return start_of(schedule, _rule(schedule), nominal) if to == nominal else to


def _rule(schedule: Schedule) -> Recurrence:
    try:
        return recurrence(schedule)
    except RecurrenceError as error:
        raise Refused(f"{error} Edit the schedule first.") from error


def _launch(schedule: Schedule, occurrence: Occurrence, start: datetime) -> Run:
    try:
        return launch(db.session(), schedule, occurrence, not_before=start, actor=require_binding().actor)
    except Refused:
        db.session.rollback()
        raise


def _commit(action: str, schedule: Schedule, nominal: datetime, **details: str) -> None:
    session = db.session()
    subject = ("schedule", schedule.id, schedule.name)
    record(session, action, subject=subject, details={"nominal": nominal.isoformat(), **details})
    announce(session, schedule.tenant_id, RUNS)
    session.commit()
