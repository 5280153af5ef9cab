"""What operators do to schedules; each act is one transaction with its audit line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from typing import Any, NoReturn
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dashboard.audit.actions import record
from dashboard.core.clock import database_now
from dashboard.core.errors import InvalidInput, Refused
from dashboard.core.ids import new_id
from dashboard.core.orm import db
from dashboard.core.tenancy import require_binding
from dashboard.jobs.registry import UnknownJobType, job_type
from dashboard.runs.ledger import cancel
from dashboard.runs.load import SCHEDULES, announce
from dashboard.runs.models import Run
from dashboard.runs.states import WAITING_STATES
from dashboard.schedules import calendars, caps
from dashboard.schedules.launching import launch
from dashboard.schedules.models import Occurrence, Schedule, ScheduleRevision
from dashboard.schedules.overlap import meeting
from dashboard.schedules.planner import resume as end_pause
from dashboard.schedules.recurrence import Recurrence, RecurrenceError
from dashboard.schedules.revisions import Change, changes, snapshot
from dashboard.schedules.timing import recurrence_of, rewind, settle


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDraft:
    """What an operator wants of a schedule; `params` as `jobs.params.dump` stores them, durations in seconds.

    The other fields are as in `models.Schedule`, and not yet checked. Without an `anchor` a period counts from where it
    did before, a new one from when it is saved.
    """

    name: str
    note: str = ""
    tags: list[str] = field(default_factory=list)
    job_type: str
    params: dict[str, Any]
    kind: str
    crons: list[str]
    every_seconds: int | None = None
    anchor: datetime | None = None
    once_local: datetime | None = None
    timezone: str = ""
    dst_gap: str = "after"
    dst_overlap: str = "first"
    start_at: datetime | None = None
    end_at: datetime | None = None
    skip_dates: list[date] = field(default_factory=list)
    extra_dates: list[date] = field(default_factory=list)
    holiday_calendars: list[UUID] = field(default_factory=list)
    runs_left: int | None = None
    jitter_seconds: int = 0
    catchup: str = "latest"
    catchup_window_seconds: int = 3600
    catchup_cap: int = 100
    overlap: str = "skip"
    concurrency_key: str | None = None
    priority: int = 0
    max_attempts: int | None = None
    backoff: dict[str, Any] = field(default_factory=dict)
    pause_after_failures: int | None = None
    timeout_seconds: int | None = None
    expires_after_seconds: int | None = None


TIMING = frozenset(
    {
        "kind",
        "crons",
        "every_seconds",
        "anchor",
        "once_local",
        "timezone",
        "dst_gap",
        "dst_overlap",
        "start_at",
        "end_at",
        "skip_dates",
        "extra_dates",
        "holiday_calendars",
        "runs_left",
    }
)
"""Fields whose change moves the next fire."""

RULE_FIELDS = {"once": "once_local", "interval": "every", "cron": "crons"}
"""The field of each kind that says when it fires."""

HINDRANCES: tuple[tuple[str, Any, str], ...] = (
    ("dst_gap", "after", "The clock skips this time. Choose another time, or another answer to that."),
    ("skip_dates", (), "All the days on which it would run stand here. Take one out, or choose another day."),
    ("days_off", (), ""),
    ("start_at", None, "This is later than the last time at which it would run. Choose an earlier one."),
    ("end_at", None, "This is earlier than the next time at which it would run. Choose a later one."),
)
"""What can keep a rule from firing at all, what stands for without it, and what to say beside its field."""


def create(draft: ScheduleDraft, *, schedule_id: UUID | None = None) -> Schedule:
    """Save a new schedule and wake the planner. Raises InvalidInput naming each field to mend.

    A second call with the same `schedule_id` and draft, such as of a double click, returns the same schedule.
    """
    session = db.session
    known = session.get(Schedule, schedule_id) if schedule_id else None
    if known is not None and not _against_stored(known, draft):
        return known
    if full := caps.too_many():
        raise InvalidInput({"name": full})
    schedule = _new(draft, None if known else schedule_id)
    try:
        session.flush()
    except IntegrityError:  # the other click took the id meanwhile, or it is one that we may not see
        session.rollback()
        if schedule_id is None:
            raise
        known = session.get(Schedule, schedule_id)
        return known if known is not None and not _against_stored(known, draft) else create(draft)
    _keep_revision(schedule)
    _commit(session(), "schedule.create", schedule)
    return schedule


def _new(draft: ScheduleDraft, schedule_id: UUID | None) -> Schedule:
    binding = require_binding()
    schedule = Schedule(
        id=schedule_id or new_id(),
        tenant_id=binding.tenant.id,
        owner_id=binding.actor.id if binding.actor.kind == "user" else None,
        context_root_id=binding.root.id,
        context_locale=binding.locale,
        rev=1,
    )
    _apply(schedule, draft, database_now(db.session()))
    db.session.add(schedule)
    return schedule


class Conflict(Refused):
    """Somebody changed this schedule since you opened it."""

    def __init__(self, changes: Sequence[Change], rev: int) -> None:
        super().__init__()
        self.changes = changes
        self.rev = rev


def draft_of(schedule: Schedule) -> ScheduleDraft:
    """Return what a stored schedule is, as a draft to change and save."""
    return ScheduleDraft(**{each.name: getattr(schedule, each.name) for each in fields(ScheduleDraft)})


def update(schedule: Schedule, draft: ScheduleDraft, *, rev: int, sets_runs_left: bool = False) -> None:
    """Save changes; new timing counts from now and never fires at the save.

    How many runs are left is the draft's only if it `sets_runs_left`: each planned run lowers the stored number.
    Raises InvalidInput for bad fields, Conflict with what differs if somebody saved since `rev`.
    """
    session = db.session
    calendars.hold(draft.holiday_calendars)
    session.refresh(schedule, with_for_update=True)
    refuse_archived(schedule)
    if not sets_runs_left:
        draft = replace(draft, runs_left=schedule.runs_left)
    draft = _anchored(draft, schedule)
    if schedule.rev != rev:
        raise Conflict(_against_stored(schedule, draft), schedule.rev)
    before = snapshot(schedule)
    moved = schedule.problem or any(getattr(schedule, name) != getattr(draft, name) for name in TIMING)
    cursor = schedule.cursor, schedule.next_at
    if moved:
        settle(session(), schedule, require_binding().settings["TIMEZONE"], database_now(session()))
    _apply(schedule, draft, database_now(session()))
    if not moved:
        schedule.cursor, schedule.next_at = cursor
    schedule.problem = ""
    schedule.failures_from = database_now(session())
    schedule.rev += 1
    _keep_revision(schedule)
    changed = [change.label for change in changes(before, snapshot(schedule))]
    _commit(session(), "schedule.update", schedule, changed=changed)


def _against_stored(schedule: Schedule, draft: ScheduleDraft) -> list[Change]:
    """Return what saving `draft` would change, without touching the stored schedule."""
    draft = _anchored(draft, schedule)
    wanted = Schedule(**{each.name: getattr(draft, each.name) for each in fields(draft)})
    return changes(snapshot(schedule), snapshot(wanted))


def _anchored(draft: ScheduleDraft, schedule: Schedule) -> ScheduleDraft:
    return draft if draft.anchor else replace(draft, anchor=schedule.anchor)


def _keep_revision(schedule: Schedule) -> None:
    actor = require_binding().actor
    revision = ScheduleRevision(
        schedule_id=schedule.id,
        rev=schedule.rev,
        actor_kind=actor.kind,
        actor_id=actor.id,
        fields=snapshot(schedule),
    )
    db.session.add(revision)


def pause(schedule: Schedule, *, reason: str, until: datetime | None = None) -> None:
    """Plan nothing until somebody resumes it, or until `until`. Raises Refused if it is paused already."""
    session = db.session
    session.refresh(schedule, with_for_update=True)
    refuse_archived(schedule)
    if schedule.paused_at is not None:
        raise Refused("This schedule is paused already.")
    now = database_now(session())
    if until is not None and until <= now:
        raise InvalidInput({"until": "Give a time that is still to come."})
    actor = require_binding().actor
    schedule.paused_at, schedule.paused_until, schedule.paused_reason = now, until, reason
    schedule.paused_by_id = actor.id if actor.kind == "user" else None
    end = {"until": until.isoformat()} if until else {}
    _commit(session(), "schedule.pause", schedule, reason=reason, **end)


def resume(schedule: Schedule) -> int:
    """Go on from now; what was missed is listed as skipped, and its number returned. Raises Refused if not paused."""
    session = db.session
    session.refresh(schedule, with_for_update=True)
    refuse_archived(schedule)
    if schedule.paused_at is None:
        raise Refused("This schedule is not paused.")
    before = schedule.cursor or schedule.created_at
    end_pause(session(), schedule, database_now(session()))
    missed = sa.select(sa.func.coalesce(sa.func.sum(Occurrence.count), 0)).where(
        Occurrence.schedule_id == schedule.id,
        Occurrence.decision == "skip",
        Occurrence.reason == "paused",
        sa.func.coalesce(Occurrence.until, Occurrence.nominal) > before,
    )
    number = session.scalars(missed).one()
    _commit(session(), "schedule.resume", schedule)
    return number


def archive(schedule: Schedule) -> None:
    """Stop it for good: a run that works goes on, waiting ones are cancelled, its history stays."""
    session = db.session
    session.refresh(schedule, with_for_update=True)
    refuse_archived(schedule)
    schedule.archived_at = database_now(session())
    waiting = session.scalars(
        sa.select(Run)
        .where(Run.schedule_id == schedule.id, Run.state.in_(WAITING_STATES))
        .order_by(Run.id)
        .with_for_update(key_share=True)
    ).all()
    for run in waiting:
        cancel(session(), run, note="Its schedule was archived.", actor=require_binding().actor)
    _commit(session(), "schedule.archive", schedule, cancelled=len(waiting))


def restore(schedule: Schedule) -> None:
    """Bring an archived schedule back, paused, so that nothing fires before somebody looked at it."""
    session = db.session
    session.refresh(schedule, with_for_update=True)
    if schedule.archived_at is None:
        raise Refused("This schedule is not archived.")
    if full := caps.too_many():
        raise Refused(full)
    now = database_now(session())
    schedule.archived_at = None
    schedule.is_failing = False
    schedule.paused_at = schedule.cursor = now
    schedule.paused_reason = "Restored from the archive."
    _commit(session(), "schedule.restore", schedule)


class Skipped(Refused):
    """A run of this schedule is still going, so this one was skipped. Force it to run both at once."""


def run_now(schedule: Schedule, *, token: str = "", force: bool = False) -> Run:
    """Run it once more, now; its next fire stays. A second call with the same `token` returns the same run.

    Runs that meet are treated as the schedule's overlap policy says; with `force` it runs beside them. Raises Skipped
    if the policy skips it, Refused if the schedule is archived or its job type or parameters are no longer valid.
    """
    session = db.session
    session.refresh(schedule, with_for_update=True)
    refuse_archived(schedule)
    key = f"manual:{token or uuid4()}"
    known = session.scalar(
        sa.select(Occurrence).where(Occurrence.schedule_id == schedule.id, Occurrence.occurrence == key)
    )
    if known is not None:
        return _run_of(known)
    found = meeting(schedule)
    if found.outcome == "skipped" and not force:
        _skip_by_hand(schedule, key)
    if found.outcome == "cancels" and not force:
        _cancel_for_another(found.runs)
    run = _launch_by_hand(schedule, key, beside=force)
    _commit(session(), "schedule.run_now", schedule, run_id=str(run.id), forced=force)
    return run


def _run_of(occurrence: Occurrence) -> Run:
    """Return what came of an earlier click. Raises Skipped if that was nothing."""
    run = db.session.scalar(sa.select(Run).where(Run.occurrence_id == occurrence.id))
    if run is None:
        raise Skipped
    return run


def _skip_by_hand(schedule: Schedule, key: str) -> NoReturn:
    skip = Occurrence(schedule_id=schedule.id, occurrence=key, decision="skip", reason="overlap", rev=schedule.rev)
    db.session.add(skip)
    _commit(db.session(), "schedule.run_now", schedule, skipped="overlap")
    raise Skipped


def _cancel_for_another(runs: Sequence[Run]) -> None:
    ids = [run.id for run in runs]
    locked = sa.select(Run).where(Run.id.in_(ids)).order_by(Run.id).with_for_update(key_share=True)
    for run in db.session.scalars(locked.execution_options(populate_existing=True)).all():
        cancel(db.session(), run, note="Somebody ran it again.", actor=require_binding().actor)


def _launch_by_hand(schedule: Schedule, key: str, *, beside: bool) -> Run:
    session = db.session
    occurrence = Occurrence(schedule_id=schedule.id, occurrence=key, decision="run", rev=schedule.rev)
    session.add(occurrence)
    session.flush()
    actor = require_binding().actor
    try:
        return launch(session(), schedule, occurrence, not_before=None, actor=actor, lane="interactive", beside=beside)
    except Refused:
        session.rollback()
        raise


def get(schedule_id: UUID) -> Schedule | None:
    """Return the bound tenant's schedule, or None."""
    return db.session.get(Schedule, schedule_id)


