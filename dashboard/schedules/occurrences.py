"""Write down what was decided about due instants: each once, and skips in a row for one reason as one row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dashboard.core.ids import new_id
from dashboard.core.orm import record_of, rows_as_json
from dashboard.schedules.catchup import Decision
from dashboard.schedules.civil import timeline
from dashboard.schedules.claiming import DueSchedule
from dashboard.schedules.models import Occurrence

RUN = "run"
SKIP = "skip"
_MILLISECOND = timedelta(milliseconds=1)
NAMED_SKIP = "skip:"
"""Begins the key of what a rule names and does not fire: the same instant may also have a fire."""

BACKFILL = "backfill:"
"""Begins the key of an instant that is made up for."""

FIRST_INSTANT = "0"
"""Earlier than any instant in ISO 8601, as text."""

LAST_INSTANT = "9999"
"""Later than any instant in ISO 8601, as text."""

NO_BACKFILL = f"""NOT EXISTS (
    SELECT FROM occurrence WHERE occurrence.id = run.occurrence_id AND starts_with(occurrence.occurrence, '{BACKFILL}'))
"""
"""Whether a `run` is no part of a backfill, in SQL: a schedule's overlap policy looks at those alone."""


Decided = Mapping[UUID, set[datetime]]
"""The nominal instants that were decided on before, by schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of `models.Occurrence` that is to be written."""

    id: UUID
    tenant_id: UUID
    schedule_id: UUID
    occurrence: str
    nominal: datetime
    nominal_local: str
    decision: str
    reason: str
    note: str
    rev: int
    count: int
    until: datetime | None
    lateness_ms: int

    @property
    def runs(self) -> bool:
        return self.decision == RUN

    @property
    def last(self) -> datetime:
        return self.until or self.nominal

    def goes_on(self, other: Entry) -> bool:
        """Whether this skip and `other`, which comes next, are one row."""
        return self._kind == other._kind and self.decision == SKIP and self.last < other.nominal

    def with_more(self, other: Entry) -> Entry:
        """Return the row of this skip together with `other`, which comes next."""
        return replace(self, count=self.count + other.count, until=other.last)

    @property
    def _kind(self) -> tuple[UUID, str, str, str, int, bool]:
        named = self.occurrence.startswith(NAMED_SKIP)
        return self.schedule_id, self.decision, self.reason, self.note, self.rev, named


def entry_of(
    schedule: DueSchedule, decision: Decision, zone: str, now: datetime, *, prefix: str = "", note: str = ""
) -> Entry:
    """Return the row of what was decided; `zone` is the schedule's, and `note` stands if the decision has none."""
    nominal = decision.nominal
    return Entry(
        id=new_id(),
        tenant_id=schedule.tenant_id,
        schedule_id=schedule.id,
        occurrence=f"{prefix}{nominal.isoformat()}",
        nominal=nominal,
        nominal_local=local_text(nominal, zone),
        decision=RUN if decision.runs else SKIP,
        reason=decision.reason,
        note=decision.note or note,
        rev=schedule.rev,
        count=decision.count,
        until=None if decision.count == 1 else decision.until,
        lateness_ms=(now - nominal) // _MILLISECOND,
    )


def record_all(session: Session, entries: Iterable[Entry]) -> set[UUID]:
    """Write the entries, which come in order for each schedule, and return the ids of the runs that are new.

    An instant that was decided on before, by hand or by another planner, stays as it was, and is counted in no row of
    skips. The caller holds the rows of the schedules locked.
    """
    rows = _continue_stored(session, _joined(entries))
    if not rows:
        return set()
    return set(session.scalars(_INSERT, {"rows": rows_as_json([_row(entry) for entry in rows])}))


def decided(session: Session, schedules: Iterable[DueSchedule], now: datetime) -> Decided:
    """Return what was decided before, by hand, of the instants that each schedule has yet to handle up to `now`.

    Whoever groups instants leaves these out first: a group is one row, and stands for nothing that has its own. The
    caller holds the rows of the schedules locked.
    """
    behind = {each.id: each.cursor.isoformat() if each.cursor else FIRST_INSTANT for each in schedules}
    known: Decided = {schedule_id: set() for schedule_id in behind}
    asked = {"schedules": list(behind), "instants": list(behind.values()), "last": now.isoformat()}
    for schedule_id, nominal in session.execute(_DECIDED, asked) if behind else ():
        known[schedule_id].add(nominal)
    return known


