"""What the schedules pages need: rows with their last outcomes, a schedule with its history, and previews."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from operator import attrgetter
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import url_for

from dashboard.accounts.board import names_of
from dashboard.accounts.signing_in import FORMER_MEMBER
from dashboard.audit.models import AuditEntry
from dashboard.core.clock import utc_now
from dashboard.core.ids import earliest_id
from dashboard.core.orm import db
from dashboard.core.paging import cursor
from dashboard.core.tenancy import current_tenant, require_binding
from dashboard.core.typed import instant
from dashboard.core.zones import browser_zone
from dashboard.runs.board import Tab
from dashboard.runs.models import Run
from dashboard.schedules.actions import recurrence
from dashboard.schedules.backfills import Progress, backfills_of
from dashboard.schedules.catchup import ON_TIME
from dashboard.schedules.models import Blackout, Occurrence, Schedule, ScheduleRevision
from dashboard.schedules.occurrences import LAST_INSTANT, NAMED_SKIP
from dashboard.schedules.previews import Preview, Wanted, foresee
from dashboard.schedules.reach import Exceptions, next_runs, rests_until, stops_at
from dashboard.schedules.recurrence import Recurrence, RecurrenceError, Skip
from dashboard.schedules.revisions import Change, changes, policies
from dashboard.schedules.single_fires import decided_ahead

PAGE = 50
LAST_OUTCOMES = 10
COMPARED, SECOND = timedelta(days=30), timedelta(seconds=1)
MOST_COMPARED = 5000
HISTORY = 30
LOOKS_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=31), timedelta(days=36_600))

TURNS_WITHIN = timedelta(days=365)
"""How far back in its tenant's trail a schedule's turns are looked for: an index leads to the time, not to them."""

TURNS = {
    "schedule.pause": "Paused",
    "schedule.resume": "Resumed",
    "schedule.mend": "Went on, mended",
    "schedule.archive": "Archived",
    "schedule.restore": "Restored",
}
"""What was done to a schedule besides saving it, as its history tells it."""

VIEWS = {
    "": "Current",
    "paused": "Paused",
    "attention": "Need attention",
    "completed": "Completed",
    "archived": "Archived",
}

_WHERE = {
    "": Schedule.archived_at.is_(None),
    "paused": sa.and_(Schedule.archived_at.is_(None), Schedule.paused_at.is_not(None)),
    "attention": sa.and_(Schedule.archived_at.is_(None), sa.or_(Schedule.problem != "", Schedule.is_failing)),
    "completed": sa.and_(
        Schedule.archived_at.is_(None), Schedule.next_at.is_(None), Schedule.paused_at.is_(None), Schedule.problem == ""
    ),
    "archived": Schedule.archived_at.is_not(None),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRow:
    """A schedule as the list shows it; `outcomes` are states of its last runs, oldest first.

    `next_at` is when it really runs next: past what is skipped, or when a fire was moved to.
    """

    schedule: Schedule
    words: str
    owner: str
    outcomes: Sequence[str]
    next_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulesBoard:
    """A page of the list."""

    view: str
    text: str
    rows: Sequence[ScheduleRow]
    older: UUID | None
    counts: Mapping[str, int]

    @property
    def is_filtered(self) -> bool:
        return bool(self.view or self.text)

    @property
    def tabs(self) -> list[Tab]:
        return [
            Tab(
                label=label,
                url=url_for("schedules.index", **_params(view, self.text)),
                active=view == self.view,
                count=f"{self.counts[view]:,}",
                tone="bad" if view == "attention" and self.counts[view] else None,
            )
            for view, label in VIEWS.items()
        ]

    @property
    def older_url(self) -> str | None:
        return url_for("schedules.index", **_params(self.view, self.text), before=self.older) if self.older else None

    @property
    def status(self) -> str:
        return f"{self.counts['']} schedules, {self.counts['attention']} need attention"


def schedules_board(args: Mapping[str, str]) -> SchedulesBoard:
    """Load one page of the bound tenant's schedules, newest first."""
    view = args.get("state", "")
    view = view if view in VIEWS else ""
    text = args.get("q", "").strip()[:100]
    query = sa.select(Schedule).where(_WHERE[view]).order_by(Schedule.id.desc()).limit(PAGE + 1)
    if text:
        query = query.where(
            sa.or_(
                Schedule.name.icontains(text, autoescape=True),
                sa.func.array_to_string(Schedule.tags, "\n").icontains(text, autoescape=True),
            )
        )
    if before := cursor(args.get("before")):
        query = query.where(Schedule.id < before)
    found = db.session.scalars(query).all()
    rows = found[:PAGE]
    return SchedulesBoard(
        view=view,
        text=text,
        rows=_rows(rows),
        older=rows[-1].id if len(found) > PAGE else None,
        counts=_counts(),
    )


