"""Say in words what the ledger keeps in codes; the filters of the runs pages."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from flask import Flask

from dashboard.core.zones import display_zone
from dashboard.runs.board import capped
from dashboard.runs.limits import usage
from dashboard.runs.models import Run, RunLog
from dashboard.runs.retention import last_purge

REASONS = {
    "overlap": "The run before it was still going.",
    "paused": "The schedule was paused.",
    "blackout": "Nothing runs on this date or in this window.",
    "holiday": "It is a holiday:",
    "missed_window": "It was too late: older than the catch-up window.",
    "coalesced": "A later one ran in its place.",
    "limit": "The schedule's limit of runs was reached.",
    "expired": "It could not start before it expired.",
    "dst_skip": "The clock skipped this time.",
    "edited": "The schedule or its time zone was changed before it ran.",
    "by_hand": "Somebody skipped this one fire.",
    "invalid": "The schedule could not run as it stood.",
    "worker_died": "Its worker died.",
    "time_limit": "It ran into its time limit.",
    "refused": "It was not allowed to start.",
    "released": "Somebody released its concurrency key while it ran.",
    "marked_done": "A person looked, and marked it as done.",
}
"""What an operator reads for each reason of a skip or of an end."""


def init_app(app: Flask) -> None:
    """Add the filters, and what the settings say of old runs and of the limits."""
    app.jinja_env.globals.update(last_purge=last_purge, tenant_usage=usage)
    app.jinja_env.filters.update(
        short_id=short_id, reason_words=reason_words, log_text=log_text, capped=capped, error_words=error_words
    )


def short_id(run_id: UUID) -> str:
    """Return the end of the id, which tells runs of one moment apart."""
    return f"#{run_id.hex[-6:]}"


def reason_words(reason: str) -> str:
    """Return the sentence for a reason; a reason that is a sentence already stands as it is."""
    return REASONS.get(reason, reason)


def error_words(run: Run) -> str:
    """Return the run's error; after its type where it is one word, like the key of a KeyError, which says nothing."""
    is_word = len(run.error_message.split()) == 1 and run.error_message != run.error_type
    return f"{run.error_type}: {run.error_message}" if is_word else run.error_message


def log_text(lines: Iterable[RunLog]) -> str:
    """Write log lines as text, in the viewer's zone: 09:15:51 WARNING  what happened."""
    zone = display_zone()
    return "\n".join(f"{line.at.astimezone(zone):%H:%M:%S} {line.level.upper():<8} {line.text}" for line in lines)
