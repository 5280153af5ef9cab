"""Keep tenants apart in the ORM: bind each transaction, filter each query, guard each flush.

The second of two walls; row-level security in PostgreSQL (`core.walls`) is the first. Known holes of this one alone:
text(), Core selects, bulk updates by primary key and identity-map hits, all of which the first wall stops.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
import structlog
from flask import current_app
from pydantic_core import to_json
from sqlalchemy import event
from sqlalchemy.dialects.postgresql import dialect
from sqlalchemy.orm import Mapped, ORMExecuteState, Session, SessionTransaction, mapped_column, with_loader_criteria

from dashboard.core.errors import WrongTenant
from dashboard.core.ids import new_id
from dashboard.core.tenancy import require_binding
from dashboard.database import Base, WalledSession, db

log = structlog.get_logger(__name__)

__all__ = [
    "SET_SCOPE",
    "SET_TENANT",
    "Base",
    "Created",
    "Identified",
    "TenantOwned",
    "db",
    "record_of",
    "rows_as_json",
    "system_scope",
    "tenant_session",
    "timestamp",
    "who_is_bound",
]

timestamp = sa.DateTime(timezone=True)


class Identified:
    """A model with a UUIDv7 primary key."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)


class TenantOwned:
    """A model whose rows belong to one tenant each; its table has row-level security."""

    tenant_id: Mapped[UUID] = mapped_column(sa.Uuid, sa.ForeignKey("tenant.id", ondelete="CASCADE"))


class Created:
    """A model that knows when its row was made, by the database's clock."""

    created_at: Mapped[datetime] = mapped_column(timestamp, server_default=sa.func.now())


def record_of(model: type[Base], columns: Iterable[str]) -> str:
    """Return these columns with their types, as PostgreSQL's `json_to_recordset` wants them: `id UUID, name TEXT`."""
    return ", ".join(f"{name} {model.__table__.c[name].type.compile(_DIALECT)}" for name in columns)


def rows_as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows for `json_to_recordset`; one such parameter costs a third of an array for each column.

    Ids and times need no hand: pydantic's encoder takes a quarter of the time of the standard library's.
    """
    return to_json(rows).decode()


_DIALECT = dialect()  # type: ignore[no-untyped-call]


@contextmanager
def tenant_session() -> Iterator[Session]:
    """Yield a short session of its own for the bound tenant; commits at the end, rolls back on an error.

    For work that must not share a transaction with `db.session`: claims, heartbeats, progress, logs.
    """
    with WalledSession(db, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def system_scope(reason: str) -> Iterator[Session]:
    """Yield a session that sees every tenant's rows, for the work named by `reason`; commits at the end.

    The only way to the system role: planner, dispatcher, reaper, tenant lookup, sign-in, tenant chooser, back office.
    Rows that are written take their tenant_id from their parent row.
    """
    log.debug("system_scope", reason=reason)
    with WalledSession(db, expire_on_commit=False, info={"system": reason}) as session, session.begin():
        yield session


def is_system(session: Session) -> bool:
    return "system" in session.info


@event.listens_for(WalledSession, "after_begin")
def _bind_transaction(session: Session, _transaction: SessionTransaction, connection: sa.Connection) -> None:
    """Tell PostgreSQL for whom this transaction works; raises NoTenant where nobody said."""
    if is_system(session):
        if current_app.config["ONE_CREDENTIAL"]:
            connection.execute(_SET_SCOPE_TEXT)
        return
    connection.execute(_SET_TENANT_TEXT, who_is_bound())


def who_is_bound() -> dict[str, str]:
    """Return what SET_TENANT asks for: the bound `tenant` and its `user`, empty if no person acts. Raises NoTenant."""
    binding = require_binding()
    user = binding.actor.id if binding.actor.kind == "user" else None
    return {"tenant": str(binding.tenant.id), "user": str(user or "")}


SET_SCOPE: Final = "SELECT set_config('app.scope', 'system', true)"
_SET_SCOPE_TEXT = sa.text(SET_SCOPE)
# The scope too: a pooler may hand us a connection on which somebody else has set it for longer than a transaction.
SET_TENANT: Final = (
    "SELECT set_config('app.tenant_id', %(tenant)s, true), set_config('app.user_id', %(user)s, true),"
    " set_config('app.scope', 'tenant', true)"
)
_SET_TENANT_TEXT = sa.text(SET_TENANT.replace("%(tenant)s", ":tenant").replace("%(user)s", ":user"))


@event.listens_for(WalledSession, "do_orm_execute")
def _filter_by_tenant(state: ORMExecuteState) -> None:
    filterable = state.is_select or state.is_update or state.is_delete
    if is_system(state.session) or not filterable or state.is_column_load:
        return
    tenant_id = require_binding().tenant.id
    state.statement = state.statement.options(
        with_loader_criteria(TenantOwned, lambda model: model.tenant_id == tenant_id, include_aliases=True)
    )


@event.listens_for(WalledSession, "before_flush")
def _guard_flush(session: Session, *_: Any) -> None:
    """Give new rows the bound tenant; raises WrongTenant for a row of another."""
    if is_system(session):
        return
    tenant_id = require_binding().tenant.id
    for row in (*session.new, *session.dirty, *session.deleted):
        if isinstance(row, TenantOwned):
            if row.tenant_id is None:
                row.tenant_id = tenant_id
            elif row.tenant_id != tenant_id:
                raise WrongTenant
