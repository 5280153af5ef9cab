"""What the audit page needs: the filter, and a keyset page of what was done, linked to what is still there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import sqlalchemy as sa
from flask import url_for

from dashboard.audit.models import AuditEntry
from dashboard.core.formats import NOTHING
from dashboard.core.orm import db
from dashboard.core.paging import cursor
from dashboard.core.tenancy import current_tenant
from dashboard.core.typed import is_everywhere
from dashboard.runs.models import BulkAction, Run
from dashboard.schedules.models import Schedule

PAGE = 50
MAX_SEARCH_LENGTH = 100
MAX_VALUE_LENGTH = 300
"""How much of one detail is shown; a page of them must stay readable."""

PAGES: Mapping[str, tuple[type[Schedule] | type[Run] | type[BulkAction], Callable[[UUID], str]]] = {
    "schedule": (Schedule, lambda found: url_for("schedules.show", schedule_id=found)),
    "run": (Run, lambda found: url_for("runs.show", run_id=found)),
    "bulk_action": (BulkAction, lambda found: url_for("runs.show_bulk", bulk_id=found)),
}
"""The kinds of subjects that have a page: their model, and the page's address by the id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries are shown; built from the address, and turned back into one."""

    text: str = ""
    action: str = ""
    person: UUID | None = None
    before: UUID | None = None

    @classmethod
    def from_args(cls, args: Mapping[str, str]) -> Self:
        """Read the query; what makes no sense is left out, so that an old link still opens."""
        return cls(
            text=args.get("q", "").strip()[:MAX_SEARCH_LENGTH],
            action=args.get("action", "").strip()[:MAX_SEARCH_LENGTH],
            person=cursor(args.get("person")),
            before=cursor(args.get("before")),
        )

    def url(self, **changes: Any) -> str:
        """Return the address of this filter with `changes`; a changed filter starts at the newest entry."""
        wanted = replace(self, **{"before": None, **changes})
        params: dict[str, Any] = {
            "q": wanted.text,
            "action": wanted.action,
            "person": wanted.person,
            "before": wanted.before,
        }
        return url_for("audit.index", **{name: value for name, value in params.items() if value})

    @property
    def narrows(self) -> bool:
        return bool(self.text or self.action or self.person)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One thing that an entry says besides; `moment` instead of `text` where it is one."""

    name: str
    text: str = ""
    moment: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One entry as the page shows it; the addresses are None where there is nothing to lead to."""

    id: UUID
    at: datetime
    who: str
    who_url: str | None
    action: str
    action_url: str
    subject: str
    subject_kind: str
    subject_url: str | None
    details: Sequence[Detail]
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditBoard:
    """A page of the trail, newest first."""

    filter: AuditFilter
    lines: Sequence[Line]
    older_url: str | None
    newest_url: str | None


def audit_board(chosen: AuditFilter, *, page: int = PAGE) -> AuditBoard:
    """Load one page of what was done in the bound tenant."""
    entries = db.session.scalars(_query(chosen).limit(page + 1)).all()
    shown = entries[:page]
    urls = _subject_urls(shown)
    return AuditBoard(
        filter=chosen,
        lines=[_line(entry, chosen, urls) for entry in shown],
        older_url=chosen.url(before=shown[-1].id) if len(entries) > page else None,
        newest_url=chosen.url() if chosen.before else None,
    )


def _query(chosen: AuditFilter) -> sa.Select[AuditEntry]:
    # The ORM's own wall does not know this table, because the platform's entries have no tenant.
    query = sa.select(AuditEntry).where(AuditEntry.tenant_id == current_tenant().id).order_by(AuditEntry.id.desc())
    if chosen.text:
        columns = (AuditEntry.actor_name, AuditEntry.action, AuditEntry.subject_name)
        query = query.where(sa.or_(*(column.icontains(chosen.text, autoescape=True) for column in columns)))
    if chosen.action:
        query = query.where(AuditEntry.action == chosen.action)
    if chosen.person:
        query = query.where(AuditEntry.actor_id == chosen.person)
    if chosen.before:
        query = query.where(AuditEntry.id < chosen.before)
    return query


def _subject_urls(entries: Iterable[AuditEntry]) -> dict[UUID, str]:
    """Return the address of each subject that is still there, by its id."""
    urls: dict[UUID, str] = {}
    for kind, (model, url_of) in PAGES.items():
        ids = {entry.subject_id for entry in entries if entry.subject_kind == kind and entry.subject_id}
        if ids:
            there = db.session.scalars(sa.select(model.id).where(model.id.in_(ids)))
            urls |= {found: url_of(found) for found in there}
    return urls


def _line(entry: AuditEntry, chosen: AuditFilter, urls: Mapping[UUID, str]) -> Line:
    is_person = entry.actor_kind == "user" and entry.actor_id
    return Line(
        id=entry.id,
        at=entry.at,
        who=entry.who,
        who_url=chosen.url(person=entry.actor_id) if is_person else None,
        action=entry.action,
        action_url=chosen.url(action=entry.action),
        subject=entry.subject_name or NOTHING,
        subject_kind=entry.subject_kind,
        subject_url=urls.get(entry.subject_id) if entry.subject_id else None,
        details=[_detail(name, entry.details[name]) for name in sorted(entry.details, key=_reading_order)],
        address=entry.address,
    )


def _reading_order(name: str) -> tuple[bool, bool, str]:
    """Put what was before first and what is after next; JSONB keeps no order of its own."""
    return (name != "before", name != "after", name)


def _detail(name: str, value: object) -> Detail:
    label = name.replace("_", " ")
    moment = _moment(value) if isinstance(value, str) else None
    return Detail(name=label, moment=moment) if moment else Detail(name=label, text=_words(value))


def _moment(text: str) -> datetime | None:
    """Return the moment that `text` writes with its zone, or None: a bare date or number is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo and is_everywhere(moment) else None


def _words(value: object) -> str:
    if value is None or value in ("", [], {}):
        words = NOTHING
    elif isinstance(value, bool):
        words = "yes" if value else "no"
    elif isinstance(value, list) and all(isinstance(each, str | int | float) for each in value):
        words = ", ".join(map(str, value))
    elif isinstance(value, dict | list):
        words = json.dumps(value, ensure_ascii=False)
    else:
        words = str(value)
    return words if len(words) <= MAX_VALUE_LENGTH else words[: MAX_VALUE_LENGTH - 1] + "…"
