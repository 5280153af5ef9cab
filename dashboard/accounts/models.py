"""People, their passwords, their sign-ins, and their memberships of tenants."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from dashboard.core.orm import Base, Created, Identified, TenantOwned, timestamp
from dashboard.tenants.models import TenantRecord


class User(Identified, Created, Base):
    """A person who can sign in. Its row is visible to itself and to the tenants it is a member of."""

    __tablename__ = "user_account"
    __table_args__ = (sa.Index("uq_user_account_email", sa.text("lower(email)"), unique=True),)

    email: Mapped[str]
    name: Mapped[str]
    is_platform_owner: Mapped[bool] = mapped_column(server_default=sa.false())
    locale: Mapped[str | None]
    timezone: Mapped[str | None]
    disabled_at: Mapped[datetime | None] = mapped_column(timestamp)


class Credential(Base):
    """How a person proves who they are; only the system role can read it."""

    __tablename__ = "credential"

    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    password_hash: Mapped[str]
    changed_at: Mapped[datetime] = mapped_column(timestamp, server_default=sa.func.now(), onupdate=sa.func.now())


class Membership(TenantOwned, Created, Base):
    """A person's role in a tenant; also visible to the person, for the chooser."""

    __tablename__ = "membership"
    __table_args__ = (
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),
        sa.Index("ix_membership_user_id", "user_id"),
    )

    tenant_id: Mapped[UUID] = mapped_column(sa.ForeignKey("tenant.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str]

    user: Mapped[User] = relationship(lazy="raise")
    tenant: Mapped[TenantRecord] = relationship(lazy="raise")


class Invitation(Identified, Created, TenantOwned, Base):
    """A person asked, by their address, to become a member; the tenant never learns whether anybody has it."""

    __tablename__ = "invitation"
    __table_args__ = (
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),
        sa.Index("uq_invitation_tenant_id_email", "tenant_id", sa.text("lower(email)"), unique=True),
        sa.Index("ix_invitation_email", sa.text("lower(email)")),
    )

    email: Mapped[str]
    role: Mapped[str]


class WebSession(Identified, Created, Base):
    """One browser's session on one host; the cookie holds a token of which only the hash is kept.

    `data` is what Flask's session holds. A session without a person carries form tokens and flashes.
    """

    __tablename__ = "web_session"
    __table_args__ = (
        sa.Index("ix_web_session_user_id", "user_id"),
        sa.Index("ix_web_session_expires_at", "expires_at"),
    )

    token_hash: Mapped[bytes] = mapped_column(unique=True)
    host: Mapped[str]
    user_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"))
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=sa.text("'{}'"))
    signed_in_at: Mapped[datetime | None] = mapped_column(timestamp)
    seen_at: Mapped[datetime] = mapped_column(timestamp, server_default=sa.func.now())
    expires_at: Mapped[datetime] = mapped_column(timestamp)
    address: Mapped[str] = mapped_column(server_default="")
    user_agent: Mapped[str] = mapped_column(server_default="")
