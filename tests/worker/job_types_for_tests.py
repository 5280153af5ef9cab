"""Job types whose every move a test can see; real workers load them as a plugin."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast
from zipfile import ZipFile

from celery.exceptions import SoftTimeLimitExceeded
from flask import render_template_string, url_for
from pydantic import BaseModel, SecretStr

from dashboard.core.orm import db
from dashboard.core.tenancy import carry
from dashboard.jobs.context import RunContext
from dashboard.jobs.outcomes import PermanentError, Result, RetryLater
from dashboard.jobs.registry import JobType, register
from dashboard.runs.models import RunLog

EFFECT = "effect"
STARTED = "started"
NAP = timedelta(seconds=0.05)
AT_NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def leave_effect(ctx: RunContext) -> None:
    """Write a row in the job's own transaction: it is there once for each attempt that was committed."""
    db.session.add(RunLog(run_id=ctx.run_id, attempt=ctx.attempt, level="info", text=EFFECT))


@register
class Empty(JobType):
    """Does nothing, as fast as can be."""

    key = "test.empty"
    label = "Nothing"
    idempotent = True

    def run(self, ctx: RunContext, params: Any) -> Result:
        return None


class SleepParams(BaseModel):
    """For how long a job waits; `gate` is the path of a file that it also waits for, which a test makes in time."""

    seconds: float = 0.0
    gate: str = ""

    @property
    def is_shut(self) -> bool:
        return bool(self.gate) and not Path(self.gate).exists()


class _Sleep(JobType):
    """Says that it started, waits while it listens, and leaves one effect."""

    Params = SleepParams

    def run(self, ctx: RunContext, params: SleepParams) -> Result:
        ctx.log("info", f"{STARTED} {os.getpid()}")
        ctx.wait(timedelta(seconds=params.seconds))
        while params.is_shut:
            ctx.wait(NAP)
        leave_effect(ctx)
        return {"link": url_for("overview.index", _external=True)}


@register
class SleepAgain(_Sleep):
    """May be run again."""

    key = "test.sleep_again"
    label = "Sleep, again if need be"
    idempotent = True


@register
class SleepOnce(_Sleep):
    """May run only once."""

    key = "test.sleep_once"
    label = "Sleep, once"


@register
class Deaf(JobType):
    """Waits inside a transaction and does not listen; not even to the soft time limit if it is `stubborn`."""

    class Params(SleepParams):
        stubborn: bool = False

    key = "test.deaf"
    label = "Deaf"

    def run(self, ctx: RunContext, params: Params) -> Result:
        ctx.log("info", f"{STARTED} {os.getpid()}")
        leave_effect(ctx)
        db.session.flush()
        end = time.monotonic() + params.seconds
        while time.monotonic() < end or params.is_shut:
            try:
                time.sleep(max(NAP.total_seconds(), end - time.monotonic()))
            except SoftTimeLimitExceeded:
                if not params.stubborn:
                    raise
        return None


@register
class Fail(JobType):
    """Fails in the way that it is told, after an effect that must not stand."""

    class Params(BaseModel):
        how: Literal["error", "permanent", "later", "vanish"] = "error"
        secret: SecretStr = SecretStr("")

    key = "test.fail"
    label = "Fail"
    idempotent = True
    max_attempts = 2

    def run(self, ctx: RunContext, params: Params) -> Result:
        leave_effect(ctx)
        db.session.flush()
        match params.how:
            case "permanent":
                raise PermanentError("It can never work.")
            case "later":
                raise RetryLater(timedelta(seconds=1), "Too early.")
            case "vanish":
                os._exit(9)
        raise ValueError(f"It failed with {params.secret.get_secret_value()} at postgresql://joe:hunter2@db/x")


@register
class Count(JobType):
    """Tells how far it is."""

    key = "test.count"
    label = "Count"
    idempotent = True

    def run(self, ctx: RunContext, params: Any) -> Result:
        for done in range(1, 4):
            ctx.check_cancelled()
            ctx.progress(done, 3, f"{done} of 3")
        return {"counted": 3}


@register
class SayOddly(JobType):
    """Says what is no whole number, no text for PostgreSQL, or too big for a column."""

    class Params(BaseModel):
        how: Literal["half a step", "a name that is not UTF-8", "NUL", "an error that is not UTF-8", "too far"]

    key = "test.say_oddly"
    label = "Say oddly"
    idempotent = True

    def run(self, ctx: RunContext, params: Params) -> Result:
        leave_effect(ctx)
        match params.how:
            case "half a step":
                ctx.progress(cast(int, 1.5), cast(int, Decimal(3)))
            case "a name that is not UTF-8":
                ctx.log("info", "\udcff.csv")
            case "NUL":
                return {"text": "a\0b"}
            case "an error that is not UTF-8":
                raise ValueError("\udcff.csv")
            case "too far":
                ctx.progress(2**70)
        return None


