"""Read the schedule form: what was typed becomes a draft, a send-now, or messages beside the fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from dashboard.core.clock import utc_now, zone_names
from dashboard.core.errors import InvalidInput
from dashboard.schedules.actions import ScheduleDraft
from dashboard.schedules.errors import RecurrenceError
from dashboard.schedules.models import Schedule
from dashboard.schedules.phrases import parse_phrase

When = Literal["now", "minute", "once", "interval", "cron"]

WHEN_CHOICES: tuple[tuple[When, str], ...] = (
    ("now", "Now"),
    ("minute", "In 1 minute"),
    ("once", "At a time"),
    ("interval", "Every …"),
    ("cron", "By the calendar"),
)
UNITS = {"minutes": 60, "hours": 3600, "days": 86_400}
CATCHUP_CHOICES = (
    ("latest", "Run the latest one once"),
    ("all", "Run each of them"),
    ("none", "Run none of them"),
)
OVERLAP_CHOICES = (
    ("skip", "Skip the new one"),
    ("queue_one", "Let one wait"),
    ("queue_all", "Let all of them wait, one after the other"),
    ("cancel_running", "Cancel the old one, then run"),
    ("allow", "Run both at once"),
)
DELAY = timedelta(minutes=1)


@dataclass(slots=True, kw_only=True)
class ScheduleForm:
    """The form's values as typed, and a message for each field that needs another one."""

    values: dict[str, str]
    errors: dict[str, str] = field(default_factory=dict)

    @classmethod
    def blank(cls, job_type: str, zone: str) -> ScheduleForm:
        """Return the form of a new schedule, with sensible defaults."""
        soon = utc_now().astimezone(ZoneInfo(zone)) + timedelta(hours=1)
        return cls(
            values={
                "job_type": job_type,
                "when": "cron",
                "once_local": f"{soon:%Y-%m-%dT%H}:00",
                "every_count": "15",
                "every_unit": "minutes",
                "crons": "weekdays at 9",
                "timezone": "",
                "catchup": "latest",
                "overlap": "skip",
            }
        )

    @classmethod
    def of(cls, schedule: Schedule) -> ScheduleForm:
        """Return the form of a stored schedule."""
        count, unit = _split_period(schedule.every_seconds or 900)
        return cls(
            values={
                "job_type": schedule.job_type,
                "name": schedule.name,
                "note": schedule.note,
                "when": schedule.kind,
                "once_local": f"{schedule.once_local:%Y-%m-%dT%H:%M}" if schedule.once_local else "",
                "every_count": str(count),
                "every_unit": unit,
                "crons": "\n".join(schedule.crons),
                "timezone": schedule.timezone,
                "catchup": schedule.catchup,
                "overlap": schedule.overlap,
                "rev": str(schedule.rev),
            }
        )

    @classmethod
    def from_post(cls, posted: Mapping[str, str]) -> ScheduleForm:
        return cls(values=dict(posted.items()))

    def text(self, name: str) -> str:
        return self.values.get(name, "").strip()

    @property
    def when(self) -> str:
        return self.text("when")

    def draft(self, params: dict[str, Any]) -> ScheduleDraft:
        """Return the draft of a schedule. Raises InvalidInput for what cannot even be read."""
        if not self.text("name"):
            raise InvalidInput({"name": "Give the schedule a name."})
        timing = self.timing()
        return ScheduleDraft(
            name=self.text("name"),
            note=self.text("note"),
            job_type=self.text("job_type"),
            params=params,
            catchup=self._choice("catchup", CATCHUP_CHOICES),
            overlap=self._choice("overlap", OVERLAP_CHOICES),
            **timing,
        )

    def timing(self) -> dict[str, Any]:
        """Return the fields that say when it fires. Raises InvalidInput for what cannot be read."""
        zone = self.text("timezone")
        if zone and zone not in zone_names():
            raise InvalidInput({"timezone": "Choose a time zone from the list, like Europe/London."})
        readers = {"once": self._once, "interval": self._interval, "cron": self._calendar}
        if self.when not in readers:
            raise InvalidInput({"when": "Choose when it runs."})
        return {"timezone": zone, "crons": [], **readers[self.when]()}

    def _once(self) -> dict[str, Any]:
        try:
            return {"kind": "once", "once_local": datetime.fromisoformat(self.text("once_local"))}
        except ValueError:
            raise InvalidInput({"once_local": "Give a date and a time."}) from None

    def _interval(self) -> dict[str, Any]:
        try:
            count = int(self.text("every_count"))
            seconds = count * UNITS[self.text("every_unit")]
        except (ValueError, KeyError):
            raise InvalidInput({"every": "Give a whole number of minutes, hours or days."}) from None
        if count < 1:
            raise InvalidInput({"every": "Give a number of at least 1."})
        return {"kind": "interval", "every_seconds": seconds}

    def _calendar(self) -> dict[str, Any]:
        lines = [line.strip() for line in self.text("crons").splitlines() if line.strip()]
        if not lines:
            raise InvalidInput({"crons": "Write when it runs, such as “weekdays at 9” or 0 9 * * 1-5."})
        if len(lines) == 1:
            return _understood(lines[0])
        return {"kind": "cron", "crons": lines}

    def _choice(self, name: str, choices: tuple[tuple[str, str], ...]) -> str:
        value = self.text(name) or choices[0][0]
        if value not in dict(choices):
            raise InvalidInput({name: "Choose one of the list."})
        return value


def _understood(line: str) -> dict[str, Any]:
    """Read one line: a cron expression as it is, plain words by their meaning."""
    try:
        phrase = parse_phrase(line)
    except RecurrenceError as error:
        raise InvalidInput({"crons": str(error)}) from error
    if phrase.kind == "interval" and phrase.every is not None:
        return {"kind": "interval", "every_seconds": int(phrase.every.total_seconds())}
    return {"kind": "cron", "crons": list(phrase.crons)}


def _split_period(seconds: int) -> tuple[int, str]:
    for unit, size in reversed(UNITS.items()):
        if seconds % size == 0:
            return seconds // size, unit
    return max(1, seconds // 60), "minutes"
