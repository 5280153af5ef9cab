"""A job type for tests of the pages and the planner, where it is stored and never run."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, SecretStr

from dashboard.jobs.context import RunContext
from dashboard.jobs.registry import JobType, register


@register
class Echo(JobType):
    """Say a word."""

    key = "test.echo"
    label = "Echo"
    description = "Says a word, some times."

    class Params(BaseModel):
        """A word, how often, and a secret that no page may show."""

        word: str
        times: int = 1
        password: SecretStr | None = None

    def run(self, ctx: RunContext, params: Any) -> None:
        """Say nothing: it never runs here."""


@register
class Shout(JobType):
    """Say a word loudly; it asks for some of what Echo asks for, and for some of it in another way."""

    key = "test.shout"
    label = "Shout"
    description = "Shouts a word."

    class Params(BaseModel):
        """A word as Echo has it, how often in words, and how loudly."""

        word: str
        times: str = "often"
        volume: int = 11

    def run(self, ctx: RunContext, params: Any) -> None:
        """Say nothing: it never runs here."""
