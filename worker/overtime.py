"""Let a soft time limit end a job, but cut off nothing that is done once the job has ended."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from billiard.pool import soft_timeout_sighandler

from worker.heartbeat import HeldRun


@contextmanager
def limited(held: HeldRun) -> Iterator[None]:
    """Heed the soft time limit inside the block until the job of `held` has ended.

    It comes as a signal, and would raise in the middle of the commit, which PostgreSQL goes on with: the run would be
    timed out, and its work be there. Only a process of the prefork pool is sent it.
    """
    if signal.getsignal(signal.SIGUSR1) is not soft_timeout_sighandler:
        yield
        return

    def hear(number: int, frame: FrameType | None) -> None:
        if not held.has_ended:
            soft_timeout_sighandler(number, frame)

    signal.signal(signal.SIGUSR1, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, soft_timeout_sighandler)
