"""Tell a task that exits, which is a failure like any other, from a process that is asked to end."""

from __future__ import annotations

from asyncio import CancelledError

from billiard.common import terminate_handler_fired  # type: ignore[attr-defined]
from celery.exceptions import WorkerShutdown, WorkerTerminate

EXITS = (SystemExit, KeyboardInterrupt, GeneratorExit, CancelledError)
"""What `except Exception` lets pass, and a task may raise all the same: by `sys.exit()` in a library, or by asyncio."""


class TaskExited(Exception):
    """The task asked its process to exit."""


def process_ends(error: BaseException) -> bool:
    """Whether the process ends, so that `error`, whatever it is, says nothing about the task."""
    return bool(terminate_handler_fired()) or isinstance(error, (WorkerShutdown, WorkerTerminate))
