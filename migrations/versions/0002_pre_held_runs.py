"""Claim and finish a run by functions: what each run does anyhow costs half as much in one question.

Each binds the tenant itself and runs as its caller, so that row-level security holds inside as it does outside.
"""

from __future__ import annotations

from alembic import op

revision = "0002_pre"
down_revision = "0001_pre"
branch_labels = None
depends_on = None

BIND = """
    PERFORM set_config('app.tenant_id', for_tenant, true), set_config('app.user_id', as_user, true),
        set_config('app.scope', 'tenant', true)"""

CLAIM = f"""
CREATE FUNCTION claim_run(
    for_tenant text, as_user text, wanted uuid, wanted_fence bigint, lease interval, claimant text,
    OUT tenant_id uuid, OUT schedule_id uuid, OUT nominal timestamptz, OUT name text, OUT job_type text,
    OUT job_version integer, OUT params jsonb, OUT attempt integer, OUT max_attempts integer, OUT idempotent boolean,
    OUT backoff jsonb, OUT timeout_seconds integer)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    planned uuid;
BEGIN{BIND};
    UPDATE run SET state = 'running', attempt = attempt + 1, lease_until = now() + lease, started_at = now(),
        worker = claimant, reason = '', progress_done = NULL, progress_total = NULL, progress_note = ''
    WHERE id = wanted AND fence = wanted_fence AND state = 'admitted'
    RETURNING tenant_id, schedule_id, occurrence_id, name, job_type, job_version, params, attempt, max_attempts,
        idempotent, backoff, timeout_seconds
    INTO tenant_id, schedule_id, planned, name, job_type, job_version, params, attempt, max_attempts,
        idempotent, backoff, timeout_seconds;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO run_event (tenant_id, run_id, state, attempt) VALUES (tenant_id, wanted, 'running', attempt);
    UPDATE tenant_load SET version = version + 1 WHERE tenant_id = claim_run.tenant_id;
    IF planned IS NOT NULL THEN
        nominal := (SELECT nominal FROM occurrence WHERE id = planned);
    END IF;
END $$
"""

# A run that was cancelled meanwhile is not tried again.
_AGAIN = "verdict = 'retrying' AND cancel_requested_at IS NULL"
_TOO_LATE = "verdict = 'retrying' AND cancel_requested_at IS NOT NULL"

FINISH = f"""
CREATE FUNCTION finish_run(
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
    RETURNING tenant_id, id, state, attempt, extract(epoch FROM now() - started_at) AS seconds INTO ended;
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
    op.execute(CLAIM)
    op.execute(FINISH)


def downgrade() -> None:
    op.execute("DROP FUNCTION finish_run")
    op.execute("DROP FUNCTION claim_run")
