"""Read what people typed: a form's values, and numbers and wall times that everything behind the form can hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

MOST_DIGITS = 9
"""As many digits as PostgreSQL's integer holds in any case; Python refuses to read thousands of them at all."""

EARLIEST_YEAR, LATEST_YEAR = 2, 9998


@dataclass(slots=True, kw_only=True)
class TypedForm:
    """A form's values as typed, and a message for each field that needs another one."""

    values: dict[str, str]
    errors: dict[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return what was typed into a field, without white space around it."""
        return self.values.get(name, "").strip()

    @property
    def rev(self) -> int:
        """The revision that was opened; 0, which nothing that is stored has, if the form does not say."""
        return whole_number(self.text("rev")) or 0


def whole_number(text: str) -> int | None:
    """Return the number that `text` writes in plain digits, or None if it is none or has more than MOST_DIGITS."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else None


def wall_time(text: str, zone: ZoneInfo, shown: datetime | None = None, *, latest: bool = False) -> datetime | None:
    """Return the UTC moment of a wall time like `2026-11-25T09:14` in `zone`, or None if it is none.

    `shown` is the moment that the field showed before. Unless another time was typed it is meant, also where that time
    comes twice; otherwise the first pass is, or with `latest` the second one.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if shown is not None and shown.astimezone(zone).replace(tzinfo=None, microsecond=0) == moment.replace(tzinfo=None):
        return shown
    if not is_everywhere(moment):
        return None
    passes = [moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    return max(passes) if latest else passes[0]


def instant(text: str) -> datetime | None:
    """Return the UTC moment that `text` writes with its offset, like `2026-11-25T09:14:00+00:00`, or None."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo and is_everywhere(moment) else None


def is_everywhere(moment: datetime) -> bool:
    """Whether `moment` is a date in every time zone; at the ends of the calendar it may be none in the next one."""
    return EARLIEST_YEAR <= moment.year <= LATEST_YEAR
