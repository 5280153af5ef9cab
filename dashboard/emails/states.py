"""The states of a delivery, and which moves between them are legal."""

from __future__ import annotations

PENDING = "pending"  # waits to be sent
CLAIMED = "claimed"  # a worker talks to the mail server; no content has left yet
HANDING = "handing"  # the server asked for the content; it may have some of it
SENT = "sent"  # the server accepted it
DEFERRED = "deferred"  # the server said: later
BOUNCED = "bounced"  # the server said: never
SUPPRESSED = "suppressed"  # the address is on the tenant's suppression list
UNCERTAIN = "uncertain"  # the connection broke after the content left: it may have arrived

DELIVERY_STATES = (PENDING, CLAIMED, HANDING, SENT, DEFERRED, BOUNCED, SUPPRESSED, UNCERTAIN)

MOVES: dict[str, frozenset[str]] = {
    PENDING: frozenset({CLAIMED, SUPPRESSED}),
    CLAIMED: frozenset({HANDING, PENDING, DEFERRED, BOUNCED}),
    HANDING: frozenset({SENT, DEFERRED, BOUNCED, UNCERTAIN}),
    DEFERRED: frozenset({CLAIMED, BOUNCED, SUPPRESSED}),
    SENT: frozenset(),
    BOUNCED: frozenset({PENDING}),
    SUPPRESSED: frozenset({PENDING}),
    UNCERTAIN: frozenset({PENDING, SENT, DEFERRED, BOUNCED}),
}
"""From each state, the states a delivery may move to; `pending` after an end is a resend by a person.

A worker that was taken for dead, and was only slow, may still tell what became of an uncertain one.
"""
