"""Piles up ready runs of many tenants, as fast as PostgreSQL takes them."""

from __future__ import annotations

import sqlalchemy as sa

INDEXES = """
SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'run' AND indexname NOT IN (
    SELECT conname FROM pg_constraint WHERE conrelid = 'run'::regclass)
"""
TENANTS = (
    """
INSERT INTO tenant (id, slug, name) SELECT gen_random_uuid(), 't' || n, 'T' FROM generate_series(1, :tenants) AS n
""",
    """
INSERT INTO tenant_root (id, tenant_id, scheme, host, verified_at)
SELECT gen_random_uuid(), id, 'https', slug || '.test', now() FROM tenant
""",
    "UPDATE tenant_load SET ready = :each",
)
# Ids in the order of insertion, as ours are.
RUNS = """
INSERT INTO run (id, tenant_id, name, job_type, state, ready_at)
SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(row_number() OVER ()), 12, '0'))::uuid, tenant.id,
    'Report', 'test.report', 'ready', now()
FROM generate_series(1, :each) CROSS JOIN tenant
"""


def pile_up(connection: sa.Connection, tenants: int, each: int) -> None:
    """Let an empty database have so many tenants with so many ready runs each; `connection` is a superuser's.

    No key is checked, and the indexes are made anew once the rows are there: all that takes several times as long.
    """
    sizes = {"tenants": tenants, "each": each}
    with connection.begin():
        for statement in TENANTS:
            connection.execute(sa.text(statement), sizes)
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        indexes = connection.execute(sa.text(INDEXES)).all()
        for name, _ in indexes:
            connection.execute(sa.text(f"DROP INDEX {name}"))
        connection.execute(sa.text(RUNS), sizes)
        for _, definition in indexes:
            connection.execute(sa.text(definition))
    with connection.execution_options(isolation_level="AUTOCOMMIT"):
        connection.execute(sa.text("VACUUM ANALYZE run, tenant_load, tenant, tenant_root"))
