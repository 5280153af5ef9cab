"""Say which runs are meant, in a form that a list, a bulk action and its row in the database share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

import sqlalchemy as sa

from dashboard.runs.models import Run
from dashboard.runs.states import RUN_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Runs of one tenant for which all that is given holds; `text` is looked for in name, job type and error."""

    states: frozenset[str] = frozenset(RUN_STATES)
    text: str = ""
    schedule: UUID | None = None
    fingerprint: str = ""
    ids: tuple[UUID, ...] = ()

    def among(self, states: Iterable[str]) -> Self:
        """Return the same selection without runs in other states."""
        return type(self)(
            states=self.states & frozenset(states),
            text=self.text,
            schedule=self.schedule,
            fingerprint=self.fingerprint,
            ids=self.ids,
        )

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return what a query asks of a run; which tenant's is for the query to say."""
        conditions = [in_states(self.states)]
        if self.text:
            columns = (Run.name, Run.job_type, Run.error_message)
            conditions.append(sa.or_(*(column.icontains(self.text, autoescape=True) for column in columns)))
        if self.schedule:
            conditions.append(Run.schedule_id == self.schedule)
        if self.fingerprint:
            conditions.append(Run.fingerprint == self.fingerprint)
        if self.ids:
            conditions.append(Run.id.in_(self.ids))
        return conditions

    def to_json(self) -> dict[str, Any]:
        """Return what differs from everything."""
        fields = {
            "states": sorted(self.states),
            "text": self.text,
            "schedule": str(self.schedule) if self.schedule else "",
            "fingerprint": self.fingerprint,
            "ids": [str(each) for each in self.ids],
        }
        return {name: value for name, value in fields.items() if value}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Return the selection that `to_json` wrote."""
        return cls(
            states=frozenset(stored["states"]),
            text=stored.get("text", ""),
            schedule=UUID(stored["schedule"]) if "schedule" in stored else None,
            fingerprint=stored.get("fingerprint", ""),
            ids=tuple(UUID(each) for each in stored.get("ids", ())),
        )


def in_states(states: Iterable[str]) -> sa.ColumnElement[bool]:
    """Compare with literals, because a plan for any parameter could not use an index for some states."""
    wanted = frozenset(states)
    if wanted == frozenset(RUN_STATES):
        return sa.true()
    return Run.state.in_(sa.bindparam(None, sorted(wanted), expanding=True, literal_execute=True))