def _apply(schedule: Schedule, draft: ScheduleDraft, now: datetime) -> None:
    """Check the draft whole, so that all its problems are told at once, then put it on the schedule."""
    errors: dict[str, str] = {}
    if not draft.name.strip():
        errors["name"] = "Give the schedule a name."
    version = _check_params(draft, errors)
    for each in fields(draft):
        setattr(schedule, each.name, getattr(draft, each.name))
    schedule.name = draft.name.strip()
    schedule.days_off = _held_days_off(draft, errors)
    schedule.job_version = version
    if schedule.kind == "interval" and schedule.anchor is None:
        schedule.anchor = now.replace(microsecond=0)
    _check_timing(schedule, draft, now, errors)
    if errors:
        db.session.rollback()
        raise InvalidInput(errors)


def _check_params(draft: ScheduleDraft, errors: dict[str, str]) -> int:
    """Return the version of the job type that the parameters were checked against."""
    try:
        kind = job_type(draft.job_type)
        kind.load_params(draft.params, kind.version)
    except UnknownJobType as error:
        errors["job_type"] = str(error)
    except InvalidInput as error:
        errors.update(error.errors)
    else:
        return kind.version
    return 1


def _held_days_off(draft: ScheduleDraft, errors: dict[str, str]) -> list[str]:
    try:
        return calendars.hold(draft.holiday_calendars)
    except InvalidInput as error:
        errors.update(error.errors)
        return []