def _rows(schedules: Sequence[Schedule]) -> list[ScheduleRow]:
    outcomes = last_outcomes([schedule.id for schedule in schedules])
    owners = names_of({schedule.owner_id for schedule in schedules if schedule.owner_id})
    ahead = next_runs(schedules)
    return [
        ScheduleRow(
            schedule=schedule,
            words=words_of(schedule),
            owner=owners.get(schedule.owner_id, "") if schedule.owner_id else "",
            outcomes=outcomes[schedule.id],
            next_at=ahead.get(schedule.id),
        )
        for schedule in schedules
    ]


def words_of(schedule: Schedule) -> str:
    """Say when the schedule fires; a rule that no longer makes sense says why."""
    try:
        return recurrence(schedule).explain()
    except RecurrenceError as error:
        return str(error)


def last_outcomes(schedule_ids: Sequence[UUID]) -> Mapping[UUID, list[str]]:
    """Return the states of each schedule's last runs, oldest first, in one query."""
    outcomes: defaultdict[UUID, list[str]] = defaultdict(list)
    if not schedule_ids:
        return outcomes
    wanted = (
        sa.func.unnest(sa.bindparam("ids", list(schedule_ids), type_=sa.ARRAY(sa.Uuid)))
        .table_valued("id")
        .render_derived(name="wanted")
    )
    newest = (
        sa.select(Run.id, Run.schedule_id, Run.state)
        .where(Run.schedule_id == wanted.c.id, Run.tenant_id == require_binding().tenant.id)
        .order_by(Run.id.desc())
        .limit(LAST_OUTCOMES)
        .correlate(wanted)
        .lateral()
    )
    rows = db.session.execute(
        sa.select(newest.c.schedule_id, newest.c.state)
        .select_from(wanted)
        .join(newest, sa.true())
        .order_by(newest.c.id)
    )
    for schedule_id, state in rows:
        outcomes[schedule_id].append(state)
    return outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePage:
    """A schedule with what it will do, what it did, and who answers for it."""

    schedule: Schedule
    preview: Preview | None
    runs: Sequence[Run]
    occurrences: Sequence[Occurrence]
    unlisted: Sequence[Skip]
    decided: Mapping[datetime, Occurrence]
    backfills: Sequence[Progress]
    owner: str
    paused_by: str

    @property
    def policies(self) -> Sequence[tuple[str, str]]:
        return policies(self.schedule)

    @property
    def words(self) -> str:
        return self.preview.words if self.preview else self.schedule.problem


def schedule_page(schedule_id: UUID) -> SchedulePage | None:
    """Load a schedule of the bound tenant with its history, or None."""
    schedule = db.session.get(Schedule, schedule_id)
    if schedule is None:
        return None
    runs = sa.select(Run).where(Run.schedule_id == schedule_id).order_by(Run.id.desc()).limit(HISTORY)
    skips = (
        sa.select(Occurrence)
        .where(Occurrence.schedule_id == schedule_id, Occurrence.decision == "skip")
        .order_by(Occurrence.id.desc())
        .limit(HISTORY)
    )
    names = names_of({person for person in (schedule.owner_id, schedule.paused_by_id) if person})
    decided = decided_ahead(schedule, utc_now())
    return SchedulePage(
        schedule=schedule,
        preview=_preview_of(schedule, decided),
        runs=db.session.scalars(runs).all(),
        occurrences=db.session.scalars(skips).all(),
        unlisted=_unlisted(schedule),
        decided=decided,
        backfills=backfills_of(schedule),
        owner=names.get(schedule.owner_id, "") if schedule.owner_id else "",
        paused_by=names.get(schedule.paused_by_id, "") if schedule.paused_by_id else "",
    )


