"""Create every table of the walking skeleton, behind its wall."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from dashboard.core import walls

revision = "0001_pre"
down_revision = None
branch_labels = None
depends_on = None

WALLS = {
    "tenant": "id = app_tenant()",
    "user_account": (
        "id = app_user() OR EXISTS (SELECT 1 FROM membership"
        " WHERE membership.user_id = user_account.id AND membership.tenant_id = app_tenant())"
    ),
    "membership": "tenant_id = app_tenant() OR user_id = app_user()",
    **dict.fromkeys(
        (
            "tenant_root",
            "tenant_setting",
            "invitation",
            "audit_entry",
            "schedule",
            "schedule_revision",
            "backfill",
            "holiday_calendar",
            "blackout",
            "occurrence",
            "run",
            "run_event",
            "run_log",
            "artifact",
            "artifact_chunk",
            "purge",
            "tenant_load",
            "delivery",
            "mail_pace",
            "bulk_action",
            "dismissal",
        ),
        walls.TENANT_ROWS,
    ),
}
"""Each table with tenants' rows, and which of them the bound tenant may see."""

RECORDS = """
CREATE FUNCTION audit_entry_is_final() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'audit entries are never changed'; END $$;
CREATE TRIGGER audit_entry_is_final BEFORE DELETE OR TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_is_final();
CREATE TRIGGER audit_entry_keeps_what_it_says BEFORE UPDATE ON audit_entry
    FOR EACH ROW WHEN (OLD.tenant_id IS NULL OR to_jsonb(NEW) <> to_jsonb(OLD)
        || '{"actor_name": "", "subject_name": "", "address": "", "details": {}}')
    EXECUTE FUNCTION audit_entry_is_final();
CREATE FUNCTION audit_entry_has_tenant() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN
        IF EXISTS (SELECT FROM tenant WHERE id = OLD.tenant_id) THEN
            RAISE EXCEPTION 'audit entries are never changed, and lose names only when their tenant is deleted';
        END IF;
        RETURN NEW;
    END $$;
CREATE TRIGGER audit_entry_of_tenant_is_final BEFORE UPDATE ON audit_entry
    FOR EACH ROW EXECUTE FUNCTION audit_entry_has_tenant();
CREATE FUNCTION tenant_has_load() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN INSERT INTO tenant_load (tenant_id) VALUES (NEW.id); RETURN NULL; END $$;
CREATE TRIGGER tenant_has_load AFTER INSERT ON tenant FOR EACH ROW EXECUTE FUNCTION tenant_has_load();
INSERT INTO dispatch_clock (id) VALUES (1);
INSERT INTO tenant_change (id) VALUES (1);
CREATE FUNCTION tenant_has_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
    AS $$ BEGIN UPDATE tenant_change SET number = number + 1; RETURN NULL; END $$;
"""

# At the commit, so that two transactions which change the same tenants in another order do not wait for each other.
TENANT_CHANGES = """
CREATE CONSTRAINT TRIGGER tenant_has_changed AFTER INSERT OR UPDATE OR DELETE ON {table}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tenant_has_changed();
"""
RECORDED = ("tenant", "tenant_root", "tenant_setting")


