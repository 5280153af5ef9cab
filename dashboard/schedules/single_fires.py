"""Decide on one fire ahead: skip it, move it, or run it after all.

The decision is written as its occurrence, which the planner then finds made: an instant is decided on once.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from dashboard.audit.actions import record
from dashboard.core.clock import database_now
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.orm import db
from dashboard.core.tenancy import require_binding
from dashboard.jobs.registry import UnknownJobType
from dashboard.runs.load import RUNS, notify
from dashboard.schedules.actions import recurrence
from dashboard.schedules.civil import timeline
from dashboard.schedules.launching import launch
from dashboard.schedules.models import Occurrence, Schedule

BY_HAND = "by_hand"
_MOMENT = timedelta(seconds=1)


def skip(schedule: Schedule, nominal: datetime) -> None:
    """Leave out the fire at `nominal`. Raises Refused if it does not lie ahead, or was decided on."""
    _lock(schedule, nominal)
    db.session.add(_occurrence(schedule, nominal, decision="skip", reason=BY_HAND))
    _commit("schedule.skip_fire", schedule, nominal)


def restore(schedule: Schedule, nominal: datetime) -> None:
    """Let a fire that was skipped by hand run after all. Raises Refused if it has passed or was not skipped."""
    now = database_now(db.session())
    db.session.refresh(schedule, with_for_update=True)
    occurrence = db.session.scalar(_decided(schedule, nominal))
    if occurrence is None or occurrence.reason != BY_HAND or nominal <= now:
        raise Refused("This fire was not skipped, or its time has passed.")
    occurrence.decision, occurrence.reason = "run", ""
    _launch(schedule, occurrence, nominal)
    _commit("schedule.restore_fire", schedule, nominal)


def move(schedule: Schedule, nominal: datetime, to: datetime) -> None:
    """Run the fire at `nominal` at `to` instead; it stands in the ledger as scheduled and can be cancelled there.

    Raises Refused if the fire does not lie ahead or was decided on, InvalidInput if `to` has passed.
    """
    _lock(schedule, nominal)
    if to <= database_now(db.session()):
        raise InvalidInput({"to": "Choose a time that is still to come."})
    occurrence = _occurrence(schedule, nominal, decision="run", note=f"Moved to {to:%Y-%m-%d %H:%M} UTC")
    db.session.add(occurrence)
    db.session.flush()
    _launch(schedule, occurrence, to)
    _commit("schedule.move_fire", schedule, nominal, to=to.isoformat())


def decided_ahead(schedule: Schedule, now: datetime) -> dict[datetime, Occurrence]:
    """Return the fires ahead that somebody decided on, by their nominal instant."""
    query = sa.select(Occurrence).where(Occurrence.schedule_id == schedule.id, Occurrence.nominal > now)
    return {row.nominal: row for row in db.session.scalars(query) if row.nominal is not None}


def _lock(schedule: Schedule, nominal: datetime) -> None:
    db.session.refresh(schedule, with_for_update=True)
    now = database_now(db.session())
    if schedule.archived_at is not None or nominal <= now:
        raise Refused("This fire does not lie ahead any more.")
    if next(recurrence(schedule).between(nominal.replace(microsecond=0) - _MOMENT, nominal), None) != nominal:
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


def _launch(schedule: Schedule, occurrence: Occurrence, at: datetime) -> None:
    try:
        launch(db.session(), schedule, occurrence, not_before=at, actor=require_binding().actor)
    except (UnknownJobType, InvalidInput) as error:
        db.session.rollback()
        raise Refused(f"{error} Edit the schedule first.") from error
    if schedule.runs_left is not None:
        schedule.runs_left -= 1


def _commit(action: str, schedule: Schedule, nominal: datetime, **details: str) -> None:
    session = db.session()
    subject = ("schedule", schedule.id, schedule.name)
    record(session, action, subject=subject, details={"nominal": nominal.isoformat(), **details})
    notify(session, RUNS)
    session.commit()