def _unlisted(schedule: Schedule) -> list[Skip]:
    """Return what the rule has left out since it fired last, newest first: the ledger lists it with the next fire."""
    if schedule.state != "active" or schedule.cursor is None:
        return []
    try:
        return _newest_skips(recurrence(schedule), schedule.cursor, utc_now())
    except RecurrenceError:
        return []


def _newest_skips(rule: Recurrence, since: datetime, until: datetime) -> list[Skip]:
    """Look farther back only while that finds too few: a rule may name millions of times on its days off."""
    found: list[Skip] = []
    for back in LOOKS_BACK:
        found = rule.skips(max(since, until - back), until)
        if len(found) >= HISTORY or until - back <= since:
            break
    return found[: -HISTORY - 1 : -1]


def _preview_of(schedule: Schedule, decided: Collection[datetime]) -> Preview | None:
    try:
        rule = recurrence(schedule)
    except RecurrenceError:
        return None
    wanted = Wanted(
        schedule_id=schedule.id,
        job_type=schedule.job_type,
        jitter=timedelta(seconds=schedule.jitter_seconds),
        runs_left=0 if schedule.archived_at else schedule.runs_left,
        decided=decided,
    )
    return foresee(rule, wanted, browser_zone())


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedFire:
    """What was decided about a fire, or about several in a row; `run` is None for a skip, and once it was purged."""

    occurrence: Occurrence
    run: Run | None

    @property
    def is_late(self) -> bool:
        """Whether it was planned so late that people should know."""
        lateness = self.occurrence.lateness_ms or 0
        return self.occurrence.decision == "run" and timedelta(milliseconds=lateness) > ON_TIME


@dataclass(frozen=True, slots=True, kw_only=True)
class FiresBoard:
    """A page of a schedule's fires that were decided on, newest first."""

    rows: Sequence[DecidedFire]
    older_url: str | None


def fires_board(schedule: Schedule, args: Mapping[str, str]) -> FiresBoard:
    """Load one page of what was decided about a schedule's fires; what ran by hand or was made up for is no fire."""
    before = instant(args.get("before", ""))
    ranges = [_decided_range(schedule, prefix, before) for prefix in ("", NAMED_SKIP)]
    found = sorted(
        (row for query in ranges for row in db.session.scalars(query)), key=attrgetter("nominal"), reverse=True
    )
    rows = found[:PAGE]
    runs = db.session.scalars(sa.select(Run).where(Run.occurrence_id.in_([row.id for row in rows])))
    run_of = {run.occurrence_id: run for run in runs}
    older = rows[-1].nominal if len(found) > PAGE else None
    return FiresBoard(
        rows=[DecidedFire(occurrence=row, run=run_of.get(row.id)) for row in rows],
        older_url=url_for("schedules.fires", schedule_id=schedule.id, before=older.isoformat()) if older else None,
    )


