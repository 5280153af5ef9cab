"""Say how long a run waits before its next attempt."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Literal, Self

from dashboard.core.formats import duration

Kind = Literal["exponential", "fixed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """The wait after attempt n: `base` seconds, doubled for each attempt before if exponential, at most `max`.

    Up to the share `jitter` of it is taken off at random, so that runs that failed together do not come back together.
    """

    kind: Kind = "exponential"
    base: float = 10.0
    max: float = 3600.0
    jitter: float = 0.2

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Return what a run's or schedule's column holds; what is not given is the default."""
        return cls(**{name: stored[name] for name in cls.__slots__ if name in stored})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def words(self) -> str:
        """The waits as people read them."""
        if self.kind == "fixed":
            return f"{duration(min(self.base, self.max))} each time"
        return f"{duration(self.base)}, twice as long each time, at most {duration(self.max)}"

    def delay(self, attempt: int, chance: float | None = None) -> timedelta:
        """Return the wait after `attempt` (from 1); `chance` in [0, 1) decides the jitter, by default at random."""
        doublings = min(attempt - 1, 32) if self.kind == "exponential" else 0
        seconds = min(self.base * 2.0**doublings, self.max)
        taken_off = self.jitter * (random.random() if chance is None else chance)  # noqa: S311 - spreads, hides nothing
        return timedelta(seconds=seconds * (1 - taken_off))
