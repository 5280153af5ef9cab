"""Charge a tenant for no more than a run's time limit: a clock set forward by a year charged it a year."""

from __future__ import annotations

from alembic import op

revision = "0004_pre"
down_revision = "0003_pre"
branch_labels = None
depends_on = None

BIND = """
    PERFORM set_config('app.tenant_id', for_tenant, true), set_config('app.user_id', as_user, true),
        set_config('app.scope', 'tenant', true)"""

# A run that was cancelled meanwhile is not tried again.
_AGAIN = "verdict = 'retrying' AND cancel_requested_at IS NULL"
_TOO_LATE = "verdict = 'retrying' AND cancel_requested_at IS NOT NULL"

HELD = "extract(epoch FROM now() - started_at)"
BOUNDED = f"least({HELD}, timeout_seconds)"


def finish(seconds: str) -> str:
    """Return what makes finish_run anew, with `seconds` for how long the run held its slot."""
    return f"""
CREATE OR REPLACE FUNCTION finish_run(
    for_tenant text, as_user text, wanted uuid, wanted_fence bigint, verdict text, why text, note text, delay interval,
    outcome jsonb, done bigint, total bigint, done_note text, fault text, fault_message text, fault_traceback text,
    likeness text, cost_unit double precision, channel text, word text)
RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    ended record;
BEGIN{BIND};
    UPDATE run SET state = CASE WHEN {_TOO_LATE} THEN 'cancelled' ELSE verdict END, reason = why, lease_until = NULL,
        result = outcome,
        not_before = CASE WHEN {_AGAIN} THEN now() + delay ELSE not_before END,
        finished_at = CASE WHEN {_AGAIN} THEN NULL ELSE now() END,
        progress_done = coalesce(done, progress_done), progress_total = coalesce(total, progress_total),
        progress_note = coalesce(done_note, progress_note),
        error_type = fault, error_message = fault_message, error_traceback = fault_traceback,
        fingerprint = CASE WHEN likeness = '' THEN '' ELSE
            left(encode(sha256(convert_to(job_type || E'\\n' || likeness, 'UTF8')), 'hex'), 16) END
    WHERE id = wanted AND fence = wanted_fence AND state = 'running'
    RETURNING tenant_id, id, state, attempt, {seconds} AS seconds INTO ended;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO run_event (tenant_id, run_id, state, attempt, note)
    VALUES (ended.tenant_id, ended.id, ended.state, ended.attempt, note);
    UPDATE tenant_load SET running = running - 1, version = version + 1,
        vtime = vtime + greatest(ended.seconds / cost_unit - 1, 0) / weight
    WHERE tenant_id = ended.tenant_id;
    PERFORM pg_notify(channel, word);
    RETURN true;
END $$
"""


def upgrade() -> None:
    op.execute(finish(BOUNDED))


def downgrade() -> None:
    op.execute(finish(HELD))
