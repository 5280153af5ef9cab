"""Keep the ledger of a run's mails: every step of every mail is committed before the next one is taken.

A worker that dies leaves its mail `claimed` (nothing of it has left: it is sent again) or `handing` (it may have left:
it becomes `uncertain`, and nobody but a person sends it again). A claim is told from later ones by its `attempt`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dashboard.core.ids import new_id
from dashboard.core.orm import tenant_session
from dashboard.emails.smtp import Verdict
from dashboard.emails.states import DELIVERY_STATES, PENDING, UNCERTAIN
from dashboard.runs.load import shown

RETRY_AFTER = timedelta(minutes=5)
"""How long a mail waits that the server put off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A mail that this worker, and no other, is about to send."""

    id: UUID
    attempt: int
    address: str
    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who sends: one execution of a run. What it claims is its own while the run's fence is still the same."""

    run_id: UUID
    fence: int
    lease: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What an earlier attempt left behind: mails that go out again, and mails of which nobody can say.

    `began` is the moment from which this attempt claims: mails that are put off after it wait for the next attempt.
    """

    again: int
    uncertain: int
    began: datetime


def freeze_audience(run_id: UUID, addresses: Sequence[str], *, domain: str) -> None:
    """Write down who gets the mail, each with the Message-ID it keeps for ever; who is written down already stays."""
    ids = [new_id() for _ in addresses]  # mails leave in their order
    with tenant_session() as session:
        session.execute(
            _FREEZE,
            {
                "run_id": run_id,
                "ids": ids,
                "addresses": list(addresses),
                "message_ids": [f"<{each.hex}@{domain}>" for each in ids],
            },
        )


def recover(holder: Holder) -> Recovered:
    """Put in order what an attempt before this one left: claimed mails wait again, half-handed ones are uncertain."""
    with tenant_session() as session:
        states = session.execute(_RECOVER, _who(holder)).scalars().all()
        began = session.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    return Recovered(again=states.count(PENDING), uncertain=states.count(UNCERTAIN), began=began)


def doubt_abandoned(session: Session) -> int:
    """Make mails uncertain that were leaving when their worker ended and no further attempt does it; return how many.

    Such as of a run whose attempts are used up, or that was cancelled meanwhile. `session` is a system session.
    """
    tenants = session.scalars(_DOUBT).all()
    for tenant_id in set(tenants):
        shown(session, tenant_id)
    return len(tenants)


def claim(holder: Holder, *, began: datetime) -> Claim | None:
    """Take the next mail: None when none is left, or the run was cancelled or belongs to another worker by now."""
    with tenant_session() as session:
        row = session.execute(_CLAIM, {**_who(holder), "lease": holder.lease, "began": began}).mappings().one_or_none()
    return Claim(**row) if row else None


def hand_over(taken: Claim) -> bool:
    """Write that the content leaves now; False if the claim was lost, and then it must not leave."""
    with tenant_session() as session:
        return session.execute(_HAND_OVER, {"id": taken.id, "attempt": taken.attempt}).one_or_none() is not None


def give_back(taken: Claim) -> None:
    """Let a claimed mail wait again, because the server could not be reached."""
    with tenant_session() as session:
        session.execute(_GIVE_BACK, {"id": taken.id, "attempt": taken.attempt})


def settle(taken: Claim, verdict: Verdict) -> None:
    """Write what became of the mail."""
    with tenant_session() as session:
        session.execute(
            _SETTLE,
            {
                "id": taken.id,
                "attempt": taken.attempt,
                "state": verdict.state,
                "code": verdict.code,
                "error": verdict.sentence,
                "retry_after": RETRY_AFTER,
            },
        )


def counts(run_id: UUID) -> dict[str, int]:
    """Return how many of the run's mails are in each state."""
    with tenant_session() as session:
        rows = session.execute(_COUNT, {"run_id": run_id}).all()
    found = {row.state: row.number for row in rows}
    return {state: found.get(state, 0) for state in DELIVERY_STATES}


def commonest_error(run_id: UUID) -> str:
    """Return the sentence that most of the run's refused mails have."""
    with tenant_session() as session:
        return session.execute(_COMMONEST_ERROR, {"run_id": run_id}).scalar() or ""


def _who(holder: Holder) -> dict[str, object]:
    return {"run_id": holder.run_id, "fence": holder.fence}


_FREEZE = sa.text("""
INSERT INTO delivery (id, tenant_id, run_id, address, message_id)
SELECT each.id, app_tenant(), :run_id, each.address, each.message_id
FROM unnest(CAST(:ids AS uuid[]), CAST(:addresses AS text[]), CAST(:message_ids AS text[]))
    AS each(id, address, message_id)
ON CONFLICT (run_id, address) DO NOTHING
""")

_IN_DOUBT = "The worker ended while the mail left: it may have arrived."

_RECOVER = sa.text("""
UPDATE delivery
SET state = CASE state WHEN 'claimed' THEN 'pending' ELSE 'uncertain' END, lease_until = NULL,
    error = CASE state WHEN 'claimed' THEN '' ELSE :doubt END
WHERE run_id = :run_id AND state IN ('claimed', 'handing')
  AND EXISTS (SELECT FROM run WHERE run.id = :run_id AND run.fence = :fence AND run.state = 'running')
RETURNING state
""").bindparams(doubt=_IN_DOUBT)

_DOUBT = sa.text("""
UPDATE delivery
SET state = 'uncertain', lease_until = NULL, error = :doubt
FROM run
WHERE delivery.state = 'handing' AND delivery.lease_until < now()
  AND run.id = delivery.run_id AND run.state NOT IN ('admitted', 'running')
RETURNING delivery.tenant_id
""").bindparams(doubt=_IN_DOUBT)

_CLAIM = sa.text("""
UPDATE delivery
SET state = 'claimed', attempt = attempt + 1, claimed_at = clock_timestamp(), lease_until = now() + :lease,
    not_before = NULL, reply_code = NULL, error = ''
WHERE id = (
    SELECT id FROM delivery
    WHERE run_id = :run_id AND (state = 'pending' OR (state = 'deferred' AND claimed_at < :began))
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
  AND EXISTS (
    SELECT FROM run
    WHERE run.id = :run_id AND run.fence = :fence AND run.state = 'running' AND run.cancel_requested_at IS NULL)
RETURNING id, attempt, address, message_id
""")

_HAND_OVER = sa.text("""
UPDATE delivery SET state = 'handing', handing_at = clock_timestamp()
WHERE id = :id AND attempt = :attempt AND state = 'claimed'
RETURNING id
""")

_GIVE_BACK = sa.text("""
UPDATE delivery SET state = 'pending', lease_until = NULL
WHERE id = :id AND attempt = :attempt AND state = 'claimed'
""")

# A worker that was taken for dead and was only slow may still settle what became uncertain meanwhile: it knows.
_SETTLE = sa.text("""
UPDATE delivery
SET state = CAST(:state AS text), reply_code = :code, error = :error, lease_until = NULL,
    sent_at = CASE WHEN CAST(:state AS text) = 'sent' THEN clock_timestamp() END,
    not_before = CASE WHEN CAST(:state AS text) = 'deferred' THEN clock_timestamp() + :retry_after END
WHERE id = :id AND attempt = :attempt AND state IN ('claimed', 'handing', 'uncertain')
""")

_COUNT = sa.text("SELECT state, count(*) AS number FROM delivery WHERE run_id = :run_id GROUP BY state")

_COMMONEST_ERROR = sa.text("""
SELECT error FROM delivery WHERE run_id = :run_id AND state = 'bounced'
GROUP BY error ORDER BY count(*) DESC, error LIMIT 1
""")
