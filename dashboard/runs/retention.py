"""Delete runs that ended longer ago than their tenant keeps them, in steps so small that nobody waits for one.

Bulk actions that finished as long ago go with them.

What belongs to a run goes before it: every table whose rows go with a run's is found by its foreign key. Runs that it
started forget it, and may stay. Occurrences stay with their schedule, so that no instant fires a second time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from psycopg.errors import LockNotAvailable, QueryCanceled
from sqlalchemy.orm import Session

from dashboard.core.clock import database_now
from dashboard.core.ids import earliest_id
from dashboard.core.orm import db
from dashboard.core.tenancy import current_tenant
from dashboard.runs.models import BulkAction, Purge, Run
from dashboard.runs.states import ACTIVE_STATES, RUN_STATES
from dashboard.tenants.models import TenantRecord, TenantSetting
from dashboard.tenants.options import option_for

RUNS = 200
"""Runs deleted in one transaction at most."""

ROWS = 2000
"""Rows of one table that are deleted in one transaction at most: a mailing may have a million deliveries."""

LOOK_EVERY = timedelta(hours=1)
OPTION = "RETENTION_DAYS"
ENDED = tuple(state for state in RUN_STATES if state not in ACTIVE_STATES)

_FIRST = UUID(int=0)
_LIMITS = sa.text("SELECT set_config('lock_timeout', '500ms', true), set_config('statement_timeout', '5s', true)")


class Kept(NamedTuple):
    """How long a tenant keeps its runs after their end."""

    tenant_id: UUID
    slug: str
    days: int


@dataclass(slots=True)
class Sweep:
    """A walk over a tenant's runs, state by state and oldest first, that deletes the old ones.

    A run that somebody holds locked, or that has rows or children which somebody holds, stays until the next sweep.
    """

    kept: Kept
    runs: int = RUNS
    rows: int = ROWS
    _states: list[str] = field(default_factory=lambda: list(ENDED))
    _after: UUID = _FIRST

    @property
    def is_done(self) -> bool:
        return not self._states

    def step(self, session: Session) -> int:
        """Delete a few runs in this transaction; return how many."""
        session.execute(_LIMITS)
        now = database_now(session)
        victims = self._next(session, now)
        is_whole = not victims or _delete_parts(session, victims, self.rows)
        deleted = len(session.scalars(_statements().runs, {"ids": victims}).all()) if victims else 0
        session.execute(_NOTE, {"tenant_id": self.kept.tenant_id, "deleted": deleted})
        if victims and is_whole:
            self._go_on(victims)
        if self.is_done:
            session.execute(_old_bulk_actions(self.kept, now))
        return deleted

    def give_way(self, error: sa.exc.OperationalError) -> None:
        """Take smaller steps if the last one took too long or had to wait; else raise the error again."""
        if not isinstance(error.orig, (QueryCanceled, LockNotAvailable)):
            raise error
        self.runs, self.rows = max(1, self.runs // 2), max(1, self.rows // 2)

    def _next(self, session: Session, now: datetime) -> Sequence[UUID]:
        """Return the next runs to delete; most tenants have none, which is known after a question for each state."""
        while not self.is_done:
            victims = session.scalars(self._victims(now)).all()
            if victims:
                return victims
            self._go_on(victims)
        return []

    def _victims(self, now: datetime) -> sa.Select[UUID]:
        query = sa.select(Run.id).where(*_is_old(self.kept, now), Run.state == self._states[0], Run.id > self._after)
        return query.order_by(Run.id).limit(self.runs).with_for_update(skip_locked=True)

    def _go_on(self, victims: Sequence[UUID]) -> None:
        if len(victims) < self.runs:
            self._states.pop(0)
            self._after = _FIRST
        else:
            self._after = victims[-1]


def next_sweep(session: Session) -> Sweep | None:
    """Return a sweep of the tenant that waits longest for one, or None if all were swept lately."""
    waits = Purge.looked_at.is_(None) | (Purge.looked_at < sa.func.now() - LOOK_EVERY)
    oldest = _KEPT.join(Purge, Purge.tenant_id == TenantRecord.id, isouter=True).where(waits)
    row = session.execute(oldest.order_by(Purge.looked_at.asc().nulls_first()).limit(1)).one_or_none()
    return Sweep(_kept(row)) if row else None


def kept_by(session: Session, slug: str | None = None) -> list[Kept]:
    """Return how long each tenant keeps its runs, or the one called `slug`."""
    query = _KEPT.order_by(TenantRecord.slug)
    return [_kept(row) for row in session.execute(query.where(TenantRecord.slug == slug) if slug else query)]


def count_old(session: Session, kept: Kept) -> Mapping[str, int]:
    """Return how many runs of each state a sweep would delete now."""
    query = sa.select(Run.state, sa.func.count()).where(*_is_old(kept, database_now(session)), Run.state.in_(ENDED))
    return dict(session.execute(query.group_by(Run.state)).all())


def last_purge() -> Purge | None:
    """Return what is known of the bound tenant's sweeps; None before the first."""
    return db.session.get(Purge, current_tenant().id)


