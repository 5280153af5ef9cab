"""What the app role may do to each table that tenants' work touches; all other tables are the system's alone."""

from __future__ import annotations

READ = "SELECT"
ADD = "SELECT, INSERT"
EDIT = "SELECT, INSERT, UPDATE"
ALL = "SELECT, INSERT, UPDATE, DELETE"
COUNT = "SELECT, UPDATE (vtime, ready, running, version)"  # its limits are the platform's

APP_TABLES: dict[str, str] = {
    "tenant": READ,
    "tenant_root": READ,
    "tenant_setting": ALL,
    "user_account": READ,
    "membership": ALL,
    "invitation": ALL,
    "audit_entry": ADD,
    "schedule": EDIT,
    "schedule_revision": ADD,
    "backfill": EDIT,
    "holiday_calendar": ALL,
    "blackout": ALL,
    "occurrence": EDIT,
    "run": EDIT,
    "run_event": ADD,
    "run_log": ADD,
    "artifact": ALL,
    "artifact_chunk": ALL,
    "purge": READ,
    "tenant_load": COUNT,
    "dispatch_clock": READ,
    "delivery": EDIT,
    "mail_pace": EDIT,
    "bulk_action": EDIT,
    "dismissal": ALL,
    "process": READ,
}
