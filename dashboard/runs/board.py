"""What the runs pages need: the filter, a keyset page of rows, capped counts and the panel's version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import sqlalchemy as sa
from flask import url_for
from sqlalchemy.orm import load_only

from dashboard.accounts.board import names_of
from dashboard.core.clock import utc_now
from dashboard.core.orm import db
from dashboard.core.paging import cursor
from dashboard.core.tenancy import current_tenant
from dashboard.runs.artifacts import artifacts_of
from dashboard.runs.limits import Hold, is_alive, usage
from dashboard.runs.models import Artifact, Process, Run, RunEvent, RunLog, TenantLoad
from dashboard.runs.selection import Selection, in_states
from dashboard.runs.states import (
    ACTIVE_STATES,
    ADMITTED,
    CANCELLED,
    HOLDS_SLOT,
    PROBLEM_STATES,
    READY,
    RETRYING,
    RUN_STATES,
    RUNNING,
    SCHEDULED,
    SKIPPED,
    SUCCEEDED,
)

PAGE = 50
COUNT_CAP = 1000
LOG_LINES = 500
CHILDREN = 50
"""How many of the runs that it started a run's page lists."""
LONGEST_FINGERPRINT = 16

GONE = "somebody who is no member any more"

VIEWS: Mapping[str, tuple[str, frozenset[str]]] = {
    "": ("All", frozenset(RUN_STATES)),
    "scheduled": ("Scheduled", frozenset({SCHEDULED})),
    "running": ("Under way", frozenset({READY, ADMITTED, RUNNING})),
    "retrying": ("Retrying", frozenset({RETRYING})),
    "failed": ("Failed", PROBLEM_STATES),
    "succeeded": ("Succeeded", frozenset({SUCCEEDED})),
    "stopped": ("Stopped", frozenset({CANCELLED, SKIPPED})),
}
"""The tabs of the list: the word in the address, the label, and the states behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs a list shows; built from the address, and turned back into one. `view` is a tab's word or a state."""

    view: str = ""
    text: str = ""
    schedule: UUID | None = None
    fingerprint: str = ""
    before: UUID | None = None

    @classmethod
    def from_args(cls, args: Mapping[str, str]) -> Self:
        """Read the query; what makes no sense is left out, so that an old link still opens."""
        view = args.get("state", "")
        return cls(
            view=view if view in VIEWS or view in RUN_STATES else "",
            text=args.get("q", "").strip()[:100],
            schedule=cursor(args.get("schedule")),
            fingerprint=args.get("fingerprint", "").strip()[:LONGEST_FINGERPRINT],
            before=cursor(args.get("before")),
        )

    def to_params(self, **changes: Any) -> dict[str, Any]:
        """Return the query of this filter with `changes`; a changed filter starts at the newest row."""
        wanted = replace(self, **{"before": None, **changes})
        params = {
            "state": wanted.view,
            "q": wanted.text,
            "schedule": wanted.schedule,
            "fingerprint": wanted.fingerprint,
            "before": wanted.before,
        }
        return {name: str(value) for name, value in params.items() if value}

    def selection(self, ids: Iterable[UUID] = ()) -> Selection:
        """Return all the runs that match, on whichever page they are; only those among `ids`, if there are any."""
        return Selection(
            states=VIEWS[self.view][1] if self.view in VIEWS else frozenset({self.view}),
            text=self.text,
            schedule=self.schedule,
            fingerprint=self.fingerprint,
            ids=tuple(ids),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """One view of the list; `count` is None for the one that counts everything."""

    label: str
    url: str
    active: bool
    count: str | None
    tone: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsBoard:
    """A page of the list."""

    filter: RunFilter
    rows: Sequence[Run]
    older: UUID | None
    counts: Mapping[str, int]
    hold: Hold | None = None

    @property
    def has_active(self) -> bool:
        """Whether something moves, or starts soon enough that the panel must look often to show it."""
        moving = ACTIVE_STATES - {SCHEDULED, RETRYING}
        return any(self.counts[state] for state in moving) or any(
            is_waiting(run) and starts_soon(run) for run in self.rows
        )

    @property
    def is_filtered(self) -> bool:
        return bool(self.filter.to_params())

    @property
    def tabs(self) -> list[Tab]:
        return [
            Tab(
                label=label,
                url=url_for("runs.index", **self.filter.to_params(view=view)),
                active=self.filter.view == view,
                count=capped(sum(self.counts[state] for state in states)) if view else None,
                tone="bad" if view == "failed" and any(self.counts[state] for state in states) else None,
            )
            for view, (label, states) in VIEWS.items()
        ]

    @property
    def older_url(self) -> str | None:
        return url_for("runs.index", **self.filter.to_params(before=self.older)) if self.older else None

    @property
    def newest_url(self) -> str | None:
        return url_for("runs.index", **self.filter.to_params()) if self.filter.before else None

    @property
    def status(self) -> str:
        """What a screen reader is told when it changes."""
        failed = sum(self.counts[state] for state in PROBLEM_STATES)
        return f"{self.counts[RUNNING]} running, {capped(failed)} failed"


def runs_board(run_filter: RunFilter, *, page: int = PAGE) -> RunsBoard:
    """Load one page of the bound tenant's runs, newest first."""
    query = sa.select(Run).options(load_only(*_LIST_COLUMNS)).where(*run_filter.selection().conditions())
    query = query.order_by(Run.id.desc()).limit(page + 1)
    if run_filter.before:
        query = query.where(Run.id < run_filter.before)
    rows = db.session.scalars(query).all()
    older = rows[page - 1].id if len(rows) > page else None
    return RunsBoard(filter=run_filter, rows=rows[:page], older=older, counts=state_counts(), hold=_hold_of(rows))


def _hold_of(runs: Iterable[Run]) -> Hold | None:
    """Return why the ready ones among the runs wait, if it is for more than their turn."""
    return usage().hold if any(run.state == READY for run in runs) else None


_LIST_COLUMNS = (
    Run.name,
    Run.job_type,
    Run.state,
    Run.reason,
    Run.attempt,
    Run.max_attempts,
    Run.not_before,
    Run.created_at,
    Run.started_at,
    Run.finished_at,
    Run.cancel_requested_at,
    Run.progress_done,
    Run.progress_total,
    Run.progress_note,
    Run.error_type,
    Run.error_message,
    Run.schedule_id,
    Run.tenant_id,
)


def state_counts() -> dict[str, int]:
    """Count the bound tenant's runs by state, each up to COUNT_CAP + 1, so that a long history costs nothing."""
    wanted = sa.func.unnest(sa.bindparam("states", list(RUN_STATES), type_=sa.ARRAY(sa.Text)))
    states = wanted.table_valued("state").render_derived(name="states")
    some = (
        sa.select(sa.literal(1).label("one"))
        .where(Run.tenant_id == current_tenant().id, Run.state == states.c.state)
        .limit(COUNT_CAP + 1)
        .correlate(states)
        .subquery()
    )
    count = sa.select(sa.func.count()).select_from(some).correlate(states).scalar_subquery()
    rows = db.session.execute(sa.select(states.c.state, count.label("number")).select_from(states))
    return {row.state: row.number for row in rows}


def panel_version() -> str:
    """Return what changes with the bound tenant's runs, and when the last worker or scheduler goes: one small read.

    The tenant's record may be older than its runs (`tenants.registry`): a page that was told so late of a pause looks
    again.
    """
    kinds = sa.select(sa.func.string_agg(Process.kind.distinct(), sa.literal("."))).where(is_alive()).scalar_subquery()
    row = db.session.execute(sa.select(TenantLoad.version, kinds.label("alive"))).one_or_none()
    paused = ".paused" if current_tenant().paused_for else ""
    return f"{row.version}.{row.alive or ''}{paused}" if row else "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """One run with its timeline, its log, its files, the run that started it and those that it started.

    `holder` is the run that holds the key for which this one waits, `hold` what else it waits for. Of `children` there
    may be one more than is shown. `names` has the people who made some of the events.
    """

    run: Run
    events: Sequence[RunEvent]
    log: Sequence[RunLog]
    names: Mapping[UUID, str]
    holder: Run | None = None
    hold: Hold | None = None
    parent: Run | None = None
    children: Sequence[Run] = ()
    artifacts: Sequence[Artifact] = ()

    def maker_of(self, event: RunEvent) -> str:
        """Return the name of the person who made a move, or nothing if no person did."""
        if event.actor_kind != "user" or event.actor_id is None:
            return ""
        return self.names.get(event.actor_id, GONE)

    @property
    def is_settled(self) -> bool:
        """Whether nothing on the page changes any more by itself."""
        return self.is_final and not any(child.state in ACTIVE_STATES for child in self.shown_children)

    @property
    def shown_children(self) -> Sequence[Run]:
        return self.children[:CHILDREN]

    @property
    def is_final(self) -> bool:
        return self.run.state not in ACTIVE_STATES

    @property
    def waits(self) -> bool:
        """Whether it starts only later, so that looking often shows nothing new."""
        return is_waiting(self.run) and not starts_soon(self.run)


def run_page(run_id: UUID) -> RunPage | None:
    """Load a run of the bound tenant with its events and its last log lines, or None."""
    run = db.session.get(Run, run_id)
    if run is None:
        return None
    events = db.session.scalars(sa.select(RunEvent).where(RunEvent.run_id == run_id).order_by(RunEvent.id)).all()
    newest = sa.select(RunLog).where(RunLog.run_id == run_id).order_by(RunLog.id.desc()).limit(LOG_LINES)
    children = sa.select(Run).where(Run.parent_id == run_id).order_by(Run.id).limit(CHILDREN + 1)
    return RunPage(
        run=run,
        events=events,
        log=db.session.scalars(newest).all()[::-1],
        names=names_of(event.actor_id for event in events if event.actor_kind == "user" and event.actor_id),
        holder=_holder_before(run),
        hold=_hold_of([run]),
        parent=db.session.get(Run, run.parent_id) if run.parent_id else None,
        children=db.session.scalars(children.options(load_only(Run.name, Run.state, Run.tenant_id))).all(),
        artifacts=artifacts_of(run_id),
    )


def _holder_before(run: Run) -> Run | None:
    """Return the run whose key this one waits for, or None."""
    if run.state != READY or run.concurrency_key is None:
        return None
    held = Run.concurrency_key == run.concurrency_key, in_states(HOLDS_SLOT)
    return db.session.scalars(sa.select(Run).where(*held)).one_or_none()


def is_waiting(run: Run) -> bool:
    """Whether the run waits for a moment, not for a worker."""
    return run.state in {SCHEDULED, RETRYING}


def starts_soon(run: Run) -> bool:
    """Whether the moment it waits for is close enough to look often."""
    return run.not_before is not None and (run.not_before - utc_now()).total_seconds() < SOON_SECONDS


SOON_SECONDS = 90


def duration_of(run: Run, now: datetime) -> float | None:
    """Return how many seconds the run has worked; None before it started, and if it waits for another attempt.

    Or did so when it ended: only the next attempt's moment lies behind a start.
    """
    if run.started_at is None or (run.finished_at is None and run.state != RUNNING):
        return None
    if run.not_before is not None and run.not_before > run.started_at:
        return None
    return ((run.finished_at or now) - run.started_at).total_seconds()


def capped(count: int) -> str:
    """Write a count that was only counted up to the cap."""
    return f"{COUNT_CAP:,}+" if count > COUNT_CAP else f"{count:,}"
