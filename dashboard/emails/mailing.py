"""Send one mail to all of a run's recipients, each exactly once as far as anybody can know."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from dashboard.emails import delivery
from dashboard.emails.delivery import Claim, Holder
from dashboard.emails.failures import MailServerAway
from dashboard.emails.pacing import next_turn
from dashboard.emails.smtp import Conversation, MailServer, Verdict
from dashboard.emails.states import DEFERRED, PENDING, SENT, UNCERTAIN
from dashboard.jobs.context import RunContext
from dashboard.jobs.outcomes import RunStopped

BROKEN_HANDOVERS = 3
"""So many mails in a row of which the server says nothing are too many: each may or may not have arrived."""

Compose = Callable[[Claim], bytes]


def send_to_all(
    ctx: RunContext, holder: Holder, server: MailServer, *, sender: str, rate: int, compose: Compose
) -> None:
    """Send what this attempt has to send, one recipient at a time, at most `rate` a minute.

    Raises RunStopped when the run is no longer ours, and a MailError when the server cannot go on.
    """
    recovered = delivery.recover(holder)
    _tell(ctx, recovered.again, recovered.uncertain)
    before = delivery.counts(holder.run_id)
    total, left = sum(before.values()), before[PENDING] + before[DEFERRED]
    broken = 0
    with closing(Conversation(server)) as conversation:
        for done in range(total - left, total):
            ctx.progress(done, total)
            ctx.wait(next_turn(rate))
            claim = delivery.claim(holder, began=recovered.began)
            if claim is None:
                ctx.wait(holder.lease)  # the ledger knows before the heartbeat does that the run is not ours to go on
                raise RunStopped
            verdict = _send(conversation, claim, sender, compose)
            broken = broken + 1 if verdict.state == UNCERTAIN else 0
            if verdict.state != SENT:
                ctx.log("warning", f"{claim.address}: {verdict.sentence}")
            if broken == BROKEN_HANDOVERS:
                raise MailServerAway
        conversation.quit()
    ctx.progress(total, total)


def _send(conversation: Conversation, claim: Claim, sender: str, compose: Compose) -> Verdict:
    try:
        content = compose(claim)
        refused = conversation.begin(sender, claim.address)
    except Exception:
        delivery.give_back(claim)
        raise
    verdict = refused or _hand(conversation, claim, content)
    delivery.settle(claim, verdict)
    return verdict


def _hand(conversation: Conversation, claim: Claim, content: bytes) -> Verdict:
    """The server waits for the content: it leaves only once the ledger says that it does."""
    if not delivery.hand_over(claim):
        raise RunStopped
    return conversation.hand(content)


def _tell(ctx: RunContext, again: int, uncertain: int) -> None:
    if again:
        ctx.log("info", f"{again:,} mail(s) were about to leave when the worker ended; they go out now.")
    if uncertain:
        ctx.log("warning", f"{uncertain:,} mail(s) may have left when the worker ended; they are not sent again.")
