"""Find mails that were leaving when their worker ended, however many there are in all."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_pre"
down_revision = "0002_pre"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_delivery_handing", "delivery", ["lease_until"], postgresql_where=sa.text("state = 'handing'"))


def downgrade() -> None:
    op.drop_index("ix_delivery_handing", table_name="delivery")
