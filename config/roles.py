"""Refuse to start as a database role that passes every wall between tenants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from pydantic import SecretStr

from config.settings import Settings

CONNECT_TIMEOUT_SECONDS = 5
ADVICE = "Use a role that is neither superuser nor BYPASSRLS (docs/deploy.md)."


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Who a connection is to PostgreSQL; row-level security does not exist for one that passes walls."""

    name: str
    passes_walls: bool


def refuse_wall_passers(settings: Settings) -> None:
    """End this process, with a sentence, if tenants' pages or the system would work as a superuser or BYPASSRLS role.

    A database that is away proves nothing: the process starts, and /readyz keeps requests off until it has looked.
    """
    for variable, url in _credentials(settings):
        engine = sa.create_engine(
            url.get_secret_value(),
            poolclass=sa.NullPool,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS},
        )
        try:
            with engine.connect() as connection:
                role = role_of(connection)
        except sa.exc.OperationalError:
            continue
        if role.passes_walls:
            raise SystemExit(f"{variable} signs in as {role.name}, who passes every wall between tenants. {ADVICE}")


def role_of(connection: sa.Connection) -> Role:
    """Return who this connection is."""
    name, is_super, bypasses = connection.execute(_ROLE).one()
    return Role(name=name, passes_walls=is_super or bypasses)


_ROLE = sa.text("SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")


def _credentials(settings: Settings) -> Iterator[tuple[str, SecretStr]]:
    yield "DATABASE_URL", settings.database_url
    if settings.system_database_url:
        yield "SYSTEM_DATABASE_URL", settings.system_database_url
