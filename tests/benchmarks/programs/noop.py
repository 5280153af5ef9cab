"""The job type of the benchmarks: it does nothing."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from dashboard.jobs.context import RunContext
from dashboard.jobs.registry import JobType


class Noop(JobType):
    """Do nothing."""

    key = "bench.noop"
    label = "Nothing"

    class Params(BaseModel):
        """A name."""

        report: str

    def run(self, ctx: RunContext, params: Any) -> None:
        """Do nothing."""
