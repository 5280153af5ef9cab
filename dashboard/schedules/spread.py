"""Spreads work over time by a stable hash, so that not all tenants fire at the same second."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import blake2b


def spread(key: str, size: int) -> int:
    """A number in [0, size) that is always the same for the same key, and even over many keys."""
    return int.from_bytes(blake2b(key.encode(errors="backslashreplace"), digest_size=8).digest(), "big") % size


def jittered(schedule_key: str, nominal: datetime, jitter: timedelta, next_nominal: datetime | None) -> datetime:
    """The second in [nominal, next_nominal) at which an occurrence really starts; stable for the same arguments.

    The delay is below `jitter` and below the distance to the next occurrence (None: there is none), in whole seconds.
    """
    room = jitter if next_nominal is None else min(jitter, next_nominal - nominal)
    seconds = int(room.total_seconds())
    if seconds <= 0:
        return nominal
    return nominal + timedelta(seconds=spread(f"{schedule_key}@{nominal.isoformat()}", seconds))