@lru_cache(maxsize=4096)
def local_text(nominal: datetime, zone: str) -> str:
    """Return the instant as the zone's clock shows it, for people."""
    return f"{nominal.astimezone(timeline(zone).zone):%Y-%m-%d %H:%M:%S %Z}"


def _joined(entries: Iterable[Entry]) -> list[Entry]:
    rows: list[Entry] = []
    for entry in entries:
        if rows and entry.decision == SKIP and rows[-1].goes_on(entry):
            rows[-1] = rows[-1].with_more(entry)
        else:
            rows.append(entry)
    return rows


def _continue_stored(session: Session, entries: list[Entry]) -> list[Entry]:
    """Add skips that go on where a stored row ends to that row, and return the other entries."""
    firsts = {entry.schedule_id: entry for entry in reversed(entries)}
    skips = [entry for entry in firsts.values() if entry.decision == SKIP]
    if not skips:
        return entries
    grown = []
    for stored in last_until(session, [(entry.schedule_id, entry.nominal) for entry in skips]):
        entry = firsts[stored.schedule_id]
        if stored.goes_on(entry):
            grown.append((entry, stored.with_more(entry)))
    if not grown:
        return entries
    session.execute(_GROW, {"rows": rows_as_json([_row(row) for _, row in grown])})
    done = {entry.id for entry, _ in grown}
    return [entry for entry in entries if entry.id not in done]


def last_until(session: Session, instants: Sequence[tuple[UUID, datetime]]) -> list[Entry]:
    """Return for each (schedule, instant) the last stored row that begins before it or at it, if there is one."""
    if not instants:
        return []
    parameters = {
        "schedules": [schedule_id for schedule_id, _ in instants],
        "instants": [instant.isoformat() for _, instant in instants],
    }
    return [Entry(**row) for row in session.execute(_LAST, parameters).mappings()]


def _row(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in _NAMES}


_NAMES = tuple(field.name for field in fields(Entry))
_FIELDS = ", ".join(_NAMES)
_INSERT = sa.text(f"""
WITH inserted AS (
    INSERT INTO occurrence ({_FIELDS})
    SELECT {_FIELDS} FROM json_to_recordset(CAST(:rows AS json)) AS new({record_of(Occurrence, _NAMES)})
    ON CONFLICT (schedule_id, occurrence) DO NOTHING RETURNING id, decision)
SELECT id FROM inserted WHERE decision = 'run'
""")
_GROW = sa.text("""
UPDATE occurrence SET count = grown.count, until = grown.until
FROM json_to_recordset(CAST(:rows AS json)) AS grown(id uuid, count int, until timestamptz)
WHERE occurrence.id = grown.id
""")
_WANTED = "unnest(CAST(:schedules AS uuid[]), CAST(:instants AS text[])) AS wanted(schedule_id, instant)"
# Instants in ISO 8601 sort like the time, so that the unique index finds those of a range, and the last one, at once.
# OFFSET keeps the lookups apart: a join that was planned while the table was small would read the whole of it.
_DECIDED = sa.text(f"""
SELECT schedule_id, nominal FROM {_WANTED} CROSS JOIN LATERAL (
    SELECT nominal FROM occurrence AS fire
    WHERE fire.schedule_id = wanted.schedule_id AND fire.occurrence > wanted.instant AND fire.occurrence <= :last
    OFFSET 0) AS made
""")
# A fire's own row is found as well, so that an instant that was decided on before goes on no row of skips.
_LAST = sa.text(f"""
SELECT last.* FROM {_WANTED} CROSS JOIN LATERAL (
    SELECT * FROM (
        (SELECT {_FIELDS} FROM occurrence AS fire WHERE fire.schedule_id = wanted.schedule_id
            AND fire.occurrence >= '{FIRST_INSTANT}' AND fire.occurrence <= wanted.instant
            ORDER BY fire.occurrence DESC LIMIT 1)
        UNION ALL
        (SELECT {_FIELDS} FROM occurrence AS named WHERE named.schedule_id = wanted.schedule_id
            AND named.occurrence >= '{NAMED_SKIP}' AND named.occurrence < '{NAMED_SKIP}' || wanted.instant
            ORDER BY named.occurrence DESC LIMIT 1)) AS either
    ORDER BY nominal DESC LIMIT 1) AS last
""")