def _decided_range(schedule: Schedule, prefix: str, before: datetime | None) -> sa.Select[Occurrence]:
    """Return a query that walks down the unique index: instants in ISO 8601 sort like the time."""
    end = f"{prefix}{before.isoformat() if before else LAST_INSTANT}"
    query = sa.select(Occurrence).where(
        Occurrence.schedule_id == schedule.id, Occurrence.occurrence >= f"{prefix}0", Occurrence.occurrence < end
    )
    return query.order_by(Occurrence.occurrence.desc()).limit(PAGE + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The fires that a change of timing wins and loses before `until`, which is `COMPARED` away.

    It is nearer for a rule that fires more than `MOST_COMPARED` times by then: what lies beyond is not compared.
    """

    gained: Sequence[datetime]
    lost: Sequence[datetime]
    until: datetime
    is_cut: bool


def difference(schedule: Schedule, rule: Recurrence, runs_left: int | None) -> Difference:
    """Compare a stored schedule's fires with those of another rule that may still run so often."""
    since = rests_until(schedule)
    end = utc_now() + COMPARED
    exceptions = Exceptions([schedule], end)
    decided = exceptions.decided

    def fires(of: Recurrence, left: int | None) -> list[datetime]:
        stop = stops_at(of, left, since, end + SECOND, exceptions.windows, lambda at: (schedule.id, at) in decided)
        return list(islice(of.between(since, stop - SECOND), MOST_COMPARED))

    after = fires(rule, runs_left)
    try:
        before = fires(recurrence(schedule), schedule.runs_left)
    except RecurrenceError:
        before = []
    until = min([end, *(fires[-1] for fires in (before, after) if len(fires) == MOST_COMPARED)])
    return Difference(
        gained=sorted({at for at in after if at <= until} - set(before)),
        lost=sorted({at for at in before if at <= until} - set(after)),
        until=until,
        is_cut=until < end,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One save: who (nobody: the command line), when, and what it changed; the first one changed nothing."""

    rev: int
    at: datetime
    by: str
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One pause, resumption, archiving or restoration: who, when, why, and how long it was to last."""

    word: str
    at: datetime
    by: str
    reason: str
    until: datetime | None


def schedule_history(schedule: Schedule) -> list[Revision | Turn]:
    """Return the saves of a schedule and its last turns of a year, newest first."""
    return sorted([*saves(schedule), *_turns(schedule)], key=attrgetter("at"), reverse=True)


def _turns(schedule: Schedule) -> list[Turn]:
    found = sa.select(AuditEntry).where(
        AuditEntry.tenant_id == current_tenant().id,
        AuditEntry.id >= earliest_id(utc_now() - TURNS_WITHIN),
        AuditEntry.subject_id == schedule.id,
        AuditEntry.action.in_(TURNS),
    )
    return [
        Turn(
            word=TURNS[entry.action],
            at=entry.at,
            by=entry.who,
            reason=entry.details.get("reason", ""),
            until=instant(entry.details.get("until", "")),
        )
        for entry in db.session.scalars(found.order_by(AuditEntry.id.desc()).limit(HISTORY))
    ]


def saves(schedule: Schedule) -> list[Revision]:
    """Return the saves of a schedule, newest first."""
    query = sa.select(ScheduleRevision).where(ScheduleRevision.schedule_id == schedule.id)
    rows = db.session.scalars(query.order_by(ScheduleRevision.rev)).all()
    names = names_of({row.actor_id for row in rows if row.actor_id})
    revisions = [
        Revision(
            rev=row.rev,
            at=row.created_at,
            by=names.get(row.actor_id, FORMER_MEMBER) if row.actor_id else "",
            changes=changes(before.fields, row.fields) if before else (),
        )
        for before, row in zip([None, *rows], rows, strict=False)
    ]
    return revisions[::-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upcoming:
    """One fire that lies ahead."""

    at: datetime
    schedule: Schedule


def next_fires(within: timedelta, most: int) -> list[Upcoming]:
    """Return the tenant's next fires, soonest first; each schedule counts once, and what is blacked out does not."""
    now = utc_now()
    blacked_out = sa.exists().where(Blackout.start_at <= Schedule.next_at, Blackout.end_at > Schedule.next_at)
    due = sa.select(Schedule).where(
        Schedule.next_at <= now + within,
        ~blacked_out,
        Schedule.paused_at.is_(None),
        Schedule.archived_at.is_(None),
        Schedule.problem == "",
    )
    rows = db.session.scalars(due.order_by(Schedule.next_at).limit(most)).all()
    ahead = next_runs(rows)
    found = [Upcoming(at=ahead[row.id], schedule=row) for row in rows if row.id in ahead]
    return sorted((each for each in found if each.at <= now + within), key=attrgetter("at"))


def needing_attention(most: int) -> Sequence[Schedule]:
    """Return the tenant's schedules that stopped by themselves."""
    return db.session.scalars(
        sa.select(Schedule).where(_WHERE["attention"]).order_by(Schedule.id.desc()).limit(most)
    ).all()


def _counts() -> dict[str, int]:
    columns = [sa.func.count().filter(where).label(view or "current") for view, where in _WHERE.items()]
    row = db.session.execute(sa.select(*columns).select_from(Schedule)).one()
    return dict(zip(_WHERE, row, strict=True))


def _params(view: str, text: str) -> dict[str, Any]:
    return {name: value for name, value in {"state": view, "q": text}.items() if value}
