"""The jobs of the benchmarks: they do nothing, or note when they began."""

from __future__ import annotations

import time
from typing import Any

import redis
from flask import current_app
from pydantic import BaseModel

from config.settings import Settings
from dashboard.jobs.context import RunContext
from dashboard.jobs.registry import JobType
from tests.benchmarks.programs.flood_contest import NAP_SECONDS

BEGAN = "bench:began"


class Noop(JobType):
    """Do nothing."""

    key = "bench.noop"
    label = "Nothing"

    class Params(BaseModel):
        """A name."""

        report: str

    def run(self, ctx: RunContext, params: Any) -> None:
        """Do nothing."""


class Nap(JobType):
    """Take a second."""

    key = "bench.nap"
    label = "Nap"

    class Params(BaseModel):
        """Nothing to say."""

    def run(self, ctx: RunContext, params: Any) -> None:
        """Sleep."""
        time.sleep(NAP_SECONDS)


class Note(JobType):
    """Note when it began."""

    key = "bench.note"
    label = "Note"

    class Params(BaseModel):
        """Nothing to say."""

    def run(self, ctx: RunContext, params: Any) -> None:
        """Note when it began, where whoever waits for it can see it."""
        began = time.time()
        settings: Settings = current_app.extensions["settings"]
        redis.Redis.from_url(settings.redis_url.get_secret_value()).rpush(BEGAN, began)
