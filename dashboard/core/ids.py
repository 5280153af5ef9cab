"""Make identifiers that sort by the time they were made."""

from __future__ import annotations

import os
import time
from datetime import datetime
from uuid import UUID


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then 74 random bits."""
    random = int.from_bytes(os.urandom(10))
    value = time.time_ns() // 1_000_000 << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value & (1 << 128) - 1)


def earliest_id(moment: datetime) -> UUID:
    """Return the smallest identifier that could be made at `moment`, to ask an index for what is newer."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
