"""Job types whose starts and effects are seen by a witness outside the product; workers load them as a plugin."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from dashboard.jobs.context import RunContext
from dashboard.jobs.outcomes import Result
from dashboard.jobs.registry import JobType, register
from tests.chaos.witness import EFFECT, Witnessed


class WitnessedParams(BaseModel):
    port: int
    seconds: float = 0.0


class _Witnessed(JobType):
    """Works for a while, then does what must not be done twice unasked."""

    Params = WitnessedParams

    def run(self, ctx: RunContext, params: WitnessedParams) -> Result:
        with Witnessed(params.port, ctx.run_id) as witnessed:
            ctx.wait(timedelta(seconds=params.seconds))
            witnessed.say(EFFECT)
        return None


@register
class WitnessedAgain(_Witnessed):
    """May be run again."""

    key = "test.witnessed_again"
    label = "Witnessed, again if need be"
    idempotent, max_attempts = True, 100


@register
class WitnessedOnce(_Witnessed):
    """May run only once."""

    key = "test.witnessed_once"
    label = "Witnessed, once"
