"""Plan: turn what is due into occurrences and runs, each once, in one transaction per batch.

Any number of planners may work at the same time: a schedule is claimed with SKIP LOCKED, its cursor only moves
forward, and an occurrence is a unique row. Whatever a batch needs is asked and written for all its schedules at once.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from dashboard.core.orm import rows_as_json
from dashboard.core.tenancy import Actor
from dashboard.jobs.registry import job_type
from dashboard.runs.ledger import RunRequest, cancel, enqueue_all
from dashboard.runs.load import shown
from dashboard.runs.models import Run
from dashboard.runs.states import ACTIVE_STATES
from dashboard.schedules.blackouts import Window, divide
from dashboard.schedules.catchup import Decision, Policy, decide, one_skip
from dashboard.schedules.claiming import DueSchedule, TenantNow, claim_awaking, claim_due, tenants_now
from dashboard.schedules.failing import pause_failing
from dashboard.schedules.launching import key_of, misfit, request_for
from dashboard.schedules.models import Schedule
from dashboard.schedules.occurrences import (
    NAMED_SKIP,
    NO_BACKFILL,
    SKIP,
    Entry,
    decided,
    entry_of,
    record_all,
)
from dashboard.schedules.recurrence import Recurrence, RecurrenceError, Skip
from dashboard.schedules.timing import MOST_INSTANTS, due_until, next_after, recurrence_of, rules_version, start_of
from dashboard.schedules.unasked import record_unasked

BATCH = 500
"""Schedules planned in one transaction: many enough that its cost is shared, few enough that two planners share the
work from the beginning to the end."""

MOST_IN_BATCH = 20_000
"""Instants of all schedules handled in one transaction, so that none gets long."""

FROZEN_AFTER = "1min"
"""How long PostgreSQL waits for the next word of a planner, as text for it; then others plan what it held."""

SUSPENDED = "The organisation is suspended."
RAN_OUT = "Its pause ran out."
POISONED = "Planning it failed for a reason that is no fault of yours. Save it again to let it try anew."

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanResult:
    """What one batch did; `full` says that more may be due."""

    schedules: int = 0
    runs: int = 0
    skips: int = 0
    full: bool = False


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What becomes of one claimed schedule: decisions about its due instants, what its rule left out, where it goes on.

    With a `problem` it stops until somebody mends it.
    """

    schedule: DueSchedule
    zone: str = ""
    recurrence: Recurrence | None = None
    decisions: Sequence[Decision] = ()
    left_out: Sequence[Skip] = ()
    cursor: datetime | None
    next_at: datetime | None
    problem: str = ""
    launched: int = field(default=0, init=False)

    @property
    def instants(self) -> int:
        """How many due instants were decided on."""
        return sum(decision.count for decision in self.decisions)

    @property
    def runs_left(self) -> int | None:
        left = self.schedule.runs_left
        return None if left is None else left - self.launched


Judge = Callable[[DueSchedule, TenantNow, datetime, Set[datetime]], Verdict]
"""Judges a schedule at a moment; the instants are those of its fires that were decided on before."""


def plan(session: Session, now: datetime) -> PlanResult:
    """Plan one batch of what is due at `now` (the transaction's), in a system session; the caller commits."""
    session.execute(_BEGIN, {"frozen_after": FROZEN_AFTER})
    wake(session, now)
    claimed = claim_due(session, now, BATCH)
    if not claimed.schedules:
        return PlanResult()
    failing = pause_failing(session, claimed.schedules)
    going = [schedule for schedule in claimed.schedules if schedule.id not in failing]
    tenants = tenants_now(session, (schedule.tenant_id for schedule in going))
    verdicts = _judge_anew(session, _judged, _judge_all(_judged, going, tenants, now), tenants, now)
    runs, skips = _carry_out(session, verdicts, now)
    log.info("planned", schedules=len(verdicts), runs=runs, skips=skips)
    return PlanResult(schedules=len(verdicts), runs=runs, skips=skips, full=claimed.more or len(verdicts) < len(going))


# Plans are kept as long as the connection. One that was made while a table was empty would read the whole of it for
# each schedule until somebody analyses it.
_BEGIN = sa.text("""
SELECT set_config('enable_seqscan', 'off', true),
    set_config('idle_in_transaction_session_timeout', :frozen_after, true)
""")


def wake(session: Session, now: datetime) -> int:
    """Resume the schedules whose pause ran out at `now`; return how many.

    Each is audited in its tenant's trail, with the system as its actor: once, because the claim that finds the pause
    over and the row that ends it are one transaction's.
    """
    awake = _end_pauses(session, claim_awaking(session, now, BATCH), now)
    for schedule in awake:
        record_unasked(session, "schedule.resume", schedule, RAN_OUT)
    return len(awake)


