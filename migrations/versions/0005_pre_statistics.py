"""Let PostgreSQL count the runs anew after some thousand changes: a tenth of all that are kept may be a long backlog."""

from __future__ import annotations

from alembic import op

revision = "0005_pre"
down_revision = "0004_pre"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE run SET (autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000)")


def downgrade() -> None:
    op.execute("ALTER TABLE run RESET (autovacuum_analyze_scale_factor, autovacuum_analyze_threshold)")