@register
class Tell(JobType):
    """Lets a secret slip."""

    class Params(BaseModel):
        secret: SecretStr

    key = "test.tell"
    label = "Tell"

    def run(self, ctx: RunContext, params: Params) -> Result:
        ctx.log("warning", f"It is {params.secret.get_secret_value()}.")
        return None


@register
class Quiet(JobType):
    """Says that it started, and then does nothing with the database."""

    Params = SleepParams

    key = "test.quiet"
    label = "Quiet"

    def run(self, ctx: RunContext, params: SleepParams) -> Result:
        ctx.log("info", STARTED)
        time.sleep(params.seconds)
        while params.is_shut:
            time.sleep(NAP.total_seconds())
        return None


@register
class KilledOnce(JobType):
    """Is killed in its first attempt."""

    key = "test.killed_once"
    label = "Killed once"
    idempotent = True

    def run(self, ctx: RunContext, params: Any) -> Result:
        if ctx.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        leave_effect(ctx)
        return None


@register
class MakeFiles(JobType):
    """Makes files in every way that a job may, and fails if it is told to."""

    class Params(BaseModel):
        name: str = "totals.csv"
        megabytes: int = 0
        fail: bool = False

    key = "test.make_files"
    label = "Make files"

    def run(self, ctx: RunContext, params: Params) -> Result:
        with ctx.artifact(params.name, "text/csv") as file:
            file.write(b"day,runs\n" + b"x" * params.megabytes * 1024 * 1024)
        with ctx.artifact("all.zip", "application/zip") as file, ZipFile(file, "w") as archive:
            archive.writestr("totals.csv", "day,runs\n")
        with ctx.artifact("again.txt", "text/plain; charset=utf-8") as file:
            file.write(b"first")
        with ctx.artifact("again.txt", "text/plain; charset=utf-8") as file:
            file.write("zweites Mal: ä".encode())
        with suppress(ZeroDivisionError), ctx.artifact("half.txt", "text/plain") as file:
            file.write(b"only half of")
            raise ZeroDivisionError
        if params.fail:
            raise PermanentError("It was told to.")
        return None


@register
class Spread(JobType):
    """Lets others do its work: as many as it is told, each of which waits for so long."""

    class Params(BaseModel):
        children: int = 3
        fail: bool = False

    key = "test.spread"
    label = "Spread"

    def run(self, ctx: RunContext, params: Params) -> Result:
        started = ctx.children("test.sleep_once", [{"seconds": 0.0}] * params.children)
        if params.fail:
            raise PermanentError("It was told to.")
        return {"children": [str(child) for child in started]}


@register
class TellNominal(JobType):
    """Says for which instant it was planned."""

    key = "test.tell_nominal"
    label = "Tell when"

    def run(self, ctx: RunContext, params: Any) -> Result:
        return {"nominal": ctx.nominal and ctx.nominal.isoformat()}


@register
class TellZone(JobType):
    """Says in which zone it is asked to show times, shows one, and asks once more in a thread."""

    key = "test.tell_zone"
    label = "Tell in which zone"

    def run(self, ctx: RunContext, params: Any) -> Result:
        with ThreadPoolExecutor(1) as executor:
            carried = executor.submit(carry(lambda: str(ctx.zone))).result()
        shown = render_template_string("{{ at|local_clock(seconds=false)|striptags }}", at=AT_NOON)
        return {"zone": str(ctx.zone), "shown": shown, "carried": carried}


@register
class KillWorker(JobType):
    """Kills the worker that executes it, each time: not only its own process of the pool."""

    key = "test.kill_worker"
    label = "Kill the worker"
    idempotent = True

    def run(self, ctx: RunContext, params: Any) -> Result:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
        return None


BALLAST: list[bytes] = []


@register
class Bloat(JobType):
    """Takes memory, and does not give it back."""

    class Params(BaseModel):
        megabytes: int

    key = "test.bloat"
    label = "Bloat"

    def run(self, ctx: RunContext, params: Params) -> Result:
        ctx.log("info", f"{STARTED} {os.getpid()}")
        # A piece at a time, so that the heartbeat has its turns.
        BALLAST.extend(b"x" * 1024 * 1024 for _ in range(params.megabytes))
        return None