def resume(session: Session, schedule: Schedule, now: datetime) -> None:
    """End a pause: what was missed becomes one skip row, nothing fires, and the schedule goes on from `now`."""
    session.flush()
    _end_pauses(session, [DueSchedule.of(schedule)], now)
    session.refresh(schedule)


def hold(schedule: DueSchedule, problem: str) -> Verdict:
    """Return the verdict on a schedule that cannot fire; the page shows `problem` and what to do."""
    log.warning("schedule_needs_attention", schedule_id=str(schedule.id), problem=problem)
    return Verdict(schedule=schedule, cursor=schedule.cursor, next_at=schedule.next_at, problem=problem)


def _judge_all(
    how: Judge, schedules: Sequence[DueSchedule], tenants: dict[UUID, TenantNow], now: datetime
) -> list[Verdict]:
    """Judge as many schedules as one transaction bears; the others stay due, or asleep."""
    verdicts: list[Verdict] = []
    instants = 0
    for schedule in schedules:
        verdict = _judge(how, schedule, tenants[schedule.tenant_id], now)
        verdicts.append(verdict)
        instants += verdict.instants + len(verdict.left_out)
        if instants > MOST_IN_BATCH:
            break
    return verdicts


def _judge_anew(
    session: Session, how: Judge, verdicts: Sequence[Verdict], tenants: dict[UUID, TenantNow], now: datetime
) -> list[Verdict]:
    """Judge anew, without them, where somebody decided by hand on some of several due instants.

    They would stand in the way of the others, or be counted in a group. An instant that is due alone finds its row made
    when it is written (`occurrences.record_all`), so that nothing is asked of its schedule.
    """
    several = [verdict.schedule for verdict in verdicts if verdict.instants > 1]
    known = decided(session, several, now)
    return [
        _judge(how, verdict.schedule, tenants[verdict.schedule.tenant_id], now, known[verdict.schedule.id])
        if known.get(verdict.schedule.id)
        else verdict
        for verdict in verdicts
    ]


def _judge(
    how: Judge, schedule: DueSchedule, tenant: TenantNow, now: datetime, known: Set[datetime] = frozenset()
) -> Verdict:
    """Judge one schedule; whatever is wrong with it, it alone is held."""
    try:
        return how(schedule, tenant, now, known)
    except RecurrenceError as error:
        return hold(schedule, str(error))
    except Exception:
        log.exception("schedule_is_poisoned", schedule_id=str(schedule.id))
        return hold(schedule, POISONED)


def _judged(schedule: DueSchedule, tenant: TenantNow, now: datetime, known: Set[datetime]) -> Verdict:
    recurrence = recurrence_of(schedule, tenant.zone)
    before = schedule.cursor or cast(datetime, schedule.next_at) - timedelta(seconds=1)
    due, next_at = due_until(recurrence, before, now)
    cursor = due[-1] if next_at is not None and next_at <= now else now
    left_out = recurrence.skips(before, cursor, MOST_INSTANTS)
    if len(left_out) == MOST_INSTANTS:  # the next batch goes on behind them
        cursor = left_out[-1].at
        due, next_at = [at for at in due if at <= cursor], recurrence.after(cursor)
    more = next_at is not None and next_at <= now
    verdict = Verdict(
        schedule=schedule,
        zone=schedule.timezone or tenant.zone,
        recurrence=recurrence,
        left_out=left_out,
        cursor=cursor,
        next_at=next_at,
    )
    due = [at for at in due if at not in known]
    if tenant.is_suspended:
        verdict.decisions = one_skip(due, "paused", SUSPENDED)
    elif tenant.blackouts:
        _decide_around(verdict, due, now, tenant.blackouts, more=more)
    else:
        _decide(verdict, due, now, more=more)
    return verdict


def _decide_around(
    verdict: Verdict, due: list[datetime], now: datetime, blackouts: Sequence[Window], *, more: bool
) -> None:
    """Skip what the tenant's blackouts swallow, and decide on the rest."""
    fires, swallowed = divide(due, blackouts)
    _decide(verdict, fires, now, more=more)
    verdict.decisions = sorted([*verdict.decisions, *swallowed], key=lambda decision: decision.nominal)


def _decide(verdict: Verdict, due: list[datetime], now: datetime, *, more: bool) -> None:
    schedule = verdict.schedule
    verdict.decisions = decide(
        due,
        now,
        policy=cast(Policy, schedule.catchup),
        window=timedelta(seconds=schedule.catchup_window_seconds),
        cap=schedule.catchup_cap,
        more=more,
    )
    if problem := misfit(schedule):
        verdict.problem = hold(schedule, problem).problem
        verdict.decisions = one_skip(due, "invalid", verdict.problem)


