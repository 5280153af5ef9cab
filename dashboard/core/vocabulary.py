"""Give every state its word, its icon and its tone: the one place that says how a state looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Tone = Literal["ok", "run", "warn", "bad", "plan", "idle"]


@dataclass(frozen=True, slots=True)
class StateWord:
    """How one state is shown; `meaning` is the sentence that explains it."""

    label: str
    icon: str
    tone: Tone
    meaning: str
    spins: bool = False


RUN_WORDS: Mapping[str, StateWord] = {
    "scheduled": StateWord("Scheduled", "clock", "plan", "Waits for its time."),
    "ready": StateWord("Ready", "circle", "idle", "Waits for its turn."),
    "admitted": StateWord("Admitted", "send", "run", "Is on the way to a worker."),
    "running": StateWord("Running", "spinner", "run", "A worker is at it.", spins=True),
    "retrying": StateWord("Retrying", "retry", "warn", "Failed and will try again."),
    "succeeded": StateWord("Succeeded", "check", "ok", "Did all it should."),
    "failed": StateWord("Failed", "cross", "bad", "Ended with an error, and is not tried again."),
    "dead": StateWord("Dead", "stop", "bad", "Used up all its attempts."),
    "cancelled": StateWord("Cancelled", "ban", "idle", "Somebody stopped it, or the next fire of its schedule."),
    "timed_out": StateWord("Timed out", "timer", "bad", "Ran into its time limit."),
    "interrupted": StateWord("Interrupted", "bolt", "bad", "Was cut off in the middle; it must not run twice unasked."),
    "skipped": StateWord("Skipped", "skip", "idle", "Never started; the reason says why."),
}

DELIVERY_WORDS: Mapping[str, StateWord] = {
    "pending": StateWord("Pending", "circle", "idle", "Waits to be sent."),
    "claimed": StateWord("Claimed", "inbox", "run", "A worker is talking to the mail server."),
    "handing": StateWord("Handing over", "spinner", "run", "The mail server is taking it.", spins=True),
    "sent": StateWord("Sent", "check", "ok", "The mail server accepted it."),
    "deferred": StateWord("Deferred", "retry", "warn", "The mail server asked to try later."),
    "bounced": StateWord("Bounced", "bounce", "bad", "The mail server refused the address for good."),
    "suppressed": StateWord("Suppressed", "shield", "idle", "The address is on the suppression list."),
    "uncertain": StateWord("Uncertain", "question", "warn", "The connection broke after it left: it may have arrived."),
}

SCHEDULE_WORDS: Mapping[str, StateWord] = {
    "active": StateWord("Active", "play", "ok", "Fires when it is due."),
    "paused": StateWord("Paused", "pause", "idle", "Does not fire until somebody resumes it."),
    "completed": StateWord("Completed", "check", "idle", "Has fired for the last time."),
    "needs_attention": StateWord("Needs attention", "warning", "warn", "Stopped by itself: somebody must look."),
    "archived": StateWord("Archived", "archive", "idle", "Put away; it never fires."),
}

FLEET_WORDS: Mapping[str, StateWord] = {
    "online": StateWord("Online", "check", "ok", "Was heard of within its heartbeat."),
    "late": StateWord("Late", "clock", "warn", "Missed a heartbeat."),
    "offline": StateWord("Offline", "cross", "bad", "Has not been heard of for too long."),
}

PEOPLE_WORDS: Mapping[str, StateWord] = {
    "invited": StateWord("Invited", "mail", "plan", "Was asked and has not answered yet."),
    "suspended": StateWord("Suspended", "pause", "bad", "May not sign in, and nothing of theirs runs."),
    "expired": StateWord("Expired", "timer", "idle", "Its time is over."),
    "revoked": StateWord("Revoked", "ban", "idle", "Was taken back."),
    "deleted": StateWord("Deleted", "trash", "idle", "Is gone."),
}

WORDS: Mapping[str, StateWord] = {
    **RUN_WORDS,
    **DELIVERY_WORDS,
    **SCHEDULE_WORDS,
    **FLEET_WORDS,
    **PEOPLE_WORDS,
}


def state_word(state: str) -> StateWord:
    """Return how `state` is shown. Raises KeyError for one without a word, so that no state goes unexplained."""
    return WORDS[state]
