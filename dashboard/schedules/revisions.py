"""Keep what a schedule was at each save, and say in words what changed between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dashboard.core.formats import duration
from dashboard.jobs.params import redact, shown
from dashboard.jobs.registry import UnknownJobType, job_type
from dashboard.runs.backoff import Backoff
from dashboard.schedules.calendars import names_of
from dashboard.schedules.choices import WORDS
from dashboard.schedules.models import Schedule

LABELS = {
    "name": "Name",
    "note": "Note",
    "tags": "Tags",
    "kind": "Kind",
    "crons": "Days and times",
    "every_seconds": "Every",
    "anchor": "Counted from",
    "once_local": "Date and time",
    "timezone": "Time zone",
    "start_at": "From",
    "end_at": "Until",
    "skip_dates": "Not on",
    "extra_dates": "Also on",
    "holidays": "Not on the holidays of",
    "runs_left": "Runs left",
    "dst_gap": "If the clock skips the time",
    "dst_overlap": "If the time comes twice",
    "jitter_seconds": "Spread over",
    "catchup": "After a standstill",
    "catchup_window_seconds": "Catches up within",
    "catchup_cap": "Catches up at most",
    "overlap": "When runs meet",
    "concurrency_key": "Never at once with",
    "priority": "Priority",
    "max_attempts": "Attempts",
    "backoff": "Between attempts",
    "pause_after_failures": "Pauses after failures in a row",
    "timeout_seconds": "Time limit",
    "expires_after_seconds": "Not later than",
}
"""The fields that a save may change, as people call them; the parameters come on top."""

POLICIES = list(LABELS)[list(LABELS).index("jitter_seconds") :]
"""Those that say nothing of when it fires."""

HOLIDAYS = "holidays"
SECONDS = frozenset(name for name in LABELS if name.endswith("_seconds"))
KINDS = {"once": "At a time", "interval": "Every …", "cron": "By the calendar"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field's change; an empty side means that there was or is nothing."""

    label: str
    before: str
    after: str


def snapshot(schedule: Schedule) -> dict[str, Any]:
    """Return what a save may change, as JSON; secrets among the parameters stay encrypted."""
    fields = {name: _plain(getattr(schedule, name)) for name in LABELS if name != HOLIDAYS}
    holidays = names_of(schedule.holiday_calendars)
    return {**fields, HOLIDAYS: holidays, "job_type": schedule.job_type, "params": schedule.params}


def policies(schedule: Schedule) -> list[tuple[str, str]]:
    """Return what is set of a schedule beside its times, as people read it: label and words."""
    told = ((LABELS[name], _text(name, getattr(schedule, name))) for name in POLICIES)
    return [(label, words) for label, words in told if words]


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return what differs between two snapshots, for people: secrets are told as changed and not shown."""
    old, new = _facts(before), _facts(after)
    return [
        Change(label=label, before=old.get(label, ""), after=new.get(label, ""))
        for label in {**old, **new}
        if old.get(label, "") != new.get(label, "")
    ]


def _facts(fields: Mapping[str, Any]) -> dict[str, str]:
    own = {label: _text(name, fields.get(name)) for name, label in LABELS.items()}
    return {**own, **_params(fields["job_type"], fields["params"])}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(" ", "minutes")
    return [str(each) for each in value] if isinstance(value, list) else value


def _text(name: str, value: Any) -> str:
    if value in (None, "", [], {}, 0):
        return ""
    if name == "backoff":
        return Backoff.from_json(value).words
    if name in SECONDS:
        return duration(value)
    if name == "kind":
        return KINDS.get(value, str(value))
    if name in WORDS:
        return WORDS[name].get(value, str(value))
    return "\n".join(value) if isinstance(value, list) else str(value)


def _params(key: str, params: Mapping[str, Any]) -> dict[str, str]:
    try:
        return dict(shown(job_type(key).Params, params))
    except UnknownJobType:
        return {name: str(value) for name, value in redact(params).items()}