_KEPT = sa.select(TenantRecord.id, TenantRecord.slug, TenantSetting.value).join(
    TenantSetting, (TenantSetting.tenant_id == TenantRecord.id) & (TenantSetting.key == OPTION), isouter=True
)


def _kept(row: sa.Row[UUID, str, object]) -> Kept:
    tenant_id, slug, days = row
    return Kept(tenant_id, slug, int(str(days or option_for(OPTION).default)))


def _is_old(kept: Kept, now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    """The id says when a run was made: no run ended before that, and the index on ids finds the old ones."""
    before = now - timedelta(days=kept.days)
    return (Run.tenant_id == kept.tenant_id, Run.id < earliest_id(before), Run.finished_at < before)


def _old_bulk_actions(kept: Kept, now: datetime) -> sa.Delete:
    """A person made each of them: they are few, and go at once when the walk is over."""
    old = BulkAction.finished_at < now - timedelta(days=kept.days)
    return sa.delete(BulkAction).where(BulkAction.tenant_id == kept.tenant_id, old)


def _delete_parts(session: Session, victims: Sequence[UUID], rows: int) -> bool:
    """Delete what belongs to the runs, up to `rows` of each table; False if there is more."""
    deleted = [session.scalar(delete, {"ids": victims, "rows": rows}) or 0 for delete in _statements().parts]
    return max(deleted) < rows


class _Statements(NamedTuple):
    """The SQL that lets children go and deletes rows which belong to runs, table by table, and the runs without any."""

    parts: tuple[sa.TextClause, ...]
    runs: sa.TextClause


@cache
def _statements() -> _Statements:
    """Made when they are first needed, because only then every feature's tables are known."""
    tables = _parts()
    return _Statements(
        parts=(sa.text(_LET_GO), *(sa.text(_DELETE_PART.format(table=table)) for table in tables)),
        runs=sa.text(
            "DELETE FROM run WHERE id = ANY(:ids)"
            + "".join(f" AND NOT EXISTS (SELECT FROM {table} WHERE run_id = run.id)" for table in tables)
            + " AND NOT EXISTS (SELECT FROM run AS child WHERE child.parent_id = run.id)"
            + " RETURNING id"
        ),
    )


def _parts() -> list[str]:
    """Return the tables whose rows are deleted with a run, those that refer to others of them first."""
    run = Run.__table__
    return [
        table.name
        for table in reversed(Run.metadata.sorted_tables)
        if any(rule.referred_table is run and rule.ondelete == "CASCADE" for rule in table.foreign_key_constraints)
    ]


# Left to the foreign key, this would wait for whoever holds a child.
_LET_GO = """
WITH free AS (
    UPDATE run SET parent_id = NULL WHERE id = ANY(ARRAY(
        SELECT id FROM run WHERE parent_id = ANY(:ids) LIMIT :rows FOR NO KEY UPDATE SKIP LOCKED))
    RETURNING 1)
SELECT count(*) FROM free
"""
_DELETE_PART = """
WITH gone AS (
    DELETE FROM {table} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM {table} WHERE run_id = ANY(:ids) LIMIT :rows FOR UPDATE SKIP LOCKED))
    RETURNING 1)
SELECT count(*) FROM gone
"""
# Of a tenant that was deleted meanwhile nothing is noted.
_NOTE = sa.text("""
INSERT INTO purge (tenant_id, looked_at, deleted, deleted_at)
SELECT id, now(), :deleted, CASE WHEN :deleted > 0 THEN now() END FROM tenant WHERE id = :tenant_id
ON CONFLICT (tenant_id) DO UPDATE SET looked_at = now(), deleted = purge.deleted + excluded.deleted,
    deleted_at = coalesce(excluded.deleted_at, purge.deleted_at)
""")
