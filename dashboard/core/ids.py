"""Make identifiers that sort by the time they were made."""

from __future__ import annotations

import os
import threading
import time
from datetime import datetime
from uuid import UUID


class _Latest(threading.local):
    """What this thread made last: the millisecond, and the bits below it."""

    ms = 0
    bits = 0


_latest = _Latest()


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then 74 bits.

    They are random, and grow by random steps within a millisecond (§6.2, method 2), so that whatever one thread makes
    is in the order of its making unless somebody sets the clock back.
    """
    ms = time.time_ns() // 1_000_000
    if ms == _latest.ms:
        _latest.bits += 1 + int.from_bytes(os.urandom(6))
    else:
        _latest.ms, _latest.bits = ms, int.from_bytes(os.urandom(9))  # 72 bits, which leave room to grow
    upper, lower = divmod(_latest.bits, 1 << 62)
    return UUID(int=ms << 80 | 0x7 << 76 | upper << 64 | 0x2 << 62 | lower)


def earliest_id(moment: datetime) -> UUID:
    """Return the smallest identifier that could be made at `moment`, to ask an index for what is newer."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