def _check_timing(schedule: Schedule, draft: ScheduleDraft, now: datetime, errors: dict[str, str]) -> None:
    zone: str = require_binding().settings["TIMEZONE"]
    try:
        rewind(schedule, zone, now)
    except RecurrenceError as error:
        errors[error.field] = str(error)
        return
    if often := caps.too_often(recurrence_of(schedule, zone), now):
        errors.setdefault(RULE_FIELDS[draft.kind], often)
    if schedule.next_at is None and "every" not in errors:
        name, words = _why_never(schedule, now)
        errors.setdefault(name, words)


def _why_never(schedule: Schedule, now: datetime) -> tuple[str, str]:
    """Return the field that keeps it from ever firing again, and what to do about it."""
    if schedule.runs_left == 0:
        return "runs_left", "It has made all its runs. Give how many more, or leave this empty."
    rule = recurrence(schedule)
    for name, nothing, words in HINDRANCES:
        rule = replace(rule, **{name: nothing})
        if rule.after(now) is not None:
            return (name, words) if words else (RULE_FIELDS[schedule.kind], _day_off(schedule))
    if schedule.once_local is None:
        return RULE_FIELDS[schedule.kind], "This never fires again."
    if schedule.once_local.year > now.year + 1:
        return "once_local", "This is too far away. Choose a time within the next 50 years."
    return "once_local", "This time has passed. Choose a later one, or send it now instead."


def _day_off(schedule: Schedule) -> str:
    if schedule.once_local is None:
        return "Each of its days is a day off. Choose other days, or no holiday calendar."
    return f"This is a day off: {calendars.name_of_day(schedule)}. Choose another day, or no holiday calendar."


def recurrence(schedule: Schedule) -> Recurrence:
    """Return when the bound tenant's schedule fires. Raises RecurrenceError for a rule that makes no sense."""
    return recurrence_of(schedule, require_binding().settings["TIMEZONE"])


def refuse_archived(schedule: Schedule) -> None:
    """Raise Refused if the schedule is archived: nothing is done to it before it is restored."""
    if schedule.archived_at is not None:
        raise Refused("This schedule is archived. Restore it first.")


def _commit(session: Session, action: str, schedule: Schedule, **details: Any) -> None:
    record(session, action, subject=("schedule", schedule.id, schedule.name), details=details)
    announce(session, schedule.tenant_id, SCHEDULES)
    session.commit()
