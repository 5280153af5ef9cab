"""Job types whose every move a test can see; real workers load them as a plugin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from asyncio import CancelledError
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast
from zipfile import ZipFile

import sqlalchemy as sa
import structlog
from celery.exceptions import SoftTimeLimitExceeded
from flask import g, render_template_string, url_for
from pydantic import BaseModel, SecretStr

from dashboard.core.orm import db
from dashboard.core.tenancy import carry
from dashboard.jobs.context import RunContext
from dashboard.jobs.outcomes import PermanentError, Result, RetryLater
from dashboard.jobs.registry import JobType, register
from dashboard.runs.models import Run, RunLog

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


class _Wordless(Exception):
    """Cannot even say what is wrong."""

    def __str__(self) -> str:
        raise AttributeError("reason")


FAILURES: dict[str, Callable[[], BaseException]] = {
    "permanent": lambda: PermanentError("It can never work."),
    "later": lambda: RetryLater(timedelta(seconds=1), "Too early."),
    "later, but not when": lambda: RetryLater(cast(timedelta, None)),
    "later, but never": lambda: RetryLater(timedelta.max),
    "later, but before": lambda: RetryLater(timedelta(days=-1), "Too late."),
    "without a word": _Wordless,
    "exit": lambda: SystemExit("It asks its process to exit."),
    "asyncio": CancelledError,
}


@register
class Fail(JobType):
    """Fails in the way that it is told, after an effect that must not stand."""

    class Params(SleepParams):
        how: str = "error"
        secret: SecretStr = SecretStr("")

    key = "test.fail"
    label = "Fail"
    idempotent = True
    max_attempts = 2

    def run(self, ctx: RunContext, params: Params) -> Result:
        leave_effect(ctx)
        db.session.flush()
        while params.is_shut:
            time.sleep(NAP.total_seconds())
        if params.how == "vanish":
            os._exit(9)
        if params.how in FAILURES:
            raise FAILURES[params.how]()
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
class FileAtGate(JobType):
    """Waits in the middle of a file."""

    Params = SleepParams
    key = "test.file_at_gate"
    label = "Write a file"
    idempotent = True

    def run(self, ctx: RunContext, params: SleepParams) -> Result:
        with ctx.artifact("totals.csv", "text/csv") as file:
            ctx.log("info", STARTED)
            file.write(b"day,runs\n")
            while params.is_shut:
                time.sleep(NAP.total_seconds())
        return None


COMMIT_LOCK = 77
"""The advisory lock that the commit of `test.commit_slowly` waits for."""

QUERY_LOCK = 78
"""The advisory lock that `test.ask_for_long` holds as long as PostgreSQL works for it."""


@register
class CommitSlowly(JobType):
    """Does what PostgreSQL looks at only when it is committed, and then waits for a lock."""

    key = "test.commit_slowly"
    label = "Commit slowly"

    def run(self, ctx: RunContext, params: Any) -> Result:
        leave_effect(ctx)
        for statement in (
            "CREATE TEMP TABLE looked_at (id integer) ON COMMIT DROP",
            "CREATE FUNCTION pg_temp.look() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN PERFORM pg_advisory_xact_lock({COMMIT_LOCK}); RETURN NULL; END $$",
            "CREATE CONSTRAINT TRIGGER look AFTER INSERT ON looked_at DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION pg_temp.look()",
            "INSERT INTO looked_at VALUES (1)",
        ):
            db.session.execute(sa.text(statement))
        return None


@register
class AskForLong(JobType):
    """Asks PostgreSQL what takes it longer than anybody waits."""

    key = "test.ask_for_long"
    label = "Ask for long"

    def run(self, ctx: RunContext, params: Any) -> Result:
        db.session.execute(sa.text(f"SELECT pg_advisory_xact_lock({QUERY_LOCK})"))
        ctx.log("info", STARTED)
        db.session.execute(sa.text("SELECT pg_sleep(3600)"))
        return None


@register
class MistreatSession(JobType):
    """Does to `db.session` and its connection what a job should not, and says afterwards that it got so far."""

    class Params(BaseModel):
        how: Literal["close", "remove", "abort", "disconnect", "engine", "dispose", "half a savepoint"]

    key = "test.mistreat_session"
    label = "Mistreat the session"

    def run(self, ctx: RunContext, params: Params) -> Result:
        leave_effect(ctx)
        db.session.flush()
        match params.how:
            case "close":
                db.session.close()
            case "remove":
                db.session.remove()
            case "abort":
                with suppress(sa.exc.DataError):
                    db.session.execute(sa.text("SELECT 1 / 0"))
            case "disconnect":
                with suppress(sa.exc.OperationalError):
                    db.session.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
            case "engine":
                with db.engine.begin() as connection:
                    connection.execute(sa.text("SELECT count(*) FROM run"))
            case "dispose":
                db.engine.dispose()
            case "half a savepoint":
                db.session.begin_nested()
        ctx.progress(1, 1, params.how)
        ctx.log("info", STARTED)
        return None


@register
class TellRuns(JobType):
    """Says how many runs it sees: through its session, and past it where nobody says for whom it asks."""

    key = "test.tell_runs"
    label = "Tell how many runs there are"

    def run(self, ctx: RunContext, params: Any) -> Result:
        count = sa.select(sa.func.count()).select_from(Run)
        with db.engine.begin() as connection:
            return {"seen": db.session.scalar(count), "seen past it": connection.scalar(count)}


@register
class StartThreads(JobType):
    """Lets threads and a program do some of its work."""

    key = "test.start_threads"
    label = "Start threads"

    def run(self, ctx: RunContext, params: Any) -> Result:
        def work(number: int) -> None:
            ctx.log("info", f"{STARTED} {number}")
            ctx.progress(number, 3)
            db.session.add(RunLog(run_id=ctx.run_id, attempt=ctx.attempt, level="info", text=f"{number} by itself"))
            db.session.commit()

        with ThreadPoolExecutor(3) as executor:
            list(executor.map(carry(work), range(3)))
        leave_effect(ctx)
        said = subprocess.run([sys.executable, "-c", "print('hello')"], capture_output=True, text=True, check=True)
        return {"said": said.stdout.strip()}


_word: ContextVar[str | None] = ContextVar("_word", default=None)


@register
class LeaveTraces(JobType):
    """Says what an earlier run left here, and leaves all that a job can."""

    key = "test.leave_traces"
    label = "Leave traces"

    def run(self, ctx: RunContext, params: Any) -> Result:
        found = {
            "g": sorted(g),
            "word": _word.get(),
            "log": structlog.contextvars.get_contextvars(),
        }
        g.trace = ctx.tenant.slug
        _word.set(ctx.tenant.slug)
        structlog.contextvars.bind_contextvars(customer=ctx.tenant.slug)
        return found


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