def _carry_out(session: Session, verdicts: Sequence[Verdict], now: datetime) -> tuple[int, int]:
    """Write the verdicts at once; should something in them be refused, one by one, and hold the culprits.

    Return how many runs and skips there were.
    """
    try:
        with session.begin_nested():
            return _write(session, verdicts, now)
    except Exception as error:
        if _is_outage(error):
            raise
        log.error("batch_is_poisoned", schedules=len(verdicts), reason=_reason(error))
    written = [_write_alone(session, verdict, now) for verdict in verdicts]
    return sum(runs for runs, _ in written), sum(skips for _, skips in written)


def _write_alone(session: Session, verdict: Verdict, now: datetime) -> tuple[int, int]:
    verdict.launched = 0
    try:
        with session.begin_nested():
            return _write(session, [verdict], now)
    except Exception as error:
        if _is_outage(error):
            raise
        log.error("schedule_is_poisoned", schedule_id=str(verdict.schedule.id), reason=_reason(error))
        return _write(session, [hold(verdict.schedule, POISONED)], now)


def _is_outage(error: Exception) -> bool:
    """Whether it is the database's error and no refusal of a value, so that no schedule is to blame."""
    return isinstance(error, DBAPIError) and not isinstance(error, (IntegrityError, DataError))


def _reason(error: Exception) -> str:
    """Return what the database said, or where a plugin's code failed; no parameters, because a job's may be secret."""
    if isinstance(error, DBAPIError):
        return str(error.orig).partition("\n")[0]
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} ({last.filename}, line {last.lineno})"


def _write(session: Session, verdicts: Sequence[Verdict], now: datetime) -> tuple[int, int]:
    """Write occurrences, then runs for those that are new, then where each schedule goes on."""
    busy = _busy(session, verdicts, now)
    for verdict in verdicts:
        _limit(verdict, is_busy=verdict.schedule.id in busy)
    entries = [(verdict, entry) for verdict in verdicts for entry in _entries(verdict, now)]
    new = record_all(session, (entry for _, entry in entries))
    launches = [(verdict, entry) for verdict, entry in entries if entry.id in new]
    _cancel_active(session, [verdict.schedule for verdict, _ in launches if _cancels(verdict)])
    enqueue_all(session, [_request(verdict, entry) for verdict, entry in launches])
    _advance(session, verdicts)
    for tenant_id in {verdict.schedule.tenant_id for verdict in verdicts}:
        shown(session, tenant_id)
    return len(launches), sum(entry.decision == SKIP for _, entry in entries)


def _busy(session: Session, verdicts: Sequence[Verdict], now: datetime) -> set[UUID]:
    """Return the schedules that have a run which their overlap policy does not let another one join."""
    keys = {
        verdict.schedule.id: key_of(verdict.schedule)
        for verdict in verdicts
        if verdict.schedule.overlap in _EXCLUSIVE and any(decision.runs for decision in verdict.decisions)
    }
    asked = {"ids": list(keys), "keys": list(keys.values()), "now": now}
    return set(session.scalars(_BUSY, asked)) if keys else set()


_EXCLUSIVE = frozenset({"skip", "queue_one"})

# A scalar subquery, so that each schedule costs one look into the index, however many runs wait.
_BUSY = sa.text(f"""
SELECT id FROM (
    SELECT id, (
        SELECT 1 FROM run
        WHERE run.schedule_id = schedule.id
            AND run.concurrency_key = wanted.key
            AND run.state IN ('scheduled', 'ready', 'admitted', 'running', 'retrying')
            AND (run.state <> 'scheduled' OR run.not_before <= :now)
            AND (schedule.overlap = 'skip' OR run.state IN ('scheduled', 'ready'))
            AND {NO_BACKFILL}
        LIMIT 1) AS run
    FROM unnest(CAST(:ids AS uuid[]), CAST(:keys AS text[])) AS wanted(id, key) JOIN schedule USING (id)) AS looked
WHERE run IS NOT NULL
""")


def _limit(verdict: Verdict, *, is_busy: bool) -> None:
    """Turn runs into skips that the schedule's overlap policy or its number of runs left forbids."""
    runs = [decision for decision in verdict.decisions if decision.runs]
    if not runs or (len(runs) == 1 and not is_busy and verdict.schedule.runs_left is None):
        return
    left, overlap = verdict.schedule.runs_left, verdict.schedule.overlap
    decisions = []
    for decision in verdict.decisions:
        reason = decision.reason
        if decision.runs and left == 0:
            reason = "limit"
        elif decision.runs and (is_busy or (overlap == "cancel_running" and decision is not runs[-1])):
            reason = "overlap"
        elif decision.runs:
            is_busy = overlap in _EXCLUSIVE
            left = None if left is None else left - 1
        decisions.append(decision.because(reason))
    verdict.decisions = decisions


