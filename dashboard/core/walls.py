"""Build the wall between tenants in PostgreSQL: row-level security, and what each role may touch.

Three roles, one per scope: `owner` migrates, `system` sees all tenants, `app` sees the bound one. Hosts that give one
credential get the same policies, decided by the setting `app.scope` instead of the role: a thinner wall, because SQL
that runs as the application could change the setting, or the tables, which it owns. The function `app_is_system` holds
the whole difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

TENANT_ROWS = "tenant_id = app_tenant()"

BY_SETTING = "current_setting('app.scope', true) = 'system'"

FUNCTIONS = f"""
CREATE OR REPLACE FUNCTION app_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('app.tenant_id', true), '')::uuid $$;
CREATE OR REPLACE FUNCTION app_user() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('app.user_id', true), '')::uuid $$;
CREATE OR REPLACE FUNCTION app_is_system() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT {BY_SETTING} $$;
"""

_quote: Callable[[str], str] = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]


def raise_wall(table: str, rows: str = TENANT_ROWS) -> str:
    """Return the SQL that lets nobody but the system see rows of `table` for which `rows` is false."""
    return f"""
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_wall ON {table}
    USING (app_is_system() OR {rows}) WITH CHECK (app_is_system() OR {rows});
"""


def post_guards(
    connection: sa.Connection,
    *,
    owner: str,
    system: str,
    app: str,
    tables: Iterable[str],
    app_privileges: Mapping[str, str],
) -> None:
    """Say who is the system, and grant each role what it needs; run after every migration, without harm.

    `app_privileges` maps a table to what tenants' work may do with it; the other `tables` are the system's alone.
    """
    connection.execute(sa.text(_who_is_system(owner, system, app)))
    if system == app:
        return
    for role in (system, app):
        connection.execute(sa.text(f"GRANT USAGE ON SCHEMA public TO {_quote(role)}"))
        connection.execute(sa.text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {_quote(role)}"))
        connection.execute(sa.text(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {_quote(role)}"))
    for table in tables:
        connection.execute(sa.text(f"GRANT {ALL_BUT_TRUNCATE} ON {table} TO {_quote(system)}"))
        if table in app_privileges:
            connection.execute(sa.text(f"GRANT {app_privileges[table]} ON {table} TO {_quote(app)}"))


ALL_BUT_TRUNCATE = "SELECT, INSERT, UPDATE, DELETE"


def _who_is_system(owner: str, system: str, app: str) -> str:
    """Return the SQL of `app_is_system`: the system's role, and the owner where a migration says so.

    With one credential the setting alone decides, also where three roles did before.
    """
    by_role = f"current_user = {_literal(system)} OR (current_user = {_literal(owner)} AND {BY_SETTING})"
    return f"""
CREATE OR REPLACE FUNCTION app_is_system() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT {BY_SETTING if system == app else by_role} $$;
"""


def _literal(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
