"""Beat's program: `python -m worker.beat`. It loads neither pages nor Celery, which made it twice as slow to start."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType
from typing import get_args

import structlog

from worker.loading import without_garbage_collection

with without_garbage_collection():
    from config.roles import refuse_wall_passers
    from config.settings import LogLevel, Settings, SettingsError
    from dashboard.bare import create_bare_app
    from dashboard.core.errors import StationmasterError
    from worker.scheduler import Scheduler

log = structlog.get_logger("worker.beat")  # as a program its name is another


def main() -> None:
    """Plan, dispatch and reap until asked to stop. What keeps it from starting is said in a sentence, with exit 1."""
    options = _options()
    try:
        settings = Settings.from_env()
        if options.loglevel:
            settings = settings.model_copy(update={"log_level": options.loglevel})
        refuse_wall_passers(settings)
        scheduler = Scheduler(create_bare_app(settings))
    except (SettingsError, StationmasterError) as error:
        raise SystemExit(str(error)) from None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        scheduler.start()
        log.info("beat_is_ready")
        while True:
            scheduler.tick()
    finally:
        scheduler.stop()
        log.info("beat_has_stopped")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker.beat", description="Plan, dispatch and reap runs.")
    parser.add_argument(
        "-l",
        "--loglevel",
        type=str.upper,
        choices=get_args(LogLevel),
        help="the least log level shown (LOG_LEVEL without it)",
    )
    return parser.parse_args()


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Leave from wherever the planner is: what it has not committed is planned by the next one.

    A dyno's processes are told twice, by Heroku and by who watches them; an impatient Ctrl-C counts, though.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit()


if __name__ == "__main__":
    main()
