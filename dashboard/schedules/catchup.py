"""Decide what becomes of the instants that are due: run, coalesce, or skip, by the schedule's catch-up policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Literal

ON_TIME = timedelta(seconds=60)
"""How late an instant may be planned and still count as on time."""

Policy = Literal["none", "latest", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of `count` instants from `nominal` to `until`: a run (then count is 1), or a skip with a reason."""

    nominal: datetime
    until: datetime
    count: int = 1
    reason: str = ""
    note: str = ""

    @property
    def runs(self) -> bool:
        return not self.reason

    def because(self, reason: str) -> Decision:
        """Return the decision with this reason."""
        return self if reason == self.reason else replace(self, reason=reason)


def one_skip(due: Sequence[datetime], reason: str, note: str = "") -> list[Decision]:
    """Return the decision to leave out all of `due` (ascending) for one reason; none if nothing is due."""
    return [Decision(nominal=due[0], until=due[-1], count=len(due), reason=reason, note=note)] if due else []


def decide(
    due: Sequence[datetime], now: datetime, *, policy: Policy, window: timedelta, cap: int, more: bool = False
) -> list[Decision]:
    """Return a decision for each instant of `due` (ascending, none later than `now`), skips in a row as one.

    On time (up to 60 s late): runs. Older than `window`: missed_window. Between the two the policy decides: "none"
    skips them as missed_window, "latest" runs the last one unless an instant on time stands for it and calls the others
    coalesced, "all" runs them oldest first up to `cap` and calls the rest limit. `more` says that later instants are
    due too, so that none of these is the latest.
    """
    if len(due) == 1 and now - due[0] <= ON_TIME:
        return [Decision(nominal=due[0], until=due[0])]
    late = [at for at in due if ON_TIME < now - at <= window]
    chosen = set(_chosen(late, policy, cap, newest=not more and len(due) > 0 and now - due[-1] > ON_TIME))
    reasons = {"none": "missed_window", "latest": "coalesced", "all": "limit"}

    def reason(at: datetime) -> str:
        if now - at <= ON_TIME or at in chosen:
            return ""
        return "missed_window" if now - at > window else reasons[policy]

    return [decision for why, group in groupby(due, key=reason) for decision in _decisions(why, list(group))]


def _chosen(late: list[datetime], policy: Policy, cap: int, *, newest: bool) -> list[datetime]:
    if policy == "all":
        return late[:cap]
    return late[-1:] if policy == "latest" and newest else []


def _decisions(reason: str, group: list[datetime]) -> list[Decision]:
    if not reason:
        return [Decision(nominal=at, until=at) for at in group]
    return one_skip(group, reason)
