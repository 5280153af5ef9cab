"""Say what a rule will do before it does: when it fires on each clock, at which second it starts, what may go wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from uuid import UUID
from zoneinfo import ZoneInfo

from dashboard.core.clock import utc_now
from dashboard.core.formats import duration, short_day, zone_label
from dashboard.schedules.blackouts import Window, apart, window_at, windows_between
from dashboard.schedules.calendars import HOLIDAY
from dashboard.schedules.crowding import others_at, with_spread_minutes
from dashboard.schedules.durations import nearly_longest
from dashboard.schedules.notes import ClockChange
from dashboard.schedules.recurrence import Fire, Recurrence, Skip, clock_changes, jittered

FIRES = 10
YEAR, SECOND = timedelta(days=366), timedelta(seconds=1)
CHANGES = 2
CROWD = 10
"""So many other fires in the same minute are worth a warning."""

MINUTES_COUNTED = 3
"""At how many minutes others are counted: each asks every rule of the tenant."""

MEETING = {
    "skip": "Then the new one is skipped.",
    "queue_one": "Then one waits, and further ones are skipped.",
    "queue_all": "Then they wait for one another, and fall behind.",
    "cancel_running": "Then the old one is cancelled.",
    "allow": "Then both run at once.",
}
"""What becomes of runs that meet, by overlap policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeseenFire:
    """A fire that lies ahead: its nominal instant `at` (UTC), on the schedule's clock, and on the viewer's if known.

    `starts_at` is later than `at` by the schedule's jitter. One that `is_skipped` will not run; its notes say why.
    """

    at: datetime
    local: datetime
    own: datetime | None
    starts_at: datetime
    notes: Sequence[str]
    is_skipped: bool = False

    @property
    def day(self) -> str:
        return f"{self.local:%a} {short_day(self.local, utc_now())}"

    @property
    def clock(self) -> str:
        return f"{_time(self.local)} {zone_label(self.local)}"

    @property
    def remarks(self) -> Sequence[str]:
        """What to say under the fire: the second at which it starts, if jitter moves it, and its notes."""
        moved = [f"starts {self.starts_at.astimezone(self.local.tzinfo):%H:%M:%S}"] if self.starts_at != self.at else []
        return [*moved, *self.notes]

    @property
    def utc_clock(self) -> str:
        return _beside(self.at.astimezone(UTC), self.local)

    @property
    def own_clock(self) -> str:
        return f"{_beside(self.own, self.local)} {zone_label(self.own)}" if self.own else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a rule means: in words, its next fires, and the next changes of the clock.

    `left_out` are the fires among these that holidays, skipped dates and blackouts swallow. `zone` is the name of the
    schedule's zone, `own_zone` of the viewer's, empty if it is not known or tells no other time. `since` is when its
    pause ends, if it does.
    """

    words: str
    crons: Sequence[str]
    fires: Sequence[ForeseenFire]
    changes: Sequence[ClockChange]
    zone: str
    own_zone: str
    left_out: Sequence[ForeseenFire] = ()
    since: datetime | None = None

    @property
    def lines(self) -> Sequence[ForeseenFire]:
        """The next fires and what is left out between them, in order."""
        return sorted([*self.fires, *self.left_out], key=lambda fire: fire.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What counts for a preview beside the rule; `schedule_id` is the id that the schedule has or will have.

    `decided` are fires that somebody skipped or moved: they use up none of the `runs_left`. `since` is when its pause
    ends, if it is paused until a time.
    """

    schedule_id: UUID
    job_type: str
    jitter: timedelta = timedelta()
    overlap: str = "skip"
    runs_left: int | None = None
    decided: Collection[datetime] = ()
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What speaks against a rule, in sentences; `spread_crons` are its expressions with `H`, where that would help."""

    warnings: Sequence[str]
    spread_crons: Sequence[str]


def foresee(rule: Recurrence, wanted: Wanted, own_zone: ZoneInfo | None, *, longest: float | None = None) -> Preview:
    """Ask the function that fires for the next fires, and the clock for its next changes.

    `longest` is how many seconds nearly all runs take at most, where that is known.
    """
    since = wanted.since or utc_now()
    fires = rule.preview(since, FIRES + 1)
    windows = apart(windows_between(since, fires[-1].at + SECOND)) if fires else []
    own_zone = own_zone if own_zone and _tells_more(own_zone, fires) else None
    count = _within_limit(fires[:FIRES], wanted, windows)
    foreseen = [
        _foreseen(fire, before, following, wanted, own_zone, longest)
        for before, fire, following in zip([None, *fires], fires[:count], [*fires[1:], None], strict=False)
    ]
    end = foreseen[-1].at if foreseen else since if fires else since + YEAR
    swallowed = {fire.at: window for fire in foreseen if (window := window_at(windows, fire.at))}
    return Preview(
        words=rule.explain(),
        crons=rule.crons if rule.kind == "cron" else (),
        fires=[fire for fire in foreseen if fire.at not in swallowed],
        left_out=[
            *(_skipped(at, f"blackout: {window.name}", rule, own_zone) for at, window in swallowed.items()),
            *(_skipped(skip.at, _why(skip), rule, own_zone) for skip in islice(rule.left_out(since, end), FIRES)),
        ],
        changes=clock_changes(rule.timezone, since, CHANGES),
        zone=rule.timezone,
        own_zone=own_zone.key if own_zone else "",
        since=wanted.since,
    )


def _tells_more(own_zone: ZoneInfo, fires: Iterable[Fire]) -> bool:
    """Whether the viewer's clock shows something else than the schedule's and UTC, beside which it would stand."""
    offsets = ((fire.at.astimezone(own_zone).utcoffset(), fire.local.utcoffset()) for fire in fires)
    return any(own not in {local, timedelta()} for own, local in offsets)


def _within_limit(fires: Sequence[Fire], wanted: Wanted, windows: Sequence[Window]) -> int:
    """Return how many of the fires come before the runs are used up; what will not run uses up none."""
    left = len(fires) if wanted.runs_left is None else wanted.runs_left
    for number, fire in enumerate(fires):
        if left == 0:
            return number
        left -= fire.at not in wanted.decided and window_at(windows, fire.at) is None
    return len(fires)


def longest_run(wanted: Wanted) -> float | None:
    """Return how many seconds nearly all runs of what is wanted take at most, by the ledger; None if it has not run."""
    return nearly_longest(wanted.schedule_id, wanted.job_type)


def find_trouble(rule: Recurrence, preview: Preview, wanted: Wanted, longest: float | None) -> Trouble:
    """Return what speaks against the rule: runs that may meet, and minutes that other schedules crowd."""
    meeting = _meeting_warning(preview.fires, wanted.overlap, longest)
    warnings = [meeting] if meeting else []
    crowded = _crowded(rule, preview.fires, wanted)
    spread = with_spread_minutes(preview.crons) if crowded else []
    if spread == list(preview.crons):
        spread = []
    if crowded:
        way = "H in the place of the minute spreads them" if spread else "“Spread over” under More keeps clear of them"
        warnings.append(f"{' '.join(crowded)} {way}.")
    return Trouble(warnings=warnings, spread_crons=spread)


def _foreseen(
    fire: Fire,
    before: Fire | None,
    following: Fire | None,
    wanted: Wanted,
    own_zone: ZoneInfo | None,
    longest: float | None,
) -> ForeseenFire:
    next_at = following.at if following else None
    return ForeseenFire(
        at=fire.at,
        local=fire.local,
        own=fire.at.astimezone(own_zone) if own_zone else None,
        starts_at=jittered(str(wanted.schedule_id), fire.at, wanted.jitter, next_at),
        notes=_notes(fire, before, longest),
    )


def _skipped(at: datetime, why: str, rule: Recurrence, own_zone: ZoneInfo | None) -> ForeseenFire:
    return ForeseenFire(
        at=at,
        local=at.astimezone(ZoneInfo(rule.timezone)),
        own=at.astimezone(own_zone) if own_zone else None,
        starts_at=at,
        notes=[f"{why}: skipped"],
        is_skipped=True,
    )


def _why(skip: Skip) -> str:
    return f"holiday: {skip.note}" if skip.reason == HOLIDAY else "skipped date"


def _notes(fire: Fire, before: Fire | None, longest: float | None) -> list[str]:
    notes = [fire.note] if fire.note else []
    if before and longest is not None and _gap(before, fire) < longest:
        notes.append("may overlap")
    return notes


def _gap(before: Fire | ForeseenFire, fire: Fire | ForeseenFire) -> float:
    return (fire.at - before.at).total_seconds()


def _meeting_warning(fires: Sequence[ForeseenFire], overlap: str, longest: float | None) -> str:
    shortest = min((_gap(before, fire) for before, fire in pairwise(fires)), default=None)
    if longest is None or shortest is None or longest <= shortest:
        return ""
    return (
        f"Runs may overlap: p95 runtime {duration(longest)} > {duration(shortest)} between two fires. "
        f"{MEETING.get(overlap, '')}"
    )


def _crowded(rule: Recurrence, fires: Sequence[ForeseenFire], wanted: Wanted) -> list[str]:
    """Return a sentence for each of the first times of day at which many others start; none for what is spread."""
    if wanted.jitter or rule.kind == "interval" or not fires:
        return []
    first_of_day = {f"{fire.local:%H:%M}": fire.at.replace(second=0) for fire in reversed(fires)}
    minutes = dict(sorted(first_of_day.items(), key=lambda each: each[1])[:MINUTES_COUNTED])
    others = others_at(list(minutes.values()), but=wanted.schedule_id)
    return [
        f"{clock} is shared with {others[minute]:,} other fires of this organisation."
        for clock, minute in minutes.items()
        if others[minute] >= CROWD
    ]


def _beside(moment: datetime, local: datetime) -> str:
    """Write a time of day, with its weekday if that is not the one of `local`, beside which it stands."""
    return _time(moment) if moment.date() == local.date() else f"{moment:%a} {_time(moment)}"


def _time(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"
