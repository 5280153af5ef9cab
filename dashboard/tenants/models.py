"""Tenants, the roots they are mounted at, and the settings they gave."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from dashboard.core import tenancy
from dashboard.core.orm import Base, Created, Identified, TenantOwned, timestamp


class TenantRecord(Identified, Created, Base):
    """An organisation. What the rest of the system sees of it is a `core.tenancy.Tenant`."""

    __tablename__ = "tenant"

    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    suspended_at: Mapped[datetime | None] = mapped_column(timestamp)
    suspended_reason: Mapped[str] = mapped_column(server_default="")
    runs_paused_at: Mapped[datetime | None] = mapped_column(timestamp)
    runs_paused_reason: Mapped[str] = mapped_column(server_default="")

    roots: Mapped[list[TenantRoot]] = relationship(
        order_by="TenantRoot.position", cascade="all, delete-orphan", passive_deletes=True
    )
    settings: Mapped[list[TenantSetting]] = relationship(cascade="all, delete-orphan", passive_deletes=True)

    @property
    def is_active(self) -> bool:
        return self.suspended_at is None

    @property
    def verified_roots(self) -> list[TenantRoot]:
        """The roots that links may use, the canonical one first."""
        return [root for root in self.roots if root.verified_at is not None]


class TenantRoot(Identified, Created, TenantOwned, Base):
    """A URL the tenant is mounted at; links use it once it is verified. The lowest position is the canonical one."""

    __tablename__ = "tenant_root"
    __table_args__ = (
        sa.UniqueConstraint("host", "port", "prefix", postgresql_nulls_not_distinct=True),
        sa.CheckConstraint("scheme IN ('http', 'https')", name="scheme"),
        sa.CheckConstraint("prefix = '' OR prefix ~ '^/.*[^/]$'", name="prefix"),
        sa.Index("ix_tenant_root_tenant_id", "tenant_id"),
    )

    scheme: Mapped[str]
    host: Mapped[str]
    port: Mapped[int | None]
    prefix: Mapped[str] = mapped_column(server_default="")
    position: Mapped[int] = mapped_column(server_default="0")
    verified_at: Mapped[datetime | None] = mapped_column(timestamp)

    def snapshot(self) -> tenancy.Root:
        scheme = tenancy.HTTPS if self.scheme == "https" else tenancy.HTTP
        return tenancy.Root(id=self.id, scheme=scheme, host=self.host, port=self.port, prefix=self.prefix)


class TenantSetting(TenantOwned, Base):
    """A value that the tenant gave to one of the declared settings; a secret is encrypted in `secret`."""

    __tablename__ = "tenant_setting"

    tenant_id: Mapped[UUID] = mapped_column(sa.ForeignKey("tenant.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[Any] = mapped_column(JSONB, nullable=True)
    secret: Mapped[bytes | None]
    updated_at: Mapped[datetime] = mapped_column(timestamp, server_default=sa.func.now(), onupdate=sa.func.now())


class TenantChange(Base):
    """Counts the changes of tenants, roots and settings: one look at it says whether what is remembered still stands.

    One row; triggers on those three tables count when a transaction commits.
    """

    __tablename__ = "tenant_change"
    __table_args__ = (sa.CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, server_default="1", autoincrement=False)
    number: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