def _entries(verdict: Verdict, now: datetime) -> list[Entry]:
    """Return the rows of a verdict, by time."""
    entries = [_entry(verdict, decision, now) for decision in verdict.decisions]
    if not verdict.left_out:
        return entries
    for skip in verdict.left_out:
        named = Decision(nominal=skip.at, until=skip.at, count=skip.count, reason=skip.reason, note=skip.note)
        entries.append(entry_of(verdict.schedule, named, verdict.zone, now, prefix=NAMED_SKIP))
    return sorted(entries, key=lambda entry: entry.nominal)


def _entry(verdict: Verdict, decision: Decision, now: datetime) -> Entry:
    note = verdict.recurrence.notes(decision.nominal) if decision.runs and verdict.recurrence else ""
    return entry_of(verdict.schedule, decision, verdict.zone, now, note=note or "")


def _cancels(verdict: Verdict) -> bool:
    return verdict.schedule.overlap == "cancel_running"


def _cancel_active(session: Session, schedules: Iterable[DueSchedule]) -> None:
    """Stop what still goes on of these schedules, but not their backfills."""
    keys = {schedule.id: key_of(schedule) for schedule in schedules}
    if not keys:
        return
    active = sa.select(Run).where(
        sa.tuple_(Run.schedule_id, Run.concurrency_key).in_(keys.items()),
        Run.state.in_(ACTIVE_STATES),
        sa.text(NO_BACKFILL),
    )
    for run in session.scalars(active.order_by(Run.id).with_for_update(key_share=True)).all():
        cancel(session, run, note="The next one is due.", actor=Actor(kind="schedule", id=run.schedule_id))


def _request(verdict: Verdict, entry: Entry) -> RunRequest:
    verdict.launched += 1
    schedule = verdict.schedule
    start = start_of(schedule, cast(Recurrence, verdict.recurrence), entry.nominal)
    actor = Actor(kind="schedule", id=schedule.id)
    return request_for(schedule, entry, job_type(schedule.job_type), not_before=start, actor=actor, lane="bulk")


def _advance(session: Session, verdicts: Sequence[Verdict]) -> None:
    rows = [
        {
            "id": verdict.schedule.id,
            "next_at": None if verdict.runs_left == 0 else verdict.next_at,
            "cursor": verdict.cursor,
            "runs_left": verdict.runs_left,
            "problem": verdict.problem,
        }
        for verdict in verdicts
    ]
    session.execute(_ADVANCE, {"rows": rows_as_json(rows), "version": rules_version()})


_ADVANCE = sa.text("""
UPDATE schedule
SET next_at = reached.next_at, cursor = reached.cursor, runs_left = reached.runs_left, problem = reached.problem,
    tz_version = :version
FROM json_to_recordset(CAST(:rows AS json))
    AS reached(id uuid, next_at timestamptz, cursor timestamptz, runs_left int, problem text)
WHERE schedule.id = reached.id
""")


def _end_pauses(session: Session, schedules: Sequence[DueSchedule], now: datetime) -> list[DueSchedule]:
    """End the pauses of the first of these, as many as one transaction bears, and return them."""
    if not schedules:
        return []
    tenants = tenants_now(session, (schedule.tenant_id for schedule in schedules))
    verdicts = _judge_all(_awakened, schedules, tenants, now)
    _carry_out(session, _judge_anew(session, _awakened, verdicts, tenants, now), now)
    awake = [verdict.schedule for verdict in verdicts]
    session.execute(_UNPAUSE, {"ids": [schedule.id for schedule in awake]})
    return awake


def _awakened(schedule: DueSchedule, tenant: TenantNow, now: datetime, known: Set[datetime]) -> Verdict:
    due: list[datetime] = []
    if schedule.next_at is not None:
        due, _ = due_until(recurrence_of(schedule, tenant.zone), schedule.cursor or schedule.created_at, now)
    return Verdict(
        schedule=schedule,
        zone=schedule.timezone or tenant.zone,
        decisions=one_skip([at for at in due if at not in known], "paused"),
        cursor=now,
        next_at=next_after(schedule, tenant.zone, now),
    )


_UNPAUSE = sa.text("""
UPDATE schedule
SET paused_at = NULL, paused_until = NULL, paused_by_id = NULL, paused_reason = '', failures_from = now(),
    is_failing = false
WHERE id = ANY(:ids)
""")
