"""Encrypt every kept secret anew with the newest key, so that older ones can be given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONPATH

from dashboard.audit.actions import record
from dashboard.core import secrets
from dashboard.core.orm import Base, system_scope
from dashboard.core.secrets import UnreadableSecret
from dashboard.jobs.params import SECRET, is_secret
from dashboard.runs.models import Run
from dashboard.schedules.models import Schedule, ScheduleRevision
from dashboard.tenants.models import TenantSetting

BATCH = 500
"""Rows looked at in one transaction, so that nobody waits for one of them for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A column that keeps secrets: as they are, or as values inside its JSON at `path`."""

    where: str
    model: type[Base]
    field: str
    path: str = ""

    @property
    def table(self) -> sa.Table:
        return cast(sa.Table, self.model.__table__)

    @property
    def column(self) -> sa.Column[Any]:
        return self.table.c[self.field]

    @property
    def key(self) -> Sequence[sa.Column[Any]]:
        return self.table.primary_key.columns.values()

    @property
    def holds(self) -> sa.ColumnElement[bool]:
        """Whether a row has any."""
        if self.path:
            return self.column.op("@?", is_comparison=True)(sa.cast(f'{self.path}.*."{SECRET}"', JSONPATH))
        return self.column.is_not(None)


STORES = (
    Store(where="settings", model=TenantSetting, field="secret"),
    Store(where="schedules", model=Schedule, field="params", path="$"),
    Store(where="revisions of schedules", model=ScheduleRevision, field="fields", path="$.params"),
    Store(where="runs", model=Run, field="params", path="$"),
)
"""Everywhere that a secret is kept."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """How many secrets were found somewhere, encrypted anew, and left because no key in use opens them."""

    where: str
    secrets: int = 0
    renewed: int = 0
    unreadable: int = 0

    def renew(self, token: bytes) -> bytes:
        """Return the token for the newest key, and count it."""
        self.secrets += 1
        try:
            renewed = secrets.renew(token)
        except UnreadableSecret:
            self.unreadable += 1
            return token
        self.renewed += renewed != token
        return renewed


def rotate() -> list[Tally]:
    """Encrypt all secrets anew that older keys encrypted; in many short transactions, and called again, it goes on."""
    tallies = [_rotate(store) for store in STORES]
    with system_scope("rotate secrets") as session:
        details = {tally.where: asdict(tally) for tally in tallies if tally.secrets}
        record(session, "secrets.rotate", subject=("secrets", None, ""), of_platform=True, details=details)
    return tallies


def _rotate(store: Store) -> Tally:
    tally = Tally(where=store.where)
    rows = _step(store, tally, after=())
    while len(rows) == BATCH:
        rows = _step(store, tally, after=rows[-1][:-1])
    return tally


def _step(store: Store, tally: Tally, *, after: Sequence[Any]) -> Sequence[sa.Row[Any]]:
    """Go through the batch of rows that comes `after` this key, and return them: key, then what the column held."""
    query: sa.Select[Any] = sa.select(*store.key, store.column).where(store.holds).order_by(*store.key).limit(BATCH)
    if after:
        query = query.where(sa.tuple_(*store.key) > sa.tuple_(*after))
    with system_scope("rotate secrets") as session:
        # No stronger lock: who starts a run from another one shares the lock on its key, and may do so for minutes.
        rows = session.execute(query.with_for_update(key_share=True)).all()
        for *key, kept in rows:
            renewed = _renewed(kept, tally)
            if renewed != kept:
                session.execute(_update(store, key, renewed))
    return rows


def _renewed(kept: Any, tally: Tally) -> Any:
    if isinstance(kept, bytes):
        return tally.renew(kept)
    if is_secret(kept):
        return {SECRET: tally.renew(kept[SECRET].encode()).decode()}
    if isinstance(kept, dict):
        return {name: _renewed(value, tally) for name, value in kept.items()}
    return kept


def _update(store: Store, key: Sequence[Any], renewed: Any) -> sa.Update:
    """Return what keeps the renewed value; when people changed the row last stays as it is."""
    unchanged = {column: column for column in store.table.c if column.onupdate is not None}
    is_row = [column == value for column, value in zip(store.key, key, strict=True)]
    return sa.update(store.table).where(*is_row).values({**unchanged, store.column: renewed})
