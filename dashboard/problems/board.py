"""What the problems page needs: each kind of problem with what it means, what to do, and a page of its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import url_for

from dashboard.accounts.models import Membership
from dashboard.core.clock import utc_now
from dashboard.core.ids import earliest_id
from dashboard.core.orm import db
from dashboard.core.tenancy import current_tenant
from dashboard.emails.models import Delivery
from dashboard.emails.states import UNCERTAIN
from dashboard.problems.failures import Groups, count_groups, failure_groups
from dashboard.problems.station import Alert
from dashboard.runs.board import COUNT_CAP, Tab, capped
from dashboard.runs.models import Run
from dashboard.runs.selection import in_states
from dashboard.runs.states import DEAD, INTERRUPTED
from dashboard.schedules.models import MISSED, NEEDS_ATTENTION, Occurrence, Schedule
from dashboard.schedules.watchdog import Overdue, overdue

PAGE = 50
GLANCE = 5
"""How many rows of each kind the page shows where all kinds are."""

MISSED_WITHIN = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of problem: what it means, and what to do. `nothing` is said where there is none of it."""

    key: str
    label: str
    title: str
    meaning: str
    advice: str
    nothing: str


KINDS: Mapping[str, Kind] = {
    kind.key: kind
    for kind in (
        Kind(
            key="failures",
            label="Failures",
            title="Failures",
            meaning="Runs that ended with an error, those that failed alike together, the latest first.",
            advice="Mend the cause, then run all of a kind again. Dismiss what needs nobody: it is back when it happens"
            " again.",
            nothing="No run has failed that somebody has not seen to.",
        ),
        Kind(
            key="interrupted",
            label="Interrupted",
            title="Interrupted runs",
            meaning="Runs that were cut off in the middle: their worker died or had to stop, or somebody took their"
            " key. They may not run twice unasked, because nobody knows how far they came.",
            advice="Look whether the work was done. Run it again if not; mark it done if so, and say how you know.",
            nothing="No run waits for somebody to say what became of it.",
        ),
        Kind(
            key="mails",
            label="Mails",
            title="Uncertain mails",
            meaning="Mails whose connection broke after they left, before the server answered. They may have arrived.",
            advice="Ask the recipient, or the mail server's log, for the Message-ID. Mark it sent, or send it again.",
            nothing="Of every mail it is known what became of it.",
        ),
        Kind(
            key="schedules",
            label="Schedules",
            title="Schedules that need attention",
            meaning="Schedules that stopped by themselves, because they could not run as they stand or failed as"
            " often in a row as they may, and those whose owner is no member any more.",
            advice="Open what stopped, read why, and save it again or resume it once that is mended. Take over what has"
            " no owner.",
            nothing="Every schedule can run as it stands, goes on, and has an owner.",
        ),
        Kind(
            key="fires",
            label="Late and missed",
            title="Late and missed fires",
            meaning="Fires that should have been by now, that were left out because it was too late for them, or that"
            " came a minute late or more; of the last seven days.",
            advice="If the scheduler was away, that is why: nothing more is to do. Run what is still wanted by hand, or"
            " choose in the schedule how it catches up.",
            nothing="In the last seven days every fire came in time.",
        ),
        Kind(
            key="dead",
            label="Dead letters",
            title="Dead letters",
            meaning="Runs that used up all their attempts. They wait here until somebody runs them again.",
            advice="Mend the cause first: each is tried as often as at first.",
            nothing="No run has used up its attempts.",
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A page of the rows of one kind; `older` is where the next one begins."""

    rows: Sequence[Any]
    older: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A kind of problem with a page of its rows, and those that belong above all pages (`first`)."""

    kind: Kind
    rows: Sequence[Any]
    first: Sequence[Any]
    older: UUID | None
    count: int

    @property
    def is_empty(self) -> bool:
        return not self.rows and not self.first


@dataclass(frozen=True, slots=True, kw_only=True)
class LateFire:
    """An occurrence that was missed or late, and its schedule."""

    occurrence: Occurrence
    schedule: Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class UncertainMail:
    """A mail of which nobody knows, and the name of its run."""

    delivery: Delivery
    run_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemsBoard:
    """The page: everything at a glance, or one kind page by page (`view`)."""

    view: str
    dismissed: bool
    before: UUID | None
    alerts: Sequence[Alert]
    sections: Sequence[Section]
    counts: Mapping[str, int]

    @property
    def is_clear(self) -> bool:
        return not self.view and not self.alerts and all(section.is_empty for section in self.sections)

    @property
    def tabs(self) -> list[Tab]:
        labels = {"": "All", **{key: kind.label for key, kind in KINDS.items()}}
        return [
            Tab(
                label=label,
                url=url_for("problems.index", view=key or None),
                active=key == self.view,
                count=capped(self.counts[key]) if key else None,
                tone="bad" if key and self.counts[key] else None,
            )
            for key, label in labels.items()
        ]

    @property
    def older_url(self) -> str | None:
        older = self.sections[0].older if self.view else None
        return self._url(before=older) if older else None

    @property
    def newest_url(self) -> str | None:
        return self._url() if self.before else None

    @property
    def status(self) -> str:
        """What a screen reader is told when it changes."""
        return ", ".join(f"{KINDS[key].title} {capped(count)}" for key, count in self.counts.items() if count)

    def _url(self, before: UUID | None = None) -> str:
        return url_for("problems.index", view=self.view, dismissed=1 if self.dismissed else None, before=before)


def problems_board(
    view: str,
    *,
    before: UUID | None = None,
    dismissed: bool = False,
    alerts: Sequence[Alert],
    counts: Mapping[str, int],
) -> ProblemsBoard:
    """Load the bound tenant's problems: a few of each kind, or a page of the kind `view`."""
    wanted = [KINDS[view]] if view else KINDS.values()
    page = PAGE if view else GLANCE
    return ProblemsBoard(
        view=view,
        dismissed=dismissed,
        before=before,
        alerts=alerts,
        sections=[_section(kind, page, before, dismissed, counts[kind.key]) for kind in wanted],
        counts=counts,
    )


def count_problems() -> dict[str, int]:
    """Count the bound tenant's problems of each kind, each up to COUNT_CAP + 1: it costs little, whatever there is."""
    runs = {state: sa.select(Run.id).where(_ours(Run), in_states([state])) for state in (INTERRUPTED, DEAD)}
    counted = {
        "interrupted": runs[INTERRUPTED],
        "mails": sa.select(Delivery.id).where(_ours(Delivery), _UNCERTAIN),
        "schedules": sa.select(Schedule.id).where(_ours(Schedule), sa.text(NEEDS_ATTENTION)),
        "fires": sa.select(Occurrence.id).where(_ours(Occurrence), *_missed()),
        "dead": runs[DEAD],
    }
    row = db.session.execute(sa.select(*(_count(query).label(key) for key, query in counted.items()))).one()
    return {"failures": count_groups(), **row._mapping}


def needing_somebody() -> int:
    """Return how many problems wait for a person: each kind of failure counts once, and what only informs does not."""
    counts = count_problems()
    return counts["failures"] + counts["mails"] + counts["schedules"]


_UNCERTAIN = sa.text(f"state = '{UNCERTAIN}'")


def _ours(model: type[Run | Delivery | Schedule | Occurrence]) -> sa.ColumnElement[bool]:
    return model.tenant_id == current_tenant().id


def _missed() -> tuple[sa.ColumnElement[bool], sa.TextClause]:
    return Occurrence.id > earliest_id(utc_now() - MISSED_WITHIN), sa.text(f"({MISSED})")


def _count(query: sa.Select[UUID]) -> sa.ScalarSelect[int]:
    return sa.select(sa.func.count()).select_from(query.limit(COUNT_CAP + 1).subquery()).scalar_subquery()


def _section(kind: Kind, page: int, before: UUID | None, dismissed: bool, count: int) -> Section:
    first: Sequence[Any] = FIRST[kind.key](page) if kind.key in FIRST and before is None else ()
    found: Rows | Groups
    if kind.key == "failures":
        found = failure_groups(page, before=before, dismissed=dismissed)
    else:
        found = ROWS[kind.key](page, before)
    return Section(kind=kind, rows=found.rows, first=first, older=found.older, count=count)


def _interrupted(page: int, before: UUID | None) -> Rows:
    return _runs(INTERRUPTED, page, before)


def _dead(page: int, before: UUID | None) -> Rows:
    return _runs(DEAD, page, before)


def _runs(state: str, page: int, before: UUID | None) -> Rows:
    query = sa.select(Run).where(_ours(Run), in_states([state]))
    return _page(query, Run.id, page, before)


def _mails(page: int, before: UUID | None) -> Rows:
    query = sa.select(Delivery).where(_ours(Delivery), _UNCERTAIN)
    found = _page(query, Delivery.id, page, before)
    names = sa.select(Run.id, Run.name).where(Run.id.in_({delivery.run_id for delivery in found.rows}))
    name_of = {row.id: row.name for row in db.session.execute(names)}
    mails = [UncertainMail(delivery=delivery, run_name=name_of[delivery.run_id]) for delivery in found.rows]
    return Rows(rows=mails, older=found.older)


def _schedules(page: int, before: UUID | None) -> Rows:
    query = sa.select(Schedule).where(_ours(Schedule), sa.text(NEEDS_ATTENTION))
    return _page(query, Schedule.id, page, before)


def _fires(page: int, before: UUID | None) -> Rows:
    query = sa.select(Occurrence).where(_ours(Occurrence), *_missed())
    found = _page(query, Occurrence.id, page, before)
    ids = {occurrence.schedule_id for occurrence in found.rows}
    schedules = {each.id: each for each in db.session.scalars(sa.select(Schedule).where(Schedule.id.in_(ids)))}
    fires = [LateFire(occurrence=each, schedule=schedules[each.schedule_id]) for each in found.rows]
    return Rows(rows=fires, older=found.older)


def _page(query: sa.Select[Any], id_column: Any, page: int, before: UUID | None) -> Rows:
    if before:
        query = query.where(id_column < before)
    rows = db.session.scalars(query.order_by(id_column.desc()).limit(page + 1)).all()
    return Rows(rows=rows[:page], older=rows[page - 1].id if len(rows) > page else None)


def _overdue(page: int) -> Sequence[Overdue]:
    return overdue(db.session())[:page]


def _ownerless(page: int) -> Sequence[Schedule]:
    """Return schedules that work, and whose owner is no member any more, or gone."""
    member = sa.exists().where(Membership.user_id == Schedule.owner_id, Membership.tenant_id == Schedule.tenant_id)
    query = sa.select(Schedule).where(_ours(Schedule), Schedule.archived_at.is_(None), Schedule.problem == "", ~member)
    return db.session.scalars(query.order_by(Schedule.id.desc()).limit(page)).all()


ROWS: Mapping[str, Callable[[int, UUID | None], Rows]] = {
    "interrupted": _interrupted,
    "mails": _mails,
    "schedules": _schedules,
    "fires": _fires,
    "dead": _dead,
}
FIRST: Mapping[str, Callable[[int], Sequence[Any]]] = {"fires": _overdue, "schedules": _ownerless}
