"""Read the schedule form: what was typed becomes a draft, a send-now, or messages beside the fields."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from werkzeug.datastructures import MultiDict

from dashboard.core.clock import utc_now, zone_names
from dashboard.core.errors import InvalidInput
from dashboard.core.ids import new_id
from dashboard.core.paging import cursor
from dashboard.core.typed import TypedForm, instant, wall_time, whole_number
from dashboard.runs.backoff import Backoff
from dashboard.schedules.actions import ScheduleDraft
from dashboard.schedules.choices import (
    BACKOFF_CHOICES,
    CATCHUP_CHOICES,
    GAP_CHOICES,
    OVERLAP_CHOICES,
    TWICE_CHOICES,
)
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
UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400}
POLICIES = {
    "start_at": "From",
    "end_at": "Until",
    "runs_left": "How many more runs",
    "jitter": "Spread over, minutes",
    "skip_dates": "Not on these dates",
    "extra_dates": "Also on these dates",
    "holiday_calendars": "Not on the holidays of",
    "dst_gap": "If the clock skips the time",
    "dst_overlap": "If the time comes twice",
    "catchup": "What a standstill made late",
    "catchup_cap": "How many at most",
    "catchup_window": "Late by at most, minutes",
    "expires_after": "Do not start later than, minutes",
    "overlap": "When the run before is still going",
    "concurrency_key": "Never at once with",
    "priority": "Priority",
    "max_attempts": "Attempts",
    "timeout": "Time limit, minutes",
    "backoff_base": "First wait, seconds",
    "backoff_kind": "Further waits",
    "backoff_max": "Longest wait, seconds",
    "pause_after_failures": "Pause after failures in a row",
    "tags": "Tags",
}
"""The fields that are folded under More, as people call them."""

MOMENTS = ("anchor", "start_at", "end_at")
"""Fields that show an instant as a wall time; a hidden one beside each (`start_at_shown`) carries the instant."""

DELAY = timedelta(minutes=1)
MINUTE = 60


class ScheduleForm(TypedForm):
    """The editor's form as it was typed."""

    __slots__ = ()

    @classmethod
    def blank(cls, job_type: str, zone: str) -> ScheduleForm:
        """Return the form of a new schedule, with sensible defaults."""
        soon = utc_now().astimezone(ZoneInfo(zone)) + timedelta(hours=1)
        return cls(
            values={
                "schedule_id": str(new_id()),
                "job_type": job_type,
                "when": "cron",
                "once_local": f"{soon:%Y-%m-%dT%H}:00",
                "every_count": "15",
                "every_unit": "minutes",
                "crons": "weekdays at 9",
                "timezone": "",
                "catchup": "latest",
                "catchup_window": "60",
                "overlap": "skip",
                "dst_gap": "after",
                "dst_overlap": "first",
            }
        )

    @classmethod
    def of(cls, schedule: Schedule, tenant_zone: str) -> ScheduleForm:
        """Return the form of a stored schedule."""
        zone = _known_zone(schedule.timezone, tenant_zone)
        count, unit = _split_period(schedule.every_seconds or 900)
        return cls(
            values={
                "schedule_id": str(schedule.id),
                "job_type": schedule.job_type,
                "name": schedule.name,
                "note": schedule.note,
                "tags": ", ".join(schedule.tags),
                "when": schedule.kind,
                "once_local": f"{schedule.once_local:%Y-%m-%dT%H:%M}" if schedule.once_local else "",
                "every_count": str(count),
                "every_unit": unit,
                "crons": "\n".join(schedule.crons),
                "timezone": schedule.timezone,
                "skip_dates": "\n".join(map(str, schedule.skip_dates)),
                "extra_dates": "\n".join(map(str, schedule.extra_dates)),
                "holiday_calendars": " ".join(map(str, schedule.holiday_calendars)),
                "runs_left": _number(schedule.runs_left),
                "runs_left_opened": _number(schedule.runs_left),
                "jitter": _number(schedule.jitter_seconds // MINUTE or None),
                "dst_gap": schedule.dst_gap,
                "dst_overlap": schedule.dst_overlap,
                "catchup": schedule.catchup,
                "catchup_window": _number(schedule.catchup_window_seconds // MINUTE),
                "catchup_cap": _number(schedule.catchup_cap),
                "overlap": schedule.overlap,
                "concurrency_key": schedule.concurrency_key or "",
                "priority": _number(schedule.priority),
                "max_attempts": _number(schedule.max_attempts),
                "backoff_kind": schedule.backoff.get("kind", "exponential"),
                "backoff_base": _number(schedule.backoff.get("base")),
                "backoff_max": _number(schedule.backoff.get("max")),
                "pause_after_failures": _number(schedule.pause_after_failures),
                "timeout": _number(schedule.timeout_seconds and schedule.timeout_seconds // MINUTE),
                "expires_after": _number(schedule.expires_after_seconds and schedule.expires_after_seconds // MINUTE),
                "rev": str(schedule.rev),
                **_moments(schedule, zone),
            }
        )

    @classmethod
    def copy_of(cls, schedule: Schedule, tenant_zone: str) -> ScheduleForm:
        """Return the form of a new schedule that is like a stored one."""
        form = cls.of(schedule, tenant_zone)
        form.values |= {"schedule_id": str(new_id()), "name": f"Copy of {schedule.name}"[:LONGEST_NAME]}
        return form

    @classmethod
    def from_post(cls, posted: MultiDict[str, str]) -> ScheduleForm:
        ticked = {"holiday_calendars": " ".join(posted.getlist("holiday_calendars"))}
        return cls(values={**dict(posted.items()), **ticked})

    @property
    def when(self) -> str:
        return self.text("when")

    @property
    def schedule_id(self) -> UUID:
        """The id of the schedule that is edited, or that a new one will have: `H` and jitter are derived from it."""
        return cursor(self.text("schedule_id")) or new_id()

    @property
    def sets_runs_left(self) -> bool:
        """Whether somebody typed how many runs are left: the number that the form was opened with may have sunk."""
        return self.values.get("runs_left_opened") != self.text("runs_left")

    @property
    def jitter_seconds(self) -> int:
        """How far its runs are spread. Raises InvalidInput for what is no number."""
        return (self._whole("jitter", least=0) or 0) * MINUTE

    def draft(self, params: dict[str, Any], tenant_zone: str) -> ScheduleDraft:
        """Return the draft of a schedule. Raises InvalidInput with every field that cannot be read."""
        errors: dict[str, str] = {}
        values: dict[str, Any] = {}
        readers: tuple[Callable[[], dict[str, Any]], ...] = (
            self._name,
            self._tags,
            self.timing,
            lambda: self.limits(tenant_zone),
            self._policies,
            self._attempts,
        )
        for read in readers:
            try:
                values.update(read())
            except InvalidInput as error:
                errors.update(error.errors)
        if errors:
            raise InvalidInput(errors)
        return ScheduleDraft(job_type=self.text("job_type"), params=params, note=self.text("note"), **values)

    def _name(self) -> dict[str, Any]:
        if not self.text("name"):
            raise InvalidInput({"name": "Give the schedule a name."})
        return {"name": self.text("name")[:LONGEST_NAME]}

    def _tags(self) -> dict[str, Any]:
        tags = sorted({" ".join(each.split()) for each in self.text("tags").split(",")} - {""})
        if len(tags) > MOST_TAGS or any(len(tag) > LONGEST_TAG for tag in tags):
            raise InvalidInput({"tags": f"Give at most {MOST_TAGS} tags of up to {LONGEST_TAG} letters each."})
        return {"tags": tags}

    def limits(self, tenant_zone: str) -> dict[str, Any]:
        """Return the fields that bound when it fires. Raises InvalidInput for what cannot be read."""
        local = _known_zone(self.text("timezone"), tenant_zone)
        return {
            "anchor": self._moment("anchor", local) if self.when == "interval" else None,
            "start_at": self._moment("start_at", local),
            "end_at": self._end(local),
            "skip_dates": self._dates("skip_dates"),
            "extra_dates": self._dates("extra_dates"),
            "holiday_calendars": self._calendars(),
            "runs_left": self._whole("runs_left", least=1),
            "dst_gap": self._choice("dst_gap", GAP_CHOICES),
            "dst_overlap": self._choice("dst_overlap", TWICE_CHOICES),
        }

    def _policies(self) -> dict[str, Any]:
        return {
            "catchup": self._choice("catchup", CATCHUP_CHOICES),
            "catchup_window_seconds": (self._whole("catchup_window", least=1) or MINUTE) * MINUTE,
            "catchup_cap": self._whole("catchup_cap", least=1, most=MOST_CAUGHT_UP) or 100,
            "overlap": self._choice("overlap", OVERLAP_CHOICES),
            "concurrency_key": self._key(),
            "jitter_seconds": self.jitter_seconds,
            "priority": self._priority(),
            "timeout_seconds": _minutes(self._whole("timeout", least=1)),
            "expires_after_seconds": _minutes(self._whole("expires_after", least=1)),
        }

    def _attempts(self) -> dict[str, Any]:
        return {
            "max_attempts": self._whole("max_attempts", least=1, most=100),
            "backoff": self._backoff(),
            "pause_after_failures": self._whole("pause_after_failures", least=1, most=100),
        }

    def _backoff(self) -> dict[str, Any]:
        """Return the waits between attempts as `Backoff` reads them; what is not given is its default."""
        kind = self._choice("backoff_kind", BACKOFF_CHOICES)
        base = self._whole("backoff_base", least=1, most=LONGEST_WAIT)
        most = self._whole("backoff_max", least=1, most=LONGEST_WAIT)
        if base and base > (most or Backoff().max):
            raise InvalidInput({"backoff_max": "Give at least as much as the first wait."})
        given = {"kind": kind if kind != BACKOFF_CHOICES[0][0] else None, "base": base, "max": most}
        return {name: value for name, value in given.items() if value is not None}

    def _priority(self) -> int:
        text = self.text("priority") or "0"
        number = whole_number(text.removeprefix("-"))
        if number is None or number > HIGHEST_PRIORITY:
            raise InvalidInput({"priority": f"Give a whole number from -{HIGHEST_PRIORITY} to {HIGHEST_PRIORITY}."})
        return -number if text.startswith("-") else number

    def _key(self) -> str | None:
        key = self.text("concurrency_key")[:LONGEST_KEY]
        if key.startswith(OUR_KEYS):
            raise InvalidInput({"concurrency_key": f"Begin it with another word: {' and '.join(OUR_KEYS)} are taken."})
        return key or None

    def _whole(self, name: str, *, least: int, most: int = 1_000_000) -> int | None:
        text = self.text(name)
        if not text:
            return None
        number = whole_number(text)
        if number is None or not least <= number <= most:
            raise InvalidInput({name: f"Give a whole number from {least:,} to {most:,}, or leave it empty."})
        return number

    def _moment(self, name: str, zone: ZoneInfo) -> datetime | None:
        text = self.text(name)
        moment = wall_time(text, zone, instant(self.text(f"{name}_shown"))) if text else None
        if text and moment is None:
            raise InvalidInput({name: "Give a date and a time, or leave it empty."})
        return moment

    def _end(self, zone: ZoneInfo) -> datetime | None:
        """Return the last moment at which it may fire; a date alone means the whole day, also one that ends twice."""
        moment = self._moment("end_at", zone)
        try:
            day = date.fromisoformat(self.text("end_at"))
        except ValueError:
            return moment
        return datetime.combine(day, time(23, 59, 59, fold=1), zone).astimezone(UTC)

    def _dates(self, name: str) -> list[date]:
        try:
            return sorted({date.fromisoformat(line) for line in self.text(name).replace(",", " ").split()})
        except ValueError:
            raise InvalidInput({name: "Give dates like 2026-12-25, one a line."}) from None

    def _calendars(self) -> list[UUID]:
        ticked = [cursor(text) for text in self.text("holiday_calendars").split()]
        if None in ticked:
            raise InvalidInput({"holiday_calendars": "Choose calendars of the list."})
        return [each for each in ticked if each is not None]

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
            raise InvalidInput({"every": "Give a whole number of seconds, minutes, hours or days."}) from None
        if count < 1:
            raise InvalidInput({"every": "Give a number of at least 1."})
        return {"kind": "interval", "every_seconds": seconds}

    def _calendar(self) -> dict[str, Any]:
        lines = [line.strip() for line in self.text("crons").splitlines() if line.strip()]
        if not lines:
            raise InvalidInput({"crons": "Write when it runs, such as “weekdays at 9” or 0 9 * * 1-5."})
        rules = [_understood(line) for line in lines]
        if len(rules) == 1:
            return rules[0]
        for line, rule in zip(lines, rules, strict=True):
            if rule["kind"] != "cron":
                raise InvalidInput({"crons": f"Give “{line}” a schedule of its own: beside it no other rule fits."})
        return {"kind": "cron", "crons": [cron for rule in rules for cron in rule["crons"]]}

    def _choice(self, name: str, choices: tuple[tuple[str, str], ...]) -> str:
        value = self.text(name) or choices[0][0]
        if value not in dict(choices):
            raise InvalidInput({name: "Choose one of the list."})
        return value


LONGEST_NAME = 200
MOST_TAGS, LONGEST_TAG = 10, 30
MOST_CAUGHT_UP = 1000
LONGEST_WAIT = 86_400
HIGHEST_PRIORITY = 10
LONGEST_KEY = 100
OUR_KEYS = ("schedule:", "backfill:")


def _known_zone(name: str, tenant_zone: str) -> ZoneInfo:
    """Return the zone of this name; the tenant's if there is none, or none of which anybody knows any more."""
    return ZoneInfo(name if name in zone_names() else tenant_zone)


def _minutes(value: int | None) -> int | None:
    return None if value is None else value * MINUTE


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _moments(schedule: Schedule, zone: ZoneInfo) -> dict[str, str]:
    """Return the values of MOMENTS and of the hidden fields beside them, of those that the schedule has."""
    stored = {name: getattr(schedule, name) for name in MOMENTS if getattr(schedule, name)}
    shown = {f"{name}_shown": moment.astimezone(UTC).isoformat() for name, moment in stored.items()}
    return {**{name: _wall(moment, zone) for name, moment in stored.items()}, **shown}


def _wall(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S" if moment.second else "%Y-%m-%dT%H:%M")


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
    """Return the period in the largest unit that says it exactly."""
    return next((seconds // size, unit) for unit, size in reversed(UNITS.items()) if seconds % size == 0)