def upgrade() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor_kind", sa.String(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("actor_name", sa.String(), server_default="", nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject_kind", sa.String(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("subject_name", sa.String(), server_default="", nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("address", sa.String(), server_default="", nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("actor_kind IN ('user', 'schedule', 'system')", name=op.f("ck_audit_entry_actor_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entry")),
    )
    op.create_index(
        "ix_audit_entry_tenant_id_id", "audit_entry", ["tenant_id", sa.literal_column("id DESC")], unique=False
    )
    op.create_table(
        "dispatch_clock",
        sa.Column("id", sa.Integer(), server_default="1", autoincrement=False, nullable=False),
        sa.Column("vtime", sa.Double(), server_default="0", nullable=False),
        sa.Column("sequence", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_dispatch_clock_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dispatch_clock")),
    )
    op.create_table(
        "tenant_change",
        sa.Column("id", sa.Integer(), server_default="1", autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_tenant_change_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant_change")),
    )
    op.create_table(
        "process",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("slots", sa.Integer(), server_default="0", nullable=False),
        sa.Column("busy", sa.Integer(), server_default="0", nullable=False),
        sa.Column("queues", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("tick_ms", sa.Double(), nullable=True),
        sa.Column("skew_ms", sa.Double(), nullable=True),
        sa.Column("tzdata", sa.String(), server_default="", nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("kind IN ('worker', 'beat')", name=op.f("ck_process_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_process")),
    )
    op.create_index("ix_process_seen_at", "process", ["seen_at"], unique=False)
    op.create_table(
        "tenant",
        sa.Column("slug", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("suspended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("suspended_reason", sa.String(), server_default="", nullable=False),
        sa.Column("runs_paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("runs_paused_reason", sa.String(), server_default="", nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant")),
        sa.UniqueConstraint("slug", name=op.f("uq_tenant_slug")),
    )
    op.create_table(
        "user_account",
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("is_platform_owner", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("locale", sa.String(), nullable=True),
        sa.Column("timezone", sa.String(), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_account")),
    )
    op.create_index("uq_user_account_email", "user_account", [sa.literal_column("lower(email)")], unique=True)
    op.create_table(
        "credential",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_credential_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_credential")),
    )
    op.create_table(
        "membership",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name=op.f("ck_membership_role")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_membership_tenant_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_membership_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("pk_membership")),
    )
    op.create_index("ix_membership_user_id", "membership", ["user_id"], unique=False)
    op.create_table(
        "invitation",
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name=op.f("ck_invitation_role")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_invitation_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitation")),
    )
    op.create_index(
        "uq_invitation_tenant_id_email", "invitation", ["tenant_id", sa.literal_column("lower(email)")], unique=True
    )
    op.create_index("ix_invitation_email", "invitation", [sa.literal_column("lower(email)")], unique=False)
    op.create_table(
        "schedule",
        sa.Column("rev", sa.Integer(), server_default="1", nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("note", sa.String(), server_default="", nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("crons", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("every_seconds", sa.Integer(), nullable=True),
        sa.Column("anchor", sa.DateTime(timezone=True), nullable=True),
        sa.Column("once_local", sa.DateTime(), nullable=True),
        sa.Column("timezone", sa.String(), server_default="", nullable=False),
        sa.Column("dst_gap", sa.String(), server_default="after", nullable=False),
        sa.Column("dst_overlap", sa.String(), server_default="first", nullable=False),
        sa.Column("start_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("skip_dates", postgresql.ARRAY(sa.Date()), server_default="{}", nullable=False),
        sa.Column("extra_dates", postgresql.ARRAY(sa.Date()), server_default="{}", nullable=False),
        sa.Column("holiday_calendars", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("days_off", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("runs_left", sa.Integer(), nullable=True),
        sa.Column("jitter_seconds", sa.Integer(), server_default="0", nullable=False),
        sa.Column("catchup", sa.String(), server_default="latest", nullable=False),
        sa.Column("catchup_window_seconds", sa.Integer(), server_default="3600", nullable=False),
        sa.Column("catchup_cap", sa.Integer(), server_default="100", nullable=False),
        sa.Column("overlap", sa.String(), server_default="skip", nullable=False),
        sa.Column("concurrency_key", sa.String(), nullable=True),
        sa.Column("priority", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=True),
        sa.Column("backoff", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("timeout_seconds", sa.Integer(), nullable=True),
        sa.Column("expires_after_seconds", sa.Integer(), nullable=True),
        sa.Column("job_type", sa.String(), nullable=False),
        sa.Column("job_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("context_root_id", sa.Uuid(), nullable=True),
        sa.Column("context_locale", sa.String(), nullable=True),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_reason", sa.String(), server_default="", nullable=False),
        sa.Column("paused_by_id", sa.Uuid(), nullable=True),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pause_after_failures", sa.Integer(), nullable=True),
        sa.Column("failures_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_failing", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cursor", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tz_version", sa.String(), server_default="", nullable=False),
        sa.Column("problem", sa.String(), server_default="", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("catchup IN ('none', 'latest', 'all')", name=op.f("ck_schedule_catchup")),
        sa.CheckConstraint("dst_gap IN ('after', 'shift', 'skip')", name=op.f("ck_schedule_dst_gap")),
        sa.CheckConstraint("dst_overlap IN ('first', 'second', 'both')", name=op.f("ck_schedule_dst_overlap")),
        sa.CheckConstraint("kind IN ('once', 'interval', 'cron')", name=op.f("ck_schedule_kind")),
        sa.CheckConstraint(
            "overlap IN ('skip', 'queue_one', 'queue_all', 'cancel_running', 'allow')", name=op.f("ck_schedule_overlap")
        ),
        sa.CheckConstraint("runs_left >= 0", name=op.f("ck_schedule_runs_left")),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["user_account.id"], name=op.f("fk_schedule_owner_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["paused_by_id"], ["user_account.id"], name=op.f("fk_schedule_paused_by_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_schedule_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_schedule_tenant_id_id")),
    )
    op.create_index(
        "ix_schedule_next_at",
        "schedule",
        ["next_at"],
        unique=False,
        postgresql_where=sa.text("next_at IS NOT NULL AND paused_at IS NULL AND archived_at IS NULL AND problem = ''"),
    )
    op.create_index(
        "ix_schedule_tenant_id_next_at",
        "schedule",
        ["tenant_id", "next_at", "id"],
        unique=False,
        postgresql_where=sa.text("next_at IS NOT NULL AND paused_at IS NULL AND archived_at IS NULL AND problem = ''"),
    )
    op.create_index(
        "ix_schedule_paused_until",
        "schedule",
        ["paused_until"],
        unique=False,
        postgresql_where=sa.text("paused_until IS NOT NULL AND paused_at IS NOT NULL AND archived_at IS NULL"),
    )
    op.create_index(
        "ix_schedule_attention",
        "schedule",
        ["tenant_id", sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("(problem <> '' OR is_failing) AND archived_at IS NULL"),
    )
    op.create_table(
        "tenant_load",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("weight", sa.Double(), server_default="1", nullable=False),
        sa.Column("max_running", sa.Integer(), nullable=True),
        sa.Column("rate_per_minute", sa.Integer(), nullable=True),
        sa.Column("runs_per_day", sa.Integer(), nullable=True),
        sa.Column("max_schedules", sa.Integer(), nullable=True),
        sa.Column("least_period_seconds", sa.Integer(), nullable=True),
        sa.Column("minute_full_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("day_full_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("vtime", sa.Double(), server_default="0", nullable=False),
        sa.Column("ready", sa.Integer(), server_default="0", nullable=False),
        sa.Column("running", sa.Integer(), server_default="0", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("drifts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("drifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("least_period_seconds > 0", name=op.f("ck_tenant_load_least_period_seconds")),
        sa.CheckConstraint("max_running > 0", name=op.f("ck_tenant_load_max_running")),
        sa.CheckConstraint("max_schedules > 0", name=op.f("ck_tenant_load_max_schedules")),
        sa.CheckConstraint("rate_per_minute > 0", name=op.f("ck_tenant_load_rate_per_minute")),
        sa.CheckConstraint("ready >= 0", name=op.f("ck_tenant_load_ready")),
        sa.CheckConstraint("running >= 0", name=op.f("ck_tenant_load_running")),
        sa.CheckConstraint("runs_per_day > 0", name=op.f("ck_tenant_load_runs_per_day")),
        sa.CheckConstraint("weight > 0", name=op.f("ck_tenant_load_weight")),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_tenant_load_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenant_load")),
    )
    op.create_index(
        "ix_tenant_load_turn",
        "tenant_load",
        [sa.literal_column("(vtime + 1 / weight)"), "tenant_id"],
        unique=False,
        postgresql_where=sa.text("ready > 0"),
    )
    op.create_table(
        "mail_pace",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_mail_pace_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_mail_pace")),
    )
    op.create_table(
        "tenant_root",
        sa.Column("scheme", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("prefix", sa.String(), server_default="", nullable=False),
        sa.Column("position", sa.Integer(), server_default="0", nullable=False),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("prefix = '' OR prefix ~ '^/.*[^/]$'", name=op.f("ck_tenant_root_prefix")),
        sa.CheckConstraint("scheme IN ('http', 'https')", name=op.f("ck_tenant_root_scheme")),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_tenant_root_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant_root")),
        sa.UniqueConstraint(
            "host", "port", "prefix", name=op.f("uq_tenant_root_host_port_prefix"), postgresql_nulls_not_distinct=True
        ),
    )
    op.create_index("ix_tenant_root_tenant_id", "tenant_root", ["tenant_id"], unique=False)
    op.create_table(
        "tenant_setting",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_tenant_setting_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_tenant_setting")),
    )
    op.create_table(
        "holiday_calendar",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("rev", sa.Integer(), server_default="1", nullable=False),
        sa.Column("place", sa.String(), server_default="", nullable=False),
        sa.Column("days", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_holiday_calendar_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holiday_calendar")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_holiday_calendar_tenant_id_name")),
    )
    op.create_table(
        "blackout",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("rev", sa.Integer(), server_default="1", nullable=False),
        sa.Column("start_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("end_at > start_at", name=op.f("ck_blackout_ends_after_it_starts")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_blackout_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blackout")),
    )
    op.create_index("ix_blackout_tenant_id_end_at", "blackout", ["tenant_id", "end_at"], unique=False)
    op.create_table(
        "web_session",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("signed_in_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("address", sa.String(), server_default="", nullable=False),
        sa.Column("user_agent", sa.String(), server_default="", nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_web_session_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_web_session")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_web_session_token_hash")),
    )
    op.create_index("ix_web_session_expires_at", "web_session", ["expires_at"], unique=False)
    op.create_index("ix_web_session_user_id", "web_session", ["user_id"], unique=False)
    op.create_table(
        "occurrence",
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("occurrence", sa.String(), nullable=False),
        sa.Column("nominal", sa.DateTime(timezone=True), nullable=True),
        sa.Column("nominal_local", sa.String(), server_default="", nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), server_default="", nullable=False),
        sa.Column("note", sa.String(), server_default="", nullable=False),
        sa.Column("rev", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), server_default="1", nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lateness_ms", sa.BigInteger(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("decision IN ('run', 'skip')", name=op.f("ck_occurrence_decision")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "schedule_id"],
            ["schedule.tenant_id", "schedule.id"],
            name="fk_occurrence_schedule",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_occurrence")),
        sa.UniqueConstraint("schedule_id", "occurrence", name=op.f("uq_occurrence_schedule_id_occurrence")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_occurrence_tenant_id_id")),
    )
    op.create_index(
        "ix_occurrence_missed",
        "occurrence",
        ["tenant_id", sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("reason IN ('missed_window', 'coalesced', 'invalid') OR lateness_ms >= 60000"),
    )
    op.create_index(
        "ix_occurrence_skipped",
        "occurrence",
        ["schedule_id", sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("decision = 'skip'"),
    )
    op.create_table(
        "run",
        sa.Column("schedule_id", sa.Uuid(), nullable=True),
        sa.Column("occurrence_id", sa.Uuid(), nullable=True),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("form_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("job_type", sa.String(), nullable=False),
        sa.Column("job_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("queue", sa.String(), server_default="default", nullable=False),
        sa.Column("lane", sa.String(), server_default="bulk", nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("concurrency_key", sa.String(), nullable=True),
        sa.Column("idempotent", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("max_attempts", sa.Integer(), server_default="1", nullable=False),
        sa.Column("backoff", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("timeout_seconds", sa.Integer(), server_default="900", nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), server_default="", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker", sa.String(), server_default="", nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("admitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progress_done", sa.BigInteger(), nullable=True),
        sa.Column("progress_total", sa.BigInteger(), nullable=True),
        sa.Column("progress_note", sa.String(), server_default="", nullable=False),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error_type", sa.String(), server_default="", nullable=False),
        sa.Column("error_message", sa.String(), server_default="", nullable=False),
        sa.Column("error_traceback", sa.String(), server_default="", nullable=False),
        sa.Column("fingerprint", sa.String(), server_default="", nullable=False),
        sa.Column("context_root_id", sa.Uuid(), nullable=True),
        sa.Column("context_locale", sa.String(), nullable=True),
        sa.Column("context_request_id", sa.Uuid(), nullable=True),
        sa.Column("actor_kind", sa.String(), server_default="system", nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("lane IN ('interactive', 'bulk')", name=op.f("ck_run_lane")),
        sa.CheckConstraint(
            "state IN ('scheduled', 'ready', 'admitted', 'running', 'retrying', 'succeeded', 'failed', 'dead', 'cancelled', 'timed_out', 'interrupted', 'skipped')",
            name=op.f("ck_run_state"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "occurrence_id"], ["occurrence.tenant_id", "occurrence.id"], name="fk_run_occurrence"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "parent_id"],
            ["run.tenant_id", "run.id"],
            name="fk_run_parent",
            ondelete="SET NULL (parent_id)",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "schedule_id"], ["schedule.tenant_id", "schedule.id"], name="fk_run_schedule"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_run_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("occurrence_id", name=op.f("uq_run_occurrence_id")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_run_tenant_id_id")),
    )
    op.create_index(
        "ix_run_active",
        "run",
        ["tenant_id", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('admitted', 'ready', 'retrying', 'running', 'scheduled')"),
    )
    op.create_index(
        "ix_run_due",
        "run",
        ["not_before"],
        unique=False,
        postgresql_where=sa.text("state IN ('scheduled', 'retrying')"),
    )
    op.create_index(
        "ix_run_lease",
        "run",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("state IN ('admitted', 'running')"),
    )
    op.create_index(
        "ix_run_ready",
        "run",
        ["queue", sa.literal_column("(lane = 'bulk')"), "tenant_id", sa.literal_column("priority DESC"), "id"],
        unique=False,
        postgresql_where=sa.text("state = 'ready'"),
    )
    op.create_index(
        "ix_run_expiry",
        "run",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('scheduled', 'ready', 'retrying') AND expires_at IS NOT NULL"),
    )
    op.create_index(
        "uq_run_concurrency_key",
        "run",
        ["tenant_id", "concurrency_key"],
        unique=True,
        postgresql_where=sa.text("state IN ('admitted', 'running') AND concurrency_key IS NOT NULL"),
    )
    op.create_index(
        "uq_run_form_id",
        "run",
        ["tenant_id", "form_id"],
        unique=True,
        postgresql_where=sa.text("form_id IS NOT NULL"),
    )
    op.create_index(
        "ix_run_fingerprint",
        "run",
        ["tenant_id", "fingerprint", sa.literal_column("finished_at DESC")],
        unique=False,
        postgresql_include=["schedule_id"],
        postgresql_where=sa.text("state IN ('dead', 'failed', 'interrupted', 'timed_out')"),
    )
    op.create_index("ix_run_schedule_id", "run", ["schedule_id", sa.literal_column("id DESC")], unique=False)
    op.create_index(
        "ix_run_schedule_id_active",
        "run",
        ["schedule_id", "concurrency_key"],
        unique=False,
        postgresql_where=sa.text("state IN ('admitted', 'ready', 'retrying', 'running', 'scheduled')"),
    )
    op.create_index(
        "ix_run_tenant_id_state_id", "run", ["tenant_id", "state", sa.literal_column("id DESC")], unique=False
    )
    op.create_table(
        "delivery",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("state", sa.String(), server_default="pending", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("message_id", sa.String(), server_default="", nullable=False),
        sa.Column("reply_code", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(), server_default="", nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("handing_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "state IN ('pending', 'claimed', 'handing', 'sent', 'deferred', 'bounced', 'suppressed', 'uncertain')",
            name=op.f("ck_delivery_state"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["run.tenant_id", "run.id"], name="fk_delivery_run", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_delivery_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("run_id", "address", name=op.f("uq_delivery_run_id_address")),
    )
    op.create_index("ix_delivery_run_id_state", "delivery", ["run_id", "state"], unique=False)
    op.create_index("ix_delivery_tenant_id_id", "delivery", ["tenant_id", sa.literal_column("id DESC")], unique=False)
    op.create_index(
        "ix_delivery_uncertain",
        "delivery",
        ["tenant_id", sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("state = 'uncertain'"),
    )
    op.create_table(
        "run_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("note", sa.String(), server_default="", nullable=False),
        sa.Column("actor_kind", sa.String(), server_default="system", nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["run.tenant_id", "run.id"], name="fk_run_event_run", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_event")),
    )
    op.create_index("ix_run_event_run_id", "run_event", ["run_id", "id"], unique=False)
    op.create_table(
        "run_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("level", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("level IN ('debug', 'info', 'warning', 'error')", name=op.f("ck_run_log_level")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["run.tenant_id", "run.id"], name="fk_run_log_run", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_log")),
    )
    op.create_index("ix_run_log_run_id", "run_log", ["run_id", "id"], unique=False)
    op.create_index(
        "ix_run_parent_id",
        "run",
        ["parent_id", "id"],
        unique=False,
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.create_table(
        "artifact",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["run.tenant_id", "run.id"], name="fk_artifact_run", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_artifact_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact")),
        sa.UniqueConstraint("run_id", "name", name=op.f("uq_artifact_run_id_name")),
    )
    op.create_table(
        "artifact_chunk",
        sa.Column("artifact_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifact.id"], name=op.f("fk_artifact_chunk_artifact_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"], ["run.tenant_id", "run.id"], name="fk_artifact_chunk_run", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("artifact_id", "position", name=op.f("pk_artifact_chunk")),
    )
    op.create_index("ix_artifact_chunk_run_id", "artifact_chunk", ["run_id"], unique=False)
    op.create_table(
        "purge",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_purge_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_purge")),
    )

    op.create_table(
        "schedule_revision",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("rev", sa.Integer(), nullable=False),
        sa.Column("actor_kind", sa.String(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("fields", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "schedule_id"],
            ["schedule.tenant_id", "schedule.id"],
            name="fk_schedule_revision_schedule",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_schedule_revision_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("schedule_id", "rev", name=op.f("pk_schedule_revision")),
    )

    op.create_table(
        "backfill",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("start_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("created_by_id", sa.Uuid(), nullable=True),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("mode IN ('missing', 'rerun')", name=op.f("ck_backfill_mode")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "schedule_id"],
            ["schedule.tenant_id", "schedule.id"],
            name="fk_backfill_schedule",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["user_account.id"], name=op.f("fk_backfill_created_by_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_backfill_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backfill")),
    )
    op.create_index("ix_backfill_schedule_id", "backfill", ["schedule_id", sa.literal_column("id DESC")])

    op.create_table(
        "bulk_action",
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("filter", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("estimate", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("actor_kind", sa.String(), server_default="system", nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("action IN ('retry', 'cancel')", name=op.f("ck_bulk_action_action")),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_bulk_action_tenant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_action")),
    )
    op.create_index(
        "ix_bulk_action_open", "bulk_action", ["id"], unique=False, postgresql_where=sa.text("finished_at IS NULL")
    )
    op.create_table(
        "dismissal",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("by_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["by_id"], ["user_account.id"], name=op.f("fk_dismissal_by_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_dismissal_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "fingerprint", name=op.f("pk_dismissal")),
    )

    for sentence in (walls.FUNCTIONS, *(walls.raise_wall(table, rows) for table, rows in WALLS.items()), RECORDS):
        op.execute(sentence)
    for table in RECORDED:
        op.execute(TENANT_CHANGES.format(table=table))


def downgrade() -> None:
    for table in WALLS:
        op.execute(f"DROP POLICY tenant_wall ON {table}")
    for name in ("audit_entry_is_final", "audit_entry_has_tenant", "tenant_has_load", "tenant_has_changed"):
        op.execute(f"DROP FUNCTION {name} CASCADE")
    op.drop_table("dismissal")
    op.drop_table("bulk_action")
    op.drop_table("purge")
    op.drop_table("artifact_chunk")
    op.drop_table("artifact")
    op.drop_index("ix_run_log_run_id", table_name="run_log")
    op.drop_table("run_log")
    op.drop_index("ix_run_event_run_id", table_name="run_event")
    op.drop_table("run_event")
    op.drop_index("ix_delivery_tenant_id_id", table_name="delivery")
    op.drop_index("ix_delivery_run_id_state", table_name="delivery")
    op.drop_table("delivery")
    op.drop_index("uq_run_form_id", table_name="run", postgresql_where=sa.text("form_id IS NOT NULL"))
    op.drop_index("ix_run_tenant_id_state_id", table_name="run")
    op.drop_index("ix_run_schedule_id_active", table_name="run")
    op.drop_index("ix_run_schedule_id", table_name="run")
    op.drop_index("ix_run_ready", table_name="run", postgresql_where=sa.text("state = 'ready'"))
    op.drop_index("ix_run_lease", table_name="run", postgresql_where=sa.text("state IN ('admitted', 'running')"))
    op.drop_index("ix_run_due", table_name="run", postgresql_where=sa.text("state IN ('scheduled', 'retrying')"))
    op.drop_index(
        "ix_run_active",
        table_name="run",
        postgresql_where=sa.text("state IN ('admitted', 'ready', 'retrying', 'running', 'scheduled')"),
    )
    op.drop_table("run")
    op.drop_table("backfill")
    op.drop_table("schedule_revision")
    op.drop_table("occurrence")
    op.drop_index("ix_web_session_user_id", table_name="web_session")
    op.drop_index("ix_web_session_expires_at", table_name="web_session")
    op.drop_table("web_session")
    op.drop_index("ix_blackout_tenant_id_end_at", table_name="blackout")
    op.drop_table("blackout")
    op.drop_table("holiday_calendar")
    op.drop_table("tenant_setting")
    op.drop_index("ix_tenant_root_tenant_id", table_name="tenant_root")
    op.drop_table("tenant_root")
    op.drop_table("mail_pace")
    op.drop_index("ix_tenant_load_turn", table_name="tenant_load", postgresql_where=sa.text("ready > 0"))
    op.drop_table("tenant_load")
    op.drop_index("ix_schedule_paused_until", table_name="schedule")
    op.drop_index("ix_schedule_tenant_id_next_at", table_name="schedule")
    op.drop_index(
        "ix_schedule_next_at",
        table_name="schedule",
        postgresql_where=sa.text("next_at IS NOT NULL AND paused_at IS NULL AND archived_at IS NULL AND problem = ''"),
    )
    op.drop_table("schedule")
    op.drop_table("invitation")
    op.drop_index("ix_membership_user_id", table_name="membership")
    op.drop_table("membership")
    op.drop_table("credential")
    op.drop_index("uq_user_account_email", table_name="user_account")
    op.drop_table("user_account")
    op.drop_table("tenant")
    op.drop_index("ix_process_seen_at", table_name="process")
    op.drop_table("process")
    op.drop_table("tenant_change")
    op.drop_table("dispatch_clock")
    op.drop_index("ix_audit_entry_tenant_id_id", table_name="audit_entry")
    op.drop_table("audit_entry")
    for name in ("app_tenant", "app_user", "app_is_system"):
        op.execute(f"DROP FUNCTION {name}()")
